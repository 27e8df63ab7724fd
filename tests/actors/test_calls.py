"""Calls and replies: R22–R30, R36–R38, and deadlocks."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from actors import (
    Abnormal,
    ActorDown,
    CallTimeout,
    Crashed,
    Deadlock,
    Killed,
    NoProc,
    NoReply,
    Normal,
    Ref,
    Refused,
    Reply,
    Shutdown,
    Stop,
    System,
    events,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Hook, Note, Puppet, nothing, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


def noting(word: Any) -> Hook:
    return lambda actor: actor.log.append(word)


async def hang(_actor: Puppet) -> None:
    await anyio.sleep_forever()


@KINDS
async def test_r23_a_call_to_the_dead_fails_at_once_with_the_reason(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec().options(id="x"))
        await system.stop_actor(ref, Abnormal("gone"))
        with pytest.raises(ActorDown) as caught:
            await ref.call(Do(nothing))
        assert caught.value.reason == Abnormal("gone")
        assert str(caught.value) == "x is down: gone"


@KINDS
async def test_r23_queued_calls_fail_when_the_callee_dies(kind: Any) -> None:
    error = ValueError("boom")
    outcomes: list[Any] = []

    async def call(ref: Ref[Any], work: Any) -> None:
        try:
            await ref.call(Do(work))
        except ActorDown as down:
            outcomes.append(down.reason)

    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Act(raises(error)))
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call, ref, print)
    assert outcomes == [Crashed(error)] * 3


@KINDS
async def test_r24_an_orderly_end_without_a_reply_still_fails_the_call(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(ActorDown) as caught:
            await ref.call(Do(raises(Stop())))
        assert caught.value.reason == Normal()


async def test_r25_r26_after_a_timeout_the_work_is_done_and_the_reply_dropped() -> None:
    async def slow(actor: Puppet) -> str:
        await anyio.sleep(10)
        actor.log.append("worked")
        return "late"

    log: list[Any] = []
    async with System() as system:
        ref = await system.start(Puppet.spec(log).options(id="x"))
        began = anyio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await ref.call(Do(slow), timeout=1)
        assert isinstance(caught.value, TimeoutError)
        assert str(caught.value) == "x did not answer Do within 1 s"
        assert 1 <= anyio.current_time() - began < 1.2
        assert await ref.call(Do(lambda a: list(a.log))) == ["worked"]


@KINDS
async def test_a_call_within_its_timeout_is_answered(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        assert await ref.call(Do(lambda _a: 5), timeout=1) == 5
        await anyio.sleep(10)
        assert await ref.call(Do(lambda _a: 6), timeout=1) == 6


async def test_r27_the_callers_death_leaves_the_callee_alone() -> None:
    async def slow(actor: Puppet) -> None:
        await anyio.sleep(2)
        actor.log.append("worked")

    log: list[Any] = []
    async with System() as system:
        callee = await system.start(Puppet.spec(log).options(id="callee"))
        caller = await system.start(Puppet.spec().options(id="caller"))
        caller.tell(Act(lambda _a: callee.call(Do(slow))))
        await settle()
        system.kill(caller)
        await caller.stopped()
        await anyio.sleep(5)
        assert log == ["worked"]
        assert callee.alive


@KINDS
async def test_r28_a_reply_may_be_given_later_and_from_elsewhere(kind: Any) -> None:
    kept: list[Reply[Any]] = []

    def later(actor: Any) -> Any:
        kept.append(actor.ctx.defer())
        return kept[-1]

    async with System() as system:
        ref = await system.start(kind.spec())

        async def answer() -> None:
            await anyio.sleep(1)
            kept[0].send("answer")
            kept[0].send("ignored")

        async with anyio.create_task_group() as group:
            group.start_soon(answer)
            assert await ref.call(Do(later)) == "answer"
        assert repr(kept[0]) == "<Reply answered>"


@KINDS
async def test_r28_a_reply_may_be_a_failure(kind: Any) -> None:
    kept: list[Reply[Any]] = []

    def later(actor: Any) -> Any:
        kept.append(actor.ctx.defer())
        actor.ctx.send_after(1, Act(lambda _a: kept[0].fail(Refused("no"))))
        return kept[-1]

    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(Refused, match="no"):
            await ref.call(Do(later))


@KINDS
async def test_r28_a_death_fails_the_callers_that_wait_for_a_later_reply(kind: Any) -> None:
    kept: list[Reply[Any]] = []

    def later(actor: Any) -> Any:
        kept.append(actor.ctx.defer())
        return kept[-1]

    async with System() as system:
        ref = await system.start(kind.spec())

        async def kill() -> None:
            await anyio.sleep(1)
            system.kill(ref)

        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            with pytest.raises(ActorDown) as caught:
                await ref.call(Do(later))
        assert caught.value.reason == Killed()
        kept[0].send("too late")


@KINDS
async def test_a_dropped_reply_handle_fails_the_caller_at_once(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec().options(id="x"))
        with pytest.raises(NoReply, match="x dropped the reply handle without an answer"):
            await ref.call(Do(lambda a: a.ctx.defer()))
        gc.collect()
        assert ref.alive


@KINDS
async def test_defer_outside_a_calls_handler_says_so(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Act(lambda a: a.ctx.defer()))
        reason = await ref.stopped()
        assert isinstance(reason, Crashed)
        assert str(reason.error) == (
            "there is no caller to answer: defer() belongs in a call's handler"
        )


@KINDS
async def test_refused_fails_only_the_caller_of_a_call(kind: Any) -> None:
    error = Refused("not today")
    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(Refused) as caught:
            await ref.call(Do(raises(error)))
        assert caught.value is error
        assert await ref.call(Do(lambda _a: 1)) == 1
        ref.tell(Act(raises(error)))
        assert await ref.stopped() == Crashed(error)


@KINDS
async def test_r11_r36_a_tell_to_the_dead_is_a_dead_letter(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec().options(id="x"))
        await system.stop_actor(ref)
        with recorded(system, events.DeadLetter) as seen:
            ref.tell(Note("lost"))
        assert [
            (e.actor, e.message, e.reason) for e in seen if isinstance(e, events.DeadLetter)
        ] == [("x", Note("lost"), Shutdown())]


@KINDS
async def test_r10_r38_messages_of_one_sender_arrive_in_order(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        for n in range(1000):
            ref.tell(Note(n))
            if n % 100 == 50:
                await ref.call(Do(noting((n, "call"))))
        await ref.call(Do(nothing))
    calls = [n for n in log if isinstance(n, tuple) and n[1] == "call"]
    assert [n for n in log if isinstance(n, int)] == list(range(1000))
    assert [log[log.index(call) - 1] for call in calls] == [n for n, _ in calls]


async def test_the_death_of_an_actor_is_heard_after_its_last_message() -> None:
    log: list[Any] = []
    async with System() as system:
        watcher = await system.start(Puppet.spec(log).options(id="w"))
        other = await system.start(Puppet.spec().options(id="o"))
        await watcher.call(Do(lambda a: a.ctx.monitor(other)))

        def last_words(_actor: Puppet) -> None:
            watcher.tell(Note(1))
            watcher.tell(Note(2))
            raise Stop

        other.tell(Act(last_words))
        await other.stopped()
        await settle()
        assert log[:2] == [1, 2]
        assert (log[2].ref, log[2].reason) == (other, Normal())


async def call_in_a_circle(refs: list[Ref[Puppet]]) -> None:
    """The first calls the second, … and the last the first."""

    def step(n: int) -> Any:
        async def work(_actor: Puppet) -> Any:
            return await refs[(n + 1) % len(refs)].call(Do(step(n + 1)))

        return work

    await refs[0].call(Do(step(0)))


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_a_cycle_of_calls_is_a_deadlock_error_at_the_one_that_closes_it(size: int) -> None:
    async with System() as system:
        refs = [await system.start(Puppet.spec().options(id=f"a{n}")) for n in range(size)]
        with pytest.raises(ActorDown) as caught:
            await call_in_a_circle(refs)
        reason = caught.value.reason
        while isinstance(reason, Crashed) and isinstance(reason.error, ActorDown):
            reason = reason.error.reason
        assert isinstance(reason, Crashed)
        assert isinstance(reason.error, Deadlock)
        last = f"a{size - 1}"
        assert reason.error.cycle == (last, *(f"a{n}" for n in range(size)))


async def test_a_deadlock_is_caught_in_side_tasks_of_a_handler_too() -> None:
    async with System() as system:
        a = await system.start(Puppet.spec().options(id="a"))
        b = await system.start(Puppet.spec().options(id="b"))
        caught: list[Deadlock] = []

        async def back(_actor: Puppet) -> None:
            try:
                await a.call(Do(nothing))
            except Deadlock as error:
                caught.append(error)

        async def fan_out(_actor: Puppet) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(b.call, Do(back))
                group.start_soon(anyio.sleep, 1)

        await a.call(Do(fan_out))
        assert [e.cycle for e in caught] == [("b", "a", "b")]


async def test_no_deadlock_is_seen_in_a_call_that_someone_else_can_answer() -> None:
    """B's reply handle has travelled to C, so A, which waits for B, can be answered."""
    kept: list[Reply[Any]] = []

    def keep(actor: Puppet) -> Any:
        kept.append(actor.ctx.defer())
        actor.ctx.ref.tell(Act(call_a))
        return kept[-1]

    async with System() as system:
        a = await system.start(Puppet.spec().options(id="a"))
        b = await system.start(Puppet.spec().options(id="b"))

        async def call_a(actor: Puppet) -> None:
            actor.log.append(await a.call(Do(lambda _a: "from a")))

        async with anyio.create_task_group() as group:
            group.start_soon(a.call, Do(lambda _a: b.call(Do(keep))))
            await anyio.sleep(1)
            kept[0].send("from c")
        await settle()
        assert await b.call(Do(lambda actor: list(actor.log))) == ["from a"]


