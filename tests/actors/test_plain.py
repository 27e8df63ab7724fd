"""Actors without a task: which they are, `spawn`, and the watchdog."""

from __future__ import annotations

import gc
import linecache
import subprocess
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import (
    IGNORE,
    Abnormal,
    Actor,
    Crashed,
    Killed,
    Ref,
    Shutdown,
    StartFailed,
    Stop,
    System,
    events,
    on,
)
from actors.backend import is_waiting
from actors.cell import FAIRNESS
from actors.pump import PlainCell
from actors.system import Plain
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Hook, Note, Puppet, nothing, raises, recorded

PATIENCE = 30.0
"""Seconds after which a test gives up waiting."""

shade: ContextVar[str] = ContextVar("shade", default="none")


class Mixed(Actor):
    @on(Note)
    def note(self, msg: Note) -> None:
        pass

    @on(Do)
    async def do(self, msg: Do) -> Any:
        return msg.work(self)


class AsyncEnd(Actor):
    async def stopping(self, reason: Any) -> None:
        pass


def test_plain_is_who_has_no_async_method() -> None:
    assert (Doll.__plain__, Puppet.__plain__, Mixed.__plain__, AsyncEnd.__plain__) == (
        True,
        False,
        False,
        False,
    )


async def test_the_switch_gives_plain_actors_a_task(plain: Plain) -> None:
    async with System() as system:
        ref = await system.start(Doll.spec())
        assert isinstance(ref._slot.cell, PlainCell) is (plain != "task")


def test_the_switch_names_its_positions() -> None:
    wrong: Any = "none"
    with pytest.raises(ValueError, match=r"plain must be one of .*'pump'.*, got: 'none'"):
        System(plain=wrong)


async def test_a_handlers_context_variables_do_not_leak_to_its_caller() -> None:
    async with System() as system:
        ref = await system.start(Doll.spec())
        shade.set("callers")
        await ref.call(Do(lambda _a: shade.set("actors")))
        assert shade.get() == "callers"


@pytest.mark.parametrize("kind", [Puppet, Doll])
async def test_a_chain_of_actors_told_from_handlers(kind: Any) -> None:
    done = anyio.Event()
    async with System() as system:
        refs: list[Ref[Any]] = [
            await system.start(kind.spec().options(id=f"n{n}")) for n in range(500)
        ]

        def hop(n: int) -> Hook:
            def work(actor: Any) -> None:
                if n == 2000:
                    done.set()
                else:
                    refs[n % 500].tell(Act(hop(n + 1)))

            return work

        refs[0].tell(Act(hop(1)))
        await done.wait()


async def test_spawn_starts_here_and_now_and_links() -> None:
    async with System() as system:
        parent = await system.start(Doll.spec().options(id="p"))
        child = await parent.call(Do(lambda a: a.ctx.spawn(Doll, ["log"])))
        assert child.path.startswith("p/doll-")
        assert child.alive
        assert child.incarnation == 1
        assert await child.call(Do(lambda a: a.log)) == ["log"]
        child.tell(Act(raises(Stop(Abnormal("x")))))
        assert await parent.stopped() == Abnormal("x")


async def test_spawned_actors_end_before_their_parent() -> None:
    order: list[str] = []
    async with System() as system:
        parent = await system.start(Doll.spec().options(id="p"))
        for _ in range(3):
            await parent.call(Do(lambda a: a.ctx.spawn(Doll)))
        leave = system.events.listen(
            lambda e: order.append(e.kind + e.actor[:2]) if isinstance(e, events.Exited) else None
        )
        await system.stop_actor(parent)
        leave()
        assert order == ["Dollp/", "Dollp/", "Dollp/", "Dollp"]


async def test_a_spawn_that_fails_is_raised_and_leaves_nothing() -> None:
    error = ValueError("no")
    async with System() as system:
        parent = await system.start(Puppet.spec())
        with pytest.raises(StartFailed) as caught:
            await introspect_spawn(parent, raises(error))
        assert caught.value.reason == Crashed(error)
        with pytest.raises(StartFailed, match="ignored"):
            await introspect_spawn(parent, lambda _a: IGNORE)
        [node] = system.tree()
        assert node.children == ()


async def introspect_spawn(parent: Ref[Any], starting: Hook) -> None:
    """Spawns in a handler, and raises here what it raised there."""

    def work(actor: Any) -> Any:
        try:
            return actor.ctx.spawn(Doll, starting=starting)
        except StartFailed as failed:
            return failed

    outcome = await parent.call(Do(work))
    if isinstance(outcome, StartFailed):
        raise outcome


async def test_spawn_is_for_plain_actors() -> None:
    async with System() as system:
        parent = await system.start(Doll.spec())
        parent.tell(Act(lambda a: a.ctx.spawn(Puppet)))
        reason = await parent.stopped()
        assert str(reason) == (
            "TypeError: spawn takes an actor without async methods, and Puppet has some: use "
            "start_child or start"
        )


async def test_an_actor_may_spawn_in_its_start() -> None:
    async with System() as system:
        ref = await system.start(Doll.spec(starting=lambda a: a.ctx.spawn(Doll) and None))
        [node] = system.tree()
        assert [child.kind for child in node.children] == ["Doll"]
        assert await system.stop_actor(ref) == Shutdown()


class Leaf(Actor):
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


