"""Ports of the host that lead into colonies: from a file, by hand, by focus."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio.to_thread
import pytest

from actors import Refused
from colony.host import Host
from colony.network.forms import parse
from colony.network.ports import (
    PORTS,
    AddForward,
    Focus,
    GetFocus,
    GetForwards,
    HostPorts,
    RemoveForward,
    Standing,
)
from colony.running import ColonyFailed
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, get, page, root_only
from tests.end_to_end.hosted import add, hosted
from tests.ports import free_port

pytestmark = [root_only, pytest.mark.real_time]

ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 4053))
print("listening", flush=True)
while True:
    data, client = server.recvfrom(2000)
    server.sendto(data.upper(), client)
"""


async def start(shop: Shop, host: Host, text: str, port: int = 4001, **network: object) -> Colony:
    colony = shop.colony({"web": page(text, port, "127.0.0.1")}, network=network)
    await (await add(shop, host, colony)).service("web").ready(PATIENCE)
    return colony


async def says(port: int, address: str = "127.0.0.1") -> str:
    response = await anyio.to_thread.run_sync(lambda: get(port, "localhost", address=address))
    return response.text.split()[0]


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(PATIENCE):
        while not await look():  # noqa: ASYNC110 — what it looks at is outside
            await anyio.sleep(0.02)


def standing(host_port: int, form: str, colony: Colony, origin: str = "file") -> Standing:
    return Standing(colony.name, parse(form), host_port, ("127.0.0.1", "::1"), origin)


async def test_two_colonies_that_want_one_port(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        port = free_port()
        one = await start(shop, host, "one", ports=[f"{port}:4001"])
        assert await says(port) == "one"
        assert await says(port, "::1") == "one"
        two = shop.colony({"web": page("two")}, network={"ports": [f"{port}:4001"]})
        with pytest.raises(ColonyFailed) as failed:
            await add(shop, host, two)
        assert str(failed.value) == (
            f"ports of colony {two.name} cannot start: port {port} of the host is colony "
            f"{one.name}'s ({port}:4001); choose another, or auto:4001"
        )
        await host.remove(one.name)
        owner = host.system.named(PORTS, HostPorts)
        assert await owner.call(GetForwards()) == ()
        await add(shop, host, two)
        assert await owner.call(GetForwards()) == (standing(port, f"{port}:4001", two),)


async def test_a_port_that_somebody_else_has(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            colony = shop.colony({"web": page("x")}, network={"ports": [f"{port}:4001"]})
            with pytest.raises(ColonyFailed) as failed:
                await add(shop, host, colony)
            assert f"port {port} of the host is taken by pid " in str(failed.value)
            assert str(failed.value).endswith("; choose another, or auto:4001")


async def test_forwards_come_and_go_while_a_colony_runs(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        colony = await start(shop, host, "hello")
        owner = host.system.named(PORTS, HostPorts)
        port = free_port()
        added = await owner.call(AddForward(colony.name, parse(f"{port}:4001")))
        assert added == standing(port, f"{port}:4001", colony, "asked")
        assert await says(port) == "hello"
        with pytest.raises(Refused, match=f"port {port} of the host is colony {colony.name}'s"):
            await owner.call(AddForward(colony.name, parse(f"{port}:4002")))
        assert await owner.call(RemoveForward(colony.name, port)) == added
        with pytest.raises(ConnectionRefusedError):
            await says(port)
        with pytest.raises(Refused, match=f"has no forward at port {port}/tcp of the host"):
            await owner.call(RemoveForward(colony.name, port))
        with pytest.raises(Refused, match=f"no colony 'nobody' runs in this .*: {colony.name}"):
            await owner.call(AddForward("nobody", parse("1:1")))


async def test_udp_is_forwarded_and_answered(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        port = free_port()
        command = ["python3", "-c", ECHO]
        colony = shop.colony(
            {"dns": {"command": command, "ready": {"log": "listening"}}},
            network={"ports": [f"{port}:4053/udp"]},
        )
        await (await add(shop, host, colony)).service("dns").ready(PATIENCE)

        def ask(text: bytes) -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                client.sendto(text, ("127.0.0.1", port))
                return client.recv(100)

        assert await anyio.to_thread.run_sync(ask, b"one") == b"ONE"
        assert await anyio.to_thread.run_sync(ask, b"two") == b"TWO"


async def test_focus_gives_one_colony_at_a_time_the_plain_ports(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        port = free_port()
        one = await start(shop, host, "one", port)
        two = await start(shop, host, "two", port)
        owner = host.system.named(PORTS, HostPorts)
        changed = await owner.call(Focus(one.name))
        assert (changed.colony, changed.ports, changed.missed) == (one.name, (port,), ())
        assert await says(port) == "one"
        await owner.call(Focus(two.name))
        assert await says(port) == "two"
        assert await owner.call(GetFocus()) == two.name
        # Who asks for the port by name comes first.
        three = await start(shop, host, "three", 4001, ports=[f"{port}:4001"])
        assert await says(port) == "three"
        changed = await owner.call(Focus(one.name))
        assert changed.ports == ()
        assert changed.missed == (
            f"port {port} of the host is colony {three.name}'s ({port}:4001); choose another, "
            f"or auto:{port}",
        )
        await host.remove(three.name)
        assert (await owner.call(Focus(one.name))).ports == (port,)
        assert await says(port) == "one"
        await host.remove(one.name)
        assert await owner.call(GetFocus()) == ""


async def test_forwards_outlive_a_crash_of_their_owner(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        port = free_port()
        colony = await start(shop, host, "hello", ports=[f"{port}:4001"])
        pid = host.colonies[colony.name].statuses["web"].pid
        owner = host.system.named(PORTS, HostPorts)
        host.system.kill(owner)

        async def again() -> bool:
            try:
                return await says(port) == "hello"
            except OSError:
                return False

        await until(again)
        assert host.colonies[colony.name].statuses["web"].pid == pid


async def test_a_port_that_begins_to_listen_gets_a_url(shop: Shop) -> None:
    """`expose = "auto"`: nobody has declared it."""
    colony = shop.colony(
        {"side": {"command": page("found", 4123, "127.0.0.1")["command"]}},
        network={"expose": "auto"},
    )
    quiet = shop.colony({"side": {"command": page("hidden", 4123, "127.0.0.1")["command"]}})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        await add(shop, host, quiet)

        async def found() -> bool:
            shown = f"{colony.name}-4123.colony.local"
            response = await anyio.to_thread.run_sync(get, host.http_port, shown)
            return response.text.startswith("found")

        await until(found)
        hidden = f"{quiet.name}-4123.colony.local"
        assert (await anyio.to_thread.run_sync(get, host.http_port, hidden)).status == 404