async def test_an_actor_may_call_itself_from_its_own_task() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        got: list[Any] = []

        async def ask() -> None:
            got.append(await ref.call(Do(lambda _a: 1)))

        await ref.call(Do(lambda a: a.ctx.run(ask)))
        await settle()
        assert got == [1]


async def test_cancelling_a_call_abandons_the_reply_only() -> None:
    log: list[Any] = []

    async def slow(actor: Puppet) -> None:
        await anyio.sleep(5)
        actor.log.append("worked")

    async with System() as system:
        ref = await system.start(Puppet.spec(log))
        with anyio.move_on_after(1):
            await ref.call(Do(slow))
        await anyio.sleep(10)
        assert log == ["worked"]


@KINDS
async def test_a_busy_actor_lets_others_run(kind: Any) -> None:
    turns: list[str] = []

    async def other() -> None:
        for _ in range(3):
            turns.append("other")
            await anyio.lowlevel.checkpoint()

    async with System() as system:
        ref = await system.start(kind.spec())
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(2000):
                ref.tell(Act(lambda _a: turns.append("actor")))
        await ref.call(Do(nothing))
    assert turns.index("other") < len(turns) - 1
    assert max(n for n, who in enumerate(turns) if who == "other") < 1500


@KINDS
async def test_a_caller_in_a_loop_lets_others_run(kind: Any) -> None:
    seen: list[int] = []
    async with System() as system:
        ref = await system.start(kind.spec())
        calls = 0

        async def other() -> None:
            seen.append(calls)

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(1000):
                await ref.call(Do(lambda _a: None))
                calls += 1
    assert seen[0] < 200


