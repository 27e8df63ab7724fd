"""Links, monitors, exit signals and names: R3–R13."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

from actors import (
    Abnormal,
    Crashed,
    Down,
    Exit,
    Killed,
    Monitor,
    NoProc,
    Normal,
    Reason,
    Ref,
    Shutdown,
    Stop,
    System,
    events,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Note, Puppet, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


def trap(actor: Any) -> None:
    actor.ctx.trap_exit = True


def link(other: Ref[Any]) -> Do:
    return Do(lambda actor: actor.ctx.link(other))


def end(reason: Reason) -> Act:
    return Act(raises(Stop(reason)))


async def pair(system: System, kind: Any, **left: Any) -> tuple[Ref[Any], Ref[Any]]:
    a = await system.start(kind.spec(**left).options(id="a"))
    b = await system.start(kind.spec().options(id="b"))
    return a, b


@KINDS
async def test_r3_a_link_is_symmetric(kind: Any) -> None:
    for killer in (0, 1):
        async with System() as system:
            refs = await pair(system, kind)
            await refs[0].call(link(refs[1]))
            refs[killer].tell(end(Abnormal("x")))
            assert await refs[1 - killer].stopped() == Abnormal("x")


@KINDS
async def test_r3_two_links_are_one(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log, starting=trap)
        await a.call(link(b))
        await a.call(link(b))
        b.tell(end(Normal()))
        await settle()
        assert [(m.ref, m.reason) for m in log] == [(b, Normal())]


@KINDS
async def test_r3_after_unlink_no_signal_comes(kind: Any) -> None:
    async with System() as system:
        a, b = await pair(system, kind)
        await a.call(link(b))
        await b.call(Do(lambda actor: actor.ctx.unlink(a)))
        b.tell(end(Abnormal("x")))
        await b.stopped()
        await settle()
        assert a.alive


@KINDS
async def test_r4_an_untrapped_death_is_contagious_unless_normal(kind: Any) -> None:
    async with System() as system:
        a, b = await pair(system, kind)
        await a.call(link(b))
        b.tell(end(Normal()))
        await settle()
        assert a.alive
        c = await system.start(kind.spec().options(id="c"))
        await a.call(link(c))
        c.tell(end(Shutdown()))
        assert await a.stopped() == Shutdown()


@KINDS
async def test_r4_a_trapped_death_is_a_message(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log, starting=trap)
        await a.call(link(b))
        b.tell(end(Abnormal("x")))
        await settle()
        [message] = log
        assert isinstance(message, Exit)
        assert (message.ref, message.reason) == (b, Abnormal("x"))
        assert a.alive


@KINDS
async def test_r5_a_normal_exit_signal_does_nothing_to_others_and_ends_oneself(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind)
        c = await system.start(kind.spec(log, starting=trap).options(id="c"))
        await a.call(Do(lambda actor: actor.ctx.exit(b, Normal())))
        await a.call(Do(lambda actor: actor.ctx.exit(c, Normal())))
        await settle()
        assert b.alive
        assert [(m.ref, m.reason) for m in log] == [(a, Normal())]
        a.tell(Act(lambda actor: actor.ctx.exit(a, Normal())))
        assert await a.stopped() == Normal()


@KINDS
async def test_r6_a_kill_cannot_be_trapped_and_its_links_see_killed(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log, starting=trap)
        await b.call(Do(trap))
        await a.call(link(b))
        await a.call(Do(lambda actor: actor.ctx.exit(b, Killed())))
        assert await b.stopped() == Killed()
        await settle()
        assert [(m.ref, m.reason) for m in log] == [(b, Killed())]
        assert a.alive


@KINDS
async def test_r7_only_the_sent_kill_is_special(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log, starting=trap)
        c = await system.start(kind.spec().options(id="c"))
        await b.call(link(a))
        await b.call(link(c))
        b.tell(end(Killed()))
        assert await c.stopped() == Killed()
        await settle()
        assert [m.reason for m in log] == [Killed()]
        assert a.alive


@KINDS
async def test_r8_a_link_to_the_dead_is_noproc(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log, starting=trap)
        c = await system.start(kind.spec().options(id="c"))
        await system.stop_actor(b)
        await a.call(link(b))
        await settle()
        assert [m.reason for m in log] == [NoProc()]
        c.tell(Act(lambda actor: actor.ctx.link(b)))
        assert await c.stopped() == NoProc()


@KINDS
async def test_r9_monitors_stack_and_each_fires_once(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log)
        first = await a.call(Do(lambda actor: actor.ctx.monitor(b)))
        second = await a.call(Do(lambda actor: actor.ctx.monitor(b)))
        b.tell(end(Abnormal("x")))
        await settle()
        assert log == [Down(first, b, Abnormal("x")), Down(second, b, Abnormal("x"))]
        assert b.incarnation == 1
        assert a.alive


@KINDS
async def test_r9_a_monitor_of_the_dead_fires_at_once(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log)
        await system.stop_actor(b)
        monitor = await a.call(Do(lambda actor: actor.ctx.monitor(b)))
        await settle()
        assert log == [Down(monitor, b, NoProc())]


@KINDS
async def test_r9_demonitor_takes_back_even_a_queued_down(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        a, b = await pair(system, kind, log=log)
        monitors: list[Monitor] = []

        def in_one_batch(actor: Any) -> None:
            monitors.append(actor.ctx.monitor(b))
            system.kill(b)

        def take_back(actor: Any) -> None:
            actor.ctx.demonitor(monitors[0])

        await a.call(Do(in_one_batch))
        a.tell(Act(take_back))
        await settle()
        assert [m for m in log if isinstance(m, Down)] in ([], [Down(monitors[0], b, Killed())])
        log.clear()
        await system.start(kind.spec().options(id="b"))

        def die_and_take_back(actor: Any) -> None:
            monitor = actor.ctx.monitor(b)
            monitor.fire(Abnormal("queued"))
            actor.ctx.demonitor(monitor)

        await a.call(Do(die_and_take_back))
        await settle()
        assert log == []


async def test_r9_a_flush_reaches_a_down_in_the_batch_at_hand() -> None:
    log: list[Any] = []
    monitors: list[Monitor] = []
    async with System() as system:
        a, b = await pair(system, Puppet, log=log)

        async def wait(actor: Any) -> None:
            await anyio.sleep(1)

        def take_back(actor: Any) -> None:
            actor.ctx.demonitor(monitors[0])

        monitors.append(await a.call(Do(lambda actor: actor.ctx.monitor(b))))
        a.tell(Act(wait))
        await settle()
        a.tell(Act(take_back))
        system.kill(b)
        await anyio.sleep(2)
        a.tell(Note("end"))
        await settle()
        assert log == ["end"]


@KINDS
async def test_r12_the_name_is_free_before_any_down_is_delivered(kind: Any) -> None:
    found: list[Any] = []
    async with System() as system:
        await pair(system, kind)
        named = await system.start(kind.spec().options(id="n", name="boss"))
        assert system.whereis("boss") == named
        leave = system.events.listen(
            lambda e: found.append(system.whereis("boss")) if isinstance(e, events.Exited) else None
        )
        system.kill(named)
        await named.stopped()
        leave()
        assert found == [None]
        assert system.whereis("boss") is None


@KINDS
async def test_r13_exits_are_not_trapped_unless_asked_for(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        assert await ref.call(Do(lambda actor: actor.ctx.trap_exit)) is False


@KINDS
async def test_a_death_runs_along_a_long_chain_of_links(kind: Any) -> None:
    async with System() as system:
        refs = [await system.start(kind.spec().options(id=f"n{n}")) for n in range(2000)]
        for left, right in pairwise(refs):
            await left.call(link(right))
        error = ValueError("first")
        refs[0].tell(Act(raises(error)))
        assert await refs[-1].stopped() == Crashed(error)
        assert not any(ref.alive for ref in refs)


async def test_a_down_without_a_handler_is_an_event() -> None:
    from tests.actors.test_messages import Counter

    async with System() as system:
        counter = await system.start(Counter.spec())
        other = await system.start(Puppet.spec())
        cell = counter._slot.cell
        assert cell is not None
        Monitor(cell, other._slot.cell, other)
        with recorded(system, events.Undelivered) as seen:
            system.kill(other)
            await settle()
        assert [e.actor for e in seen if isinstance(e, events.Undelivered)] == ["counter"]
        assert counter.alive
