"""Backoff, the restart limit's own reason, and stop-stays-stopped: what Erlang does not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actors import (
    Abnormal,
    Actor,
    Backoff,
    Cast,
    ChildInfo,
    ChildRefused,
    DeleteChild,
    DynamicSupervisor,
    InvalidSpec,
    RestartChild,
    RestartLimit,
    Shutdown,
    StartChild,
    Status,
    Stop,
    Supervisor,
    System,
    TerminateChild,
    WhichChildren,
    dialogue,
    events,
    on,
)
from actors.dialogue import Exit, QueueRetry, Refuse, Reply, Retry, Start
from actors.dialogue import Stop as StopIt
from actors.events import ChildStartFailed, ChildTerminated, LimitReached, Restarting, StopFailed
from actors.testing import settle
from tests.actors.core import BOOM, NO, Core, child

SLOW = Backoff(min=1.0, max=8.0, factor=2.0, jitter=0.0, reset_after=60.0)
AT_ONCE = Backoff(min=0, max=8.0, factor=2.0, jitter=0.0)


# -- the numbers -----------------------------------------------------------------------------------


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    assert [SLOW.delay(n, 0.5) for n in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_with_min_0_the_first_restart_is_made_at_once() -> None:
    assert [AT_ONCE.delay(n, 0.5) for n in range(1, 6)] == [0.0, 0.1, 0.2, 0.4, 0.8]


def test_a_thousand_failures_do_not_overflow() -> None:
    assert SLOW.delay(100_000, 0.5) == 8.0


def test_jitter_adds_at_most_its_part() -> None:
    backoff = Backoff(min=2.0, max=2.0, jitter=0.25)
    assert [backoff.delay(1, dice) for dice in (0.0, 0.5, 1.0)] == [2.0, 2.25, 2.5]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min": -1}, "backoff.min must be a number from 0 up, got: -1"),
        ({"max": math.inf}, "backoff.max must be a number from 0 up, got: inf"),
        ({"factor": 0.5}, "backoff.factor must be a number from 1 up, got: 0.5"),
        ({"jitter": 2}, "backoff.jitter must be a number from 0 to 1, got: 2"),
        ({"reset_after": "soon"}, "backoff.reset_after must be a number from 0 up, got: 'soon'"),
        ({"min": math.nan}, "backoff.min must be a number from 0 up, got: nan"),
        ({"min": True}, "backoff.min must be a number from 0 up, got: True"),
        ({"min": 5, "max": 1}, "backoff.max must not be less than backoff.min, got: 1 < 5"),
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Backoff(**options)
    assert str(caught.value) == text
    assert caught.value.code == "invalid_backoff"


def test_a_spec_takes_a_backoff_and_nothing_else_for_it() -> None:
    assert child("a").backoff is None
    assert child("a", backoff=SLOW).backoff == SLOW
    with pytest.raises(InvalidSpec, match="backoff must be a Backoff or None, got: 3"):
        child("a", backoff=3)


# -- the core --------------------------------------------------------------------------------------


def terminated(id: str, at: float = 0.0) -> ChildTerminated:
    return ChildTerminated(at=at, supervisor="top", child=id, reason=BOOM)


def restarting(id: str, count: int, intensity: int, delay: float, **other: Any) -> Restarting:
    return Restarting(
        at=other.get("at", 0.0),
        supervisor="top",
        child=id,
        reason=other.get("reason", BOOM),
        count=count,
        intensity=intensity,
        delay=delay,
    )


def retries(effects: list[Any]) -> list[QueueRetry]:
    return [effect for effect in effects if isinstance(effect, QueueRetry)]


def test_a_death_is_counted_at_once_and_its_restart_put_off() -> None:
    core = Core(child("a", backoff=SLOW), child("b"))
    core.boot()
    assert core.die("a") == [
        terminated("a"),
        restarting("a", 1, 1, 1.0),
        QueueRetry(Retry("a", 1), 1.0),
    ]
    assert core.status() == {"a": "restarting", "b": "running"}
    assert core.state.children["a"].due == 1.0
    assert len(core.state.restarts) == 1


def test_the_retry_starts_the_child_without_counting_again() -> None:
    core = Core(child("a", backoff=SLOW), intensity=1)
    core.boot()
    [retry] = retries(core.die("a"))
    core.now = 1.0
    assert core.step(retry.retry) == [Start("a")]
    assert core.status() == {"a": "running"}
    assert core.state.children["a"].due is None
    assert len(core.state.restarts) == 1


def test_with_min_0_the_restart_follows_the_death_in_one_step() -> None:
    core = Core(child("a", backoff=AT_ONCE))
    core.boot()
    assert core.die("a") == [terminated("a"), restarting("a", 1, 1, 0.0), Start("a")]


def test_a_failed_restart_waits_the_next_delay_and_counts() -> None:
    core = Core(child("a", backoff=SLOW), intensity=5)
    core.boot()
    core.starts["a"] = [NO]
    [retry] = retries(core.die("a"))
    core.now = 1.0
    assert core.step(retry.retry) == [
        Start("a"),
        ChildStartFailed(at=1.0, supervisor="top", child="a", reason=NO),
        restarting("a", 2, 5, 2.0, at=1.0, reason=NO),
        QueueRetry(Retry("a", 2), 2.0),
    ]
    assert core.state.children["a"].due == 3.0


def test_a_failed_restart_never_retries_in_the_same_step_however_short_the_delay() -> None:
    core = Core(child("a"), child("b", backoff=AT_ONCE), strategy="one_for_all", intensity=5)
    core.boot()
    core.starts["b"] = [NO]
    effects = core.die("a")
    assert effects[-2:] == [
        restarting("b", 2, 5, 0.0, reason=NO),
        QueueRetry(Retry("b", 4), 0.0),
    ]
    assert core.status() == {"a": "running", "b": "restarting"}
    assert core.step(Retry("b", 4)) == [StopIt("a"), Start("a"), Start("b")]


def test_the_count_starts_anew_after_a_healthy_life() -> None:
    core = Core(child("a", backoff=SLOW), intensity=9, period=1.0)
    core.boot()
    delays = []
    for lived in (0.0, 59.0, 60.0, 0.0):
        core.now += lived
        [retry] = retries(core.die("a"))
        delays.append(retry.delay)
        core.now += retry.delay
        core.step(retry.retry)
    assert delays == [1.0, 2.0, 1.0, 2.0]


def test_the_limit_counts_decisions_and_not_only_those_that_were_carried_out() -> None:
    core = Core(child("a", backoff=SLOW), intensity=1, period=100.0)
    core.boot()
    [retry] = retries(core.die("a"))
    core.step(retry.retry)
    assert core.die("a") == [
        terminated("a"),
        LimitReached(at=0.0, supervisor="top", child="a", reason=BOOM, intensity=1, period=100.0),
        Exit(Shutdown()),
    ]


def test_the_limit_is_reached_at_a_failed_start_without_another_wait() -> None:
    core = Core(child("a", backoff=SLOW), child("b"), intensity=1)
    core.boot()
    core.starts["a"] = [NO]
    [retry] = retries(core.die("a"))
    assert core.step(retry.retry) == [
        Start("a"),
        ChildStartFailed(at=0.0, supervisor="top", child="a", reason=NO),
        LimitReached(at=0.0, supervisor="top", child="a", reason=NO, intensity=1, period=5.0),
        StopIt("b"),
        Exit(Shutdown()),
    ]


def test_those_whom_it_takes_along_are_stopped_at_once_and_started_with_it() -> None:
    core = Core(
        child("a"), child("b", backoff=SLOW), child("c"), child("d"), strategy="rest_for_one"
    )
    core.boot()
    effects = core.die("b")
    assert effects[2:] == [QueueRetry(Retry("b", 2), 1.0), StopIt("d"), StopIt("c")]
    assert core.status() == {"a": "running", "b": "restarting", "c": "undefined", "d": "undefined"}
    assert core.step(Retry("b", 2)) == [Start("b"), Start("c"), Start("d")]


def test_a_temporary_sibling_is_forgotten_and_a_failed_stop_reported_while_it_waits() -> None:
    core = Core(child("a", backoff=SLOW), child("b", restart="temporary"), strategy="one_for_all")
    core.boot()
    core.stops["b"] = BOOM
    assert core.die("a")[3:] == [
        StopIt("b"),
        StopFailed(at=0.0, supervisor="top", child="b", reason=BOOM),
    ]
    assert core.status() == {"a": "restarting"}


def test_a_waiting_sibling_comes_back_with_the_group_and_its_own_retry_is_stale() -> None:
    core = Core(
        child("a", backoff=SLOW), child("b", backoff=SLOW), strategy="rest_for_one", intensity=9
    )
    core.boot()
    [of_b] = retries(core.die("b"))
    [of_a] = retries(core.die("a"))
    assert core.status() == {"a": "restarting", "b": "undefined"}
    assert core.step(of_b.retry) == []
    assert core.step(of_a.retry) == [Start("a"), Start("b")]
    assert core.step(of_b.retry) == []


def test_terminate_child_cancels_a_waiting_restart() -> None:
    core = Core(child("a", backoff=SLOW))
    core.boot()
    [retry] = retries(core.die("a"))
    assert core.step(dialogue.TerminateChild("a")) == [Reply()]
    assert core.status() == {"a": "undefined"}
    assert core.state.children["a"].due is None
    assert core.step(retry.retry) == []


def test_a_waiting_child_is_refused_to_restart_and_delete_as_restarting() -> None:
    core = Core(child("a", backoff=SLOW))
    core.boot()
    core.die("a")
    assert core.step(dialogue.RestartChild("a")) == [Refuse("restarting", "a")]
    assert core.step(dialogue.DeleteChild("a")) == [Refuse("restarting", "a")]
    assert core.step(dialogue.StartChild(child("a"))) == [Refuse("already_present", "a")]


def test_a_retry_of_a_deleted_child_does_not_touch_its_successor_of_the_same_id() -> None:
    core = Core(child("a", backoff=SLOW), intensity=9)
    core.boot()
    [old] = retries(core.die("a"))
    core.step(dialogue.TerminateChild("a"))
    core.step(dialogue.DeleteChild("a"))
    core.step(dialogue.StartChild(child("a", backoff=SLOW)))
    [new] = retries(core.die("a"))
    assert core.step(old.retry) == []
    assert core.step(new.retry) == [Start("a")]


def test_a_stop_by_command_makes_the_next_failure_the_first() -> None:
    core = Core(child("a", backoff=SLOW), intensity=9)
    core.boot()
    for _ in range(3):
        [retry] = retries(core.die("a"))
        core.step(retry.retry)
    core.step(dialogue.TerminateChild("a"))
    core.step(dialogue.RestartChild("a"))
    [retry] = retries(core.die("a"))
    assert retry.delay == 1.0


def test_the_end_of_the_supervisor_cancels_a_waiting_restart() -> None:
    core = Core(child("a", backoff=SLOW), child("b"))
    core.boot()
    core.die("a")
    assert core.step(dialogue.Terminate(Shutdown())) == [StopIt("b"), Exit(Shutdown())]


def test_a_waiting_significant_child_counts_as_alive() -> None:
    core = Core(
        child("a", backoff=SLOW, restart="transient", significant=True),
        child("b", restart="temporary", significant=True),
        auto_shutdown="all_significant",
    )
    core.boot()
    core.die("a")
    assert core.die("b", Shutdown()) == []
    assert core.status() == {"a": "restarting"}


def test_the_jitter_comes_from_the_dice_that_were_passed_in() -> None:
    thrown = iter([0.0, 1.0])
    core = Core(
        child("a", backoff=Backoff(min=1.0, jitter=0.5, factor=1.0)),
        dice=lambda: next(thrown),
        intensity=5,
    )
    core.boot()
    [first] = retries(core.die("a"))
    core.step(first.retry)
    [second] = retries(core.die("a"))
    assert (first.delay, second.delay) == (1.0, 1.5)


# -- the limit's own reason ------------------------------------------------------------------------


def test_limit_is_failure_ends_the_supervisor_with_restart_limit() -> None:
    core = Core(child("a"), child("b"), intensity=0, period=3.0, limit_is_failure=True)
    core.boot()
    reason = RestartLimit("a", BOOM, 0, 3.0)
    assert core.die("a")[2:] == [StopIt("b"), Exit(reason)]
    assert not reason.orderly
    assert str(reason) == "a needed more than 0 restarts in 3 s, last ended with: boom"


# -- stop stays stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "up"), [(False, ["a", "b", "c"]), (True, ["a", "c"])])
def test_a_stopped_child_and_a_restart_of_its_group(keep: bool, up: list[str]) -> None:
    core = Core(child("a"), child("b"), child("c"), strategy="one_for_all", keep_stopped=keep)
    core.boot()
    core.step(dialogue.TerminateChild("b"))
    core.die("a")
    assert core.up() == up


def test_keep_stopped_does_not_hold_a_transient_child_that_ended_by_itself() -> None:
    core = Core(
        child("a"), child("b", restart="transient"), strategy="one_for_all", keep_stopped=True
    )
    core.boot()
    core.die("b", Shutdown())
    core.die("a")
    assert core.up() == ["a", "b"]


def test_restart_child_ends_the_hold() -> None:
    core = Core(child("a"), child("b"), strategy="one_for_all", keep_stopped=True)
    core.boot()
    core.step(dialogue.TerminateChild("b"))
    core.step(dialogue.RestartChild("b"))
    core.die("a")
    assert core.up() == ["a", "b"]


@pytest.mark.parametrize("flag", ["keep_stopped", "limit_is_failure"])
def test_the_options_are_booleans(flag: str) -> None:
    with pytest.raises(InvalidSpec, match=f"{flag} must be true or false, got: 1"):
        Core(**{flag: 1})


# -- the shell -------------------------------------------------------------------------------------


class Die(Cast["Flaky"], frozen=True):
    pass


class Flaky(Actor):
    """Its start fails while `failing` says so."""

    def __init__(self, failing: Callable[[], bool] = lambda: False) -> None:
        self.failing = failing

    async def start(self) -> None:
        if self.failing():
            raise Stop(NO)

    @on(Die)
    def die(self, _msg: Die) -> None:
        raise Stop(BOOM)


async def test_a_child_waits_shown_as_restarting_and_comes_back_when_due() -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec([Flaky.spec().options(backoff=SLOW)]))
        [before] = await top.call(WhichChildren())
        assert before.ref is not None
        began = system.now()
        before.ref.tell(Die())
        await settle()
        [waiting] = await top.call(WhichChildren())
        assert waiting == ChildInfo("flaky", None, Status.RESTARTING, "worker", began + 1.0, 1)
        await anyio.sleep(0.999)
        assert not before.ref.alive
        await anyio.sleep(0.001)
        await settle()
        [after] = await top.call(WhichChildren())
        assert after == ChildInfo("flaky", before.ref, Status.RUNNING, "worker", None, 1)
        assert before.ref.incarnation == 2


async def test_a_child_whose_start_fails_for_a_minute_is_tried_ever_more_rarely() -> None:
    started: list[float] = []
    async with System() as system:
        top = await system.start(
            Supervisor.spec(
                [
                    Flaky.spec(lambda: bool(started) and system.now() < began + 60).options(
                        backoff=SLOW
                    )
                ],
                intensity=3,
                period=5.0,
            )
        )
        began = system.now()
        tried: list[float] = []
        system.events.listen(
            lambda event: (
                tried.append(round(event.at - began, 3))
                if isinstance(event, events.StartFailed | events.Started)
                else None
            )
        )
        started.append(began)
        ref = system.at("supervisor/flaky")
        assert ref is not None
        ref.tell(Die())
        await anyio.sleep(100)
        assert tried == [1.0, 3.0, 7.0, 15.0, 23.0, 31.0, 39.0, 47.0, 55.0, 63.0]
        assert top.alive
        assert ref.alive


async def test_commands_are_served_while_a_child_waits_and_the_system_can_stop() -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec([Flaky.spec().options(backoff=SLOW)]))
        [ref] = [one.ref for one in await top.call(WhichChildren())]
        assert ref is not None
        ref.tell(Die())
        await settle()
        with pytest.raises(ChildRefused, match="child 'flaky': restarting"):
            await top.call(RestartChild("flaky"))
        await top.call(TerminateChild("flaky"))
        await anyio.sleep(100)
        assert not ref.alive
        await top.call(DeleteChild("flaky"))
        await top.call(StartChild(Flaky.spec().options(backoff=SLOW)))
        ref.tell(Die())
        await settle()
        await system.stop()
        assert not ref.alive


async def test_a_child_of_a_dynamic_supervisor_waits_too() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        ref = await top.call(StartChild(Flaky.spec().options(backoff=SLOW)))
        assert ref is not None
        ref.tell(Die())
        await settle()
        assert [one.status for one in await top.call(WhichChildren())] == [Status.RESTARTING]
        await anyio.sleep(1)
        await settle()
        assert ref.alive


async def test_a_transient_supervisor_at_its_limit_comes_back_only_if_that_is_a_failure() -> None:
    for failure, incarnation in ((False, 1), (True, 2)):
        async with System() as system:
            inner = Supervisor.spec([Flaky.spec()], intensity=0, limit_is_failure=failure)
            await system.start(
                Supervisor.spec([inner.options(id="inner", restart="transient")]).options(id="top")
            )
            ref, flaky = system.at("top/inner"), system.at("top/inner/flaky")
            assert ref
            assert flaky
            flaky.tell(Die())
            await settle()
            assert (ref.incarnation, ref.alive) == (incarnation, failure)


async def test_one_seed_gives_one_sequence_of_delays() -> None:
    async def delays(seed: int | None) -> list[float]:
        seen: list[float] = []
        async with System() as system:
            system.events.listen(
                lambda event: (
                    seen.append(event.delay) if isinstance(event, events.Restarting) else None
                )
            )
            spec = Flaky.spec().options(backoff=Backoff(min=1.0, jitter=1.0))
            await system.start(Supervisor.spec([spec], intensity=9, seed=seed))
            ref = system.at("supervisor/flaky")
            assert ref is not None
            for _ in range(4):
                ref.tell(Die())
                await anyio.sleep(100)
        return seen

    first = await delays(7)
    assert first == await delays(7)
    assert first != await delays(8)
    assert await delays(None) != await delays(None)


def test_the_reason_for_a_limit_reads_as_a_sentence() -> None:
    reason = RestartLimit("web", Abnormal("exit status 1"), 1, 2.5)
    assert str(reason) == "web needed more than 1 restart in 2.5 s, last ended with: exit status 1"
