"""The virtual clock: it stops at each deadline exactly, on both backends, however far it goes."""

from __future__ import annotations

from random import Random

import anyio

from actors import backend
from actors.testing import run

DAY = 86400.0
PAUSES = (0.1, 0.3, 0.7, 1.1, 4.995, DAY + 0.7, 40 * DAY)


async def passing(count: int) -> list[float]:
    """The times at which waits ended that follow each other; each must end when it should."""
    chance, times = Random(3), list[float]()
    for _ in range(count):
        deadline = anyio.current_time() + chance.choice(PAUSES) * chance.random()
        with anyio.CancelScope(deadline=deadline):
            await anyio.sleep_forever()
        assert anyio.current_time() == deadline
        times.append(anyio.current_time())
    return times


def test_both_backends_tell_the_same_time_to_the_last_bit_for_years() -> None:
    on_asyncio = run(passing, 2000)
    assert on_asyncio == run(passing, 2000, backend="trio")
    assert on_asyncio[-1] > 5 * 365 * DAY


def test_a_deadline_is_met_to_which_no_single_step_leads() -> None:
    """There is no number that added to 0.02 gives 0.055: it would be between two of them."""

    async def two() -> float:
        await anyio.sleep(0.02)
        with anyio.CancelScope(deadline=0.055):
            await anyio.sleep_forever()
        return anyio.current_time()

    assert run(two) == run(two, backend="trio") == 0.055


def test_a_timer_fires_after_half_a_year_when_a_nanosecond_is_less_than_the_last_bit() -> None:
    async def late() -> float:
        await anyio.sleep(300 * DAY)
        before = anyio.current_time()
        await anyio.sleep(0.25)
        return anyio.current_time() - before

    assert run(late) == run(late, backend="trio") == 0.25


def test_two_timers_within_a_nanosecond_fire_each_at_its_time() -> None:
    async def nearly() -> list[bool]:
        found = []

        async def wait(deadline: float) -> None:
            with anyio.CancelScope(deadline=deadline):
                await anyio.sleep_forever()
            found.append(anyio.current_time() == deadline)

        async with anyio.create_task_group() as group:
            group.start_soon(wait, 1.0)
            group.start_soon(wait, 1.0 + 1e-10)
        return found

    assert run(nearly) == run(nearly, backend="trio") == [True, True]


async def test_it_is_known_to_be_virtual() -> None:
    assert backend.is_virtual()


def test_the_machines_clock_is_known_not_to_be() -> None:
    async def ask() -> bool:
        return backend.is_virtual()

    assert run(ask, virtual=False) is False
    assert run(ask, virtual=False, backend="trio") is False


async def test_whether_there_is_an_event_loop_is_known() -> None:
    assert backend.is_running()


def test_whether_there_is_none_is_known() -> None:
    assert not backend.is_running()
