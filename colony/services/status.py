"""What is known of a service over all its lives: a pure fold of the system's events.

A service's own actor knows one life. Between two lives, and after the last, there is no such actor,
and yet `ps` must say "restarting in 4 s" and a dependent must know whether what it waits for has
completed. So the state is made of events, whoever publishes them: the port actor tells what its
process does, the supervisor what it has decided.

    waiting ─▶ starting ─▶ ready ─▶ … detached
       ▲           │         │
       │           ▼         ▼            ┌─▶ completed   ended in good order, stays down
    backoff ◀──────┴─ ended ─┴────────────┼─▶ failed      ended badly, stays down
       (decided by the supervisor)        └─▶ stopped     by an operator, or with its siblings
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from actors import Crashed, Event, FailedToStart, Reason, Restart, Shutdown, events
from actors.restarts import RESTARTED
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceReady,
    ServiceRemark,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceWaiting,
)

State = Literal[
    "waiting",
    "starting",
    "ready",
    "detached",
    "backoff",
    "stopping",
    "stopped",
    "completed",
    "failed",
]
"""waiting for what it comes after; its process runs; ready as well; its process has ended and left
a server behind; waits for its restart; is being stopped; was stopped; ended in good order and
stays down; ended badly, or cannot start, and stays down."""

Condition = Literal["started", "ready", "completed"]

RUNNING: Final[frozenset[State]] = frozenset({"starting", "ready", "detached"})
"""The states in which a process of the service runs."""

MEETS: Final[dict[Condition, frozenset[State]]] = {
    "started": frozenset({"starting", "ready", "detached", "completed"}),
    "ready": frozenset({"ready", "detached", "completed"}),
    "completed": frozenset({"completed"}),
}
"""In which states of a service a condition on it holds. One that has completed was ready before."""


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it stands.

    state
        See `State`.
    detail
        Why, in words: what it waits for, why it failed or is not ready yet, what it says of itself.
        "" where the state says it all.
    pid
        Its process; None if none runs.
    port, url
        Where it listens in its colony, and its URL at the front door.
    life
        Which life it is in, or was in last: 1 for the first; 0 before.
    restart
        Its restart type: what its supervisor does when it ends.
    restarts
        How often its supervisor has decided to restart it, in all.
    recent, intensity, period
        How many restarts were in the supervisor's window at the last of them, how many it bears,
        and the window's length in seconds.
    since
        The system's time at which the state was reached; `due` that of its next restart.
    last_exit
        How its process ended last, in words; "" if it never has.
    """

    colony: str
    service: str
    state: State = "waiting"
    detail: str = ""
    pid: int | None = None
    port: int | None = None
    url: str | None = None
    life: int = 0
    restart: Restart = "permanent"
    restarts: int = 0
    recent: int = 0
    intensity: int = 0
    period: float = 0.0
    since: float = 0.0
    due: float | None = None
    last_exit: str = ""

    def meets(self, condition: Condition) -> bool:
        """Whether a condition that another service may wait for holds now."""
        return self.state in MEETS[condition]


def explain(reason: Reason) -> str:
    """An exit reason for a user: the root of a chain of failed starts, and no class names."""
    while isinstance(reason, Shutdown) and isinstance(reason.term, FailedToStart):
        reason = reason.term.reason
    return str(reason.error) if isinstance(reason, Crashed) else str(reason)


def restarts(count: int) -> str:
    """`1 restart`, `2 restarts`."""
    return f"{count} restart{'' if count == 1 else 's'}"


def named_in(event: Event) -> str:
    """The service that an event may be about, by the name that it has there; "" for none."""
    return getattr(event, "service", "") or getattr(event, "child", "")


