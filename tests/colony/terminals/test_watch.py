"""The threads that watch terminals: it alone touches their masters, and it loses nothing."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from actors import backend
from colony.terminals.gather import SHARE
from colony.terminals.hub import Hub
from colony.terminals.pty import Pty
from colony.terminals.sizes import Size
from colony.terminals.watch import AHEAD, Watched
from tests.colony.api.support import PATIENCE, until

pytestmark = pytest.mark.real_time

NUMBERS = b"".join(b"%07d\n" % number for number in range(1_310_720))
"""10 MiB."""


@asynccontextmanager
async def terminal() -> AsyncIterator[tuple[Pty, int]]:
    """A raw one, and the program's end of it, which is to be closed."""
    pty = Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    pty.started()
    try:
        with anyio.fail_after(PATIENCE):
            yield pty, slave
    finally:
        await pty.aclose()


@contextmanager
def program(fd: int, data: bytes) -> Iterator[None]:
    """Writes, and then hangs up; joined at the end. When the block fails, nobody reads any more:
    then the terminal's end is that of the writing, too."""

    def write() -> None:
        left = data
        with suppress(OSError):
            while left:
                left = left[os.write(fd, left) :]
        os.close(fd)

    writer = threading.Thread(target=write)
    writer.start()
    yield
    writer.join()


def watched_of(pty: Pty) -> Watched:
    return pty._watched


async def taken(pty: Pty, count: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < count:
        data += await watched_of(pty).take()
    return data


async def shown(hub: Hub, count: int) -> None:
    """Waits until the hub has so many bytes."""
    await until(lambda: hub.ring.end == count)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in ("terminals", "floods")}


def watching() -> dict[int, set[int]]:
    """By descriptor of an `epoll` of this process, those of terminals that it watches."""
    found: dict[int, set[int]] = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]":
                continue
            lines = Path(f"/proc/self/fdinfo/{name}").read_text().splitlines()
            fds = {int(line.split()[1]) for line in lines if line.startswith("tfd:")}
            if terminals := fds & terminals_open():
                found[int(name)] = terminals
    return found


