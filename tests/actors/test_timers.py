"""Timers: `send_after` and what may happen before it fires."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from actors import System, Timer
from actors.testing import settle
from tests.actors.helpers import Do, Doll, Note, Puppet

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


@KINDS
async def test_send_after_tells_the_actor_itself_in_time(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        await ref.call(Do(lambda a: a.ctx.send_after(5, Note("late"))))
        await ref.call(Do(lambda a: a.ctx.send_after(1, Note("soon"))))
        await anyio.sleep(4.9)
        assert log == ["soon"]
        await anyio.sleep(0.2)
        assert log == ["soon", "late"]


@KINDS
async def test_send_after_to_another(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a = await system.start(kind.spec().options(id="a"))
        b = await system.start(kind.spec(log).options(id="b"))
        await a.call(Do(lambda actor: actor.ctx.send_after(1, Note("x"), b)))
        await anyio.sleep(2)
        assert log == ["x"]


@KINDS
async def test_a_cancelled_timer_never_fires(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        timer: Timer = await ref.call(Do(lambda a: a.ctx.send_after(1, Note("x"))))
        assert timer.pending
        assert timer.cancel() is True
        assert timer.cancel() is False
        await anyio.sleep(2)
        assert log == []


@KINDS
async def test_a_timer_does_not_outlive_the_one_that_set_it(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a = await system.start(kind.spec().options(id="a"))
        b = await system.start(kind.spec(log).options(id="b"))
        await a.call(Do(lambda actor: actor.ctx.send_after(5, Note("x"), b)))
        await system.stop_actor(a)
        await anyio.sleep(10)
        assert log == []


async def test_timers_fire_in_order_of_their_due_times_and_then_of_their_making() -> None:
    fired: list[int] = []
    async with System() as system:
        for n, delay in enumerate((3.0, 1.0, 2.0, 1.0, 0.0)):
            system.timers.after(delay, partial(fired.append, n))
        await anyio.sleep(5)
        await settle()
    assert fired == [4, 1, 3, 2, 0]
