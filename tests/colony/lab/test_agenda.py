"""The agenda: one thing at a time, in the order of times and then of names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from colony.config import parse
from colony.lab.agenda import LAST, Agenda
from colony.lab.world import Simulation


@asynccontextmanager
async def agenda() -> AsyncIterator[Agenda]:
    async with anyio.create_task_group() as group:
        made = Agenda(anyio.current_time)
        group.start_soon(made.run)
        yield made
        made.stop()


async def test_actions_are_done_in_the_order_of_times_names_and_age() -> None:
    done: list[int] = []
    async with agenda() as plan:
        begin = anyio.current_time()
        whole = ((2.0, "a"), (1.0, LAST), (1.0, "b"), (1.0, "a"), (1.0, "a"), (1.0, ""))
        for number, (due, name) in enumerate(whole):
            plan.at(begin + due, name, partial(done.append, number))
        await anyio.sleep(3)
    assert done == [5, 3, 4, 2, 1, 0]
    assert plan.done == 6


async def test_what_an_action_leads_to_is_done_before_the_next_one() -> None:
    said: list[str] = []

    async def slowly(news: anyio.Event, name: str) -> None:
        await news.wait()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        said.append(name)

    async with agenda() as plan, anyio.create_task_group() as group:
        for name in "ba":
            news = anyio.Event()
            group.start_soon(slowly, news, name)
            plan.at(anyio.current_time() + 1, name, news.set)
            plan.at(anyio.current_time() + 1, name, partial(said.append, f"after {name}"))
        await anyio.sleep(2)
    assert said == ["a", "after a", "b", "after b"]


async def test_an_action_that_is_cancelled_is_not_done() -> None:
    done: list[str] = []
    async with agenda() as plan:
        now = anyio.current_time()
        late = plan.at(now + 2, "late", lambda: done.append("late"))
        plan.at(now + 1, "early", late.cancel)
        await anyio.sleep(3)
        late.cancel()
    assert done == []


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    async with agenda() as plan:
        with anyio.move_on_after(1):
            await plan.until(anyio.current_time() + 5, "x")
        await anyio.sleep(10)
    assert plan.done == 0


async def test_settling_waits_for_what_actions_at_this_instant_lead_to() -> None:
    done: list[int] = []
    async with agenda() as plan:
        now = anyio.current_time()

        def again(number: int) -> None:
            done.append(number)
            if number:
                plan.at(now, "x", lambda: again(number - 1))

        plan.at(now, "x", lambda: again(3))
        await plan.settle()
        assert done == [3, 2, 1, 0]
        assert anyio.current_time() == now


# -- leaving a simulation --------------------------------------------------------------------------

WEB = parse("[services.web]\ncommand = 'web'\nstop = { grace = '30s' }\n", "/lab/colony.toml")


async def test_an_error_in_the_block_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Simulation(WEB):
            raise ZeroDivisionError


async def test_a_simulation_that_is_cancelled_stops_in_order() -> None:
    with anyio.move_on_after(10) as scope:
        async with Simulation(WEB) as lab:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert [entry.kind for entry in lab.trace.entries][-2:] == ["stopping", "stopped"]
    assert lab.trace.entries[-1].detail == "killed by SIGTERM"
