"""Supervised tasks: their failures are theirs, and nothing of them is left."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import (
    Actor,
    Call,
    ChildRefused,
    CountChildren,
    Killed,
    Outcome,
    Shutdown,
    System,
    TaskEnded,
    TaskFailed,
    TaskSupervisor,
    on,
    start_task,
    stop_task,
    stream,
)
from actors.testing import settle


async def double(n: float) -> float:
    await anyio.sleep(n)
    return n * 2


async def broken(n: float) -> float:
    raise KeyError(n)


async def forever(log: list[str]) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        log.append("cleaned up")


async def test_a_task_gives_its_result_as_often_as_asked() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        task = await start_task(tasks, double, 2)
        assert repr(task) == "<Task task_supervisor/task-1 running>"
        assert await task.result() == 4
        assert await task.result() == 4
        assert await task.outcome() == Outcome(value=4)
        assert repr(task) == "<Task task_supervisor/task-1 done>"
        await settle()
        assert (await tasks.call(CountChildren())).specs == 0


async def test_a_failure_is_seen_by_who_asks_for_the_result_and_by_nobody_else() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        other = await start_task(tasks, double, 2)
        task = await start_task(tasks, broken, 1.0)
        with pytest.raises(TaskFailed, match=r"task-2 has no result: KeyError: 1\.0") as caught:
            await task.result()
        assert isinstance(caught.value.__cause__, KeyError)
        assert await other.result() == 4
        assert tasks.incarnation == 1


async def test_a_task_is_cancelled_and_may_clean_up() -> None:
    log: list[str] = []
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        task = await start_task(tasks, forever, log)
        await settle()
        await stop_task(tasks, task)
        await stop_task(tasks, task)
        assert log == ["cleaned up"]
        assert (await task.outcome()).failure == Shutdown()


async def test_tasks_end_with_their_supervisor_however_it_ends() -> None:
    log: list[str] = []
    async with System() as system:
        for kill in (False, True):
            tasks = await system.start(TaskSupervisor.spec())
            task = await start_task(tasks, forever, log)
            await settle()
            if kill:
                system.kill(tasks)
            else:
                await system.stop_actor(tasks)
            outcome = await task.outcome()
            assert outcome.failure in (Shutdown(), Killed())
        assert log == ["cleaned up", "cleaned up"]


async def test_no_more_tasks_than_allowed() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec(max_children=1))
        task = await start_task(tasks, double, 1)
        with pytest.raises(ChildRefused, match="max_children"):
            await start_task(tasks, double, 1)
        await task.result()
        await settle()
        await start_task(tasks, double, 1)


class Ends(Call["Boss", list[tuple[str, Outcome[Any]]]], frozen=True):
    pass


class Boss(Actor):
    """Is told how its tasks end."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, Outcome[Any]]] = []

    @on(TaskEnded)
    def ended(self, msg: TaskEnded) -> None:
        self.ends.append((msg.id, msg.outcome))

    @on(Ends)
    def all(self, _msg: Ends) -> list[tuple[str, Outcome[Any]]]:
        return self.ends


async def test_an_actor_is_told_of_the_end() -> None:
    async with System() as system:
        boss = await system.start(Boss.spec())
        tasks = await system.start(TaskSupervisor.spec())
        await start_task(tasks, double, 1, notify=boss)
        await start_task(tasks, broken, 0, notify=boss)
        stopped = await start_task(tasks, forever, [], notify=boss)
        killed = await start_task(tasks, forever, [], notify=boss)
        await settle()
        await stop_task(tasks, stopped)
        system.kill(killed.ref)
        await anyio.sleep(2)
        ends = dict(await boss.call(Ends()))
        assert ends["task-1"] == Outcome(value=2)
        assert str(ends["task-2"].failure) == "KeyError: 0"
        assert ends["task-3"] == Outcome(failure=Shutdown())
        assert ends["task-4"] == Outcome(failure=Killed())


# -- streams ---------------------------------------------------------------------------------------


class Gauge:
    """How many run at once, and how many ever did."""

    def __init__(self) -> None:
        self.now = self.most = self.started = 0

    async def work(self, seconds: float) -> float:
        self.started += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(seconds)
        finally:
            self.now -= 1
        if seconds == 13:
            raise ValueError("unlucky")
        return seconds


async def values(ordered: bool) -> list[float | None]:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        gauge = Gauge()
        items = [5.0, 1.0, 3.0, 2.0]
        async with stream(tasks, gauge.work, items, limit=2, ordered=ordered) as outcomes:
            got = [outcome.value async for outcome in outcomes]
        assert gauge.most == 2
        return got


async def test_a_stream_gives_outcomes_in_order() -> None:
    assert await values(ordered=True) == [5.0, 1.0, 3.0, 2.0]


async def test_an_unordered_stream_gives_them_as_they_are_done() -> None:
    assert await values(ordered=False) == [1.0, 3.0, 5.0, 2.0]


async def test_a_failure_and_a_timeout_are_outcomes() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        items = [1.0, 13.0, 60.0, 2.0]
        async with stream(tasks, Gauge().work, items, limit=4, timeout=20) as outcomes:
            got = [outcome async for outcome in outcomes]
        assert [outcome.value for outcome in got] == [1.0, None, None, 2.0]
        assert str(got[1].failure) == "ValueError: unlucky"
        assert str(got[2].failure).startswith("TimeoutError")


async def test_a_slow_reader_slows_the_work_down() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        gauge = Gauge()
        async with stream(tasks, gauge.work, [1.0] * 100, limit=3) as outcomes:
            async for _ in outcomes:
                await anyio.sleep(50)
                assert gauge.started == 3
                break


@pytest.mark.parametrize("fails", [False, True])
async def test_leaving_a_stream_stops_what_runs(fails: bool) -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        gauge = Gauge()
        with pytest.raises(ZeroDivisionError) if fails else anyio.CancelScope() as scope:
            async with stream(tasks, gauge.work, [1.0, 999.0, 999.0], limit=3) as outcomes:
                async for _ in outcomes:
                    if fails:
                        raise ZeroDivisionError
                    assert isinstance(scope, anyio.CancelScope)
                    scope.cancel()
        assert gauge.now == 0
        await settle()
        assert (await tasks.call(CountChildren())).specs == 0


async def test_a_stream_over_nothing() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        async with stream(tasks, double, [], limit=2) as outcomes:
            assert [outcome async for outcome in outcomes] == []


async def test_a_limit_is_a_whole_number_from_1_up() -> None:
    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        with pytest.raises(ValueError, match="limit must be a whole number from 1 up, got: 0"):
            async with stream(tasks, double, [], limit=0):
                pass
