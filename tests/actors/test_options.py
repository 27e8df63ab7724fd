"""What is wrong with an option is said where it is given, with what is allowed (R45–R49)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import actors
from actors import (
    Actor,
    Backoff,
    ChildSpec,
    InvalidSpec,
    Mailbox,
    StartFailed,
    Supervisor,
    System,
)
from actors.tasks import RunTask


class Web(Actor):
    def __init__(self, port: int = 80) -> None:
        self.port = port


untyped: Any = actors
"""For calls that the type checkers refuse, too."""
web: Any = Web
run_task: Any = RunTask


def once() -> Iterator[ChildSpec[Any]]:
    yield Web.spec()


def refused(make: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        make()
    return caught.value.code, str(caught.value)


CHILD_SPEC = (
    'ChildSpec has "id", "factory", "args", "kwargs", "name", "restart", "significant", '
    '"shutdown", "type", "backoff", "mailbox" or "start_timeout"'
)
BACKOFF = 'Backoff has "min", "max", "factor", "jitter" or "reset_after"'
MAILBOX = 'Mailbox has "limit", "policy" or "high_water"'


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (ChildSpec, {"foo": 1}, f'unknown option "foo"; {CHILD_SPEC}'),
        (
            ChildSpec,
            {"restrat": 1, "id": "a"},
            f'unknown option "restrat": did you mean "restart"? {CHILD_SPEC}',
        ),
        (Backoff, {"minimum": 1}, f'unknown option "minimum": did you mean "min"? {BACKOFF}'),
        (Backoff, {"min": 9, "delay": 1}, f'unknown option "delay"; {BACKOFF}'),
        (Mailbox, {"limt": 3}, f'unknown option "limt": did you mean "limit"? {MAILBOX}'),
    ],
)
def test_r45_an_unknown_option_is_named_with_those_that_exist(
    kind: Any, options: dict[str, Any], text: str
) -> None:
    assert refused(lambda: kind(**options)) == ("invalid_option", text)


def test_a_missing_field_and_one_too_many_are_type_errors_as_of_any_function() -> None:
    with pytest.raises(TypeError, match="Missing required argument 'id'"):
        ChildSpec()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Extra positional arguments"):
        Backoff(1, 2, 3, 0.5, 5, 6)  # type: ignore[call-arg]


def test_values_with_options_are_structs_like_others() -> None:
    backoff = Backoff(min=1.0)
    assert copy.copy(backoff) == backoff == Backoff(1.0)
    assert msgspec.structs.replace(backoff, min=0.1) == Backoff()
    assert msgspec.json.decode(msgspec.json.encode(backoff), type=Backoff) == backoff
    assert ChildSpec("web", Web) == Web.spec()


ONE_OF_THREE = 'must be "one_for_one", "one_for_all" or "rest_for_one", got:'
SPEC = "a child must be a spec, such as Web.spec(), got:"


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (
            lambda: untyped.Supervisor.spec([], strategy="x"),
            "invalid_strategy",
            f"{ONE_OF_THREE} 'x'",
        ),
        (lambda: untyped.Supervisor.spec(intensity=-1), "invalid_intensity", "from 0 up, got: -1"),
        (lambda: untyped.Supervisor.spec(period=0), "invalid_period", "more than 0, got: 0"),
        (
            lambda: untyped.Supervisor.spec(auto_shutdown="y"),
            "invalid_auto_shutdown",
            'must be "never", "any_significant" or "all_significant", got: \'y\'',
        ),
        (
            lambda: untyped.Supervisor.spec(keep_stopped=1),
            "invalid_keep_stopped",
            "true or false, got: 1",
        ),
        (
            lambda: untyped.Supervisor.spec(seed="x"),
            "invalid_seed",
            "a whole number or None, got: 'x'",
        ),
        (lambda: untyped.Supervisor.spec([Web]), "invalid_child_spec", f"{SPEC} {Web!r}"),
        (
            lambda: untyped.Supervisor.spec(Web.spec()),
            "bad_start_spec",
            "children must be a list of specs",
        ),
        (
            lambda: untyped.Supervisor.spec(once()),
            "bad_start_spec",
            "children must be a list of specs",
        ),
        (lambda: untyped.Supervisor.spec("web"), "bad_start_spec", "a list of specs, got: 'web'"),
        (
            lambda: untyped.Supervisor.spec([Web.spec(), Web.spec(81)]),
            "duplicate_child_name",
            "two children have the id 'web'",
        ),
        (
            lambda: untyped.Supervisor.spec(
                [Web.spec().options(significant=True, restart="transient")]
            ),
            "bad_combination",
            "child 'web' is significant, but its supervisor has auto_shutdown='never'",
        ),
        (
            lambda: untyped.DynamicSupervisor.spec(max_children=-1),
            "invalid_max_children",
            "got: -1",
        ),
        (lambda: untyped.TaskSupervisor.spec(max_children=0.5), "invalid_max_children", "got: 0.5"),
        (
            lambda: untyped.PartitionSupervisor.spec(Web.spec(), partitions=1, strategy="x"),
            "invalid_strategy",
            f"{ONE_OF_THREE} 'x'",
        ),
        (lambda: untyped.StartChild(Web), "invalid_child_spec", f"{SPEC} {Web!r}"),
        (lambda: untyped.Reconfigure((), 3), "invalid_flags", "must be Flags(...) or None, got: 3"),
        (lambda: run_task(print, shutdown=-1), "invalid_shutdown", "got: -1"),
        (lambda: web.spec().options(name=3), "invalid_name", "a non-empty string or None, got: 3"),
        (lambda: untyped.ChildSpec("a", Web, 3), "invalid_mfa", "args must be a tuple, got: 3"),
        (
            lambda: untyped.ChildSpec("a", Web, (), ()),
            "invalid_mfa",
            "kwargs must be a dict, got: ()",
        ),
        (lambda: untyped.Mailbox(3, high_water=4), "invalid_mailbox", "limit, 3, or None, got: 4"),
    ],
)
def test_r47_a_wrong_value_is_refused_where_it_is_given(make: Any, code: str, text: str) -> None:
    found, said = refused(make)
    assert found == code
    assert text in said


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: web.spec(prot=81),
            "Web cannot be made so: got an unexpected keyword argument 'prot': "
            "did you mean \"port\"? its options are 'port'",
        ),
        (
            lambda: web.spec(restart="transient"),
            "Web cannot be made so: got an unexpected keyword argument 'restart'; its options are "
            "'port'; 'restart' is the spec's: Web.spec(...).options(restart=...)",
        ),
    ],
)
def test_an_argument_that_there_is_not_is_named_with_what_was_meant(make: Any, text: str) -> None:
    assert refused(make) == ("bad_arguments", text)


async def test_what_spec_does_not_see_is_a_failed_start() -> None:
    made: list[str] = []

    class Own(Supervisor):
        """A supervisor whose arguments are its own affair: `spec` does not try it."""

        def __init__(self, strategy: Any) -> None:
            made.append(strategy)
            super().__init__([], strategy=strategy)

    bad = ChildSpec("bad", Supervisor, (), {"strategy": "x"})
    specs: tuple[ChildSpec[Any], ...] = (bad, Own.spec("x"))
    async with System(log_crashes=False) as system:
        for spec in specs:
            with pytest.raises(StartFailed, match="strategy must be"):
                await system.start(spec)
    assert made == ["x"]
