"""A terminal's flood is gathered whole and in order, ahead of all that floods."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from anyio.to_thread import run_sync

from colony.terminals.gather import SHARE, Gatherer
from colony.terminals.hub import Hub
from colony.terminals.pty import AHEAD, Pty, ahead
from colony.terminals.sizes import Size

pytestmark = pytest.mark.real_time


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@contextmanager
def terminal() -> Iterator[tuple[Pty, int]]:
    """A raw one, and the program's end of it, which is to be closed."""
    pty = Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    pty.started()
    try:
        yield pty, slave
    finally:
        pty.close()


def write_all(fd: int, data: bytes) -> None:
    """Writes, and then hangs up."""
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


NUMBERS = b"".join(b"%07d\n" % number for number in range(60_000))


async def test_what_is_gathered_is_whole_and_in_order_and_ends() -> None:
    with terminal() as (pty, slave), Gatherer(pty.master) as gatherer:
        assert gatherer.gather() == (b"", False)
        writer = threading.Thread(target=write_all, args=(slave, NUMBERS))
        writer.start()
        shares, over = [], False
        while not over:
            data, over = await run_sync(gatherer.gather)
            shares.append(data)
        writer.join()
        assert b"".join(shares) == NUMBERS
        assert max(map(len, shares)) <= SHARE
        assert gatherer.gather() == (b"", True)


async def test_a_flood_is_read_to_its_end() -> None:
    hub, before = Hub(), terminals()
    with terminal() as (pty, slave):
        writer = threading.Thread(target=write_all, args=(slave, NUMBERS))
        writer.start()
        await pty.read_into(hub)
        writer.join()
    assert hub.ring.read(hub.ring.start, len(NUMBERS) + 1) == NUMBERS
    assert terminals() <= before


def terminals() -> set[str]:
    """The descriptors of terminals that this process has."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("/dev/pt"):
                found.add(fd)
    return found


async def test_a_share_is_gathered_ahead_of_others() -> None:
    usual = niceness()
    assert await run_sync(ahead, lambda: (b"%d" % niceness(), False)) == (
        b"%d" % max(usual + AHEAD, -20),
        False,
    )
    assert await run_sync(niceness) == usual  # the same thread
    assert niceness() == usual


async def test_who_may_not_be_ahead_gathers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with terminal() as (pty, slave), Gatherer(pty.master) as gatherer:
        os.write(slave, b"abc" * 100)
        assert await run_sync(ahead, gatherer.gather) == (b"abc" * 100, False)
        os.close(slave)
