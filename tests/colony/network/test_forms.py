"""niso's words for ports and destinations."""

from __future__ import annotations

import pytest

from colony.network import egress
from colony.network.forms import Forward, doubles, overlap, parse


@pytest.mark.parametrize(
    ("text", "forward", "written"),
    [
        ("8080", Forward(8080, 8080), "8080:8080"),
        ("8080:80", Forward(8080, 80), "8080:80"),
        ("8080:8080/tcp", Forward(8080, 8080), "8080:8080"),
        ("53:53/udp", Forward(53, 53, "udp"), "53:53/udp"),
        ("0.0.0.0:443:443", Forward(443, 443, "tcp", "0.0.0.0"), "0.0.0.0:443:443"),
        ("[::]:443:8443", Forward(443, 8443, "tcp", "::"), "[::]:443:8443"),
        ("auto:3000", Forward(0, 3000), "auto:3000"),
    ],
)
def test_a_form_is_read_and_written(text: str, forward: Forward, written: str) -> None:
    assert parse(text) == forward
    assert str(forward) == written
    assert parse(written) == forward


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web", "a port is PORT, HOST_PORT:PORT or ADDRESS:HOST_PORT:PORT"),
        ("0:80", "a port is 1 to 65535, got: 0 in '0:80'"),
        ("80:70000", "a port is 1 to 65535, got: 70000"),
        ("80:80/sctp", "a port's protocol is tcp or udp, got: 'sctp'"),
        ("1.2.3:80:80", "1.2.3 is no address of a host"),
    ],
)
def test_a_bad_form_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 — the words are what counts
        parse(text)
    assert says in str(caught.value)


def test_who_wants_the_same_port() -> None:
    plain = parse("80:1")
    assert overlap(plain, parse("80:2"))
    assert overlap(plain, parse("0.0.0.0:80:1"))
    assert overlap(plain, parse("[::]:80:1"))
    assert not overlap(plain, parse("10.0.0.1:80:1"))
    assert not overlap(plain, parse("80:1/udp"))
    assert not overlap(parse("auto:1"), parse("auto:1"))
    assert doubles([parse("1:1"), plain, parse("127.0.0.1:80:3")]) == (
        plain,
        parse("127.0.0.1:80:3"),
    )


def test_destinations() -> None:
    assert str(egress.parse("postgres.colony.local:5432")) == "postgres.colony.local:5432"
    assert str(egress.parse("0.0.0.0/0:443")) == "0.0.0.0/0:443"
    assert str(egress.parse("10.1.2.3:*")) == "10.1.2.3/32:*"
    for bad in ("example.com", "example.com:0", "::1:80", "[::]/0:443", "a b:80", "1.2.3.4/40:80"):
        with pytest.raises(ValueError):  # noqa: PT011
            egress.parse(bad)
