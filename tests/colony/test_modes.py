"""How Colony runs here: every wish against every machine."""

from __future__ import annotations

import msgspec
import pytest

from colony.modes import Impossible, Machine, Modes, Wishes, choose

FULL = Machine(why_not="", caddy=True, dnsmasq=True)
BARE = Machine(why_not="user 1 lacks rights; be root", caddy=False, dnsmasq=False)
INSIDE = Machine(why_not="", caddy=True, dnsmasq=True, rootless=True, ways_out=("slirp4netns",))
NO_TUN = msgspec.structs.replace(INSIDE, tun=False)
NO_SLIRP = msgspec.structs.replace(INSIDE, ways_out=())
NO_WAY = 'colonies have no way out, but by egress = "proxy": {}; the ways in are all there'
UNOPENED = NO_WAY.format("this user may not open /dev/net/tun (as root: chmod 666 /dev/net/tun)")
UNINSTALLED = NO_WAY.format("slirp4netns is not installed (apt-get install slirp4netns)")
OUT = ("slirp4netns",)
SHUT = Machine(
    why_not="user 1 lacks rights; be root",
    caddy=False,
    dnsmasq=False,
    why_not_rootless="forbidden; allow it",
)
NOTE = (
    "no network namespaces here, so services share the host's ports and two colonies cannot "
    "use the same one: user 1 lacks rights; be root"
)


@pytest.mark.parametrize(
    ("wishes", "machine", "modes"),
    [
        (Wishes(), FULL, Modes("namespace", "caddy", "dnsmasq")),
        (Wishes(), BARE, Modes("host", "embedded", "embedded", (NOTE,))),
        (Wishes(network="host"), FULL, Modes("host", "caddy", "dnsmasq")),
        (Wishes(network="host"), BARE, Modes("host", "embedded", "embedded")),
        (Wishes(network="namespace"), FULL, Modes("namespace", "caddy", "dnsmasq")),
        (Wishes(proxy="embedded"), FULL, Modes("namespace", "embedded", "dnsmasq")),
        (Wishes(dns="embedded"), FULL, Modes("namespace", "caddy", "embedded")),
        (Wishes(dns="none"), FULL, Modes("namespace", "caddy", "none")),
        (Wishes(), INSIDE, Modes("rootless", "embedded", "dnsmasq", ways_out=OUT)),
        (
            Wishes(network="rootless", proxy="caddy"),
            INSIDE,
            Modes("rootless", "caddy", "dnsmasq", ways_out=OUT),
        ),
        (Wishes(), NO_TUN, Modes("rootless", "embedded", "dnsmasq", (UNOPENED,))),
        (Wishes(), NO_SLIRP, Modes("rootless", "embedded", "dnsmasq", (UNINSTALLED,))),
        (Wishes(network="host"), INSIDE, Modes("host", "caddy", "dnsmasq")),
        (
            Wishes(),
            SHUT,
            Modes("host", "embedded", "embedded", (f"{NOTE}; without root: forbidden; allow it",)),
        ),
        (Wishes(dns="none", network="host"), BARE, Modes("host", "embedded", "none")),
    ],
)
def test_choice(wishes: Wishes, machine: Machine, modes: Modes) -> None:
    assert choose(wishes, machine) == modes


@pytest.mark.parametrize(
    ("wishes", "machine", "words"),
    [
        (Wishes(network="namespace"), BARE, "--network namespace: user 1 lacks rights; be root"),
        (Wishes(network="namespace"), INSIDE, "--network namespace: this process has entered"),
        (Wishes(network="rootless"), SHUT, "--network rootless: forbidden; allow it"),
        (Wishes(proxy="caddy"), BARE, "--proxy caddy: there is no caddy on this machine"),
        (Wishes(dns="dnsmasq"), BARE, "--dns dnsmasq: there is no dnsmasq on this machine"),
    ],
)
def test_a_wish_by_name_that_cannot_be_met(wishes: Wishes, machine: Machine, words: str) -> None:
    with pytest.raises(Impossible) as refusal:
        choose(wishes, machine)
    assert str(refusal.value).startswith(words)


def test_a_caddy_that_runs_already_need_not_be_installed() -> None:
    assert choose(Wishes(proxy="caddy"), BARE, existing_caddy=True).proxy == "caddy"
    assert choose(Wishes(), BARE, existing_caddy=True).proxy == "caddy"
