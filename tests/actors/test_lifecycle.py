"""How an actor starts, stops and ends: R1, R2, R14–R21, R29–R33."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import (
    IGNORE,
    Abnormal,
    Actor,
    ActorDown,
    ChildSpec,
    Crashed,
    Killed,
    NameTaken,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    StartFailed,
    Stop,
    System,
    events,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Hook, Note, Puppet, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


def start(spec: ChildSpec[Any]) -> Hook:
    return lambda actor: actor.ctx.start_child(spec)


@pytest.mark.parametrize(
    ("reason", "orderly"),
    [
        (Normal(), True),
        (Shutdown(), True),
        (Shutdown("term"), True),
        (Abnormal("shutdown"), False),
        (Crashed(ValueError()), False),
        (Killed(), False),
        (NoProc(), False),
        (Reason(), False),
    ],
)
def test_r1_orderly_reasons(reason: Reason, orderly: bool) -> None:
    assert reason.orderly is orderly


@KINDS
async def test_r2_an_exception_and_a_stop_become_reasons(kind: Any) -> None:
    error = ValueError("boom")
    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Act(raises(error)))
        assert await ref.stopped() == Crashed(error)
        ref = await system.start(kind.spec())
        ref.tell(Act(raises(Stop())))
        assert await ref.stopped() == Normal()
        ref = await system.start(kind.spec())
        ref.tell(Act(raises(Stop(Abnormal("x")))))
        assert await ref.stopped() == Abnormal("x")


async def test_a_group_with_one_exception_counts_as_that_exception() -> None:
    error = KeyError("k")

    async def fail() -> None:
        raise error

    async def in_a_group(_actor: Puppet) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)

    async with System() as system:
        ref = await system.start(Puppet.spec())
        ref.tell(Act(in_a_group))
        assert await ref.stopped() == Crashed(error)


@KINDS
async def test_r14_start_returns_once_the_actor_has_started(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log, starting=lambda a: a.log.append("start")))
        assert log == ["start"]
        assert ref.alive


@KINDS
async def test_r15_a_failed_start_is_raised_at_the_starter_and_leaves_nothing(kind: Any) -> None:
    error = OSError("no disk")
    async with System() as system:
        with recorded(system, events.Event) as seen, pytest.raises(StartFailed) as caught:
            await system.start(kind.spec(starting=raises(error)).options(id="x", name="x"))
        assert caught.value.reason == Crashed(error)
        assert caught.value.__cause__ is error
        assert str(caught.value) == "x failed to start: OSError: no disk"
        assert [type(e) for e in seen] == [events.StartFailed, events.CrashReport]
        assert system.whereis("x") is None


@KINDS
async def test_r15_a_start_that_stops_fails_with_that_reason(kind: Any) -> None:
    async with System() as system:
        with pytest.raises(StartFailed) as caught:
            await system.start(kind.spec(starting=raises(Stop(Abnormal("why")))))
        assert caught.value.reason == Abnormal("why")


async def test_r15_an_exception_in_init_is_a_failed_start() -> None:
    class Broken(Actor):
        def __init__(self) -> None:
            raise ValueError("init")

    async with System() as system:
        with pytest.raises(StartFailed, match="ValueError: init"):
            await system.start(Broken.spec())


@KINDS
async def test_r15_ignore_is_no_error_under_an_actor_and_one_at_the_top(kind: Any) -> None:
    async with System() as system:
        parent = await system.start(Puppet.spec())
        with recorded(system, events.Event) as seen:
            spec = kind.spec(starting=lambda _a: IGNORE).options(id="i")
            assert await parent.call(Do(lambda a: a.ctx.start_child(spec))) is None
        assert [type(e) for e in seen] == [events.StartIgnored]
        with pytest.raises(StartFailed, match="ignored"):
            await system.start(spec)


async def test_r16_a_start_that_is_given_up_is_killed_and_gone() -> None:
    async def hang(actor: Puppet) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            actor.log.append("cancelled")

    log: list[Any] = []
    async with System() as system:
        with recorded(system, events.Event) as seen, anyio.move_on_after(1) as scope:
            await system.start(Puppet.spec(log, starting=hang).options(name="n"))
        assert scope.cancelled_caught
        assert log == ["cancelled"]
        assert [(type(e), getattr(e, "reason", None)) for e in seen] == [
            (events.StartFailed, Killed())
        ]
        assert system.whereis("n") is None


@KINDS
async def test_r17_the_name_is_free_before_the_starter_hears_of_a_failure(kind: Any) -> None:
    async with System() as system:
        for _ in range(100):
            with pytest.raises(StartFailed):
                await system.start(kind.spec(starting=raises(ValueError())).options(name="n"))
        await system.start(kind.spec().options(name="n"))


async def test_r19_a_taken_name_and_a_taken_place_start_nothing() -> None:
    async with System() as system:
        first = await system.start(Puppet.spec().options(id="a", name="n"))
        with pytest.raises(StartFailed) as caught:
            await system.start(Puppet.spec().options(id="b", name="n"))
        assert isinstance(caught.value.__cause__, NameTaken)
        assert str(caught.value.__cause__) == "the name 'n' is taken by a"
        with pytest.raises(NameTaken, match="the name 'a' is taken by a"):
            await system.start(Puppet.spec().options(id="a"))
        assert system.whereis("n") == first


@KINDS
async def test_r20_stop_runs_stopping_and_returns_the_reason(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        assert await system.stop_actor(ref, Abnormal("bye")) == Abnormal("bye")
        assert log == [("stopping", Abnormal("bye"))]
        assert await system.stop_actor(ref) == Abnormal("bye")


@KINDS
async def test_r21_one_report_with_the_message_that_was_being_handled(kind: Any) -> None:
    message = Act(raises(ValueError("boom")))
    async with System() as system:
        ref = await system.start(kind.spec().options(id="x"))
        with recorded(system, events.Exited) as seen:
            ref.tell(message)
            reason = await ref.stopped()
        [event] = seen
        assert event == events.Exited(
            at=event.at,
            actor="x",
            kind=kind.__name__,
            incarnation=1,
            reason=reason,
            message=message,
        )


@KINDS
async def test_r29_reply_and_stop_replies_after_stopping(kind: Any) -> None:
    log: list[Any] = []

    def answer_last(actor: Any) -> str:
        actor.ctx.stop(Shutdown("done"))
        return "reply"

    async with System() as system:
        ref = await system.start(kind.spec(log))
        assert await ref.call(Do(answer_last)) == "reply"
        assert log == [("stopping", Shutdown("done"))]
        assert await ref.stopped() == Shutdown("done")


@KINDS
async def test_r31_a_crash_runs_stopping_then_the_caller_hears(kind: Any) -> None:
    log: list[Any] = []
    error = ValueError("boom")
    async with System() as system:
        ref = await system.start(kind.spec(log))
        with pytest.raises(ActorDown) as caught:
            await ref.call(Do(raises(error)))
        assert caught.value.reason == Crashed(error)
        assert log == [("stopping", Crashed(error))]


@KINDS
async def test_r31_an_exception_in_stopping_replaces_the_reason(kind: Any) -> None:
    error = ValueError("last")
    async with System() as system:
        ref = await system.start(kind.spec(ending=raises(error)))
        assert await system.stop_actor(ref) == Crashed(error)


@KINDS
async def test_r32_no_stopping_after_a_kill_nor_after_a_link_signal(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        killed = await system.start(kind.spec(log).options(id="k"))
        system.kill(killed)
        assert await killed.stopped() == Killed()
        other = await system.start(Puppet.spec().options(id="o"))
        linked = await system.start(kind.spec(log).options(id="l"))
        await linked.call(Do(lambda a: a.ctx.link(other)))
        other.tell(Act(raises(Stop(Abnormal("x")))))
        assert await linked.stopped() == Abnormal("x")
        assert log == []


@KINDS
async def test_r32_a_parents_end_is_a_request_to_stop_whatever_the_reason(kind: Any) -> None:
    for reason in (Normal(), Shutdown(), Abnormal("x")):
        log: list[Any] = []
        async with System() as system:
            parent = await system.start(Puppet.spec())
            spec = kind.spec(log)
            await parent.call(Do(start(spec)))
            parent.tell(Act(raises(Stop(reason))))
            assert await parent.stopped() == reason
            assert log == [("stopping", reason)]


async def test_r32_stopping_has_a_deadline() -> None:
    async def dawdle(_actor: Puppet) -> None:
        await anyio.sleep(60)

    async with System() as system:
        began = anyio.current_time()
        ref = await system.start(Puppet.spec(ending=dawdle).options(shutdown=2.0))
        ref.tell(Act(lambda a: a.ctx.stop()))
        assert await ref.stopped() == Normal()
        assert anyio.current_time() - began == 2.0
        ref = await system.start(Puppet.spec(ending=dawdle).options(shutdown=2.0))
        assert await system.stop_actor(ref) == Killed()
        assert anyio.current_time() - began == 4.0


@KINDS
async def test_r33_started_runs_before_any_message(kind: Any) -> None:
    log: list[Any] = []

    async with System() as system:
        early = Note("message")
        spec = kind.spec(
            log,
            starting=lambda a: a.ctx.ref.tell(early),
            continuing=lambda a: a.log.append("started"),
        )
        await system.start(spec)
        await settle()
        assert log == ["started", "message"]


@KINDS
async def test_r33_a_crash_in_started_is_a_crash_not_a_failed_start(kind: Any) -> None:
    error = ValueError("later")
    async with System() as system:
        ref = await system.start(kind.spec(continuing=raises(error)))
        assert await ref.stopped() == Crashed(error)


@KINDS
async def test_a_stop_request_passes_queued_messages_by(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log).options(id="x"))
        with recorded(system, events.DeadLetter) as seen:
            ref.tell(Act(lambda a: a.ctx.stop()))
            ref.tell(Note("never"))
            await ref.stopped()
        assert log == [("stopping", Normal())]
        [letter] = seen
        assert letter == events.DeadLetter(
            at=letter.at, actor="x", message=Note("never"), reason=Normal()
        )


async def test_kill_in_the_midst_of_a_handler() -> None:
    async def hang(actor: Puppet) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            actor.log.append("unwound")

    log: list[Any] = []
    async with System() as system:
        ref = await system.start(Puppet.spec(log))
        ref.tell(Act(hang))
        await settle()
        system.kill(ref)
        assert await ref.stopped() == Killed()
        assert log == ["unwound"]


async def test_a_handler_that_swallows_one_cancellation_is_cancelled_again() -> None:
    async def stubborn(actor: Puppet) -> None:
        try:
            await anyio.sleep_forever()
        except BaseException:
            actor.log.append("swallowed")
        await anyio.sleep_forever()

    log: list[Any] = []
    async with System() as system:
        ref = await system.start(Puppet.spec(log))
        ref.tell(Act(stubborn))
        await settle()
        system.kill(ref)
        assert await ref.stopped() == Killed()
        assert log == ["swallowed"]


async def test_a_real_error_beats_the_kill_that_it_raced_with() -> None:
    error = OSError("cleanup")

    async def fail_in_cleanup(_actor: Puppet) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async with System() as system:
        ref = await system.start(Puppet.spec())
        ref.tell(Act(fail_in_cleanup))
        await settle()
        system.kill(ref)
        assert await ref.stopped() == Crashed(error)


async def test_a_supervisors_stop_lets_the_handler_at_hand_finish() -> None:
    async def slow(actor: Puppet) -> None:
        await anyio.sleep(3)
        actor.log.append("done")

    log: list[Any] = []
    async with System() as system:
        ref = await system.start(Puppet.spec(log).options(shutdown=5.0))
        ref.tell(Act(slow))
        await settle()
        assert await system.stop_actor(ref) == Shutdown()
        assert log == ["done", ("stopping", Shutdown())]


@KINDS
async def test_stopped_may_be_awaited_again_and_by_many(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        reasons: list[Reason] = []

        async def wait() -> None:
            reasons.append(await ref.stopped())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
            await settle()
            ref.tell(Act(lambda a: a.ctx.stop()))
        assert reasons == [Normal()] * 3
        assert await ref.stopped() == Normal()


@KINDS
async def test_a_place_has_lives_and_its_ref_outlasts_them(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        await system.stop_actor(ref)
        again = await system.start(kind.spec())
        assert ref == again
        assert ref.incarnation == 2
        assert await ref.call(Do(lambda a: a.ctx.incarnation)) == 2


async def test_a_system_that_is_not_running_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with System"):
        await System().start(Puppet.spec())
