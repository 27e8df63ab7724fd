"""The supervisor's core, rule by rule, without an event loop: whole dialogues, exactly.

Each name says the rule's number in `docs/otp.md`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from actors import (
    Actor,
    AutoShutdown,
    FailedToStart,
    InvalidSpec,
    Restart,
    Shutdown,
    Strategy,
)
from actors.dialogue import (
    Boot,
    Change,
    DeleteChild,
    Ignored,
    RestartChild,
    Retry,
    StartChild,
    Started,
    TerminateChild,
)
from actors.dialogue import Exit as ExitWith
from actors.spec import ChildSpec, default_id
from actors.supervision import Flags, new, step
from tests.actors.core import NO, Core, Nobody, child, said, three

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")


class Tuned(Actor):
    def __init__(self, n: int, x: int) -> None: ...


# -- flags and specs (R44–R50) ---------------------------------------------------------------------


def test_r44_the_flags_defaults() -> None:
    assert Flags() == Flags(
        strategy="one_for_one",
        intensity=1,
        period=5.0,
        auto_shutdown="never",
        dynamic=False,
        max_children=None,
        keep_stopped=False,
        limit_is_failure=False,
    )


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        ({"strategy": "all"}, "invalid_strategy", "got: 'all'"),
        ({"intensity": -1}, "invalid_intensity", "a whole number from 0 up, got: -1"),
        ({"intensity": 1.5}, "invalid_intensity", "got: 1.5"),
        ({"intensity": True}, "invalid_intensity", "got: True"),
        ({"period": 0}, "invalid_period", "seconds, more than 0, got: 0"),
        ({"period": math.inf}, "invalid_period", "got: inf"),
        ({"period": math.nan}, "invalid_period", "got: nan"),
        ({"period": "5"}, "invalid_period", "got: '5'"),
        ({"auto_shutdown": "all"}, "invalid_auto_shutdown", "got: 'all'"),
        ({"max_children": -1}, "invalid_max_children", "got: -1"),
        ({"max_children": 1.0}, "invalid_max_children", "got: 1.0"),
        ({"dynamic": "yes"}, "invalid_dynamic", "got: 'yes'"),
    ],
)
def test_r45_a_flag_out_of_range_is_refused(flags: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Flags(**flags)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_r45_an_unknown_flag_is_an_error_and_not_ignored() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Flags(intensty=3)  # type: ignore[call-arg]
    assert caught.value.code == "invalid_option"
    assert str(caught.value) == (
        'unknown option "intensty": did you mean "intensity"? Flags has "strategy", "intensity", '
        '"period", "auto_shutdown", "dynamic", "max_children", "keep_stopped" or "limit_is_failure"'
    )


def test_r46_a_specs_defaults() -> None:
    assert Tuned.spec(1, x=2) == ChildSpec(
        id="tuned",
        factory=Tuned,
        args=(1,),
        kwargs={"x": 2},
        name=None,
        restart="permanent",
        significant=False,
        shutdown=5.0,
        type="worker",
        backoff=None,
    )


@pytest.mark.parametrize(
    ("name", "id"), [("Counter", "counter"), ("PortActor", "port_actor"), ("Web2", "web2")]
)
def test_r46_the_default_id_is_the_classes_name(name: str, id: str) -> None:
    assert default_id(type(name, (), {})) == id


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"id": ""}, "invalid_id", "a non-empty string without \"/\", got: ''"),
        ({"id": "a/b"}, "invalid_id", "got: 'a/b'"),
        ({"id": 3}, "invalid_id", "got: 3"),
        ({"restart": "always"}, "invalid_restart_type", "got: 'always'"),
        ({"significant": 1}, "invalid_significant", "true or false, got: 1"),
        ({"type": "helper"}, "invalid_child_type", "got: 'helper'"),
        ({"shutdown": -1}, "invalid_shutdown", "got: -1"),
        ({"shutdown": "kill"}, "invalid_shutdown", "got: 'kill'"),
        ({"shutdown": math.nan}, "invalid_shutdown", "got: nan"),
        ({"shutdown": True}, "invalid_shutdown", "got: True"),
    ],
)
def test_r47_each_invalid_field_has_its_own_error(
    options: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Nobody.spec().options(**options)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_r47_the_first_invalid_field_is_named() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Nobody.spec().options(id="", restart="always", shutdown=-1)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_id"


def test_r47_an_unknown_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Nobody.spec().options(shut_down=3)  # type: ignore[call-arg]
    assert str(caught.value) == (
        'unknown option "shut_down": did you mean "shutdown"? a child spec has '
        '"id", "name", "restart", "significant", "shutdown", "start_timeout", "type", "backoff" '
        'or "mailbox"'
    )


@pytest.mark.parametrize("shutdown", [0, 0.5, 10, "brutal_kill", "infinity"])
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("type", ["worker", "supervisor"])
def test_r47_every_valid_combination_is_taken(shutdown: Any, restart: Any, type: Any) -> None:
    spec = child("a", shutdown=shutdown, restart=restart, type=type)
    assert (spec.shutdown, spec.restart, spec.type) == (shutdown, restart, type)


@pytest.mark.parametrize("auto", ["never", "any_significant", "all_significant"])
@pytest.mark.parametrize("restart", RESTARTS)
def test_r48_significant_needs_auto_shutdown_and_an_end(auto: AutoShutdown, restart: Any) -> None:
    spec = child("a", restart=restart, significant=True)
    if auto != "never" and restart != "permanent":
        assert list(new(Flags(auto_shutdown=auto), [spec]).children) == ["a"]
        return
    with pytest.raises(InvalidSpec) as caught:
        new(Flags(auto_shutdown=auto), [spec])
    assert caught.value.code == "bad_combination"


def test_r49_a_duplicate_id_is_refused() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Core(child("a"), child("b"), child("a"))
    assert caught.value.code == "duplicate_child_name"
    assert str(caught.value) == "two children have the id 'a'"


@pytest.mark.parametrize(
    "flags", [{"strategy": "one_for_all"}, {"auto_shutdown": "any_significant"}]
)
def test_r50_a_dynamic_supervisor_is_one_for_one_and_never_shuts_itself_down(flags: Any) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Flags(dynamic=True, **flags)
    assert caught.value.code == "bad_combination"


# -- start (R51–R55) -------------------------------------------------------------------------------


def test_r51_children_start_one_after_the_other_in_order() -> None:
    core = Core(child("a"), child("b"))
    assert said(core.boot()) == ["start a", "start b", "ready"]
    assert core.status() == {"a": "running", "b": "running"}


def test_r51_the_next_start_waits_for_the_outcome_of_the_last() -> None:
    core = Core(child("a"), child("b"))
    assert said(step(core.state, Boot(), 0.0)) == ["start a"]
    assert said(step(core.state, Started("a", 1), 0.0)) == ["start b"]
    assert said(step(core.state, Ignored("b"), 0.0)) == ["ready"]


def test_r51_nobody_to_start() -> None:
    assert said(Core().boot()) == ["ready"]


def test_r53_an_ignored_child_stays_in_the_list_and_a_temporary_one_does_not() -> None:
    core = Core(child("a"), child("b", restart="transient"), child("c", restart="temporary"))
    core.starts = {"a": ["ignore"], "b": ["ignore"], "c": ["ignore"]}
    assert said(core.boot()) == ["start a", "start b", "start c", "ready"]
    assert core.status() == {"a": "undefined", "b": "undefined"}


def test_r54_a_failed_start_stops_the_started_ones_in_reverse_and_ends_it() -> None:
    core = Core(child("a"), child("b"), child("c"), child("d"))
    core.starts["c"] = [NO]
    effects = core.boot()
    assert said(effects) == [
        "start a",
        "start b",
        "start c",
        "report start c no",
        "stop b",
        "stop a",
        "exit shutdown (c failed to start: no)",
    ]
    assert effects[-1] == ExitWith(Shutdown(FailedToStart("c", NO)))


def test_r55_a_failed_start_at_boot_is_not_retried_nor_counted() -> None:
    core = Core(child("a"), intensity=5)
    core.starts["a"] = [NO]
    assert said(core.boot())[-1] == "exit shutdown (a failed to start: no)"
    assert list(core.state.restarts) == []


# -- commands (R58–R63) ----------------------------------------------------------------------------


def test_r58_a_new_child_is_added_as_the_last() -> None:
    core = three(strategy="rest_for_one")
    assert said(core.step(StartChild(child("d")))) == ["start d", "ok d"]
    assert list(core.status()) == ["a", "b", "c", "d"]
    assert said(core.die("c"))[2:] == ["stop d", "start c", "start d"]


def test_r58_an_ignored_new_child_is_ok_and_kept() -> None:
    core = three()
    core.starts["d"] = ["ignore"]
    assert said(core.step(StartChild(child("d")))) == ["start d", "ok"]
    assert core.status()["d"] == "undefined"


def test_r58_an_ignored_new_temporary_child_is_ok_and_dropped() -> None:
    core = three()
    core.starts["d"] = ["ignore"]
    assert said(core.step(StartChild(child("d", restart="temporary")))) == ["start d", "ok"]
    assert "d" not in core.status()


def test_r58_a_known_id_is_already_started_or_already_present() -> None:
    core = three()
    assert said(core.step(StartChild(child("a")))) == ["refused a: already_started"]
    core.step(TerminateChild("a"))
    assert said(core.step(StartChild(child("a")))) == ["refused a: already_present"]


def test_r59_a_failed_start_of_a_new_child_leaves_no_spec() -> None:
    core = three()
    core.starts["d"] = [NO]
    assert said(core.step(StartChild(child("d")))) == [
        "start d",
        "report start d no",
        "refused d: start_failed no",
    ]
    assert list(core.status()) == ["a", "b", "c"]
    assert list(core.state.restarts) == []


def test_r60_terminate_child_keeps_the_spec_and_may_be_said_twice() -> None:
    core = three()
    assert said(core.step(TerminateChild("b"))) == ["stop b", "ok"]
    assert said(core.step(TerminateChild("b"))) == ["ok"]
    assert core.status() == {"a": "running", "b": "undefined", "c": "running"}


def test_r60_terminate_child_drops_a_temporary_child() -> None:
    core = Core(child("a", restart="temporary"))
    core.boot()
    assert said(core.step(TerminateChild("a"))) == ["stop a", "ok"]
    assert core.status() == {}


@pytest.mark.parametrize("command", [TerminateChild("x"), RestartChild("x"), DeleteChild("x")])
def test_r60_r62_r63_an_unknown_id_is_not_found(command: Any) -> None:
    assert said(three().step(command)) == ["refused x: not_found"]


def test_r60_terminate_child_cancels_a_queued_restart() -> None:
    core = three(intensity=5)
    core.starts["a"] = [NO]
    assert said(core.die("a")) == [
        "report a boom",
        "restart a #1",
        "start a",
        "report start a no",
        "queue a",
    ]
    retry = Retry("a", core.state.children["a"].generation)
    assert said(core.step(TerminateChild("a"))) == ["ok"]
    assert core.step(retry) == []
    assert core.status()["a"] == "undefined"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r61_terminate_child_restarts_nobody_and_counts_nothing(strategy: Strategy) -> None:
    core = three(strategy=strategy)
    assert said(core.step(TerminateChild("a"))) == ["stop a", "ok"]
    assert list(core.state.restarts) == []


@pytest.mark.parametrize("auto", ["any_significant", "all_significant"])
def test_r61_terminate_child_of_a_significant_child_shuts_nothing_down(auto: AutoShutdown) -> None:
    core = Core(child("a", restart="transient", significant=True), auto_shutdown=auto)
    core.boot()
    assert said(core.step(TerminateChild("a"))) == ["stop a", "ok"]


def test_r62_restart_child_starts_a_stopped_one_and_does_not_count() -> None:
    core = three(intensity=0)
    core.step(TerminateChild("b"))
    assert said(core.step(RestartChild("b"))) == ["start b", "ok b"]
    assert list(core.state.restarts) == []


def test_r62_restart_child_that_fails_leaves_it_undefined() -> None:
    core = three()
    core.step(TerminateChild("b"))
    core.starts["b"] = [NO, "ignore"]
    assert said(core.step(RestartChild("b")))[-1] == "refused b: start_failed no"
    assert said(core.step(RestartChild("b"))) == ["start b", "ok"]
    assert core.status()["b"] == "undefined"


def test_r62_r104_a_temporary_child_that_says_ignore_when_an_operator_restarts_it_is_kept() -> None:
    core = Core()
    core.boot()
    temporary = child("a", restart="temporary")
    core.step(Change(core.state.flags, (temporary,)))
    core.starts["a"] = ["ignore"]
    assert said(core.step(RestartChild("a"))) == ["start a", "ok"]
    assert core.status() == {"a": "undefined"}


@pytest.mark.parametrize("command", [RestartChild("a"), DeleteChild("a")])
def test_r62_r63_a_running_or_restarting_child_is_not_restarted_nor_deleted(command: Any) -> None:
    core = three(intensity=5)
    assert said(core.step(command)) == ["refused a: running"]
    core.starts["a"] = [NO]
    core.die("a")
    assert said(core.step(command)) == ["refused a: restarting"]


def test_r63_delete_child_forgets_a_stopped_one() -> None:
    core = three()
    core.step(TerminateChild("b"))
    assert said(core.step(DeleteChild("b"))) == ["ok"]
    assert list(core.status()) == ["a", "c"]
