"""The supervisor's core, rule by rule, without an event loop: deaths, limits, ends (R66–R102).

Each name says the rule's number in `docs/otp.md`.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors import (
    Actor,
    AutoShutdown,
    Killed,
    Normal,
    Reason,
    Restart,
    Shutdown,
    Strategy,
)
from actors.dialogue import (
    AllStopped,
    Exited,
    Retry,
    StartChild,
    StopAll,
    Stopped,
    Terminate,
    TerminateChild,
)
from actors.supervision import Status, step
from tests.actors.core import BOOM, NO, Core, child, said, three

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")


class Tuned(Actor):
    def __init__(self, n: int, x: int) -> None: ...


# -- deaths (R66–R79) ------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [Exited("x", 1, BOOM), Exited("a", 99, BOOM), Retry("a", 1)])
def test_r66_news_of_a_stranger_or_of_an_earlier_life_is_dropped(stale: Any) -> None:
    core = three()
    before = core.status()
    assert core.step(stale) == []
    assert core.status() == before


def test_r66_r93_the_parents_word_stops_all_in_reverse() -> None:
    assert said(three().step(Terminate(Shutdown("reload")))) == [
        "stop c",
        "stop b",
        "stop a",
        "exit shutdown (reload)",
    ]


ENDS: tuple[tuple[Reason, bool], ...] = (
    (Normal(), True),
    (Shutdown(), True),
    (Shutdown("term"), True),
    (BOOM, False),
    (Killed(), False),
)


@pytest.mark.parametrize(("reason", "orderly"), ENDS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_r67_r68_r69_the_matrix(restart: Restart, reason: Reason, orderly: bool) -> None:
    core = Core(child("a", restart=restart))
    core.boot()
    effects = said(core.die("a", reason))
    reported = [] if orderly and restart != "permanent" else [f"report a {reason}"]
    if restart == "permanent" or (restart == "transient" and not orderly):
        assert effects == [*reported, "restart a #1", "start a"]
        assert core.status() == {"a": "running"}
    else:
        assert effects == reported
        assert core.status() == ({} if restart == "temporary" else {"a": "undefined"})


def test_r70_a_restart_of_a_group_counts_once() -> None:
    core = three(strategy="one_for_all")
    core.die("a")
    assert len(core.state.restarts) == 1


def test_r71_each_further_attempt_counts_so_intensity_is_the_number_of_attempts() -> None:
    core = Core(child("a"), intensity=2)
    core.boot()
    core.starts["a"] = [NO, NO, NO]
    assert said(core.die("a"))[-1] == "queue a"
    assert core.status() == {"a": "restarting"}
    assert said(core.retry("a")) == ["restart a #2", "start a", "report start a no", "queue a"]
    assert said(core.retry("a")) == ["limit a", "exit shutdown"]
    assert core.starts["a"] == [NO]


@pytest.mark.parametrize(
    ("strategy", "dead", "effects"),
    [
        ("one_for_one", "b", ["start b"]),
        ("one_for_all", "b", ["stop c", "stop a", "start a", "start b", "start c"]),
        ("rest_for_one", "b", ["stop c", "start b", "start c"]),
        ("rest_for_one", "c", ["start c"]),
        ("rest_for_one", "a", ["stop c", "stop b", "start a", "start b", "start c"]),
    ],
)
def test_r72_r73_r74_whom_a_death_takes_along(
    strategy: Strategy, dead: str, effects: list[str]
) -> None:
    assert said(three(strategy=strategy).die(dead))[2:] == effects


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_r75_temporary_siblings_are_stopped_and_forgotten(strategy: Strategy) -> None:
    core = Core(child("a"), child("b", restart="temporary"), child("c"), strategy=strategy)
    core.boot()
    assert said(core.die("a"))[2:] == ["stop c", "stop b", "start a", "start c"]
    assert list(core.status()) == ["a", "c"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_r76_siblings_that_did_not_run_are_started_too(strategy: Strategy) -> None:
    core = Core(
        child("a"), child("b"), child("c", restart="transient"), strategy=strategy, intensity=5
    )
    core.boot()
    core.step(TerminateChild("b"))
    core.die("c", Normal())
    assert said(core.die("a"))[2:] == ["start a", "start b", "start c"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r77_the_death_of_a_temporary_child_never_touches_siblings(strategy: Strategy) -> None:
    core = Core(child("a", restart="temporary"), child("b"), strategy=strategy)
    core.boot()
    assert said(core.die("a")) == ["report a boom"]


def test_r78_one_for_all_retries_the_failed_child_and_stops_all_again() -> None:
    core = three(strategy="one_for_all", intensity=5)
    core.starts["b"] = [NO]
    core.die("a")
    assert core.status() == {"a": "running", "b": "restarting", "c": "undefined"}
    assert said(core.retry("b")) == ["restart b #2", "stop a", "start a", "start b", "start c"]


def test_r78_rest_for_one_goes_on_from_the_failed_child() -> None:
    core = three(strategy="rest_for_one", intensity=5)
    core.starts["b"] = [NO]
    core.die("a")
    assert core.status() == {"a": "running", "b": "restarting", "c": "undefined"}
    assert said(core.retry("b")) == ["restart b #2", "start b", "start c"]


def test_r78_a_retry_of_an_earlier_failure_is_stale_once_a_sibling_restarted_the_group() -> None:
    core = three(strategy="one_for_all", intensity=5)
    core.starts["b"] = [NO]
    core.die("a")
    stale = Retry("b", core.state.children["b"].generation)
    assert said(core.die("a"))[2:] == ["start a", "start b", "start c"]
    assert core.step(stale) == []


def test_r79_a_restart_that_is_ignored_leaves_the_child_undefined_without_an_error() -> None:
    core = three(intensity=5)
    core.starts["a"] = ["ignore"]
    assert said(core.die("a")) == ["report a boom", "restart a #1", "start a"]
    assert core.status()["a"] == "undefined"


def test_r79_in_a_dynamic_supervisor_it_is_forgotten() -> None:
    core = Core(dynamic=True)
    core.boot()
    core.step(StartChild(child("a")))
    core.starts["a"] = ["ignore"]
    core.die("a")
    assert core.status() == {}


# -- intensity (R81–R85) ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intensity", "deaths", "survives"),
    [
        (0, [0.0], False),
        (1, [0.0], True),
        (1, [0.0, 1.0], False),
        (1, [0.0, 5.0], False),
        (1, [0.0, 5.001], True),
        (2, [0.0, 1.0, 5.0], False),
        (2, [0.0, 1.0, 5.001], True),
        (2, [0.0, 1.0, 5.001, 6.0], False),
        (2, [0.0, 1.0, 5.001, 6.001], True),
    ],
)
def test_r81_r82_the_window_includes_both_ends(
    intensity: int, deaths: list[float], survives: bool
) -> None:
    core = Core(child("a"), intensity=intensity, period=5.0)
    core.boot()
    for core.now in deaths[:-1]:
        assert said(core.die("a"))[-1] == "start a"
    core.now = deaths[-1]
    assert said(core.die("a"))[-1] == ("start a" if survives else "exit shutdown")


def test_r84_the_history_is_the_supervisors_and_not_a_childs() -> None:
    core = three()
    core.die("a")
    assert said(core.die("b")) == ["report b boom", "limit b", "stop c", "stop a", "exit shutdown"]


def test_r85_at_the_limit_the_dead_child_stays_down_and_the_others_stop_in_reverse() -> None:
    core = three(intensity=0)
    assert said(core.die("b")) == ["report b boom", "limit b", "stop c", "stop a", "exit shutdown"]
    assert core.up() == []


# -- auto_shutdown (R88–R91) -----------------------------------------------------------------------


def significant(restart: Restart, auto: AutoShutdown) -> Core:
    core = Core(
        child("a", restart=restart, significant=True),
        child("b", restart=restart, significant=True),
        child("c", restart=restart),
        child("d"),
        auto_shutdown=auto,
    )
    core.boot()
    return core


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_r89_any_significant_child_that_ends_ends_all(restart: Restart) -> None:
    core = significant(restart, "any_significant")
    assert said(core.die("b", Normal())) == ["stop d", "stop c", "stop a", "exit shutdown"]


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_r90_all_significant_children_have_to_end(restart: Restart) -> None:
    core = significant(restart, "all_significant")
    assert said(core.die("a", Shutdown())) == []
    assert said(core.die("b", Normal())) == ["stop d", "stop c", "exit shutdown"]


@pytest.mark.parametrize("auto", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_r88_the_end_of_an_insignificant_child_ends_nothing(
    restart: Restart, auto: AutoShutdown
) -> None:
    assert said(significant(restart, auto).die("c", Normal())) == []


def test_r88_a_significant_child_that_is_restarted_ends_nothing() -> None:
    core = significant("transient", "any_significant")
    assert said(core.die("a")) == ["report a boom", "restart a #1", "start a"]


def test_r88_a_temporary_significant_child_may_end_as_it_likes() -> None:
    core = significant("temporary", "any_significant")
    assert said(core.die("a"))[-1] == "exit shutdown"


def test_r90_a_restarting_significant_child_counts_as_alive() -> None:
    core = significant("transient", "all_significant")
    core.starts["a"] = [NO]
    core.die("a")
    assert core.status()["a"] == "restarting"
    assert said(core.die("b", Normal())) == []


def test_r90_a_terminated_significant_child_counts_as_ended() -> None:
    core = significant("transient", "all_significant")
    core.step(TerminateChild("a"))
    assert said(core.die("b", Normal()))[-1] == "exit shutdown"


@pytest.mark.parametrize("auto", ["any_significant", "all_significant"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_r91_significant_bystanders_of_a_restart_end_nothing(
    strategy: Strategy, auto: AutoShutdown
) -> None:
    core = Core(
        child("a"),
        child("b", restart="temporary", significant=True),
        child("c", restart="transient", significant=True),
        strategy=strategy,
        auto_shutdown=auto,
    )
    core.boot()
    assert said(core.die("a"))[2:] == ["stop c", "stop b", "start a", "start c"]


# -- stopping (R93–R98) ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason", "expected"),
    [
        ({}, Shutdown(), True),
        ({}, Normal(), False),
        ({}, Shutdown("term"), False),
        ({}, Killed(), False),
        ({}, BOOM, False),
        ({"restart": "transient"}, Normal(), True),
        ({"restart": "temporary"}, Shutdown("term"), True),
        ({"restart": "transient"}, BOOM, False),
        ({"restart": "transient"}, Killed(), False),
        ({"shutdown": "brutal_kill"}, Killed(), True),
        ({"shutdown": "brutal_kill"}, Shutdown(), False),
        ({"shutdown": "infinity"}, Shutdown(), True),
    ],
)
def test_r96_an_unexpected_reason_of_a_stopped_child_is_reported_and_changes_nothing(
    options: Any, reason: Reason, expected: bool
) -> None:
    core = Core(child("a", **options))
    core.boot()
    core.stops["a"] = reason
    report = [] if expected else [f"report stop a {reason}"]
    assert said(core.step(TerminateChild("a"))) == ["stop a", *report, "ok"]


def test_r97_the_news_of_a_child_that_ended_while_it_was_stopped_is_stale() -> None:
    core = three()
    life = core.state.children["a"].life
    assert said(step(core.state, TerminateChild("a"), 0.0)) == ["stop a"]
    assert said(step(core.state, Stopped("a", Shutdown()), 0.0)) == ["ok"]
    assert core.step(Exited("a", life, Shutdown())) == []
    assert core.state.children["a"].status is Status.UNDEFINED


def test_r98_a_dynamic_supervisor_stops_all_side_by_side() -> None:
    core = Core(dynamic=True)
    core.boot()
    for id in ("a", "b", "c"):
        core.step(StartChild(child(id)))
    core.stops["b"] = BOOM
    effects = core.step(Terminate(Shutdown()))
    assert effects[0] == StopAll(("a", "b", "c"))
    assert said(effects) == ["stop all a b c", "report stop b boom", "exit shutdown"]


def test_r98_the_outcome_may_come_in_any_order() -> None:
    core = Core(dynamic=True)
    core.boot()
    for id in ("a", "b"):
        core.step(StartChild(child(id)))
    step(core.state, Terminate(Shutdown()), 0.0)
    done = AllStopped((("b", Shutdown()), ("a", Shutdown())))
    assert said(step(core.state, done, 0.0)) == ["exit shutdown"]
    assert core.status() == {}


# -- dynamic (R100–R102) ---------------------------------------------------------------------------


@pytest.mark.parametrize("restart", RESTARTS)
def test_r101_an_ignored_child_is_not_stored_whatever_its_restart_type(restart: Restart) -> None:
    core = Core(dynamic=True)
    core.boot()
    core.starts["a"] = ["ignore"]
    assert said(core.step(StartChild(child("a", restart=restart)))) == ["start a", "ok"]
    assert core.status() == {}


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_r102_a_child_that_ended_is_forgotten(restart: Restart) -> None:
    core = Core(dynamic=True)
    core.boot()
    core.step(StartChild(child("a", restart=restart)))
    assert said(core.die("a", Normal())) == []
    assert core.status() == {}


def test_max_children_refuses_one_more_and_counts_those_that_wait() -> None:
    core = Core(dynamic=True, max_children=2, intensity=5)
    core.boot()
    core.step(StartChild(child("a")))
    core.step(StartChild(child("b")))
    assert said(core.step(StartChild(child("c")))) == ["refused c: max_children"]
    core.starts["a"] = [NO]
    core.die("a")
    assert said(core.step(StartChild(child("c")))) == ["refused c: max_children"]
    core.step(TerminateChild("a"))
    assert said(core.step(StartChild(child("c")))) == ["start c", "ok c"]
