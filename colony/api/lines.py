"""Lines that services wrote, on their way to who asks: what is asked for, and how it is shown.

    LogQuery ──▶ Filter ──▶ Logs.page, in a thread ──▶ LogPage ──▶ JSON, JSON lines, text

`colony.logs` keeps the lines, and nobody else does. A follower keeps its position there and asks
for what came after it whenever something came: so a flood costs the event loop no copy, a reader
that is slow is given what the ring still has, and what it has missed is known to the line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import anyio.to_thread
import msgspec

from colony.api import types as t
from colony.api.history import iso
from colony.api.problems import invalid
from colony.logs import Filter, LogLine, LogPage, Logs
from colony.patterns import WrongPattern, compiled

TAIL: Final = 100
"""Lines that are shown by default."""

Key = tuple[str, tuple[str, ...], Filter]


class Looks:
    """Looks into the logs, from the server's loop.

    Followers that stand at the same place share one look: a thousand of them cost one.
    """

    def __init__(self, logs: Logs) -> None:
        self.logs = logs
        self._under_way: dict[Key, asyncio.Future[LogPage | None]] = {}

    def __repr__(self) -> str:
        return f"<Looks {len(self._under_way)} under way>"

    async def page(self, colony: str, services: tuple[str, ...], wanted: Filter) -> LogPage:
        """The wanted lines, up to where the logs were when this was called, at least."""
        due, key = self.logs.position, (colony, services, wanted)
        while (look := self._under_way.get(key)) is not None:
            shared = await asyncio.shield(look)
            if shared is not None and shared.next >= due:
                return shared
        return await self._look(key)

    async def _look(self, key: Key) -> LogPage:
        """Whoever is first looks; if they leave meanwhile, the next one does."""
        mine = self._under_way[key] = asyncio.get_running_loop().create_future()
        page: LogPage | None = None
        try:
            page = await anyio.to_thread.run_sync(self.logs.page, *key)
            return page
        finally:
            del self._under_way[key]
            mine.set_result(page)


class Place:
    """How far a follower has come: where to go on, and the number of each service's last line."""

    def __init__(self, page: LogPage) -> None:
        self.after = page.next
        self._seen = page.last

    def __repr__(self) -> str:
        return f"<Place {self.after}>"

    def advance(self, page: LogPage) -> dict[str, int]:
        """Goes on behind a page; by service, how many lines before it were missed."""
        seen = self._seen
        missed = {s: n - seen.get(s, 0) for s, n in page.dropped.items() if n > seen.get(s, 0)}
        self.after, self._seen = page.next, page.last
        return missed


def parted(lines: Iterable[LogLine], at: float) -> tuple[list[LogLine], list[LogLine]]:
    """What one life of a colony wrote until it ended at a time, and what the next one wrote."""
    before: list[LogLine] = []
    later: list[LogLine] = []
    for line in lines:
        (before if line.at <= at else later).append(line)
    return before, later


# -- what is asked ---------------------------------------------------------------------------------


def filter_of(query: t.LogQuery) -> Filter:
    """What a query asks for at first. Raises `ApiError` (422)."""
    if query.grep is not None:
        check_pattern(query.grep, "grep")
    moment = _moment(query.since)
    count = TAIL if query.tail is None and moment is None else query.tail
    if isinstance(moment, float):
        return Filter(count, moment, grep=query.grep)
    return Filter(count, grep=query.grep, after=moment or 0)


def check_pattern(pattern: str, field: str) -> None:
    """Raises `ApiError` (422) for what is no regular expression."""
    try:
        compiled(pattern)
    except WrongPattern as error:
        words = f"this is no regular expression: {error}, got: {pattern!r}"
        raise invalid([t.Advice(field, words)]) from None


def _moment(since: str | None) -> int | float | None:
    """A cursor, or a time in seconds since the epoch."""
    if since is None:
        return None
    if re.fullmatch("[0-9]{1,18}", since):
        return int(since)
    try:
        return datetime.fromisoformat(since).timestamp()
    except (ValueError, OverflowError, OSError):
        words = f"this is the cursor of a page or a time in ISO 8601, got: {since!r}"
        raise invalid([t.Advice("since", words)]) from None


# -- how it is shown -------------------------------------------------------------------------------


def page_json(colony: str, page: LogPage) -> bytes:
    """As `types.LogPage`."""
    lines = [_data(colony, line, 0) for line in page.lines]
    value = {"lines": lines, "cursor": page.next, "dropped": page.dropped}
    return msgspec.json.encode(value)


def as_json(colony: str, lines: Iterable[LogLine], missed: dict[str, int]) -> bytes:
    """As `types.LogLine`, a line each. What was missed stands at the service's first."""
    missed = dict(missed)
    encode = msgspec.json.encode
    return b"".join(
        encode(_data(colony, line, missed.pop(line.service, 0))) + b"\n" for line in lines
    )


def as_text(colony: str, lines: Iterable[LogLine], missed: dict[str, int]) -> bytes:
    """The lines byte for byte."""
    lost = sum(missed.values())
    remark = f"… {lost} lines dropped\n".encode() if lost else b""
    return remark + b"".join(line.data + b"\n" for line in lines)


def note_as_json(colony: str, text: str, at: float) -> bytes:
    """What became of the colony, as a `types.LogLine` of nobody's."""
    note = t.LogLine(0, datetime.fromtimestamp(at, UTC), colony, "", "note", text)
    return msgspec.json.encode({**msgspec.structs.asdict(note), "ts": iso(at)}) + b"\n"


def note_as_text(colony: str, text: str, at: float) -> bytes:
    """The same for whoever reads plain lines."""
    return f"· {text}\n".encode()


NOTES: Final = {"json": note_as_json, "text": note_as_text}
"""By the query's `format`."""

FORMATS: Final[dict[str, tuple[str, Callable[[str, Iterable[LogLine], dict[str, int]], bytes]]]] = {
    "json": ("application/x-ndjson", as_json),
    "text": ("text/plain; charset=utf-8", as_text),
}
"""What a stream of lines is, by the query's `format`: its media type, and its bytes."""


def _data(colony: str, line: LogLine, dropped: int) -> dict[str, Any]:
    return {
        "seq": line.number,
        "ts": iso(line.at),
        "colony": colony,
        "service": line.service,
        "stream": line.stream,
        "text": line.text,
        "dropped": dropped,
        "piece": line.piece,
        "more": line.more,
    }
