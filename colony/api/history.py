"""What has happened in an instance, numbered: events, and the lines that services wrote.

    system's stream ──▶ History ──▶ a ring of events    ──▶ subscribers, each with a bounded queue
                               └──▶ a ring of lines for each colony ──▶ subscribers

Law: an item has a number that is never used again, so a reader says where it stopped and goes on
from there; when the ring has lost what it asks for it is told so (a *gap*), never given less
in silence. A reader that does not keep up loses its oldest items and is told how many.

The rings outlive the API's actor and everybody that it serves: they belong to the host.

Nothing goes out that might be secret. Of an event's fields only plain values are taken, of an exit
reason its words, of a message that an actor was handling the name of its type.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from actors import Event, Reason
from actors import events as kernel
from colony.events import ServiceOutput, ServiceStarted
from colony.logs import LineSplitter
from colony.tree import colony_of

EVENTS_KEPT: Final = 10_000
LINES_KEPT: Final = 20_000
"""Lines of one colony that are kept at most."""
BYTES_KEPT: Final = 4 * 1024 * 1024
"""Bytes of one colony's lines that are kept at most."""
COLONIES_KEPT: Final = 200
"""Colonies whose lines are kept; those of the one that was quiet longest go first."""

_KERNEL: Final = "actor"
_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")

Notify = Callable[[Any], None]


class Happened(msgspec.Struct, frozen=True):
    """An event with its number and time, and as the JSON that goes over the wire."""

    id: int
    type: str
    colony: str | None
    json: bytes


class Line:
    """A line with its number; its JSON is made once for all readers."""

    __slots__ = ("_json", "colony", "seq", "service", "stream", "text", "ts")

    def __init__(
        self, seq: int, ts: float, colony: str, service: str, stream: str, text: bytes
    ) -> None:
        self.seq = seq
        self.ts = ts
        self.colony = colony
        self.service = service
        self.stream = stream
        self.text = text
        self._json: bytes | None = None

    def __repr__(self) -> str:
        return f"<Line {self.seq} of {self.colony}/{self.service}: {self.text!r}>"

    @property
    def json(self) -> bytes:
        """As `types.LogLine`, without a line end."""
        if self._json is None:
            self._json = msgspec.json.encode(self.data())
        return self._json

    def data(self) -> dict[str, Any]:
        """As `types.LogLine`."""
        return {
            "seq": self.seq,
            "ts": iso(self.ts),
            "colony": self.colony,
            "service": self.service,
            "stream": self.stream,
            "text": self.text.decode("utf-8", "replace"),
            "dropped": 0,
        }


class Ring:
    """The last lines of one colony, bounded in number and in bytes."""

    __slots__ = ("bytes", "lines", "next")

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self.bytes = 0
        self.next = 1

    def __repr__(self) -> str:
        return f"<Ring of {len(self.lines)} lines, next {self.next}>"

    def add(self, line: Line) -> None:
        """Adds a line and lets the oldest go."""
        self.lines.append(line)
        self.bytes += len(line.text)
        self.next = line.seq + 1
        while len(self.lines) > LINES_KEPT or self.bytes > BYTES_KEPT:
            self.bytes -= len(self.lines.popleft().text)

    @property
    def first(self) -> int:
        """The number of the oldest line that is there, or of the next."""
        return self.lines[0].seq if self.lines else self.next


class History:
    """Listens to a system's events from `attach` on."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.began = clock()
        self.events: deque[Happened] = deque(maxlen=EVENTS_KEPT)
        self.last_id = 0
        self.rings: dict[str, Ring] = {}
        self._clock = clock
        self._splitters: dict[tuple[str, str, str], LineSplitter] = {}
        self._event_readers: list[Notify] = []
        self._line_readers: list[Notify] = []

    def __repr__(self) -> str:
        return f"<History of {self.last_id} events, {len(self.rings)} colonies>"

    def note(self, event: Event) -> None:
        """Takes an event in. To be given to `EventStream.listen`: never blocks, never fails."""
        if isinstance(event, ServiceOutput):
            self._output(event)
            return
        if isinstance(event, ServiceStarted):
            self._rest(event.colony, event.service)
        type_ = name_of(type(event))
        if type_ is None:
            return
        self.last_id += 1
        colony = colony_of(event)
        fields = {"id": self.last_id, "ts": iso(self._clock()), "type": type_, "colony": colony}
        happened = Happened(self.last_id, type_, colony, encoded(fields | plain_fields(event)))
        self.events.append(happened)
        for reader in tuple(self._event_readers):
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

    def lines(self, colony: str) -> Ring:
        """A colony's lines; empty for one that never wrote any."""
        return self.rings.get(colony) or Ring()

    def listen(
        self, events: Notify | None = None, lines: Notify | None = None
    ) -> Callable[[], None]:
        """Calls with every event, and every list of lines, from now on; returns what ends that."""
        for readers, reader in ((self._event_readers, events), (self._line_readers, lines)):
            if reader is not None:
                readers.append(reader)

        def leave() -> None:
            for readers, reader in ((self._event_readers, events), (self._line_readers, lines)):
                if reader in readers:
                    readers.remove(reader)

        return leave

    # -- lines ---------------------------------------------------------------------------------

    def _output(self, event: ServiceOutput) -> None:
        key = (event.colony, event.service, event.stream)
        splitter = self._splitters.get(key)
        if splitter is None:
            splitter = self._splitters[key] = LineSplitter()
        self._add(key, splitter.feed(event.data))

    def _rest(self, colony: str, service: str) -> None:
        """A new life has begun: what the last one left without a line end is a line."""
        for stream in ("stdout", "stderr"):
            splitter = self._splitters.pop((colony, service, stream), None)
            if splitter is not None:
                self._add((colony, service, stream), splitter.close())

    def _add(self, key: tuple[str, str, str], texts: list[bytes]) -> None:
        if not texts:
            return
        colony, service, stream = key
        ring = self.rings.pop(colony, None) or Ring()
        self.rings[colony] = ring
        if len(self.rings) > COLONIES_KEPT:
            del self.rings[next(iter(self.rings))]
        now = self._clock()
        added = []
        for text in texts:
            line = Line(ring.next, now, colony, service, stream, text)
            ring.add(line)
            added.append(line)
        for reader in tuple(self._line_readers):
            reader(added)


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
}
"""The kernel's events by what they are about. All others are named by `name_of`'s rule."""


def name_of(kind: type) -> str | None:
    """`ServiceStarted` → "service.started", `DoorOpened` → "door.opened"."""
    if kind not in _NAMES:
        first, *rest = _WORDS.sub(" ", kind.__name__).lower().split()
        _NAMES[kind] = f"{first}.{'_'.join(rest)}" if rest else f"instance.{first}"
    return _NAMES[kind]


def plain_fields(event: Event) -> dict[str, Any]:
    """An event's fields as plain values; `at` is the system's own clock and left out."""
    return {
        name: _plain(name, getattr(event, name))
        for name in event.__struct_fields__
        if name not in ("at", "colony")
    }


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


def recent(
    ring: Ring, *, after: int, services: tuple[str, ...], grep: re.Pattern[bytes] | None
) -> Iterator[Line]:
    """The lines of a ring after number `after` that are wanted, oldest first."""
    for line in ring.lines:
        if line.seq > after and wanted(line, services, grep):
            yield line


def wanted(line: Line, services: tuple[str, ...], grep: re.Pattern[bytes] | None) -> bool:
    """Whether a line is of one of the services, and matches."""
    if services and line.service not in services:
        return False
    return grep is None or grep.search(line.text) is not None
