"""How Colony runs here: every wish against every machine."""

from __future__ import annotations

import pytest

from colony.modes import Impossible, Machine, Modes, Wishes, choose

FULL = Machine(why_not="", caddy=True, dnsmasq=True)
BARE = Machine(why_not="user 1 lacks rights; be root", caddy=False, dnsmasq=False)
NOTE = (
    "no network namespaces here, so services share the host's ports and two colonies cannot "
    "use the same one: user 1 lacks rights; be root"
)


@pytest.mark.parametrize(
    ("wishes", "machine", "modes"),
    [
        (Wishes(), FULL, Modes(True, "caddy", "dnsmasq")),
        (Wishes(), BARE, Modes(False, "embedded", "embedded", (NOTE,))),
        (Wishes(network="host"), FULL, Modes(False, "caddy", "dnsmasq")),
        (Wishes(network="host"), BARE, Modes(False, "embedded", "embedded")),
        (Wishes(network="namespace"), FULL, Modes(True, "caddy", "dnsmasq")),
        (Wishes(proxy="embedded"), FULL, Modes(True, "embedded", "dnsmasq")),
        (Wishes(dns="embedded"), FULL, Modes(True, "caddy", "embedded")),
        (Wishes(dns="none"), FULL, Modes(True, "caddy", "none")),
        (Wishes(dns="none", network="host"), BARE, Modes(False, "embedded", "none")),
    ],
)
def test_choice(wishes: Wishes, machine: Machine, modes: Modes) -> None:
    assert choose(wishes, machine) == modes


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (Wishes(network="namespace"), "--network namespace: user 1 lacks rights; be root"),
        (Wishes(proxy="caddy"), "--proxy caddy: there is no caddy on this machine"),
        (Wishes(dns="dnsmasq"), "--dns dnsmasq: there is no dnsmasq on this machine"),
    ],
)
def test_a_wish_by_name_that_cannot_be_met(wishes: Wishes, words: str) -> None:
    with pytest.raises(Impossible) as refusal:
        choose(wishes, BARE)
    assert str(refusal.value).startswith(words)


def test_a_caddy_that_runs_already_need_not_be_installed() -> None:
    assert choose(Wishes(proxy="caddy"), BARE, existing_caddy=True).proxy == "caddy"
    assert choose(Wishes(), BARE, existing_caddy=True).proxy == "caddy"
