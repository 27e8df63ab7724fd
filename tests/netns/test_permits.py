from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from netns import permits
from netns.permits import Permit
from tests.netns.support import output, rig, unique

A, B = IPv4Address("10.200.0.2"), IPv4Address("10.200.0.3")
PEER = Permit(A, IPv4Network(B))
HTTPS = Permit(A, IPv4Network("0.0.0.0/0"), (443, 443))


def test_a_change_is_as_many_elements_as_it_has() -> None:
    place = {"family": "inet", "table": "colony_a1b2c3", "name": "peers4"}
    everywhere = {"concat": ["10.200.0.2", "10.200.0.3", {"range": [0, 65535]}]}
    assert permits.changes("a1b2c3", "peers4", [], [PEER]) == [
        {"add": {"element": {**place, "elem": [everywhere]}}}
    ]
    assert permits.changes("a1b2c3", "peers4", [PEER], []) == [
        {"delete": {"element": {**place, "elem": [everywhere]}}}
    ]
    assert permits.changes("a1b2c3", "peers4", [PEER], [PEER]) == []
    assert str(PEER) == "10.200.0.2 → 10.200.0.3/32:*"
    assert str(HTTPS) == "10.200.0.2 → 0.0.0.0/0:443"


async def test_the_kernel_takes_them_and_gives_them_back(tmp_path: Path) -> None:
    async with rig(tmp_path / "run") as (_, instance, network):
        space = await network.create(unique("p"), egress="some")
        table = ("nft", "list", "table", "inet", f"colony_{instance.id}")
        mine = Permit(space.address.v4, HTTPS.network, HTTPS.ports)
        await network.permit(frozenset({PEER}), frozenset({mine}))
        listed = output(*table)
        assert f"{A} . {B} . 0-65535" in listed
        assert f"{space.address.v4} . 0.0.0.0/0 . 443" in listed
        await network.permit()
        assert f"{A} . {B}" not in output(*table)
        await network.destroy(space)