def terminals_open() -> set[int]:
    """The descriptors of terminals that this process has."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/pt"):
                found.add(int(name))
    return found


async def test_the_event_loop_has_no_master_in_its_selector() -> None:
    """Neither while it is read, nor while what is typed waits for room."""
    async with terminal() as (pty, slave), anyio.create_task_group() as group:
        os.write(slave, b"abc")
        assert await taken(pty, 3) == b"abc"
        mine = watched_of(pty)._watch.epoll.fileno()
        assert watching() == {mine: {pty.master}}
        typed = b"x" * 1_000_000
        group.start_soon(pty.write, typed)
        await until(lambda: watched_of(pty)._wants_room)
        assert watching() == {mine: {pty.master}}
        count = 0
        while count < len(typed):
            count += len(await anyio.to_thread.run_sync(os.read, slave, 65536))
        assert count == len(typed)
        os.close(slave)


async def test_one_thread_watches_all_and_ends_with_the_last() -> None:
    before, fds = threads(), set(os.listdir("/proc/self/fd"))
    async with terminal() as (one, slave):
        async with terminal() as (other, its_slave):
            assert len(threads() - before) == 1
            os.write(its_slave, b"other")
            os.write(slave, b"one")
            assert await taken(one, 3) == b"one"
            assert await taken(other, 5) == b"other"
            os.close(its_slave)
        assert len(threads() - before) == 1
        os.write(slave, b"two")
        assert await taken(one, 3) == b"two"
        os.close(slave)
    assert threads() <= before
    assert set(os.listdir("/proc/self/fd")) <= fds
    async with terminal() as (again, slave):  # another thread
        os.write(slave, b"three")
        assert await taken(again, 5) == b"three"
        os.close(slave)
    assert threads() <= before


async def test_ten_megabytes_come_whole_and_in_order() -> None:
    async with terminal() as (pty, slave):
        with program(slave, NUMBERS):
            shares = []
            size = 0
            while size < len(NUMBERS):
                shares.append(await watched_of(pty).take())
                size += len(shares[-1])
        pty.ended()
        assert await watched_of(pty).take() == b""
        assert b"".join(shares) == NUMBERS
        assert max(map(len, shares)) <= SHARE


async def test_what_nobody_takes_is_not_read_on() -> None:
    """The program waits, with one share of it at most in our memory: less if it paused before it
    had written as much. Others are read meanwhile."""
    data = NUMBERS[: 16 * SHARE]
    async with terminal() as (held, slave), terminal() as (other, its_slave):
        with program(slave, data):
            await until(lambda: watched_of(held)._full)
            size = watched_of(held).waiting
            assert 0 < size <= SHARE
            for _ in range(20):
                os.write(its_slave, b"abc")
                assert await taken(other, 3) == b"abc"
            assert watched_of(held).waiting == size
            assert await watched_of(held).take() == data[:size]
            assert await taken(held, len(data) - size) == data[size:]
        os.close(its_slave)


async def test_a_key_is_answered_beside_floods() -> None:
    """Of several terminals that one is read first which was read longest ago."""

    async def follow(pty: Pty) -> None:
        while await watched_of(pty).take():
            pass

    async with terminal() as (one, first), terminal() as (two, second), terminal() as (calm, third):
        with program(first, NUMBERS), program(second, NUMBERS):
            async with anyio.create_task_group() as group:
                group.start_soon(follow, one)
                group.start_soon(follow, two)
                for _ in range(100):
                    os.write(third, b"x")
                    assert await taken(calm, 1) == b"x"
                one.ended()
                two.ended()
        os.close(third)


async def test_a_cancelled_take_has_taken_nothing() -> None:
    async with terminal() as (pty, slave):
        for number in range(50):
            with anyio.move_on_after(0.0005 * (number % 4)):
                await watched_of(pty).take()
                raise AssertionError("nothing was written yet")
            os.write(slave, b"%07d\n" % number)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await watched_of(pty).take()
            assert await taken(pty, 8) == b"%07d\n" % number
        os.close(slave)


async def test_who_hangs_up_may_come_again() -> None:
    """Until the program has ended; and then what it wrote before that is read first."""
    hub = Hub()
    async with terminal() as (pty, slave), anyio.create_task_group() as group:
        group.start_soon(pty.read_into, hub)
        for number in range(20):
            os.write(slave, b"%07d\n" % number)
            os.close(slave)
            await shown(hub, 8 * (number + 1))
            slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(slave)
        os.write(slave, NUMBERS[:3000])
        os.close(slave)
        pty.ended()
    assert hub.ring.read(0, 10_000) == NUMBERS[: 20 * 8] + NUMBERS[:3000]


async def test_what_is_hung_up_keeps_nobody_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[int] = []
    usual = Watched.happened

    def happened(self: Watched, event: int) -> None:
        events.append(event)
        usual(self, event)

    monkeypatch.setattr(Watched, "happened", happened)
    async with terminal() as (pty, slave):
        ask = watched_of(pty)._watch.ask
        with program(slave, NUMBERS[:300_000]):
            assert await taken(pty, 300_000) == NUMBERS[:300_000]
        pty.ended()
        assert await watched_of(pty).take() == b""
        events.clear()
        for _ in range(50):  # in each of which the kernel is asked
            await backend.in_thread(ask, int)
        assert len(events) < 5  # it is said once more when the gatherer has given it back


async def test_closing_ends_whoever_waits_and_the_number_may_be_used_again() -> None:
    async with terminal() as (pty, slave):
        number, hub = pty.master, Hub()
        async with anyio.create_task_group() as group:
            group.start_soon(pty.read_into, hub)
            group.start_soon(pty.write, b"x" * 1_000_000)
            await until(lambda: watched_of(pty)._wants_room)
            await pty.aclose()
        await pty.write(b"never")
        pty.resize(Size(3, 3))
        assert number not in terminals_open()
        async with terminal() as (other, its_slave):
            os.write(its_slave, b"other")
            assert await taken(other, 5) == b"other"
            os.close(its_slave)
        os.close(slave)


async def test_the_thread_is_ahead_of_others_and_nobody_else_is() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    async with terminal() as (pty, slave):
        its = await backend.in_thread(
            watched_of(pty)._watch.ask, os.getpriority, os.PRIO_PROCESS, 0
        )
        assert its == max(usual + AHEAD, -20)
        assert os.getpriority(os.PRIO_PROCESS, 0) == usual
        os.close(slave)


async def test_who_may_not_be_ahead_reads_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    async with terminal() as (pty, slave):
        os.write(slave, b"abc" * 100)
        assert await taken(pty, 300) == b"abc" * 100
        os.close(slave)
