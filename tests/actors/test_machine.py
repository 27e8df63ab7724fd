"""Any tree under anything that may happen to it: the machine of `actors.testing_machine`."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from actors import (
    Actor,
    Backoff,
    ChildSpec,
    Ignore,
    Reason,
    Supervisor,
    System,
    WhichChildren,
    dialogue,
    events,
    supervision,
)
from actors.supervision import Status
from actors.testing import BACKENDS, BackendName
from actors.testing_machine import SteppedSystem, TreeMachine
from tests.actors.helpers import Doll

FEW = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


FIRST = settings(FEW, max_examples=1000, derandomize=True, phases=[Phase.generate])
"""What is found the first time, as it was found."""


class Task(Actor):
    """Has a task, and takes a moment to start and to stop."""

    async def start(self) -> Ignore | None:
        await anyio.sleep(0.01)
        return None

    async def stopping(self, reason: Reason) -> None:
        await anyio.sleep(0.01)


def inner(strategy: Any) -> ChildSpec[Supervisor]:
    """A supervisor of four, one of each restart type and one that is put off."""
    return Supervisor.spec(
        [
            Task.spec().options(id=f"{strategy}-permanent"),
            Doll.spec().options(id=f"{strategy}-transient", restart="transient"),
            Task.spec().options(id=f"{strategy}-temporary", restart="temporary"),
            Doll.spec().options(id=f"{strategy}-backoff", backoff=Backoff(0.5, 4.0)),
        ],
        strategy=strategy,
        intensity=2,
        period=5.0,
    ).options(id=strategy)


class Tree(TreeMachine):
    """Three levels, every strategy."""

    def tree(self) -> ChildSpec[Any]:
        strategies = ("one_for_one", "one_for_all", "rest_for_one")
        return Supervisor.spec(
            [inner(strategy) for strategy in strategies], intensity=100, seed=7
        ).options(id="root")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_laws_hold_in_every_tree(backend: BackendName) -> None:
    kind = type("Tree", (Tree,), {"backend": backend})
    run_state_machine_as_test(kind, settings=FEW)


def test_the_laws_hold_under_a_seeded_scheduler() -> None:
    run_state_machine_as_test(type("Seeded", (Tree,), {"seed": 5}), settings=FEW)


def test_a_law_of_ones_own_that_does_not_hold_is_found() -> None:
    class Fragile(Tree):
        async def check(self, system: System) -> None:
            ref = system.at("root/one_for_one/one_for_one-transient")
            assert ref is not None
            assert ref.alive, "the transient child is down"

    assert "the transient child is down" in failure(Fragile)


def failure(kind: type[TreeMachine]) -> str:
    """What Hypothesis found, as text."""
    try:
        run_state_machine_as_test(kind, settings=FIRST)
    except BaseException as found:
        return "".join(traceback.format_exception(found))
    return "nothing"


def test_a_restart_beyond_the_limit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def beyond(state: Any, child: Any, reason: Reason, now: float, effects: Any) -> None:
        flags = state.flags
        effects.append(
            events.Restarting(
                at=now,
                supervisor=state.path,
                child=child.spec.id,
                reason=reason,
                count=flags.intensity + 1,
                intensity=flags.intensity,
            )
        )
        supervision._go_ahead(state, child, effects)

    monkeypatch.setattr(supervision, "_give_up", beyond)
    assert " made restart 3 of at most 2" in failure(Tree)


def test_a_core_that_does_not_hear_of_a_death_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(supervision._STEPS, dialogue.Exited, lambda *_: None)
    assert "assert sorted(listed_paths) == sorted(living)" in failure(Tree)


# -- the system that is stepped --------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
def stepped(request: pytest.FixtureRequest) -> Iterator[SteppedSystem]:
    with SteppedSystem(request.param) as stepped:
        yield stepped


def test_time_passes_in_steps_only(stepped: SteppedSystem) -> None:
    async def nap(system: System) -> float:
        await anyio.sleep(5)
        return system.now()

    before = stepped.step(System.now)
    assert stepped.step(nap) == before + 5
    assert stepped.step(System.now) == before + 5


def test_a_step_ends_when_nothing_can_run_any_more(stepped: SteppedSystem) -> None:
    async def start(system: System) -> None:
        await system.start(inner("one_for_one"))

    stepped.step(start)

    async def kill(system: System) -> None:
        ref = system.at("one_for_one/one_for_one-transient")
        assert ref is not None
        system.kill(ref)

    stepped.step(kill)
    ref = stepped.system.at("one_for_one/one_for_one-transient")
    assert ref is not None
    assert (ref.alive, ref.incarnation) == (True, 2)


def test_a_step_that_raises_leaves_the_system_alive(stepped: SteppedSystem) -> None:
    async def fail(_system: System) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stepped.step(fail)

    async def start(system: System) -> Any:
        top = await system.start(inner("one_for_all"))
        return [child.status for child in await top.call(WhichChildren())]

    assert stepped.step(start) == [Status.RUNNING] * 4
