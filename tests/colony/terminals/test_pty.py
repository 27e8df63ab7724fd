"""A terminal's flood is gathered ahead of all that floods, and the thread is as before then."""

from __future__ import annotations

import os

import pytest
from anyio.to_thread import run_sync

from colony.terminals.pty import AHEAD, SHARE, Pty
from colony.terminals.sizes import Size

pytestmark = pytest.mark.real_time


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


async def test_a_share_is_gathered_ahead_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pty, seen = Pty(Size(24, 80)), []
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    usual, read = niceness(), pty._read

    def reading() -> bytes | None:
        seen.append(niceness())
        return read()

    monkeypatch.setattr(pty, "_read", reading)
    try:
        os.write(slave, b"abc")
        assert await run_sync(pty._gather_ahead) == (b"abc", False)
        assert await run_sync(niceness) == usual  # the same thread
    finally:
        os.close(slave)
        pty.close()
    assert set(seen) == {max(usual + AHEAD, -20)}
    assert niceness() == usual


async def test_who_may_not_be_ahead_gathers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    pty = Pty(Size(24, 80))
    slave = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    monkeypatch.setattr(os, "setpriority", refuse)
    try:
        os.write(slave, b"abc" * 100)
        data, over = await run_sync(pty._gather_ahead)
        assert (data, over, len(data) < SHARE) == (b"abc" * 100, False, True)
    finally:
        os.close(slave)
        pty.close()