async def test_a_call_to_a_place_that_never_lived() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        assert system.at("nowhere") is None
        slot = ref._slot
        slot.cell = None
        with pytest.raises(ActorDown) as caught:
            await ref.call(Do(nothing))
        assert caught.value.reason == NoProc()


async def test_r28_a_handle_that_is_dropped_by_a_kill_is_not_said_to_be_dropped() -> None:
    """The killed handler's frame goes, and its handle with it, before the actor is down."""

    async def defers_and_hangs(actor: Puppet) -> Any:
        reply = actor.ctx.defer()
        await anyio.sleep_forever()
        return reply

    async with System() as system:
        for end, reason in (
            (lambda ref: system.kill(ref), Killed()),
            (lambda ref: ref._slot.cell.fail(Abnormal("a task")), Abnormal("a task")),
        ):
            ref = await system.start(Puppet.spec().options(id="x"))
            request = ref.request(Do(defers_and_hangs))
            await settle()
            end(ref)
            with pytest.raises(ActorDown) as down:
                await request
            assert down.value.reason == reason


@pytest.mark.parametrize("end", ["kill", "crash", "stop"])
async def test_r28_a_handle_that_goes_with_an_ending_actors_task(end: str) -> None:
    async def hold(_reply: Reply[Any]) -> None:
        await anyio.sleep_forever()

    def defers(actor: Any) -> Any:
        reply = actor.ctx.defer()
        actor.ctx.run(hold, reply)
        return reply

    error = ValueError("boom")
    reasons = {"kill": Killed(), "crash": Crashed(error), "stop": Normal()}
    async with System() as system:
        for kind in (Puppet, Doll):
            ref: Ref[Any] = await system.start(_any(kind).spec().options(id=kind.__name__))
            request = ref.request(Do(defers))
            await settle()
            if end == "kill":
                system.kill(ref)
            else:
                ref.tell(Act(raises(error) if end == "crash" else lambda a: a.ctx.stop()))
            with pytest.raises(ActorDown) as down:
                await request
            assert down.value.reason == reasons[end]


def _any(kind: Any) -> Any:
    return kind
