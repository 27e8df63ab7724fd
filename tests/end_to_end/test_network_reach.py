"""Whatever address a service listens on, every way in leads to it: four kinds of listener, and the
ways in through both doors, `localhost:PORT` over IPv4 and IPv6, and a command inside.
(By a neighbour: see `test_network_neighbours`.)"""

from __future__ import annotations

import functools
import sys
from typing import Final

import anyio.to_thread
import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network.ports import PORTS, GetForwards, HostPorts
from tests.end_to_end import colonies
from tests.end_to_end.colonies import Colony, Shop, answers, both_doors, get, page, root_only
from tests.end_to_end.hosted import add, hosted

pytestmark = [root_only, pytest.mark.real_time]

KINDS: Final = {
    "any4": (4001, "0.0.0.0"),
    "local4": (4002, "127.0.0.1"),
    "any6": (4003, "::"),
    "local6": (4004, "::1"),
}

ASK: Final = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


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
    colony = everything(shop)
    async with hosted(shop, door) as host:
        running = await add(shop, host, colony)
        forwards = await host_ports(host, colony)
        for name, (port, address) in KINDS.items():
            await running.service(name).ready(20)
            says = f"{name} says"
            await anyio.to_thread.run_sync(
                answers, host.http_port, colonies.host(colony, port), says
            )
            for localhost in ("127.0.0.1", "::1"):
                assert (await ask_localhost(forwards[port], localhost)).startswith(says)
            inside = {"::1": "[::1]"}.get(address, "localhost")
            assert (await ask_inside(host, colony, f"http://{inside}:{port}/")).startswith(says)
