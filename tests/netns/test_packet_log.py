"""What the packet log tells, and whose packet it was."""

from __future__ import annotations

import struct
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import anyio
import pytest

from actors import backend
from netns.callers import Caller, Callers, reason_against, reason_against_udp
from netns.nfnetlink import attribute
from netns.packet_log import ALLOWED, DENIED, Attempt, PacketLog, paired, read
from netns.perf import Record
from tests.netns.support import PATIENCE, rig, unique

HERE, THERE = IPv4Address("10.200.0.2"), IPv4Address("198.51.100.7")
SENDERS = 15


def message(prefix: str, port: int, protocol: int = 17) -> bytes:
    """What the kernel sends of a packet."""
    addresses = HERE.packed + THERE.packed
    packet = struct.pack("!BxH4xBBH", 0x45, 32, 64, protocol, 0) + addresses
    packet += struct.pack("!HH", 40_000, port) + bytes(4)
    body = attribute(10, prefix) + attribute(9, packet)
    return struct.pack("=IHHII", 20 + len(body), 4 << 8, 0, 0, 0) + bytes(4) + body


def told(port: int, *, allowed: bool = False, sender: int = 0, time: int = 0) -> Attempt:
    return Attempt(HERE, THERE, "udp", 40_000, port, allowed, sender, time)


def note(pid: int, time: int) -> Record:
    return Record(time, 0, pid, pid, b"")


def test_a_message_tells_of_one_attempt() -> None:
    assert list(read(message(DENIED, 53))) == [told(53)]
    assert list(read(message(ALLOWED, 53))) == [told(53, allowed=True)]
    assert list(read(message(DENIED, 53, protocol=1))) == []


def test_as_many_notes_as_messages_belong_together_in_the_order_of_time() -> None:
    messages = [message(DENIED, port) for port in (1, 2)]
    assert list(paired(messages, [note(12, 200), note(11, 100)])) == [
        told(1, sender=11, time=100),
        told(2, sender=12, time=200),
    ]


def test_a_message_that_tells_of_no_attempt_has_its_note_all_the_same() -> None:
    messages = [message(DENIED, 8, protocol=1), message(DENIED, 2)]
    [found] = paired(messages, [note(11, 100), note(12, 200)])
    assert found == told(2, sender=12, time=200)


@pytest.mark.parametrize("notes", [[], [note(11, 100)], [note(11, 1), note(12, 2), note(13, 3)]])
def test_where_notes_are_missing_or_too_many_nobody_is_the_sender(notes: list[Record]) -> None:
    messages = [message(DENIED, port) for port in (1, 2)]
    assert list(paired(messages, notes)) == [told(1), told(2)]


SEND = """
import socket, sys
socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
"""


async def attempts(log: PacketLog, count: int) -> list[Attempt]:
    found: list[Attempt] = []
    with anyio.fail_after(PATIENCE):
        while len(found) < count:
            found += [each for each in await log.next() if each.destination == THERE]
    return found


def senders(name: str) -> dict[int, int]:
    """Processes in a namespace that send at the same time, and have ended: port → number."""
    argv = ["ip", "netns", "exec", name, sys.executable, "-ISc", SEND, str(THERE)]
    ports = range(1, 1 + SENDERS)
    processes = {port: subprocess.Popen([*argv, str(port)]) for port in ports}
    assert {each.wait() for each in processes.values()} == {0}
    return {port: each.pid for port, each in processes.items()}


@pytest.mark.real_time
async def test_who_sent_is_known_though_it_has_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as (_, _, network):
        log, callers = network.log, Callers()
        assert log is not None
        space = await network.create(unique())
        if not reason_against():
            callers.open()
            log.watch(callers.senders)
        noted = not reason_against_udp()
        assert (callers.senders is not None) is noted
        try:
            pids = await anyio.to_thread.run_sync(senders, space.name)
            found = await attempts(log, SENDERS)
            assert {each.port: each.sender for each in found} == {
                port: pid if noted else 0 for port, pid in pids.items()
            }
            for each in found:
                caller = callers.who(each)
                if noted:
                    assert caller is not None
                    assert caller == Caller(pids[each.port], caller.command)
                    assert caller.command.startswith("python")
                else:
                    assert caller is None
            log.watch(None)
        finally:
            callers.close()
        pids = await anyio.to_thread.run_sync(senders, space.name)
        assert {each.sender for each in await attempts(log, SENDERS)} == {0}
        await network.destroy(space)


@pytest.mark.real_time
async def test_who_waits_when_it_is_closed_on_the_networks_thread_is_told_so(
    tmp_path: Path,
) -> None:
    """As is whoever comes later; and the log's number is another file's only then."""
    async with rig(tmp_path) as (thread, _, network):
        log, ends = network.log, list[str]()
        assert log is not None

        async def look() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await log.next()
            ends.append(repr(log))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                await backend.until_idle()
                await thread.run(log.close)
        assert ends == [f"<PacketLog group {log.group} fd=-1>"]
        assert log.closed
        log.close()
        with pytest.raises(anyio.ClosedResourceError):
            await log.next()
        with pytest.raises(anyio.ClosedResourceError):
            log.watch(None)
