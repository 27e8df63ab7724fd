"""An asyncio loop in a thread, from either backend."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from actors import backend
from proxy.loop_thread import LoopThread
from tests.proxy.support import PATIENCE, held

pytestmark = pytest.mark.real_time

NAME = "colony-test-loop"


async def test_work_runs_there_and_its_result_comes_back() -> None:
    async def where(word: str) -> str:
        await asyncio.sleep(0)
        return f"{word} {threading.current_thread().name}"

    async def fail() -> None:
        raise ValueError("from there")

    before = held()
    thread = LoopThread(NAME)
    await thread.start()
    try:
        assert thread.running
        assert await thread.run(where, "in") == f"in {NAME}"
        with pytest.raises(ValueError, match="from there"):
            await thread.run(fail)
    finally:
        await thread.close()
    assert not thread.running
    assert held() <= before


async def test_it_is_asyncio_there_whatever_it_is_here() -> None:
    async def which() -> str:
        await anyio.lowlevel.checkpoint()
        return backend.current().name

    thread = LoopThread(NAME)
    await thread.start()
    try:
        assert await thread.run(which) == "asyncio"
    finally:
        await thread.close()


async def test_cancelling_the_caller_cancels_the_work() -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    thread = LoopThread(NAME)
    await thread.start()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(thread.run, work)
            assert await anyio.to_thread.run_sync(began.wait, PATIENCE)
            tasks.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(cancelled.wait, PATIENCE)
    finally:
        await thread.close()


async def test_closing_ends_what_runs() -> None:
    began = threading.Event()

    async def work() -> None:
        began.set()
        await asyncio.sleep(PATIENCE)

    thread = LoopThread(NAME)
    await thread.start()

    async def call() -> None:
        with pytest.raises(RuntimeError, match="ended before its work was done"):
            await thread.run(work)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        assert await anyio.to_thread.run_sync(began.wait, PATIENCE)
        await thread.close()


async def test_one_life() -> None:
    thread = LoopThread(NAME)
    await thread.close()
    with pytest.raises(RuntimeError, match="not running"):
        await thread.run(asyncio.sleep, 0)
    thread.call(print)
    await thread.start()
    with pytest.raises(RuntimeError, match="was started before"):
        await thread.start()
    await thread.close()
    await thread.close()
    thread.call(print)


async def test_a_cancelled_start_still_closes() -> None:
    before = held()
    thread = LoopThread(NAME)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await thread.start()
    await thread.close()
    assert held() <= before
