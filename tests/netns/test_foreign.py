from __future__ import annotations

import pytest

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


POOL = "10.201.0.0/16"
TO_ALL = "iptables -I FORWARD -i vc+ -j ACCEPT && iptables -I FORWARD -o vc+ -j ACCEPT"


def test_who_drops_what_is_forwarded_is_found() -> None:
    def look() -> None:
        assert foreign.look(POOL) == ()
        with nft.Nft() as here:
            here.run(chain("ip", "filter", "FORWARD", "drop"), "a test")
            here.run(chain("ip6", "filter", "FORWARD", "drop"), "a test")
            here.run(chain("inet", "quiet", "forward", "accept"), "a test")
            here.run(chain("inet", "colony_a1b2c3", "forward", "drop"), "a test")
            here.run(chain("inet", "firewalld", "filter_FORWARD", "accept"), "a test")
        found = {
            ForeignDrop("ip", "filter", "FORWARD", TO_ALL),
            ForeignDrop(
                *("inet", "firewalld", "filter_FORWARD"),
                "firewall-cmd --zone=trusted --add-source=10.201.0.0/16",
            ),
        }
        assert set(foreign.look(POOL)) == found
        six = ForeignDrop("ip6", "filter", "FORWARD", TO_ALL.replace("iptables", "ip6tables"))
        assert set(foreign.look(POOL, ipv6=True)) == found | {six}

    in_own_network(look)


@pytest.mark.parametrize(
    ("chains", "remedy"),
    [
        ([("filter", "FORWARD")], TO_ALL),
        (
            [("filter", "DOCKER-USER"), ("filter", "FORWARD"), ("filter", "ufw-user-forward")],
            TO_ALL.replace("FORWARD", "DOCKER-USER"),
        ),
        (
            [("filter", "FORWARD"), ("filter", "ufw-user-forward"), ("nat", "DOCKER-USER")],
            "ufw route allow from 10.201.0.0/16",
        ),
        ([("mine", "out")], 'a rule in it: iifname "vc*" accept and oifname "vc*" accept'),
    ],
    ids=["iptables", "docker", "ufw", "another"],
)
def test_the_remedy_is_the_owners_own(chains: list[tuple[str, str]], remedy: str) -> None:
    listed = []
    for table, name in chains:
        place: dict[str, object] = {"family": "ip", "table": table, "name": name}
        if name in ("FORWARD", "out"):
            place |= {"hook": "forward", "policy": "drop"}
        listed.append({"chain": place})
    (found,) = foreign.dropping([{"metainfo": {}}, *listed], POOL)
    assert found.remedy == remedy


def test_it_is_said_in_one_line_with_what_to_do() -> None:
    assert str(ForeignDrop("ip", "filter", "FORWARD", "do this")) == (
        "chain FORWARD of table ip filter drops what colonies send out (not what comes in); "
        "to let it pass: do this"
    )
