"""Caddy with one route for all: nothing is ever reloaded; what it cannot say is said beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import ClientSession

from proxy.caddy import CaddyProcess, caddy_version
from proxy.companion import Companion, RouteNames
from proxy.dns import AAAA, A
from proxy.loop_thread import LoopThread
from proxy.routes import Route, RouteTable, TcpUpstream, UnixUpstream
from tests.ports import free_ports
from tests.proxy.support import (
    FAST,
    PATIENCE,
    Service,
    fetch,
    held,
    host,
    route,
    running,
    service,
)

pytestmark = pytest.mark.real_time


def plain(colony: str, of: Service) -> Route:
    """A route to a service at its own port, which a name can say."""
    return Route(colony, of.port, TcpUpstream(of.port, "127.0.0.1"), "web")


@asynccontextmanager
async def dynamic(directory: Path, table: RouteTable) -> AsyncIterator[CaddyProcess]:
    door = CaddyProcess(directory / "caddy", ports=free_ports(3), timing=FAST, routes="dynamic")
    async with running(door, table):
        yield door


async def test_routes_come_and_go_and_nothing_is_reloaded(tmp_path: Path) -> None:
    async with service("one") as one, service("two") as two:
        first = plain("a", one)
        async with dynamic(tmp_path, RouteTable([first])) as door:
            name = f"a-{one.port}.colony.local"
            assert (await fetch(door.port, name)).text == "one"
            other = f"b-{two.port}.colony.localhost"
            assert (await fetch(door.port, other)).status == 404
            door.want(RouteTable([first, plain("b", two)]))
            await door.settled()
            assert (await fetch(door.port, f"B-{two.port}.Colony.LOCALHOST:80")).text == "two"
            assert (await fetch(door.port, name)).text == "one"
            door.want(RouteTable([]))
            await door.settled()
            gone = await fetch(door.port, name)
            assert gone.status == 404
            assert door.changes == 0
            assert door.dynamic


async def test_the_pages_name_what_is_down_and_link_to_caddys_port(tmp_path: Path) -> None:
    [port] = free_ports(1)
    down = Route("shop", port, TcpUpstream(port, "127.0.0.1"), "web")
    async with dynamic(tmp_path, RouteTable([down])) as door:
        page = await fetch(door.port, f"shop-{port}.colony.local", method="POST", body=b"x")
        assert page.status == 503
        assert page.headers["Retry-After"] == "1"
        assert "<b>web</b> in the colony <b>shop</b> is down" in page.text
        listing = await fetch(door.port, "nobody-3000.colony.localhost")
        assert listing.status == 404
        assert f"http://shop-{port}.colony.localhost:{door.port}/" in listing.text


async def test_an_upstream_at_another_port_has_a_route_of_its_own(tmp_path: Path) -> None:
    async with service("one") as one:
        table = RouteTable([route("far", one.upstream)])
        async with dynamic(tmp_path, table) as door:  # its own with: the table needs the service
            answer = await fetch(door.port, host("far"), "/echo", method="POST", body=b"body")
            assert (answer.status, answer.text) == (200, "body")


async def test_a_websocket_outlives_another_colonys_start(tmp_path: Path) -> None:
    async with service("one") as one, service("two") as two:
        first = plain("a", one)
        async with dynamic(tmp_path, RouteTable([first])) as door:
            thread = LoopThread("test-client")
            await thread.start()
            try:
                heard = await thread.run(_conversation, door, one, two, first)
            finally:
                await thread.close()
            assert heard == ["one: before", "two", "one: after"]


async def _conversation(door: CaddyProcess, one: Service, two: Service, first: Route) -> list[str]:
    """In asyncio's thread, where aiohttp is at home."""
    async with ClientSession() as session:
        url = f"http://127.0.0.1:{door.port}/ws"
        headers = {"Host": f"a-{one.port}.colony.local"}
        async with session.ws_connect(url, headers=headers) as ws:
            await ws.send_str("before")
            heard = [await ws.receive_str(timeout=PATIENCE)]
            assert door._companion is not None
            door._companion.want(RouteTable([first, plain("b", two)]))
            await anyio.sleep(2.0)  # longer than Caddy needs to cut what it cuts
            heard.append((await fetch(door.port, f"b-{two.port}.colony.local")).text)
            await ws.send_str("after")
            heard.append(await ws.receive_str(timeout=PATIENCE))
            return heard


async def test_an_old_caddy_of_ours_gets_dynamic_routes_by_itself(tmp_path: Path) -> None:
    old = (await caddy_version() or (0, 0, 0)) < (2, 7, 0)
    door = CaddyProcess(tmp_path / "caddy", ports=free_ports(3), timing=FAST)
    async with running(door, RouteTable([])):
        assert door.dynamic is old


async def test_nothing_of_the_companion_is_left() -> None:
    before = held()
    companion = Companion()
    for _ in range(2):
        async with companion:
            assert companion.names_port
            assert companion.pages_port
    assert held() <= before


def test_a_name_is_there_for_what_it_can_say() -> None:
    names = RouteNames()
    names.want(
        RouteTable(
            [
                Route("a", 3000, TcpUpstream(3000, "10.200.0.2"), "web"),
                Route("b", 3000, TcpUpstream(3000), "web"),
                Route("c", 3000, TcpUpstream(3001, "10.200.0.2"), "web"),
                Route("d", 3000, UnixUpstream("/run/d"), "web"),
                Route("e", 3000, TcpUpstream(3000, "a.name"), "web"),
            ]
        )
    )
    held = [each for each in "abcde" if names.holds(f"{each}-3000.colony.internal")]
    assert held == ["a", "b"]
    assert names.records("a-3000.colony.internal", A) == [(A, bytes([10, 200, 0, 2]))]
    assert names.records("a-3000.colony.internal", AAAA) == []
    assert names.records("b-3000.colony.internal", AAAA) == [(AAAA, bytes(15) + b"\1")]
