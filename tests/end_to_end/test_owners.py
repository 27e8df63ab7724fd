"""The death of an owner: running services do not notice, and the outside is back as wanted."""

from __future__ import annotations

import json
import os

import pytest

from colony.host import Host
from netns import nft, userns
from netns.actors import (
    NETWORK,
    GetNamespace,
    GetNetwork,
    NamespaceOwner,
    NetworkOwner,
    namespace_name,
)
from netns.hostwide import IP_FORWARD, read_setting
from netns.names import table_name
from netns.ruleset import FAMILY
from proxy.actors import DOOR, DoorOwner, WhereIsDoor
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, alive, both_doors, page, root_only
from tests.end_to_end.hosted import add, fetch, hosted, kill, until
from tests.netns.support import open_descriptors
from tests.ports import free_port

pytestmark = [root_only, pytest.mark.real_time]

OWNERS = ["chronicle", "journal", "addresses", "network", "guardian", "routes", "door", "dns"]
OWNERS += ["way out"] if userns.entered() else []


async def address_of(host: Host, colony: Colony) -> str:
    owner = host.system.named(namespace_name(colony.name), NamespaceOwner)
    return str((await owner.call(GetNamespace())).address.v4)


async def let_out(host: Host) -> str:
    """The instance's packet rules, which name every colony that is let out."""
    table = {"family": FAMILY, "name": table_name(host.parts.instance.id)}

    def listed() -> str:
        with nft.Nft() as here:
            return json.dumps(here.run([{"list": {"table": table}}], "looking"))

    return await host.parts.thread.run(listed)


@both_doors
@pytest.mark.parametrize("owner", OWNERS)
async def test_services_do_not_notice(shop: Shop, door: tuple[str, ...], owner: str) -> None:
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two")})
    async with hosted(shop, door, ports=(free_port(),)) as host:
        await add(shop, host, one)
        before = await fetch(host, one, "one")
        address = await address_of(host, one)

        await kill(host, owner)

        # The same process behind the same address, on the same port.
        assert await host.system.named(DOOR, DoorOwner).call(WhereIsDoor()) == host.http_port
        assert await fetch(host, one, "one") == before
        assert f'"{address}"' in await let_out(host)
        assert await host.parts.thread.run(read_setting, IP_FORWARD) == "1"

        # A newcomer finds everything that it needs, and the old one can still go.
        await add(shop, host, two)
        await fetch(host, two, "two")
        assert await address_of(host, two) != address
        await host.remove(one.name)
        assert not alive(before.pid)
        assert f'"{address}"' not in await let_out(host)
        await fetch(host, two, "two")


@pytest.mark.parametrize("owner", OWNERS)
async def test_the_owners_are_taken_down_after_a_crash(shop: Shop, owner: str) -> None:
    """With a colony still up when the whole instance ends: nothing is left all the same."""
    colony = shop.colony({"web": page("one")})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        await fetch(host, colony, "one")
        await kill(host, owner)


@both_doors
async def test_a_lost_namespace_comes_up_again_with_all_that_is_in_it(
    shop: Shop, door: tuple[str, ...]
) -> None:
    colony, other = shop.colony({"web": page("one")}), shop.colony({"web": page("two")})
    async with hosted(shop, door, ports=(free_port(),)) as host:
        await add(shop, host, colony)
        await add(shop, host, other)
        before = await fetch(host, colony, "one")
        neighbour = await fetch(host, other, "two")

        await kill(host, namespace_name(colony.name))

        await until(lambda: not alive(before.pid))
        assert (await fetch(host, colony, "one")).pid != before.pid
        assert await fetch(host, other, "two") == neighbour


async def test_the_network_and_a_colony_die_together(shop: Shop) -> None:
    """A namespace whose owner ends while the network's owner is down is removed as well."""
    colony = shop.colony({"web": page("one")})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        before = await fetch(host, colony, "one")
        namespace = host.system.whereis(namespace_name(colony.name))
        network = host.system.whereis("network")
        assert namespace is not None
        assert network is not None
        host.system.kill(network)
        host.system.kill(namespace)
        await until(lambda: not alive(before.pid))
        assert (await fetch(host, colony, "one")).pid != before.pid


async def test_a_namespace_is_ready_for_the_next_colony(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = await host.system.named(NETWORK, NetworkOwner).call(GetNetwork())
        inodes = set()
        for _ in range(2):
            spare = await until(lambda: network._host._spare)
            assert spare is not None
            inodes.add(os.fstat(spare.net).st_ino)
            colony = shop.colony({"web": page("one")})
            await add(shop, host, colony)
            owner = host.system.named(namespace_name(colony.name), NamespaceOwner)
            assert (await owner.call(GetNamespace())).inode in inodes
        assert len(inodes) == 2


async def test_an_instance_in_despair_leaves_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's owner cannot be restarted: the whole tree gives up, with a colony in it that
    can no longer take its network down by itself."""

    async def refuse(_: object) -> None:
        raise OSError("no network any more")

    held = open_descriptors()
    colony = shop.colony({"web": page("one")})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        before = await fetch(host, colony, "one")
        network = host.system.whereis("network")
        assert network is not None
        monkeypatch.setattr(NetworkOwner, "start", refuse)
        monkeypatch.setattr("netns.actors.BETWEEN_LIVES", 0.1)
        host.system.kill(network)
        await host.stopped()
        assert not alive(before.pid)
        assert host.failures.first
    assert shop.leftovers() == []
    assert open_descriptors() <= held
