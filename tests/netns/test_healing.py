"""Whatever is taken away of a colony's network is found and put back, and no more is touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from netns import names
from netns.healing import LOOK_AGAIN, SELDOM, slackened
from netns.namespace import Namespace, lead
from netns.permits import Permit
from tests.netns.support import Rig, listen, output, query, reach, rig, unique


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def in_netns(space: Namespace, *argv: str) -> None:
    run("ip", "netns", "exec", space.name, *argv)


Disaster = Callable[[Namespace], None]

# What is done → what is said to be put back.
DISASTERS: dict[str, tuple[Disaster, str]] = {
    "name": (lambda s: run("ip", "netns", "delete", s.name), "the name {name}"),
    "link": (lambda s: run("ip", "link", "delete", s.link), "the veth pair {link}"),
    "link down": (
        lambda s: run("ip", "link", "set", s.link, "down"),
        "the route to {v4}",
    ),
    "route": (lambda s: run("ip", "route", "delete", str(s.address.v4)), "the route to {v4}"),
    "route 6": (
        lambda s: run("ip", "-6", "route", "delete", str(s.address.v6)),
        "the route to {v4}",
    ),
    "inner route": (
        lambda s: in_netns(s, "ip", "route", "delete", "default"),
        "the colony's own routes",
    ),
    "inner address": (
        lambda s: in_netns(s, "ip", "address", "flush", "dev", "eth0"),
        "the colony's own routes",
    ),
    "inner link down": (
        lambda s: in_netns(s, "ip", "link", "set", "eth0", "down"),
        "the colony's own routes",
    ),
    "inner table": (
        lambda s: in_netns(s, "nft", "delete", "table", "inet", "colony"),
        "the colony's own packet rules",
    ),
    "inner rule": (
        lambda s: in_netns(s, "nft", "flush", "chain", "inet", "colony", "prerouting"),
        "the colony's own packet rules",
    ),
    "detour": (
        lambda s: in_netns(s, "nft", "flush", "map", "inet", "colony", "detours"),
        "the colony's own packet rules",
    ),
    "detour of udp": (
        lambda s: in_netns(s, "nft", "flush", "map", "inet", "colony", "udp_detours"),
        "the colony's own packet rules",
    ),
    "hosts": (
        lambda s: run("cp", "/etc/hostname", str(s.files / "hosts")),
        "the hosts file",
    ),
}


async def heal(network: Any, space: Namespace) -> list[str]:
    return [str(text) for text in await network.heal(space)]


@pytest.mark.parametrize("what", DISASTERS)
async def test_what_is_taken_away_is_put_back(tmp_path: Path, what: str) -> None:
    do, said = DISASTERS[what]
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        await thread.run(lead, thread, space, 3001, 3000)
        await thread.run(lead, thread, space, 53, 5353, "udp")
        assert await heal(network, space) == []
        do(space)
        found = await heal(network, space)
        filled = said.format(name=space.name, link=space.link, v4=space.address.v4)
        assert found[0] == filled
        assert await heal(network, space) == []
        with listen(await thread.socket(space), "127.0.0.1", 3000) as server:
            for port in (3000, 3001):
                assert reach(space.address.v4, port, server, b"veth") == b"veth"
        inner = json.loads(output("ip", "netns", "exec", space.name, "ip", "-j", "route"))
        assert inner[0]["gateway"] == str(space.address.gateway4)
        assert query("ip", "-j", "-6", "route", "show", str(space.address.v6))
        await network.destroy(space)


def take_table(table: str) -> None:
    run("nft", "delete", "table", "inet", table)


def take_rule(table: str) -> None:
    run("nft", "flush", "chain", "inet", table, "postrouting")


def take_element(table: str) -> None:
    run("nft", "flush", "set", "inet", table, "nat4")


def take_permit(table: str) -> None:
    run("nft", "flush", "set", "inet", table, "peers4")


@pytest.mark.parametrize("take", [take_table, take_rule, take_element, take_permit])
async def test_the_hosts_rules_and_who_is_in_them_are_put_back(
    tmp_path: Path, take: Callable[[str], None]
) -> None:
    async with rig(tmp_path) as made:
        one, two = await both(made)
        network, table = made.network, names.table_name(made.instance.id)
        peers = frozenset({Permit(one.address.v4, IPv4Network(two.address.v4))})
        await network.permit(peers)
        before = output("nft", "list", "table", "inet", table)
        assert not await network.heal_host()
        take(table)
        assert await network.heal_host()
        assert not await network.heal_host()
        assert sorted(output("nft", "list", "table", "inet", table)) == sorted(before)
        await network.destroy(one, two)


async def both(made: Rig) -> tuple[Namespace, Namespace]:
    return await made.network.create(unique("a")), await made.network.create(unique("b"))


def test_who_is_never_disturbed_is_looked_at_less_and_less_often() -> None:
    pauses = [LOOK_AGAIN]
    while pauses[-1] < SELDOM:
        pauses.append(slackened(pauses[-1]))
    assert pauses == [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0]
    assert slackened(SELDOM) == SELDOM
