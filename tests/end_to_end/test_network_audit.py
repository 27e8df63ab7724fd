"""What a colony connects to, allowed or not, is an event with colony, process and destination."""

from __future__ import annotations

import sys

import anyio
import pytest

from actors import Event
from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network.audit import ConnectionAllowed, ConnectionDenied
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, page, root_only
from tests.end_to_end.hosted import add, hosted, until

pytestmark = [root_only, pytest.mark.real_time]

SEND = """
import socket, sys, time
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
sock.settimeout(3)
try:
    sock.connect((host, port))
    sock.send(b"hello")
except OSError:
    pass
time.sleep(float(sys.argv[4]))
"""

Seen = ConnectionAllowed | ConnectionDenied


async def send(
    host: Host, colony: Colony, kind: str, address: str, port: int, lives: float = 0.0
) -> None:
    """A process that sends something, and lives for some seconds more."""
    argv = (sys.executable, "-c", SEND, kind, address, str(port), str(lives))
    await execute(host.colonies[colony.name], Exec(argv=argv))


def listen(host: Host) -> list[Seen]:
    seen: list[Seen] = []

    def note(event: Event) -> None:
        if isinstance(event, Seen):
            seen.append(event)

    host.system.events.listen(note)
    return seen


async def told(
    host: Host, seen: list[Seen], colony: Colony, kind: str, address: str, port: int
) -> Seen:
    """What is told of a connection, whose process lives until it was: so it can be named."""

    def look() -> Seen | None:
        wanted = (colony.name, address, port)
        return next((e for e in seen if (e.colony, e.address, e.port) == wanted), None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, host, colony, kind, address, port, 600.0)
        found = await until(look)
        tasks.cancel_scope.cancel()
    assert found is not None
    return found


async def test_connections_to_neighbours_are_told_of(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = shop.name()
        one = shop.colony({"web": page("one")}, network={"network": network})
        two = shop.colony({"web": page("two")}, network={"network": network})
        alone = shop.colony({"web": page("alone")})
        for each in (one, two, alone):
            await (await add(shop, host, each)).service("web").ready(PATIENCE)
        seen = listen(host)
        address, shut = (str(host.colonies[c.name].address) for c in (two, alone))
        event = await told(host, seen, one, "tcp", address, 4001)
        assert isinstance(event, ConnectionAllowed)
        assert (event.protocol, event.to) == ("tcp", two.name)
        assert "python" in event.process
        event = await told(host, seen, one, "tcp", shut, 4001)
        assert isinstance(event, ConnectionDenied)
        assert (event.protocol, event.to) == ("tcp", alone.name)
        event = await told(host, seen, one, "udp", address, 5353)
        assert isinstance(event, ConnectionAllowed)
        assert event.protocol == "udp"


async def test_an_allow_list_tells_of_what_it_ends(shop: Shop) -> None:
    rules = {"network.policy.egress": {"allow": ["198.51.100.0/24:443"]}}
    colony = shop.colony({"idle": {"command": "sleep 600"}}, **rules)
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        seen = listen(host)
        event = await told(host, seen, colony, "udp", "198.51.100.7", 443)
        assert isinstance(event, ConnectionAllowed)
        event = await told(host, seen, colony, "udp", "198.51.100.7", 80)
        assert isinstance(event, ConnectionDenied)
        assert (event.protocol, event.to) == ("udp", "")
        for _ in range(3):
            await send(host, colony, "udp", "198.51.100.7", 80)
        await told(host, seen, colony, "udp", "198.51.100.7", 81)  # after them
        assert len([e for e in seen if e.port == 80]) == 1
