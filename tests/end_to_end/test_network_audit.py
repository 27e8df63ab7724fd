"""What a colony connects to, allowed or not, is an event with colony, process and destination."""

from __future__ import annotations

import sys

import anyio
import pytest

from actors import Event
from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network import audit
from colony.network.audit import (
    AUDIT,
    Audit,
    ConnectionAllowed,
    ConnectionDenied,
    NotesCallers,
)
from netns import packet_log
from netns.actors import NETWORK
from netns.callers import reason_against, reason_against_udp
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, PAUSE, Colony, Shop, page, root_only
from tests.end_to_end.hosted import add, hosted, kill, until

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

CURLS = 50
QUERIES = 20

# What sends by UDP and has ended: at once, but for who hears nothing and waits for a second.
UDP = {
    "connected": 'echo $$; exec dig +tries=1 +time=1 -p "$1" "@$0" example >&2',
    "not connected": f"echo $$; exec {sys.executable} -ISc '"
    "import socket, sys\n"
    "to = sys.argv[1], int(sys.argv[2])\n"
    'socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", to)\' "$0" "$1"',
}

Seen = ConnectionAllowed | ConnectionDenied


async def send(
    host: Host, colony: Colony, kind: str, address: str, port: int, lives: float = 0.0
) -> None:
    """A process that sends something, and lives for some seconds more."""
    argv = (sys.executable, "-c", SEND, kind, address, str(port), str(lives))
    await execute(host.colonies[colony.name], Exec(argv=argv))


async def curl(host: Host, colony: Colony, where: str) -> int:
    """A curl that has ended: its number."""
    script = 'echo $$; exec curl --silent --output /dev/null "$0"'
    done = await execute(
        host.colonies[colony.name], Exec(argv=("sh", "-c", script, f"http://{where}/"))
    )
    return int(done.stdout)


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


async def test_an_allow_list_tells_of_what_it_ends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AGAIN", 1000.0)  # however slow the machine is
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


LOOP = """
import itertools, socket, sys, time
sock = socket.socket(type=socket.SOCK_DGRAM)
for number in itertools.count():
    try:
        sock.sendto(b"hello", (sys.argv[1], 10_000 + number % 20_000))
    except OSError:
        pass
    time.sleep(0.0005)
"""


async def test_one_that_tries_without_end_hides_nobody_elses(shop: Shop) -> None:
    rules = {"network.policy.egress": {"allow": ["198.51.100.0/24:443"]}}
    loud, quiet = (shop.colony({"idle": {"command": "sleep 600"}}, **rules) for _ in range(2))
    async with hosted(shop, EMBEDDED) as host:
        for each in (loud, quiet):
            await add(shop, host, each)
        seen = listen(host)
        argv = (sys.executable, "-ISc", LOOP, "198.51.100.7")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(execute, host.colonies[loud.name], Exec(argv=argv))
            # All that may be told of at once has been: from now on it is used up at any moment.
            await until(lambda: len(seen) > 3 * packet_log.RATE)
            assert {event.colony for event in seen} == {loud.name}
            ports = range(80, 100)
            for port in ports:
                await send(host, quiet, "tcp" if port % 2 else "udp", "198.51.100.7", port)
            await until(lambda: {e.port for e in seen if e.colony == quiet.name} == set(ports))
            tasks.cancel_scope.cancel()


async def until_noted(host: Host, wanted: bool = True) -> bool:
    """Waits until the kernel notes who connects, or does not any more; whether it may here."""
    auditor = host.system.named(AUDIT, Audit)
    may = not reason_against()
    with anyio.fail_after(PATIENCE):
        while may and await auditor.call(NotesCallers()) is not wanted:  # noqa: ASYNC110 — as `until`
            await anyio.sleep(PAUSE)
    return may


async def test_who_was_refused_is_named_though_it_has_ended(shop: Shop) -> None:
    rules = {"network.policy.egress": {"allow": ["198.51.100.0/24:443"]}}
    colony = shop.colony({"idle": {"command": "sleep 600"}}, **rules)
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        named = await until_noted(host)
        seen = listen(host)
        pids: dict[int, int] = {}
        # One after the other: those that a busy machine holds up would come all at once.
        for port in range(8000, 8000 + CURLS):
            pids[port] = await curl(host, colony, f"198.51.100.7:{port}")
            await anyio.sleep(1 / packet_log.RATE)  # the kernel tells of no more
        await until(lambda: len(seen) == CURLS)
        assert {type(event) for event in seen} == {ConnectionDenied}
        for event in seen:
            # The whole command, if it was looked at before its end.
            right = event.process.startswith(f"pid {pids[event.port]} `curl")
            assert right if named else right or not event.process


@pytest.mark.parametrize("how", UDP)
async def test_who_was_refused_by_udp_is_named_though_it_has_ended(shop: Shop, how: str) -> None:
    rules = {"network.policy.egress": {"allow": ["198.51.100.0/24:443"]}}
    colony = shop.colony({"idle": {"command": "sleep 600"}}, **rules)
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        named = await until_noted(host) and not reason_against_udp()
        seen = listen(host)
        pids: dict[int, int] = {}

        async def send_once(port: int) -> None:
            argv = ("sh", "-c", UDP[how], "198.51.100.7", str(port))
            done = await execute(host.colonies[colony.name], Exec(argv=argv))
            pids[port] = int(done.stdout)

        async with anyio.create_task_group() as tasks:
            for port in range(8000, 8000 + QUERIES):
                tasks.start_soon(send_once, port)
        await until(lambda: len(seen) == QUERIES)
        program = "dig" if how == "connected" else "python"
        for event in seen:
            assert isinstance(event, ConnectionDenied)
            assert event.protocol == "udp"
            right = event.process.startswith(f"pid {pids[event.port]} `")
            assert right and program in event.process if named else right or not event.process


async def test_who_was_let_through_is_named_though_it_has_ended(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = shop.name()
        one = shop.colony({"idle": {"command": "sleep 600"}}, network={"network": network})
        two = shop.colony({"web": page("two")}, network={"network": network})
        await add(shop, host, one)
        await (await add(shop, host, two)).service("web").ready(PATIENCE)
        named = await until_noted(host)
        seen = listen(host)
        pid = await curl(host, one, f"{host.colonies[two.name].address}:4001")
        [event] = await until(lambda: [e for e in seen if e.colony == one.name])
        assert isinstance(event, ConnectionAllowed)
        right = event.process.startswith(f"pid {pid} `curl")
        assert right if named else right or not event.process


async def test_who_connects_is_noted_while_there_is_a_colony(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        auditor = host.system.named(AUDIT, Audit)
        assert not await auditor.call(NotesCallers())
        for _ in range(2):
            colony = shop.colony({"idle": {"command": "sleep 600"}})
            await add(shop, host, colony)
            named = await until_noted(host)
            assert await auditor.call(NotesCallers()) is named
            await host.remove(colony.name)
            await until_noted(host, False)


async def test_after_the_network_owners_death_they_are_told_of_again(shop: Shop) -> None:
    """Whenever it dies: the packet log of one life has the number of another file in the next."""
    colony = shop.colony({"idle": {"command": "sleep 600"}})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        seen = listen(host)
        for port in (80, 81, 82):
            await kill(host, NETWORK)
            with anyio.fail_after(PATIENCE):
                while port not in {event.port for event in seen}:
                    await send(host, colony, "udp", "198.51.100.7", port)
