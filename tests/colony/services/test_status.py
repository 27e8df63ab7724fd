"""What is known of a service, event by event."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors import Abnormal, Crashed, Event, FailedToStart, Shutdown, events
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceWaiting,
)
from colony.services.status import Condition, ServiceStatus, State, after, explain

BOSS = "system/colonies/app/services"
NAMES: dict[str, Any] = {"colony": "app", "service": "web"}
DECISION: dict[str, Any] = {"supervisor": BOSS, "child": "web", "reason": Abnormal("exit code 1")}

WAITING = ServiceWaiting(at=1, **NAMES, waits_for=("db to be ready", "x to have completed"))
STARTED = ServiceStarted(at=2, **NAMES, pid=7, incarnation=1)
READY = ServiceReady(at=3, **NAMES, port=80, incarnation=1, seconds=1)
EXITED = ServiceExited(at=4, **NAMES, incarnation=1, status="exit code 1", seconds=2)
DONE = msgspec.structs.replace(EXITED, orderly=True, status="exit code 0")
RESTARTING = events.Restarting(at=5, **DECISION, count=2, intensity=5, delay=1.5)
LIMIT = events.LimitReached(at=6, **DECISION, intensity=5, period=60)
STOPPING = ServiceStopping(at=7, **NAMES, pid=7)
STOPPED = ServiceStopped(at=8, **NAMES, status="killed by SIGTERM", killed=False, seconds=1)
DETACHED = ServiceDetached(at=9, **NAMES, pid=8, command="x")
FAILED = ServiceFailed(at=9, **NAMES, reason="port 80 is taken by pid 1")


def fold(*happened: Event, **first: Any) -> ServiceStatus:
    status = ServiceStatus(**NAMES, **first)
    for event in happened:
        status = after(status, event, BOSS)
    return status


@pytest.mark.parametrize(
    ("happened", "restart", "state", "detail"),
    [
        ([], "permanent", "waiting", ""),
        ([WAITING], "permanent", "waiting", "for db to be ready, x to have completed"),
        ([STARTED], "permanent", "starting", ""),
        ([STARTED, READY], "permanent", "ready", ""),
        ([STARTED, READY, EXITED], "permanent", "backoff", "exit code 1"),
        ([STARTED, READY, EXITED], "transient", "backoff", "exit code 1"),
        ([STARTED, READY, EXITED], "temporary", "failed", "exit code 1"),
        ([STARTED, READY, DONE], "permanent", "backoff", ""),
        ([STARTED, READY, DONE], "transient", "completed", ""),
        ([STARTED, READY, DONE], "temporary", "completed", ""),
        ([STARTED, EXITED, RESTARTING], "permanent", "backoff", "exit code 1"),
        (
            [STARTED, EXITED, LIMIT],
            "permanent",
            "failed",
            "more than 5 restarts in 60 s: exit code 1",
        ),
        (
            [STARTED, EXITED, msgspec.structs.replace(LIMIT, intensity=1)],
            "permanent",
            "failed",
            "more than 1 restart in 60 s: exit code 1",
        ),
        ([STARTED, READY, STOPPING], "permanent", "stopping", ""),
        ([STARTED, READY, STOPPING, STOPPED], "permanent", "stopped", ""),
        ([STARTED, DETACHED], "permanent", "detached", ""),
        ([STARTED, FAILED], "permanent", "failed", "port 80 is taken by pid 1"),
        # A probe's answer that comes too late.
        ([STARTED, STOPPING, READY], "permanent", "stopping", ""),
        ([STARTED, EXITED, READY], "permanent", "backoff", "exit code 1"),
        ([STARTED, DETACHED, READY], "permanent", "detached", ""),
    ],
)
def test_state_and_detail(happened: list[Event], restart: Any, state: State, detail: str) -> None:
    status = fold(*happened, restart=restart)
    assert (status.state, status.detail) == (state, detail)


def test_one_that_begins_by_waiting_has_done_so_since_then() -> None:
    assert fold(WAITING).since == 1
    again = msgspec.structs.replace(WAITING, at=2)
    assert fold(WAITING, again).since == 1


def test_why_it_cannot_start_is_said_without_the_names_of_classes() -> None:
    error = ValueError("env_file .env, line 1 is not of the form NAME=value")
    failed = events.ChildStartFailed(at=1, **{**DECISION, "reason": Crashed(error)})
    assert fold(failed).detail == str(error)
    chain = Shutdown(FailedToStart("services", Shutdown(FailedToStart("web", Crashed(error)))))
    assert explain(chain) == str(error)
    assert explain(Abnormal("exit code 1")) == "exit code 1"


def test_a_whole_story() -> None:
    assert fold(STARTED, READY, EXITED, RESTARTING, port=80, intensity=5) == ServiceStatus(
        **NAMES,
        state="backoff",
        detail="exit code 1",
        port=80,
        life=1,
        restarts=1,
        recent=2,
        intensity=5,
        since=4,
        due=6.5,
        last_exit="exit code 1",
    )


def test_an_event_of_another_service_or_supervisor_changes_nothing() -> None:
    status = ServiceStatus(**NAMES)
    for event in (
        msgspec.structs.replace(STARTED, service="api"),
        msgspec.structs.replace(STARTED, colony="other"),
        msgspec.structs.replace(RESTARTING, child="api"),
        msgspec.structs.replace(RESTARTING, supervisor="system/colonies/other/services"),
        events.Started(at=0, actor=f"{BOSS}/web", kind="PortActor", incarnation=1),
    ):
        assert after(status, event, BOSS) is status


@pytest.mark.parametrize(
    ("happened", "restart", "meets"),
    [
        ([], "permanent", set()),
        ([STARTED], "permanent", {"started"}),
        ([STARTED, READY], "permanent", {"started", "ready"}),
        ([STARTED, DETACHED], "permanent", {"started", "ready"}),
        ([STARTED, READY, DONE], "transient", {"started", "ready", "completed"}),
        ([STARTED, READY, EXITED], "temporary", set()),
        ([STARTED, READY, EXITED], "permanent", set()),
        ([STARTED, READY, STOPPING], "permanent", set()),
    ],
)
def test_which_conditions_hold(happened: list[Event], restart: Any, meets: set[Condition]) -> None:
    status = fold(*happened, restart=restart)
    conditions: list[Condition] = ["started", "ready", "completed"]
    assert {condition for condition in conditions if status.meets(condition)} == meets
