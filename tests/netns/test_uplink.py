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
        (True, NEW, ("slirp4netns", "pasta")),
        (True, "pasta 2024_08_14.61c0b0d", ("slirp4netns", "pasta")),
        (False, NEW, ("pasta",)),
        (False, OLD, ()),
        (False, "", ()),
    ],
)
def test_usable(slirp: bool, pasta: str, programs: tuple[str, ...]) -> None:
    assert usable(slirp, pasta) == programs


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "both"])
def test_nothing_leads_inward(ipv6: bool) -> None:
    assert KINDS["slirp4netns"].argv(8, ipv6) == (
        *("slirp4netns", "--configure", "--mtu=65520", "--cidr=10.199.255.0/24"),
        *("--disable-host-loopback", *(["--enable-ipv6"] if ipv6 else [])),
        *("--netns-type=path", "/proc/self/fd/0", "tap0", "--exit-fd=8"),
    )
    argv = KINDS["pasta"].argv(8, ipv6)
    assert argv[-2:] == ("--netns", "/proc/self/fd/0")
    assert "--no-map-gw" in argv
    assert ("-4" in argv) is not ipv6
    for option in ("-t", "-u", "-T", "-U"):
        assert argv[argv.index(option) + 1] == "none"
