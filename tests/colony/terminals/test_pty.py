"""A terminal's flood is gathered whole and in order, and shown to its end."""

from __future__ import annotations

import os
import pty
import threading
import tty

import anyio
import anyio.to_thread
import pytest

from colony.terminals.gather import MUCH, SHARE, Source, room_for_a_share
from colony.terminals.hub import Hub
from colony.terminals.pty import Pty
from colony.terminals.sizes import Size
from tests.colony.api.support import PATIENCE

pytestmark = pytest.mark.real_time


def write_all(fd: int, data: bytes) -> None:
    """Writes, and then hangs up."""
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


NUMBERS = b"".join(b"%07d\n" % number for number in range(60_000))


def test_what_is_gathered_is_whole_and_in_order_and_ends() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    source = Source(master, room_for_a_share())
    assert source.share(SHARE) is None
    writer = threading.Thread(target=write_all, args=(slave, NUMBERS))
    writer.start()
    shares: list[bytes] = []
    while (data := source.share(SHARE)) != b"":
        if data is not None:
            shares.append(data)
    writer.join()
    assert b"".join(shares) == NUMBERS
    assert max(map(len, shares)) <= SHARE
    assert source.share(SHARE) == source.piece(SHARE) == b""
    source.close()
    source.close()
    assert not source.is_open


def test_a_flood_is_read_in_shares_and_never_more_than_is_wanted() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    source = Source(master, room_for_a_share())
    count = 0
    while not source.floods:  # and without a pause: what is written is here at once
        os.write(slave, b"x" * 1000)
        while (data := source.piece(100)) is not None:
            assert len(data) <= 100
            count += len(data)
    assert count >= MUCH
    os.write(slave, b"y" * 3000)
    assert source.share(10) == b"y" * 10
    assert source.share(2000) == b"y" * 2000
    assert source.share(SHARE) == b"y" * 990
    source.close()
    os.close(slave)


async def test_a_flood_is_read_to_its_end() -> None:
    hub, pty = Hub(), Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    pty.started()
    writer = threading.Thread(target=write_all, args=(slave, NUMBERS))
    writer.start()
    pty.ended()
    await pty.read_into(hub)
    writer.join()
    await pty.aclose()
    assert hub.ring.read(hub.ring.start, len(NUMBERS) + 1) == NUMBERS


async def test_what_a_viewer_takes_long_for_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("colony.terminals.pty.DRAIN", 0.05)
    monkeypatch.setattr("colony.terminals.hub.PATIENCE", PATIENCE)
    hub, pty = Hub(), Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    pty.started()
    viewer = hub.join()
    seen = bytearray()

    async def look() -> None:
        while len(seen) < len(NUMBERS):
            item = await viewer.take()
            if isinstance(item, bytes):
                seen.extend(item)
                await anyio.sleep(0.1)

    writer = threading.Thread(target=write_all, args=(slave, NUMBERS))
    writer.start()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pty.read_into, hub)
            tasks.start_soon(look)
            await anyio.to_thread.run_sync(writer.join)
            pty.ended()
    await pty.aclose()
    assert bytes(seen[-len(NUMBERS) :]) == NUMBERS


async def test_who_has_the_end_open_and_says_nothing_is_not_waited_for_long() -> None:
    hub, pty = Hub(), Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    pty.started()
    os.write(slave, b"the last words")
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pty.read_into, hub)
            pty.ended()
    await pty.aclose()
    os.close(slave)
    assert hub.ring.read(0, 100) == b"the last words"
