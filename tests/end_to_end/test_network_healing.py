"""What somebody takes away behind Colony's back comes back, and no process notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest

from colony.host import Host
from netns import linux, pins, spawn, userns
from netns.actors import NetworkHealed
from netns.probing import try_tcp
from tests.end_to_end import colonies
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, answers, page, root_only
from tests.end_to_end.hosted import add, hosted

pytestmark = [root_only, pytest.mark.real_time]


Disaster = Callable[[Host, Colony], Awaitable[None]]


async def command(host: Host, *argv: str, colony: Colony | None = None) -> None:
    """Runs a command where the network is, or in a colony's, with the rights that their owner has
    there."""
    rights = 1 << linux.CAP_NET_ADMIN
    thread = host.parts.thread
    where = None if colony is None else host.parts.places.place(colony.name)
    async with await spawn(
        thread, argv, namespace=where or thread.home, stderr=2, capabilities=rights
    ) as process:
        assert (await process.wait()).ok


def inside(*argv: str) -> Disaster:
    """A command in the colony's own network."""

    async def take(host: Host, colony: Colony) -> None:
        await command(host, *argv, colony=colony)

    return take


def ip(*words: str) -> Disaster:
    """An `ip` command that takes something away, with {link}, {address} and {name} filled in."""

    async def take(host: Host, colony: Colony) -> None:
        space = host.parts.places.place(colony.name)
        assert space is not None
        filled = [
            word.format(link=space.link, address=space.address.v4, name=space.name)
            for word in words
        ]
        await command(host, "ip", *filled)

    return take


async def the_name(host: Host, colony: Colony) -> None:
    if userns.entered():  # `ip netns` knows /run/netns alone
        instance = host.parts.instance
        await host.parts.thread.run(pins.remove, colony.name, instance.pins)
    else:
        await ip("netns", "delete", "{name}")(host, colony)


async def nft(host: Host, _colony: Colony) -> None:
    await command(host, "nft", "delete", "table", "inet", f"colony_{host.parts.instance.id}")


async def a_rule(host: Host, _colony: Colony) -> None:
    table = f"colony_{host.parts.instance.id}"
    await command(host, "nft", "flush", "chain", "inet", table, "forward")


async def hosts_file(host: Host, colony: Colony) -> None:
    space = host.parts.places.place(colony.name)
    assert space is not None
    await anyio.Path(space.files / "hosts").write_text("192.0.2.1 nowhere\n")


DISASTERS: dict[str, Disaster] = {
    "the name": the_name,
    "the veth pair": ip("link", "delete", "{link}"),
    "the route": ip("route", "delete", "{address}"),
    "the host's packet rules": nft,
    "the host's packet rules, in part": a_rule,
    "the hosts file": hosts_file,
    "the colony's own routes": inside("ip", "route", "delete", "default"),
    "the colony's own packet rules": inside("nft", "delete", "table", "inet", "colony"),
}


@pytest.mark.parametrize("what", DISASTERS)
async def test_it_is_put_back_and_no_process_restarts(shop: Shop, what: str) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = shop.name()
        made = shop.colony({"web": page("hello")}, network={"network": network})
        other = shop.colony({"web": page("other")}, network={"network": network})
        running = await add(shop, host, made)
        await add(shop, host, other)
        pid = (await running.service("web").ready(PATIENCE)).pid
        healed: list[NetworkHealed] = []
        seen = anyio.Event()

        def note(event: object) -> None:
            if isinstance(event, NetworkHealed):
                healed.append(event)
                seen.set()

        host.system.events.listen(note)
        await DISASTERS[what](host, made)
        with anyio.fail_after(PATIENCE):
            await seen.wait()
        [repaired] = healed[0].repaired
        assert repaired.startswith(what.partition(",")[0])
        space = host.parts.places.place(made.name)
        assert space is not None
        # By its address, as a neighbour and Caddy come.
        thread, address = host.parts.thread, str(space.address.v4)
        assert await try_tcp(thread, thread.home, address, colonies.PORT, PATIENCE) is None
        found = await anyio.to_thread.run_sync(
            answers, host.http_port, colonies.host(made), "hello"
        )
        assert found.pid == pid
        assert running.statuses["web"].pid == pid
