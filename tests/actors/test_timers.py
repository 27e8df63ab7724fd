"""Timers: `send_after` and what may happen before it fires."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from actors import ActorDown, Cast, Mailbox, Overflow, System, Timer, events
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Note, Puppet, recorded

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


@KINDS
async def test_send_every_tells_at_even_times_until_it_is_cancelled(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        timer = await ref.call(Do(lambda a: a.ctx.send_every(2, Note("tick"))))
        await anyio.sleep(1.9)
        assert log == []
        await anyio.sleep(4.2)
        assert log == ["tick"] * 3
        assert timer.cancel()
        assert not timer.pending
        await anyio.sleep(10)
        assert log == ["tick"] * 3


async def test_send_every_ends_with_the_life_of_its_actor() -> None:
    log: list[Any] = []
    async with System() as system:
        a = await system.start(Puppet.spec().options(id="a"))
        b = await system.start(Puppet.spec(log).options(id="b"))
        timer = await a.call(Do(lambda actor: actor.ctx.send_every(1, Note("x"), b)))
        await anyio.sleep(2.5)
        await system.stop_actor(a)
        await anyio.sleep(5)
        assert (log, timer.pending) == (["x", "x"], False)
        assert system.timers.statistics().pending == 0


async def test_an_interval_that_a_blocked_loop_has_missed_is_made_up_for_once() -> None:
    async with System() as system:
        fired: list[float] = []
        timer = system.timers.every(1.0, lambda: fired.append(system.now()))
        system.timers._heap.clear()
        timer.due = system.now() - 2.5
        system.timers._push(timer)
        await settle()
        assert (len(fired), timer.due - fired[0]) == (1, 0.5)
        timer.cancel()


async def test_an_interval_must_be_above_zero() -> None:
    async with System() as system:
        with pytest.raises(ValueError, match="seconds above 0, got: 0"):
            system.timers.every(0, lambda: None)


@pytest.mark.parametrize("later", ["send_after", "send_every"])
async def test_a_timer_finds_the_mailbox_full(later: str) -> None:
    """It has no caller to raise at, and must not take the system along."""
    async with System() as system:
        full = await system.start(Puppet.spec().options(id="full", mailbox=Mailbox(1, "reject")))
        full.tell(Act(lambda _: anyio.sleep(10)))
        await settle()
        full.tell(Note("waits"))
        ref = await system.start(Puppet.spec())
        with recorded(system, events.DeadLetter) as seen:
            await ref.call(Do(lambda a: getattr(a.ctx, later)(1, Note("late"), full) and None))
            await anyio.sleep(1.5)
        [event] = seen
        assert isinstance(event, events.DeadLetter)
        assert (event.actor, event.message, event.reason) == ("full", Note("late"), Overflow(1))


@pytest.mark.parametrize("later", ["send_after", "send_every"])
async def test_what_nobody_handles_is_refused_at_once(later: str) -> None:
    class Nobodys(Cast[Any], frozen=True):
        pass

    async with System() as system:
        ref = await system.start(Puppet.spec())
        with pytest.raises(ActorDown, match="has no handler for Nobodys"):
            await ref.call(Do(lambda a: getattr(a.ctx, later)(1, Nobodys())))
