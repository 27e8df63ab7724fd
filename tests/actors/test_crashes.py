"""A crash is one report, with its decision; where it is published and in which words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from actors import (
    BRUTAL_KILL,
    Abnormal,
    ActorDown,
    Backoff,
    Cast,
    ChildRefused,
    Crashed,
    CrashReport,
    DynamicSupervisor,
    Killed,
    Normal,
    RestartLimit,
    Shutdown,
    StartChild,
    StartFailed,
    Stop,
    Supervisor,
    System,
    TaskFailed,
    TaskSupervisor,
    TerminateChild,
    crashes,
    events,
    start_task,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Puppet, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])
BOOM = ValueError("boom")
CRASH = Act(raises(BOOM))


@contextmanager
def reports(system: System) -> Iterator[list[CrashReport]]:
    with recorded(system, CrashReport) as seen:
        found: Any = seen
        yield found


def short(report: CrashReport) -> tuple[Any, ...]:
    return report.actor, report.decision, report.reason


class Failing:
    """A start that fails whenever it is told to."""

    def __init__(self, *turns: bool) -> None:
        self.turns = list(turns)

    def __call__(self, _actor: Any) -> None:
        if self.turns and self.turns.pop(0):
            raise BOOM


# -- one for each decision -------------------------------------------------------------------------


@KINDS
async def test_restarted_at_once_and_at_the_limit_given_up(kind: Any) -> None:
    async with System() as system:
        child = kind.spec().options(id="a")
        top = await system.start(Supervisor.spec([child], intensity=1, limit_is_failure=True))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            for _ in range(2):
                ref.tell(CRASH)
                await settle()
        first, second, own = seen
        assert short(first) == ("supervisor/a", "restarted", Crashed(BOOM))
        assert (first.message, first.kind, first.incarnation) == (CRASH, kind.__name__, 1)
        assert (first.supervisor, first.count, first.intensity, first.period) == (
            "supervisor",
            1,
            1,
            5.0,
        )
        assert (second.decision, second.incarnation, second.count) == ("gave_up", 2, 2)
        assert own.reason == await top.stopped() == RestartLimit("a", Crashed(BOOM), 1, 5.0)
        assert short(own)[:2] == ("supervisor", "unsupervised")


@KINDS
async def test_restarted_after_a_delay(kind: Any) -> None:
    async with System() as system:
        child = kind.spec().options(id="a", backoff=Backoff(min=2.0, jitter=0.0))
        await system.start(Supervisor.spec([child], intensity=9))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        [report] = seen
        assert (report.decision, report.delay) == ("delayed", 2.0)


@KINDS
async def test_a_temporary_child(kind: Any) -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        ref = await top.call(StartChild(kind.spec().options(id="a", restart="temporary")))
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        assert [report.decision for report in seen] == ["temporary"]


@KINDS
async def test_a_significant_child_that_takes_its_supervisor_along(kind: Any) -> None:
    async with System() as system:
        children = [
            kind.spec().options(id="a", restart="temporary", significant=True),
            kind.spec().options(id="b"),
        ]
        top = await system.start(Supervisor.spec(children, auto_shutdown="any_significant"))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            assert await top.stopped() == Shutdown()
        assert [report.decision for report in seen] == ["escalated"]


@KINDS
async def test_a_child_that_crashes_as_it_is_stopped(kind: Any) -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec([kind.spec(ending=raises(BOOM))]))
        with reports(system) as seen:
            await top.call(TerminateChild(kind.__name__.lower()))
        assert [(r.decision, r.reason, r.starting) for r in seen] == [
            ("stopped", Crashed(BOOM), False)
        ]


@KINDS
async def test_a_sibling_that_crashed_and_is_restarted_with_the_group(kind: Any) -> None:
    async with System() as system:
        children = [kind.spec().options(id="a"), kind.spec(ending=raises(BOOM)).options(id="b")]
        await system.start(Supervisor.spec(children, strategy="one_for_all", intensity=9))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        assert [short(report)[:2] for report in seen] == [
            ("supervisor/a", "restarted"),
            ("supervisor/b", "group"),
        ]
        await system.stop()


@KINDS
async def test_a_failed_start_of_a_supervisor_and_of_a_command(kind: Any) -> None:
    async with System() as system:
        failing = kind.spec(starting=raises(BOOM)).options(id="a")
        with reports(system) as seen:
            with pytest.raises(StartFailed):
                await system.start(Supervisor.spec([failing]))
            top = await system.start(Supervisor.spec([]))
            with pytest.raises(ChildRefused):
                await top.call(StartChild(failing))
            with pytest.raises(StartFailed):
                await system.start(failing)
        assert [(r.actor, r.decision, r.starting) for r in seen] == [
            ("supervisor/a", "escalated", True),
            ("supervisor/a", "refused", True),
            ("a", "unsupervised", True),
        ]


@KINDS
async def test_a_restart_that_fails_is_reported_when_the_next_one_is_decided(kind: Any) -> None:
    async with System() as system:
        child = kind.spec(starting=Failing(False, True, True)).options(id="a")
        await system.start(Supervisor.spec([child], intensity=3))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        assert [(r.decision, r.starting, r.count) for r in seen] == [
            ("restarted", False, 1),
            ("restarted", True, 2),
            ("restarted", True, 3),
        ]
        assert ref.alive


@KINDS
async def test_restarts_that_fail_up_to_the_limit(kind: Any) -> None:
    async with System() as system:
        child = kind.spec(starting=Failing(False, True, True, True)).options(id="a")
        await system.start(Supervisor.spec([child], intensity=2))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        assert [(r.decision, r.starting) for r in seen] == [
            ("restarted", False),
            ("restarted", True),
            ("gave_up", True),
        ]


@KINDS
async def test_a_failed_restart_that_a_command_takes_back(kind: Any) -> None:
    async with System() as system:
        asked: list[Any] = []

        def starting(actor: Any) -> None:
            if actor.ctx.incarnation == 2:
                asked.append(top.request(TerminateChild("a")))
                raise BOOM

        top = await system.start(Supervisor.spec([]))
        await top.call(StartChild(kind.spec(starting=starting).options(id="a")))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(CRASH)
            await settle()
        assert [(r.decision, r.starting) for r in seen] == [("restarted", False), ("stopped", True)]
        assert [request.result() for request in asked] == [None]


@KINDS
async def test_a_supervisor_that_is_killed_before_it_hears_of_it(kind: Any) -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec([kind.spec().options(id="a")]))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:

            def crash_and_kill(actor: Any) -> None:
                actor.ctx.system.kill(top)
                raise BOOM

            ref.tell(Act(crash_and_kill))
            await top.stopped()
        assert [short(r) for r in seen] == [
            ("supervisor/a", "abandoned", Crashed(BOOM)),
            ("supervisor", "unsupervised", Killed()),
        ]


@KINDS
async def test_without_a_supervisor(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec().options(id="a"))
        with reports(system) as seen:
            with pytest.raises(ActorDown):
                await ref.call(Do(raises(BOOM)))
            await ref.stopped()
        [report] = seen
        assert short(report) == ("a", "unsupervised", Crashed(BOOM))
        assert report.supervisor is None
        assert isinstance(report.message, Do)


# -- exactly one -----------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Shutdown("x")])
async def test_an_orderly_end_is_no_crash(kind: Any, reason: Any) -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec([kind.spec().options(id="a")], intensity=9))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            ref.tell(Act(raises(Stop(reason))))
            await settle()
            await system.stop_actor(top)
        assert seen == []


@KINDS
async def test_a_child_that_is_to_be_killed_is_no_crash(kind: Any) -> None:
    async with System() as system:
        brutal = kind.spec().options(id="a", shutdown=BRUTAL_KILL)
        top = await system.start(Supervisor.spec([brutal]))
        many = await system.start(DynamicSupervisor.spec())
        await many.call(StartChild(brutal))
        await system.start(brutal)
        with reports(system) as seen:
            await top.call(TerminateChild("a"))
            await system.stop()
        assert seen == []


@KINDS
async def test_one_that_a_stranger_kills_is(kind: Any) -> None:
    async with System() as system:
        await system.start(Supervisor.spec([kind.spec().options(id="a")]))
        ref = system.at("supervisor/a")
        assert ref is not None
        with reports(system) as seen:
            system.kill(ref)
            await settle()
        assert [short(r) for r in seen] == [("supervisor/a", "restarted", Killed())]


@KINDS
async def test_those_who_go_with_another_say_with_whom(kind: Any) -> None:
    """A linked actor and a child: the crash is one, and theirs only follow from it."""
    async with System() as system:

        async def with_a_child(actor: Puppet) -> None:
            await actor.ctx.start_child(kind.spec().options(id="child"))

        parent = await system.start(Puppet.spec(starting=with_a_child).options(id="parent"))
        await system.start(kind.spec(starting=lambda a: a.ctx.link(parent)).options(id="linked"))
        with reports(system) as seen:
            parent.tell(CRASH)
            await parent.stopped()
            await settle()
        assert sorted((r.actor, r.cause) for r in seen if r.cause) == [
            ("linked", "parent"),
            ("parent/child", "parent"),
        ]
        assert [r.actor for r in seen if r.cause is None] == ["parent"]
        assert {r.reason for r in seen} == {Crashed(BOOM)}


async def test_a_task_of_an_actor_that_fails() -> None:
    async def fetch() -> None:
        raise BOOM

    async with System() as system:
        ref = await system.start(Puppet.spec(starting=lambda a: a.ctx.run(fetch) and None))
        with reports(system) as seen:
            await ref.stopped()
        [report] = seen
        assert (report.task, report.message) == ("fetch", None)
        assert crashes.line(report) == (
            "puppet crashed in its task fetch: ValueError: boom; "
            "not restarted: no supervisor has it"
        )


async def test_a_supervised_task() -> None:
    async def fetch() -> None:
        raise BOOM

    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        with reports(system) as seen:
            task = await start_task(tasks, fetch)
            with pytest.raises(TaskFailed):
                await task.result()
            await settle()
        assert [(r.decision, r.reason) for r in seen] == [("temporary", Crashed(BOOM))]


@KINDS
async def test_it_comes_after_the_events_that_it_sums_up(kind: Any) -> None:
    async with System() as system:
        await system.start(Supervisor.spec([kind.spec().options(id="a")]))
        ref = system.at("supervisor/a")
        assert ref is not None
        with recorded(system, events.Event) as seen:
            ref.tell(CRASH)
            await settle()
        assert [type(event).__name__ for event in seen] == [
            "Exited",
            "ChildTerminated",
            "Restarting",
            "CrashReport",
            "Started",
        ]


@KINDS
async def test_many_crashes_have_as_many_reports(kind: Any) -> None:
    """Whole groups, nested, with failing stops and starts, until the top gives up."""
    async with System() as system:

        def leaf(id: str) -> Any:
            return kind.spec(starting=Failing(False, True), ending=raises(BOOM)).options(id=id)

        inner = Supervisor.spec(
            [leaf("a"), leaf("b")], strategy="one_for_all", intensity=2, limit_is_failure=True
        )
        top = await system.start(
            Supervisor.spec([inner.options(id="in"), leaf("c")], strategy="rest_for_one")
        )
        ends: list[Any] = []
        system.events.listen(
            lambda e: (
                ends.append((e.actor, e.reason))
                if isinstance(e, events.Exited | events.StartFailed) and not e.reason.orderly
                else None
            )
        )
        with reports(system) as seen:
            for _ in range(6):
                ref = system.at("supervisor/in/a")
                assert ref is not None
                ref.tell(CRASH)
                await settle()
            await system.stop_actor(top)
        assert sorted(map(repr, ends)) == sorted(repr((r.actor, r.reason)) for r in seen)
        assert len(ends) > 6


# -- the words -------------------------------------------------------------------------------------


class Deep(Cast[Any], frozen=True):
    depth: int


def fall(depth: int) -> None:
    if depth == 0:
        raise KeyError("missing")
    fall(depth - 1)


def last_report(seen: list[CrashReport]) -> CrashReport:
    [report] = seen
    return report


@KINDS
async def test_the_traceback_has_only_frames_of_the_users(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec().options(id="a"))

        def work(_actor: Any) -> None:
            try:
                fall(1)
            except KeyError as error:
                raise RuntimeError("worse") from error

        with reports(system) as seen:
            ref.tell(Act(work))
            await ref.stopped()
        text = last_report(seen).traceback
        assert text.count("Traceback (most recent call last):") == 2
        assert "KeyError: 'missing'" in text
        assert text.endswith("RuntimeError: worse\n")
        assert "in fall\n" in text
        assert "/actors/pump.py" not in text
        assert "/actors/task_cell.py" not in text


async def test_a_call_that_fails_shows_where_it_was_made() -> None:
    async with System() as system:
        dead = await system.start(Puppet.spec().options(id="dead"))
        await system.stop_actor(dead)
        ref = await system.start(Puppet.spec().options(id="a"))

        async def ask(_actor: Any) -> None:
            await dead.call(Do(lambda _: 1))

        with reports(system) as seen:
            ref.tell(Act(ask))
            await ref.stopped()
        lines = last_report(seen).traceback.splitlines()
        assert lines[-2].strip() == "await dead.call(Do(lambda _: 1))"
        assert lines[-1] == "actors.errors.ActorDown: dead is down: shutdown"


async def test_a_group_of_errors_is_no_group_in_the_report() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def both(_actor: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail, KeyError("one"))
            group.start_soon(fail, ValueError("two"))

    async with System() as system:
        ref = await system.start(Puppet.spec().options(id="a"))
        with reports(system) as seen:
            ref.tell(Act(both))
            await ref.stopped()
        report = last_report(seen)
        text = crashes.text(report)
        assert "ExceptionGroup" not in text
        assert "KeyError: 'one'\n" in text
        assert "ValueError: two\n" in text
        assert "error 1 of 2:\n" in text
        assert "2 errors at once: " in str(report.reason)


def a_report(**fields: Any) -> CrashReport:
    base = {"actor": "top/a", "kind": "A", "incarnation": 1, "reason": Abnormal("no")}
    return CrashReport(at=0.0, **{**base, "supervisor": "top", **fields})


WORDS: list[tuple[dict[str, Any], str]] = [
    (
        {"decision": "restarted", "count": 1, "intensity": 3, "period": 5.0},
        "restarted at once, 1 of 3 in 5 s",
    ),
    (
        {"decision": "delayed", "delay": 0.25, "count": 2, "intensity": 3, "period": 60.0},
        "restarted in 0.25 s, 2 of 3 in 60 s",
    ),
    ({"decision": "group"}, "restarted with its group"),
    ({"decision": "temporary"}, "not restarted: it is temporary"),
    ({"decision": "stopped"}, "not restarted: it was being stopped"),
    (
        {"decision": "gave_up", "count": 4, "intensity": 3, "period": 5.0},
        "not restarted: top gave up, as more than 3 in 5 s are too many",
    ),
    ({"decision": "escalated"}, "not restarted: top ends with it"),
    ({"decision": "refused"}, "not restarted: whoever started it has been told"),
    ({"decision": "abandoned"}, "not restarted: top has ended, too"),
    ({"decision": "unsupervised"}, "not restarted: no supervisor has it"),
]


@pytest.mark.parametrize(("fields", "words"), WORDS)
def test_every_decision_in_words(fields: dict[str, Any], words: str) -> None:
    assert crashes.line(a_report(**fields)) == f"top/a ended: no; {words}"


def test_the_line_says_where_and_with_whom() -> None:
    report = a_report(
        decision="group", reason=Crashed(KeyError("k")), message=Deep(3), cause="top/b"
    )
    assert crashes.line(report) == (
        "top/a crashed handling Deep: KeyError: 'k' (with top/b); restarted with its group"
    )
    report = a_report(decision="refused", starting=True, reason=Crashed(ValueError("a\nb")))
    assert crashes.line(report) == (
        "top/a crashed as it started: ValueError: a b; "
        "not restarted: whoever started it has been told"
    )


def test_the_text_has_the_message_and_cuts_a_long_one() -> None:
    report = a_report(decision="temporary", message=Deep(3))
    assert crashes.text(report).splitlines()[1:] == ["  message: Deep(depth=3)"]

    long = a_report(decision="temporary", message="x" * 999)
    assert crashes.text(long).splitlines()[1] == f"  message: '{'x' * 199}…"


# -- the log ---------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("wanted", [True, False])
async def test_crashes_are_logged_unless_that_is_not_wanted(
    kind: Any, wanted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make: Callable[[], System] = System if wanted else lambda: System(log_crashes=False)
    async with make() as system:
        ref = await system.start(kind.spec().options(id="a"))
        linked = await system.start(kind.spec(starting=lambda a: a.ctx.link(ref)).options(id="b"))
        ref.tell(CRASH)
        await linked.stopped()
    found = [r for r in caplog.records if r.name == "actors"]
    assert [(r.levelno, r.getMessage().splitlines()[0]) for r in found] == (
        [
            (
                logging.ERROR,
                "a crashed handling Act: ValueError: boom; not restarted: no supervisor has it",
            )
        ]
        if wanted
        else []
    )
