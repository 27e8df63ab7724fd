"""The words in which a supervisor's core and its shell speak: events in, effects out.

Values only. `supervision.step` takes an event and returns effects; what each of them asks of the
shell, and which one it is to answer with, is said here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.events import Event
from actors.reasons import Reason
from actors.spec import ChildSpec

# -- events: what may happen ---------------------------------------------------------------------


class Boot(msgspec.Struct, frozen=True):
    """Start all children, in order."""


class Started(msgspec.Struct, frozen=True):
    """The outcome of `Start`: it runs."""

    id: str
    life: int


class Ignored(msgspec.Struct, frozen=True):
    """The outcome of `Start`: it need not run (R53)."""

    id: str


class StartFailed(msgspec.Struct, frozen=True):
    """The outcome of `Start`: it failed."""

    id: str
    reason: Reason


class Stopped(msgspec.Struct, frozen=True):
    """The outcome of `Stop`."""

    id: str
    reason: Reason


class AllStopped(msgspec.Struct, frozen=True):
    """The outcome of `StopAll`: everybody's exit reason."""

    reasons: tuple[tuple[str, Reason], ...]


class Exited(msgspec.Struct, frozen=True):
    """A child has ended by itself, or was killed by a stranger."""

    id: str
    life: int
    reason: Reason


class Retry(msgspec.Struct, frozen=True):
    """A restart that failed, or has been put off by a backoff, is due (R71)."""

    id: str
    generation: int


class StartChild(msgspec.Struct, frozen=True):
    """Command: add a child and start it (R58, R59)."""

    spec: ChildSpec[Any]


class TerminateChild(msgspec.Struct, frozen=True):
    """Command: stop a child, keep its spec (R60)."""

    id: str


class RestartChild(msgspec.Struct, frozen=True):
    """Command: start a stopped child again (R62)."""

    id: str


class DeleteChild(msgspec.Struct, frozen=True):
    """Command: forget a stopped child (R63)."""

    id: str


class Change(msgspec.Struct, frozen=True):
    """Command: take these flags and specs instead of the old ones (R104)."""

    flags: Any
    specs: tuple[ChildSpec[Any], ...]


class Terminate(msgspec.Struct, frozen=True):
    """Stop all children and end with `reason` (R66, R93)."""

    reason: Reason


# -- effects: what the shell is to do ------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Blocking: start this child; step with `Started`, `Ignored` or `StartFailed`."""

    id: str


class Stop(msgspec.Struct, frozen=True):
    """Blocking: stop this child as its spec says; step with `Stopped`."""

    id: str


class StopAll(msgspec.Struct, frozen=True):
    """Blocking: stop these side by side; step with `AllStopped` (R98)."""

    ids: tuple[str, ...]


class Ready(msgspec.Struct, frozen=True):
    """All children have started (or were ignored)."""


class Reply(msgspec.Struct, frozen=True):
    """The command is done; `id` names the child that it started, if any."""

    id: str | None = None


class Refuse(msgspec.Struct, frozen=True):
    """The command is not done, for `code`: OTP's error term; `reason` if a start failed."""

    code: str
    id: str
    reason: Reason | None = None


class QueueRetry(msgspec.Struct, frozen=True):
    """Step with this `Retry` in `delay` seconds; 0: after what is in the mailbox already (R71)."""

    retry: Retry
    delay: float = 0.0


class Exit(msgspec.Struct, frozen=True):
    """All children are gone: end with this reason."""

    reason: Reason


Effect = Start | Stop | StopAll | Ready | Reply | Refuse | QueueRetry | Exit | Event
"""An `Event` is a report: to be published on the system's stream."""