def after(status: ServiceStatus, event: Event, supervisor: str) -> ServiceStatus:
    """The status after an event; the same object if the event is not about the service.

    `supervisor` is the path of the services' supervisor, whose decisions are events of the kernel.
    """
    fold = _FOLDS.get(type(event))
    if fold is None:
        return status
    subject: Any = event
    if isinstance(event, _DECISIONS):
        mine = event.supervisor == supervisor and event.child == status.service
    else:
        mine = (subject.colony, subject.service) == (status.colony, status.service)
    return fold(status, subject) if mine else status


def _to(status: ServiceStatus, event: Event, state: State, **changes: Any) -> ServiceStatus:
    plain: dict[str, Any] = {"detail": "", "due": None} | changes
    if state != status.state or not status.since:
        plain["since"] = event.at
    return msgspec.structs.replace(status, state=state, **plain)


def _waiting(status: ServiceStatus, event: ServiceWaiting) -> ServiceStatus:
    return _to(status, event, "waiting", detail=f"for {', '.join(event.waits_for)}", pid=None)


def _started(status: ServiceStatus, event: ServiceStarted) -> ServiceStatus:
    return _to(status, event, "starting", pid=event.pid, life=event.incarnation)


def _ready(status: ServiceStatus, event: ServiceReady) -> ServiceStatus:
    # A probe that was under way when the service ended says nothing any more.
    return _to(status, event, "ready") if status.state == "starting" else status


def _detached(status: ServiceStatus, event: ServiceDetached) -> ServiceStatus:
    return _to(status, event, "detached", pid=event.pid)


def _remark(status: ServiceStatus, event: ServiceRemark) -> ServiceStatus:
    if status.state not in RUNNING and status.state != "waiting":
        return status
    return msgspec.structs.replace(status, detail=event.text)


def _exited(status: ServiceStatus, event: ServiceExited) -> ServiceStatus:
    # If it is to be restarted, its supervisor says next when, or that this was once too often.
    state: State = "completed" if event.orderly else "failed"
    if RESTARTED[status.restart, event.orderly]:
        state = "backoff"
    detail = "" if event.orderly else event.status
    return _to(status, event, state, detail=detail, pid=None, last_exit=event.status)


def _stopping(status: ServiceStatus, event: ServiceStopping) -> ServiceStatus:
    return _to(status, event, "stopping")


def _stopped(status: ServiceStatus, event: ServiceStopped) -> ServiceStatus:
    last = event.status or status.last_exit
    return _to(status, event, "stopped", pid=None, last_exit=last)


def _failed(status: ServiceStatus, event: ServiceFailed) -> ServiceStatus:
    return _to(status, event, "failed", detail=event.reason, pid=None)


def _restarting(status: ServiceStatus, event: events.Restarting) -> ServiceStatus:
    return _to(
        status,
        event,
        "backoff",
        detail=explain(event.reason),
        due=event.at + event.delay,
        restarts=status.restarts + 1,
        recent=event.count,
        intensity=event.intensity,
        pid=None,
    )


def _limit_reached(status: ServiceStatus, event: events.LimitReached) -> ServiceStatus:
    often = restarts(event.intensity)
    text = f"more than {often} in {event.period:g} s: {explain(event.reason)}"
    return _to(status, event, "failed", detail=text, pid=None)


def _start_failed(status: ServiceStatus, event: events.ChildStartFailed) -> ServiceStatus:
    return _to(status, event, "failed", detail=explain(event.reason), pid=None)


_DECISIONS: Final = (events.Restarting, events.LimitReached, events.ChildStartFailed)

_FOLDS: Final[dict[type, Callable[[ServiceStatus, Any], ServiceStatus]]] = {
    ServiceWaiting: _waiting,
    ServiceStarted: _started,
    ServiceReady: _ready,
    ServiceRemark: _remark,
    ServiceDetached: _detached,
    ServiceExited: _exited,
    ServiceStopping: _stopping,
    ServiceStopped: _stopped,
    ServiceFailed: _failed,
    events.Restarting: _restarting,
    events.LimitReached: _limit_reached,
    events.ChildStartFailed: _start_failed,
}
