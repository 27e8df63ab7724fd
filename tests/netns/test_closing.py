"""A descriptor is closed once nobody waits for it, and so is its number nobody else's before."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread
import pytest

from actors import backend
from netns.closing import Closing
from tests.netns.support import PATIENCE


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    with one, other:
        for each in (one, other):
            each.setblocking(False)
        yield one, other


async def wait(closing: Closing, sock: socket.socket, ends: list[str]) -> None:
    try:
        with closing.waiting():
            await anyio.wait_readable(sock)
        ends.append("readable")
    except anyio.ClosedResourceError:
        ends.append("closed")


async def test_nobody_inside_it_is_closed_at_once() -> None:
    with pair() as (sock, _):
        closing = Closing(sock.close)
        assert repr(closing) == "<Closing open 0 inside>"
        closing.close()
        closing.close()
        assert sock.fileno() == -1
        assert repr(closing) == "<Closing closed 0 inside>"
        with pytest.raises(anyio.ClosedResourceError):
            closing.held().__enter__()
        with pytest.raises(anyio.ClosedResourceError):
            closing.waiting().__enter__()


async def test_what_comes_is_had_by_who_waits() -> None:
    with pair() as (sock, far):
        closing, ends = Closing(sock.close), list[str]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, closing, sock, ends)
            await backend.until_idle()
            assert repr(closing) == "<Closing open 1 inside>"
            far.send(b"x")
        assert ends == ["readable"]
        assert not closing.closed
        assert sock.recv(1) == b"x"


async def test_who_is_cancelled_is_cancelled_though_it_is_closed_too() -> None:
    with pair() as (sock, _):
        closing, ends = Closing(sock.close), list[str]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, closing, sock, ends)
            await backend.until_idle()
            tasks.cancel_scope.cancel()
            closing.close()
        assert ends == []
        assert sock.fileno() == -1


async def test_it_stays_open_for_who_holds_it() -> None:
    with pair() as (sock, _):
        closing = Closing(sock.close)
        with closing.held(), closing.held():
            closing.close()
            assert closing.closed
            assert sock.fileno() >= 0
        assert sock.fileno() == -1


@pytest.mark.real_time
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_who_has_the_number_next_is_neither_refused_nor_forgotten(elsewhere: bool) -> None:
    """Of the same loop, and at the very moment at which the number is another file's: `dup2` closes
    what was there and leaves no moment for anybody else."""
    with pair() as (sock, _), pair() as (other, far):
        ends, soon = list[str](), backend.current().call_soon_threadsafe
        async with anyio.create_task_group() as tasks:

            def close() -> None:
                os.dup2(other.fileno(), sock.fileno(), inheritable=False)
                soon(partial(tasks.start_soon, again))

            async def again() -> None:
                await anyio.wait_readable(sock.fileno())
                ends.append("readable")
                assert sock.recv(1) == b"x"

            closing = Closing(close)
            tasks.start_soon(wait, closing, sock, ends)
            await backend.until_idle()
            if elsewhere:
                await anyio.to_thread.run_sync(closing.close)
            else:
                closing.close()
            await backend.until_idle()
            far.send(b"x")
            with anyio.fail_after(PATIENCE):
                while len(ends) < 2:  # noqa: ASYNC110
                    await anyio.sleep(0.001)
        assert ends == ["closed", "readable"]


def test_who_waits_in_a_loop_that_has_ended_keeps_nothing_open() -> None:
    def gone() -> None:
        raise RuntimeError("the event loop is gone")

    with pair() as (sock, _):
        closing = Closing(sock.close)
        with closing._held(gone):
            closing.close()
            assert sock.fileno() == -1
