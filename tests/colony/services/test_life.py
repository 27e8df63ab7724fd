"""The phases of one life: the table itself, and what holds along every path through it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.services.life import (
    OVER,
    RUNNING,
    TRANSITIONS,
    Happened,
    IllegalEvent,
    Life,
    Phase,
)

P, H = Phase, Happened

PATHS = st.lists(st.sampled_from(Happened), max_size=40)


def walk(happenings: list[Happened], *, waits: bool) -> list[Phase]:
    """The phases along a path; what cannot happen in a phase is left out."""
    life = Life("web", waits=waits)
    phases = [life.phase]
    for happened in happenings:
        if happened in TRANSITIONS[life.phase]:
            life.take(happened)
            phases.append(life.phase)
    return phases


def test_a_life_from_waiting_to_its_crash() -> None:
    happenings = [H.CLEARED, H.SPAWNED, H.BECAME_READY, H.EXITED]
    assert walk(happenings, waits=True) == [P.WAITING, P.SPAWNING, P.STARTING, P.READY, P.ENDED]


def test_a_life_that_becomes_a_daemon() -> None:
    happenings = [H.SPAWNED, H.LEFT_SERVER, H.BECAME_READY, H.SERVER_GONE]
    phases = [P.SPAWNING, P.STARTING, P.DETACHED, P.DETACHED, P.ENDED]
    assert walk(happenings, waits=False) == phases


def test_what_cannot_happen_names_the_service_the_phase_and_the_event_and_changes_nothing() -> None:
    life = Life("web", waits=True)
    with pytest.raises(IllegalEvent) as illegal:
        life.take(H.EXITED)
    assert str(illegal.value) == (
        "EXITED cannot happen to service web in phase WAITING; there CLEARED, STOP can"
    )
    assert life.phase is P.WAITING


def test_take_says_whether_the_phase_has_changed() -> None:
    life = Life("web")
    assert life.take(H.SPAWNED)
    assert life.take(H.BECAME_READY)
    assert not life.take(H.BECAME_READY)


@pytest.mark.parametrize("phase", [P.STARTING, P.READY, P.DETACHED, P.ENDING, P.STOPPING, P.FAILED])
def test_late_news_is_legal_wherever_a_process_has_been(phase: Phase) -> None:
    late = {H.BECAME_READY, H.EXITED, H.UNHEALTHY}
    if phase in (P.DETACHED, P.READY, P.ENDING, P.STOPPING, P.FAILED):
        late |= {H.NEVER_READY}
    assert late <= set(TRANSITIONS[phase])


@given(PATHS, st.booleans())
def test_nothing_follows_the_end(happenings: list[Happened], waits: bool) -> None:
    phases = walk(happenings, waits=waits)
    over = [phase for phase in phases if phase in OVER]
    assert phases[len(phases) - len(over) :] == over
    assert len(set(over)) <= 1


@given(PATHS, st.booleans())
def test_there_is_one_process_in_a_life(happenings: list[Happened], waits: bool) -> None:
    phases = walk(happenings, waits=waits)
    entered = [b for a, b in pairwise(phases) if a is not b]
    assert entered.count(P.STARTING) <= 1
    assert entered.count(P.SPAWNING) <= 1


@given(PATHS, st.booleans())
def test_after_a_stop_nothing_runs_that_is_meant_to(
    happenings: list[Happened], waits: bool
) -> None:
    life = Life("web", waits=waits)
    stopped = False
    for happened in happenings:
        if happened in TRANSITIONS[life.phase]:
            life.take(happened)
            stopped = stopped or happened is H.STOP
            if stopped:
                assert life.phase in {P.STOPPING, P.STOPPED, P.ENDED}


@given(PATHS, st.booleans())
def test_from_everywhere_a_stop_leads_to_the_end(happenings: list[Happened], waits: bool) -> None:
    life = Life("web", waits=waits)
    for happened in happenings:
        if happened in TRANSITIONS[life.phase]:
            life.take(happened)
    life.take(H.STOP)
    if not life.over:
        life.take(H.GONE)
    assert life.over


def test_every_phase_is_in_the_table_and_can_be_reached() -> None:
    reached, todo = set(), [P.WAITING]
    while todo:
        phase = todo.pop()
        if phase not in reached:
            reached.add(phase)
            todo += TRANSITIONS[phase].values()
    assert reached == set(Phase) == set(TRANSITIONS)
    assert RUNNING.isdisjoint(OVER)
