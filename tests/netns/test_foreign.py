from __future__ import annotations

from netns import foreign, nft, ruleset
from netns.foreign import ForeignDrop
from tests.netns.support import in_own_network


def chain(family: str, table: str, name: str, policy: str) -> list[ruleset.Command]:
    place = {"family": family, "table": table, "name": name}
    base = {"type": "filter", "hook": "forward", "prio": 0, "policy": policy}
    return [
        {"add": {"table": {"family": family, "name": table}}},
        {"add": {"chain": {**place, **base}}},
    ]


def test_who_drops_what_is_forwarded_is_found() -> None:
    def look() -> None:
        assert foreign.look() == ()
        with nft.Nft() as here:
            here.run(chain("ip", "filter", "FORWARD", "drop"), "a test")
            here.run(chain("inet", "quiet", "forward", "accept"), "a test")
            here.run(chain("inet", "colony_a1b2c3", "forward", "drop"), "a test")
            here.run(chain("inet", "firewalld", "filter_FORWARD", "accept"), "a test")
        assert set(foreign.look()) == {
            ForeignDrop("ip", "filter", "FORWARD"),
            ForeignDrop("inet", "firewalld", "filter_FORWARD"),
        }

    in_own_network(look)


def test_it_is_said_in_one_line_with_what_to_do() -> None:
    assert str(ForeignDrop("ip", "filter", "FORWARD")) == (
        "chain FORWARD of table ip filter drops what colonies send out (not what comes in); "
        "to let it pass: iptables -I FORWARD -i vc+ -j ACCEPT and the same with -o"
    )
    assert "firewall-cmd" in str(ForeignDrop("inet", "firewalld", "filter_FORWARD"))
    assert 'iifname "vc*" accept' in str(ForeignDrop("inet", "mine", "forward"))
