"""niso's four modes: bridge is everywhere else; here are host, none and share."""

from __future__ import annotations

import os
import socket
import sys

import anyio
import anyio.to_thread
import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.running import ColonyFailed
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, get, page, root_only
from tests.end_to_end.hosted import add, fetch, hosted
from tests.end_to_end.test_network_neighbours import tries
from tests.ports import free_port

pytestmark = [root_only, pytest.mark.real_time]


async def network_of(host: Host, colony: Colony) -> str:
    show = "import os; print(os.readlink('/proc/self/ns/net'))"
    done = await execute(host.colonies[colony.name], Exec(argv=(sys.executable, "-c", show)))
    return done.stdout.strip()


async def test_host_is_the_hosts_own_network(shop: Shop) -> None:
    port = free_port()
    made = shop.colony({"web": page("bare", port)}, network={"mode": "host"})
    other = shop.colony({"web": page("other", port)}, network={"mode": "host"})
    async with hosted(shop, EMBEDDED) as host:
        running = await add(shop, host, made)
        await running.service("web").ready(PATIENCE)
        assert await network_of(host, made) == os.readlink("/proc/self/ns/net")
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        assert not running.isolated
        with pytest.raises(ColonyFailed, match=f"port {port} is web's of colony {made.name}"):
            await add(shop, host, other)


async def test_none_reaches_nobody_and_is_reached_by_the_door(shop: Shop) -> None:
    made = shop.colony({"web": page("shut")}, network={"mode": "none"})
    async with hosted(shop, EMBEDDED) as host:
        await (await add(shop, host, made)).service("web").ready(PATIENCE)
        assert (await fetch(host, made, "shut")).status == 200
        assert await tries(host, made, "192.0.2.1:80", "127.0.0.1:4001") == ["no", "connected"]


async def test_share_is_anothers_network(shop: Shop) -> None:
    lender = shop.colony({"db": page("db", 4001, "127.0.0.1")})
    guest = shop.colony({"web": page("web", 4002)}, network={"mode": "share", "share": lender.name})
    async with hosted(shop, EMBEDDED) as host:
        with pytest.raises(ColonyFailed) as failed:
            await add(shop, host, guest)
        assert f"colony {lender.name}, whose network colony {guest.name} shares, does not run" in (
            str(failed.value)
        )
        await (await add(shop, host, lender)).service("db").ready(PATIENCE)
        running = await add(shop, host, guest)
        await running.service("web").ready(PATIENCE)
        assert await network_of(host, guest) == await network_of(host, lender)
        assert await tries(host, guest, "localhost:4001") == ["connected"]
        shown = f"{guest.name}-4002.colony.local"
        found = await anyio.to_thread.run_sync(get, host.http_port, shown)
        assert found.text.startswith("web")
        # The guest's end takes its own processes, and no others.
        await host.remove(guest.name)
        assert await tries(host, lender, "localhost:4001", "localhost:4002") == [
            "connected",
            "refused",
        ]
        # The lender's end takes the guest with it.
        again = await add(shop, host, guest)
        await host.remove(lender.name)
        with anyio.fail_after(PATIENCE):
            await again.stopped()
