"""Which program makes the way out, and with what it is told to."""

from __future__ import annotations

import pytest

from netns.uplink import KINDS, usable

OLD = "pasta unknown version\nCopyright Red Hat\n"
NEW = "pasta 0.0~git20250503.587980c-2\nCopyright Red Hat\n"


@pytest.mark.parametrize(
    ("slirp", "pasta", "programs"),
    [
        (True, "", ("slirp4netns",)),
        (True, OLD, ("slirp4netns",)),
        (True, "pasta 0.0~git20230309.7c7625d-1", ("slirp4netns",)),
        (True, NEW, ("pasta", "slirp4netns")),
        (True, "pasta 2024_08_14.61c0b0d", ("pasta", "slirp4netns")),
        (False, NEW, ("pasta",)),
        (False, OLD, ()),
        (False, "", ()),
    ],
)
def test_usable(slirp: bool, pasta: str, programs: tuple[str, ...]) -> None:
    assert usable(slirp, pasta) == programs


def test_nothing_leads_inward() -> None:
    assert KINDS["slirp4netns"].argv(7, 8) == (
        *("slirp4netns", "--configure", "--mtu=65520", "--cidr=10.199.255.0/24"),
        *("--disable-host-loopback", "--netns-type=path", "/proc/self/fd/7", "tap0"),
        "--exit-fd=8",
    )
    argv = KINDS["pasta"].argv(7, 8)
    assert argv[-2:] == ("--netns", "/proc/self/fd/7")
    assert "--no-map-gw" in argv
    for option in ("-t", "-u", "-T", "-U"):
        assert argv[argv.index(option) + 1] == "none"
