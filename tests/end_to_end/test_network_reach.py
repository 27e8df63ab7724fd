"""Whatever address a service listens on, every way in leads to it.

listeners   0.0.0.0, 127.0.0.1, ::, ::1
ways in     the front door (Caddy and the embedded one), `localhost:PORT` of the host over IPv4
            and IPv6, a command inside, a neighbour by name
what goes   requests, WebSockets, server-sent events; UDP by the ways that it has
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from typing import Any, Final

import aiohttp
import anyio
import anyio.to_thread
import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network.ports import PORTS, GetForwards, HostPorts
from tests.end_to_end import colonies
from tests.end_to_end.colonies import (
    EMBEDDED,
    PATIENCE,
    Colony,
    Shop,
    answers,
    both_doors,
    get,
    page,
    program,
    root_only,
)
from tests.end_to_end.hosted import add, hosted

pytestmark = [root_only, pytest.mark.real_time]

KINDS: Final = {
    "any4": (4001, "0.0.0.0"),
    "local4": (4002, "127.0.0.1"),
    "any6": (4003, "::"),
    "local6": (4004, "::1"),
}

ASK: Final = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


ASK_UDP: Final = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
found = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
for attempt in range(60):
    client = socket.socket(found[0], socket.SOCK_DGRAM)
    client.settimeout(0.5)
    try:
        client.sendto(b"hello", found[4])
        print(client.recv(100).decode())
        break
    except OSError:
        continue
"""


def everything(shop: Shop, **more: str) -> Colony:
    services = {
        name: page(f"{name} says", port, address) for name, (port, address) in KINDS.items()
    }
    ports = [f"auto:{port}" for port, _ in KINDS.values()]
    return shop.colony(services, network={"ports": ports, **more})


async def host_ports(host: Host, colony: Colony) -> dict[int, int]:
    """The host's port for each port of the colony."""
    forwards = await host.system.named(PORTS, HostPorts).call(GetForwards())
    return {each.forward.port: each.host_port for each in forwards if each.colony == colony.name}


async def ask_inside(host: Host, colony: Colony, url: str) -> str:
    done = await execute(
        host.colonies[colony.name], Exec(argv=(sys.executable, "-c", ASK, url), timeout_ms=20000)
    )
    assert done.code == 0, done.stderr
    return done.stdout


async def ask_localhost(port: int, address: str) -> str:
    response = await anyio.to_thread.run_sync(
        functools.partial(get, port, "localhost", address=address)
    )
    return response.text


@both_doors
async def test_every_listener_by_every_way_in(shop: Shop, door: tuple[str, ...]) -> None:
    network = shop.name()
    colony = everything(shop, network=network)
    neighbour = shop.colony({"idle": {"command": "sleep 600"}}, network={"network": network})
    async with hosted(shop, door) as host:
        running = await add(shop, host, colony)
        await add(shop, host, neighbour)
        forwards = await host_ports(host, colony)
        for name, (port, address) in KINDS.items():
            await running.service(name).ready(PATIENCE)
            says = f"{name} says"
            await anyio.to_thread.run_sync(
                answers, host.http_port, colonies.host(colony, port), says
            )
            for localhost in ("127.0.0.1", "::1"):
                assert (await ask_localhost(forwards[port], localhost)).startswith(says)
            inside = {"::1": "[::1]"}.get(address, "localhost")
            assert (await ask_inside(host, colony, f"http://{inside}:{port}/")).startswith(says)
            await by_name(host, neighbour, f"http://{colony.name}:{port}/", says)


async def by_name(host: Host, neighbour: Colony, url: str, says: str) -> None:
    """A neighbour gets that answer; to a server on ::1 alone soon after that was noticed."""
    with anyio.fail_after(PATIENCE):
        while True:
            argv = (sys.executable, "-c", ASK, url)
            done = await execute(host.colonies[neighbour.name], Exec(argv=argv, timeout_ms=20000))
            if done.code == 0:
                assert done.stdout.startswith(says)
                return


@both_doors
async def test_streams_from_every_listener(shop: Shop, door: tuple[str, ...]) -> None:
    services = {
        name: {"command": program("streams", port, address), "port": port}
        for name, (port, address) in KINDS.items()
    }
    colony = shop.colony(services)
    async with hosted(shop, door) as host:
        running = await add(shop, host, colony)
        for name, (port, _) in KINDS.items():
            await running.service(name).ready(PATIENCE)
            at = colonies.host(colony, port)
            await anyio.to_thread.run_sync(is_routed, host.http_port, at)
            said = await anyio.to_thread.run_sync(asyncio.run, stream(host.http_port, at))
            assert said == ["echo: hello", "data: 1", "data: 2", "echo: still here"]


def is_routed(port: int, at: str) -> None:
    """Waits until the answer is the service's own; the door's own 404 is a page."""
    colonies.eventually(lambda: get(port, at, "/no-such-page").text == "404: Not Found")


async def stream(port: int, at: str) -> list[str]:
    """A WebSocket held open while server-sent events arrive one by one."""
    base, headers = f"http://127.0.0.1:{port}", {"Host": at}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.ws_connect(f"{base}/ws", headers=headers) as ws,
    ):
        await ws.send_str("hello")
        said = [await ws.receive_str()]
        async with session.get(f"{base}/events", headers=headers) as events:
            for _ in range(2):
                said.append((await events.content.readline()).decode().strip())
                await events.content.readline()
                async with session.post(f"{base}/go", headers=headers) as gone:
                    assert gone.status == 200
        await ws.send_str("still here")
        return [*said, await ws.receive_str()]


async def test_udp_from_every_listener(shop: Shop) -> None:
    network = shop.name()
    services: dict[str, Any] = {
        name: {"command": program("udp", port, name, address), "ready": {"log": "listening"}}
        for name, (port, address) in KINDS.items()
    }
    ports = [f"auto:{port}/udp" for port, _ in KINDS.values()]
    colony = shop.colony(services, network={"network": network, "ports": ports})
    neighbour = shop.colony({"idle": {"command": "sleep 600"}}, network={"network": network})
    async with hosted(shop, EMBEDDED) as host:
        running = await add(shop, host, colony)
        await add(shop, host, neighbour)
        forwards = await host_ports(host, colony)
        for name, (port, address) in KINDS.items():
            await running.service(name).ready(PATIENCE)
            for localhost in ("127.0.0.1", "::1"):
                said = await anyio.to_thread.run_sync(ask_udp, localhost, forwards[port])
                assert said == f"{name}: hello"
            own = "::1" if address == "::1" else "localhost"
            for place, target in ((colony, own), (neighbour, colony.name)):
                argv = (sys.executable, "-c", ASK_UDP, target, str(port))
                done = await execute(host.colonies[place.name], Exec(argv=argv, timeout_ms=40000))
                assert done.stdout == f"{name}: hello\n", (name, target, done.stderr)


def ask_udp(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)

        def ask() -> str:
            client.sendto(b"hello", (address, port))
            return client.recv(100).decode()

        return colonies.eventually(ask)
