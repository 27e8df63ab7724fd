"""The screen: in order, bounded, and never in anybody's way."""

from __future__ import annotations

import io
import os
from functools import partial

import anyio
import anyio.lowlevel
import pyte
import pytest

from colony import run
from colony.lanes import Lane, Table
from colony.run import Screen

pytestmark = pytest.mark.real_time


class Gone(io.BytesIO):
    """A terminal that is no more."""

    def write(self, data: object) -> int:
        raise OSError(5, "Input/output error")


async def test_what_is_written_comes_out_in_order() -> None:
    out = io.BytesIO()
    screen = Screen(out)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(screen.run)
        for number in range(100):
            screen.write(b"%d\n" % number)
            if number % 10 == 0:
                await anyio.lowlevel.checkpoint()
        await screen.flush()
        tasks.cancel_scope.cancel()
    assert out.getvalue() == b"".join(b"%d\n" % number for number in range(100))


async def test_lines_that_are_made_later_keep_their_place() -> None:
    out, made = io.BytesIO(), list[bytes]()
    screen = Screen(out)

    def make(line: bytes) -> bytes:
        made.append(line)
        return line

    screen.later(partial(make, b"one\n"))
    screen.later(partial(make, b""))
    assert made == []
    screen.write(b"two\n")
    assert made == [b"one\n", b""]
    screen.later(partial(make, b"three\n"))
    await screen.hold()
    assert out.getvalue() == b"one\ntwo\nthree\n"
    screen.later(partial(make, b"four\n"))
    screen.go_on()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(screen.run)
        while b"four" not in out.getvalue():  # noqa: ASYNC110
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    screen.later(partial(make, b"five\n"))
    await screen.end()
    assert out.getvalue() == b"one\ntwo\nthree\nfour\nfive\n"


async def test_as_many_lines_as_may_be_made_later_are_made_at_once() -> None:
    screen, made = Screen(io.BytesIO()), list[int]()

    def make(number: int) -> bytes:
        made.append(number)
        return b""

    for number in range(run.UNMADE + 1):
        screen.later(partial(make, number))
    assert made == list(range(run.UNMADE))


async def test_beyond_the_backlog_the_oldest_lines_go_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "BACKLOG", 8)
    out = io.BytesIO()
    screen = Screen(out)
    for number in range(6):
        screen.write(b"%03d\n" % number)
    await screen.flush()
    assert out.getvalue() == b"\xe2\x80\xa6 4 lines dropped\n004\n005\n"
    screen.write(b"next\n")
    await screen.flush()
    assert out.getvalue().endswith(b"005\nnext\n")


async def test_a_reader_that_has_gone_ends_nothing() -> None:
    screen = Screen(Gone())
    screen.write(b"a line\n")
    await screen.flush()
    assert screen.broken
    screen.write(b"another\n")
    await screen.flush()


async def test_what_a_reader_that_has_gone_did_not_take_is_no_error_at_the_end() -> None:
    """It is written again when the file is closed; that of Python's stdout makes the status 120."""
    reads, writes = os.pipe()
    out = os.fdopen(writes, "wb")
    os.close(reads)
    screen = Screen(out)
    screen.write(b"few enough to be kept back\n")
    await screen.flush()
    assert screen.broken
    out.close()


async def test_a_table_is_taken_away_before_what_is_written_last() -> None:
    """It stands below what was written: to take it away later would take that away."""
    lane = Lane("web", "ready", 4001, None, 0, 5.0)
    size = os.terminal_size((40, 10))
    for ending in ("hold", "end"):
        out = io.BytesIO()
        screen = Screen(out, Table(lambda: [lane], colour=False, size=lambda: size))
        screen.write(b"first\n")
        await screen.flush()
        screen.write(b"last\n")
        await getattr(screen, ending)()
        terminal = pyte.Screen(40, 10)
        terminal.set_mode(pyte.modes.LNM)
        pyte.ByteStream(terminal).feed(out.getvalue())
        assert [line.rstrip() for line in terminal.display if line.strip()] == ["first", "last"]
