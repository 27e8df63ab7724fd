"""What somebody takes away behind Colony's back comes back, and no process notices."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from colony.host import Host
from netns.actors import NetworkHealed
from tests.end_to_end import colonies
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, answers, page, root_only
from tests.end_to_end.hosted import add, hosted

pytestmark = [root_only, pytest.mark.real_time]


def ip(*words: str) -> Callable[[Host, Colony], None]:
    """An `ip` command that takes something away, with {link}, {address} and {name} filled in."""

    def take(host: Host, colony: Colony) -> None:
        space = host.parts.places.place(colony.name)
        assert space is not None
        filled = [
            word.format(link=space.link, address=space.address.v4, name=space.name)
            for word in words
        ]
        subprocess.run(["ip", *filled], check=True, capture_output=True)

    return take


def nft(host: Host, _colony: Colony) -> None:
    table = f"colony_{host.parts.instance.id}"
    subprocess.run(["nft", "delete", "table", "inet", table], check=True, capture_output=True)


def a_rule(host: Host, _colony: Colony) -> None:
    table = f"colony_{host.parts.instance.id}"
    subprocess.run(["nft", "flush", "chain", "inet", table, "forward"], check=True)


def hosts_file(host: Host, colony: Colony) -> None:
    space = host.parts.places.place(colony.name)
    assert space is not None
    (space.files / "hosts").write_text("192.0.2.1 nowhere\n")


DISASTERS = {
    "the name": ip("netns", "delete", "{name}"),
    "the veth pair": ip("link", "delete", "{link}"),
    "the route": ip("route", "delete", "{address}"),
    "the host's packet rules": nft,
    "the host's packet rules, in part": a_rule,
    "the hosts file": hosts_file,
}


@pytest.mark.parametrize("what", DISASTERS)
async def test_it_is_put_back_and_no_process_restarts(shop: Shop, what: str) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = shop.name()
        made = shop.colony({"web": page("hello")}, network={"network": network})
        other = shop.colony({"web": page("other")}, network={"network": network})
        running = await add(shop, host, made)
        await add(shop, host, other)
        pid = (await running.service("web").ready(20)).pid
        healed: list[NetworkHealed] = []
        seen = anyio.Event()

        def note(event: object) -> None:
            if isinstance(event, NetworkHealed):
                healed.append(event)
                seen.set()

        host.system.events.listen(note)
        await anyio.to_thread.run_sync(DISASTERS[what], host, made)
        with anyio.fail_after(PATIENCE):
            await seen.wait()
        [repaired] = healed[0].repaired
        assert repaired.startswith(what.partition(",")[0])
        space = host.parts.places.place(made.name)
        assert space is not None
        # By its address, as a neighbour and Caddy come.
        with anyio.fail_after(PATIENCE):
            stream = await anyio.connect_tcp(str(space.address.v4), colonies.PORT)
        await stream.aclose()
        found = await anyio.to_thread.run_sync(
            answers, host.http_port, colonies.host(made), "hello"
        )
        assert found.pid == pid
        assert running.statuses["web"].pid == pid