async def test_many_spawned_actors_come_and_go() -> None:
    def grow(actor: Any) -> None:
        for _ in range(10_000):
            actor.ctx.spawn(Leaf)

    async with System() as system:
        parent = await system.start(Doll.spec())
        await parent.call(Do(grow))
        [node] = system.tree()
        assert len(node.children) == 10_000
        await system.stop_actor(parent)
        assert system.tree() == ()


async def found_out(
    system: System, ref: Ref[Any], message: Act, quoted: str
) -> events.HandlerBlocked:
    """What the watchdog says of a message whose handler blocks where this is to be read.

    On a busy machine it may come too late to see that, so the message is sent until it does; and
    the loop may be held up elsewhere, too.
    """
    with system.events.subscribe() as stream:
        while True:
            ref.tell(message)
            with anyio.move_on_after(1):
                async for event in stream:
                    if isinstance(event, events.HandlerBlocked) and quoted in event.stack:
                        return event


@pytest.mark.real_time
@pytest.mark.parametrize("kind", [Puppet, Doll])
async def test_a_blocking_handler_is_said_with_its_actor_message_and_stack(kind: Any) -> None:
    message = Act(lambda _a: time.sleep(0.3))
    linecache.cache.pop(__file__, None)
    async with System(watchdog=0.05) as system:
        ref = await system.start(kind.spec().options(id="x"))
        event = await found_out(system, ref, message, "time.sleep(0.3)")
        assert (event.actor, event.message) == ("x", message)
        assert event.seconds >= 0.05
        assert f'  File "{__file__}", line ' in event.stack
        assert __file__ not in linecache.cache, "what is quoted is not kept"


@pytest.mark.real_time
async def test_a_handler_that_waits_in_a_selector_of_its_own_blocks_too() -> None:
    def wait(_actor: Any) -> None:
        subprocess.run(["sleep", "0.3"], capture_output=True, check=True)

    async with System(watchdog=0.05) as system:
        ref = await system.start(Doll.spec().options(id="x"))
        event = await found_out(system, ref, Act(wait), 'subprocess.run(["sleep", "0.3"]')
        assert event.actor == "x"


@pytest.mark.real_time
async def test_a_loop_without_work_is_seen_to_wait_and_not_woken() -> None:
    frames: list[bool] = []
    here = threading.get_ident()

    def look() -> None:
        until = time.monotonic() + PATIENCE
        while not (waiting := is_waiting(sys._current_frames().get(here))):
            assert time.monotonic() < until
            time.sleep(0.005)
        frames.append(waiting)

    async with System(log_crashes=False):
        await anyio.to_thread.run_sync(look)
    assert frames == [True]
    assert not is_waiting(sys._getframe())
    assert not is_waiting(None)


def test_a_watchdogs_patience_is_a_number_of_seconds() -> None:
    with pytest.raises(ValueError, match="watchdog must be a number of seconds above 0, got: 0"):
        System(watchdog=0)


async def test_events_cost_nothing_while_nobody_listens() -> None:
    async with System() as system:
        assert system.events.heard is False
        with recorded(system, events.Event):
            assert system.events.heard is True
        await settle()


async def test_a_long_backlog_is_worked_off_without_being_copied(plain: Plain) -> None:
    """gen_server_SUITE's call_with_huge_message_queue: what waits costs nobody time."""
    if plain == "task":
        return
    async with System() as system:
        ref = await system.start(Doll.spec())
        await settle()
        for n in range(1000):
            ref.tell(Note(n))
        cell: Any = ref._slot.cell
        system.pump.context.run(system.pump._sweep)
        left, batch = cell.depth, cell.taken
        system.pump.context.run(system.pump._sweep)
        assert (left, cell.depth) == (1000 - FAIRNESS, 1000 - 2 * FAIRNESS)
        assert cell.taken is batch
        system.kill(ref)
        assert await ref.stopped() == Killed()


@pytest.mark.parametrize("end", ["kill", "crash"])
async def test_what_is_left_of_a_batch_becomes_dead_letters_in_order(end: str) -> None:
    async with System() as system:
        ref = await system.start(Doll.spec())
        with recorded(system, events.DeadLetter) as seen:
            for n in range(5):
                ref.tell(Act(nothing))
                ref.tell(Note(n))
            if end == "crash":
                ref.tell(Act(raises(RuntimeError())))
                ref.tell(Note("late"))
            else:
                ref.tell(Act(lambda actor: actor.ctx.system.kill(actor.ctx.ref)))
                ref.tell(Note("late"))
            ref.tell(Note("later"))
            await ref.stopped()
        assert [event.message.word for event in seen if isinstance(event, events.DeadLetter)] == [
            "late",
            "later",
        ]


@pytest.mark.real_time
async def test_a_watchdog_is_stopped_at_any_moment() -> None:
    """Also between its look at whether it is over and its heartbeat."""
    for _ in range(300):
        async with System(watchdog=0.0002):
            await anyio.lowlevel.checkpoint()


async def test_a_system_that_has_ended_is_garbage_though_its_last_message_named_an_actor() -> None:
    """The collector does not see into messages, so a cycle by way of one would be for ever."""

    class Log(list[Any]):
        """One that can be referred to weakly."""

    async def run() -> weakref.ref[Log]:
        log = Log()
        async with System() as system:
            ref = await system.start(Doll.spec(log))
            for _ in range(3):
                await settle()  # a call to one that is idle is handled in place
                assert await ref.call(Do(lambda _: ref.alive))
        return weakref.ref(log)

    left = await run()
    gc.collect()
    assert left() is None
