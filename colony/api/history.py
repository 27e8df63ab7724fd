"""What has happened in an instance, numbered.

    system's stream ──▶ History ──▶ a ring of events ──▶ subscribers, each with a bounded queue

Law: an event has a number that is never used again, so a reader says where it stopped and goes on
from there; when the ring has lost what it asks for it is told so (a *gap*), never given less
in silence. A reader that does not keep up loses its oldest events and is told how many.

The ring outlives the API's actor and everybody that it serves: it belongs to the host. What
services wrote is no part of it: `colony.logs` keeps that, and `colony.api.lines` shows it.

Nothing goes out that might be secret. Of an event's fields only plain values are taken, of an exit
reason its words, of a message that an actor was handling the name of its type.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from actors import Event, Reason
from actors import events as kernel
from colony.events import ServiceOutput
from colony.services.plan import ProcessExited
from colony.tree import colony_of

EVENTS_KEPT: Final = 10_000

_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")

Notify = Callable[["Happened"], None]


class Happened:
    """An event with its number, and as the JSON that goes over the wire."""

    __slots__ = ("_event", "_json", "_seconds", "colony", "id", "type")

    def __init__(
        self, id: int, type: str, colony: str | None, seconds: float, event: Event
    ) -> None:
        self.id = id
        self.type = type
        self.colony = colony
        self._seconds = seconds
        self._event: Event | None = event
        self._json = b""
        if _keeps_much(event):
            self._json = self._encoded()

    def __repr__(self) -> str:
        return f"<Happened {self.id} {self.type}>"

    @property
    def json(self) -> bytes:
        """Made once, when it is asked for: mostly nobody does, and a restart would wait for it."""
        return self._json or self._encoded()

    def _encoded(self) -> bytes:
        event, self._event = self._event, None
        assert event is not None
        fields = {"id": self.id, "ts": iso(self._seconds), "type": self.type, "colony": self.colony}
        self._json = encoded(fields | plain_fields(event))
        return self._json


class History:
    """Listens to a system's events from `attach` on."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.began = clock()
        self.events: deque[Happened] = deque(maxlen=EVENTS_KEPT)
        self.last_id = 0
        self._clock = clock
        self._readers: list[Notify] = []

    def __repr__(self) -> str:
        return f"<History of {self.last_id} events>"

    def note(self, event: Event) -> None:
        """Takes an event in. To be given to `EventStream.listen`: never blocks, never fails."""
        if isinstance(event, ServiceOutput):
            return
        type_ = name_of(type(event))
        if type_ is None:
            return
        self.last_id += 1
        happened = Happened(self.last_id, type_, colony_of(event), self._clock(), event)
        self.events.append(happened)
        for reader in tuple(self._readers):
            reader(happened)

    # -- reading -------------------------------------------------------------------------------

    def since(self, id: int) -> tuple[int, list[Happened]]:
        """The events after `id`, and how many of them are lost.

        An id of another instance's, higher than any of ours, gets everything that there is.
        """
        if id > self.last_id:
            id = 0
        first = self.events[0].id if self.events else self.last_id + 1
        lost = max(0, first - id - 1)
        behind = self.last_id - id
        kept = list(self.events)
        return lost, kept[len(kept) - behind :] if behind < len(kept) else kept

    def listen(self, reader: Notify) -> Callable[[], None]:
        """Calls with every event from now on; returns what ends that."""
        self._readers.append(reader)

        def leave() -> None:
            if reader in self._readers:
                self._readers.remove(reader)

        return leave


# -- names and values ------------------------------------------------------------------------------

_NAMES: Final[dict[type, str | None]] = {
    kernel.Started: "actor.started",
    kernel.StartIgnored: "actor.start_ignored",
    kernel.StartFailed: "actor.start_failed",
    kernel.Exited: "actor.exited",
    kernel.ChildTerminated: "supervisor.child_terminated",
    kernel.Restarting: "supervisor.restarting",
    kernel.ChildStartFailed: "supervisor.child_start_failed",
    kernel.LimitReached: "supervisor.limit_reached",
    kernel.StopFailed: "supervisor.stop_failed",
    kernel.DeadLetter: "actor.dead_letter",
    kernel.Undelivered: "actor.undelivered",
    kernel.CrashReport: "actor.crashed",
    kernel.HandlerBlocked: "actor.blocked",
    kernel.KillIgnored: "actor.kill_ignored",
}
"""The kernel's events by what they are about. All others are named by `name_of`'s rule."""


def name_of(kind: type) -> str | None:
    """`ServiceStarted` → "service.started", `DoorOpened` → "door.opened"."""
    if kind not in _NAMES:
        first, *rest = _WORDS.sub(" ", kind.__name__).lower().split()
        _NAMES[kind] = f"{first}.{'_'.join(rest)}" if rest else f"instance.{first}"
    return _NAMES[kind]


def _keeps_much(event: Event) -> bool:
    """Whether an event may hold on to an error, with all that is on its stack, or to a message's
    content."""
    reason, message = getattr(event, "reason", ""), getattr(event, "message", None)
    if not isinstance(reason, str | ProcessExited):
        return True
    return message is not None and getattr(message, "__struct_fields__", None) != ()


def plain_fields(event: Event) -> dict[str, Any]:
    """An event's fields as plain values; `at` is the system's own clock and left out."""
    fields = {
        name: _plain(name, getattr(event, name))
        for name in event.__struct_fields__
        if name not in ("at", "colony")
    }
    if isinstance(event, kernel.CrashReport):
        fields["traceback"] = event.traceback
    return fields


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Reason):
        return {"text": str(value), "orderly": value.orderly}
    if isinstance(value, tuple | list):
        return [_plain(name, item) for item in value]
    return type(value).__name__


def encoded(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value)


def iso(seconds: float) -> str:
    """A time since the epoch in ISO 8601, UTC, to the millisecond."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
