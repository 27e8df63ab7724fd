"""A `Link` to the instance of this process: the same operations that the API's server calls.

Requests and answers are checked as those that come over the wire, so that a program that runs with
`colony.open` runs with `colony.connect` as well.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import anyio
import anyio.to_thread
import msgspec

from actors import Event as KernelEvent
from actors import events as kernel
from colony import tree
from colony.api import types as t
from colony.api.history import Happened
from colony.api.lines import Place, as_json, filter_of, note_as_json, parted
from colony.api.operations import Answer, Ask, Operations
from colony.api.problems import ApiError, decoded, unknown
from colony.api.routes import BY_NAME
from colony.api.waiting import Bell
from colony.events import ServiceOutput
from colony.host import Host
from colony.logs import Filter, LogLine, Logs
from colony.sdk.errors import error_of
from colony.sdk.values import Event, event_of, gap
from colony.sdk.wire import lines_in

if TYPE_CHECKING:
    from colony.running import RunningColony

T = TypeVar("T")
S = TypeVar("S")
Leave = Callable[[], None]

WAITING: Final = 2000
"""Events that wait for one reader; older ones are dropped and counted."""


class Local:
    """The instance that runs here."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._operations = Operations(host)

    def __repr__(self) -> str:
        return f"<Local {self._host!r}>"

    async def ask(
        self,
        route: str,
        names: Mapping[str, str],
        returns: type[T],
        *,
        query: Any = None,
        body: Any = None,
    ) -> T:
        """The answer of a route. Raises `ColonyError`."""
        chosen = BY_NAME[route]
        try:
            if body is not None:
                body = decoded(msgspec.json.encode(body), chosen.body)
            asked = Ask(dict(names), chosen.query() if query is None else query, body)
            answer = await getattr(self._operations, route)(asked)
        except ApiError as error:
            raise error_of(error.problem) from None
        return cast(T, answer.value if isinstance(answer, Answer) else answer)

    async def lines(self, colony: str, query: t.LogQuery) -> LocalLines:
        """A colony's lines. Raises `ColonyError`."""
        try:
            present = self._operations.colony(colony)
            for name in query.service:
                if name not in present.config.services:
                    what = f"service in colony {colony} called"
                    raise unknown(what, name, present.config.services)
            first = filter_of(query)
        except ApiError as error:
            raise error_of(error.problem) from None
        source = LocalLines(self._host.parts.logs, colony, query, first)
        if not query.follow:
            source.bell.ring(last=True)
            return source
        if present.ended:
            source.ended(present)
            return source
        host = self._host
        path = f"{tree.SYSTEM}/{tree.COLONIES}/{colony}"

        def note(source: LocalLines, event: KernelEvent) -> None:
            if isinstance(event, ServiceOutput) and event.colony == colony:
                source.bell.ring()
            elif isinstance(event, kernel.Exited) and event.actor == path:
                source.ended(host.colonies[colony])

        source.leave = heard_by(source, note, host.system.events.listen)
        return source

    async def events(self, query: t.EventQuery) -> LocalEvents:
        """What happens."""
        history = self._host.history
        lost, before = history.since(history.last_id if query.since is None else query.since)
        kept = [event_of(each.json) for each in before if _of_interest(each, query)]
        source = LocalEvents([gap(lost), *kept] if lost else kept)

        def note(source: LocalEvents, happened: Happened) -> None:
            if _of_interest(happened, query):
                source.put(event_of(happened.json))

        source.leave = heard_by(source, note, history.listen)
        return source

    async def last_lines(self, colony: str, service: str, count: int) -> tuple[str, ...]:
        """What a service wrote last; nothing if its colony is gone."""
        present = self._host.colonies.get(colony)
        if present is None:
            return ()
        lines = await present.last_lines(service, count)
        return tuple(line.decode("utf-8", "replace") for line in lines)


def heard_by(
    source: S, note: Callable[[S, Any], None], listen: Callable[[Callable[[Any], None]], Leave]
) -> Leave:
    """Has a source hear of something for as long as somebody knows the source; returns what ends
    that sooner. A reader that went away without a word is found out at the next news."""
    known = weakref.ref(source)

    def heard(news: Any) -> None:
        present = known()
        if present is None:
            leave()
        else:
            note(present, news)

    leave = listen(heard)
    return leave


class LocalLines:
    """A colony's lines: what its logs have after the place where this stands."""

    def __init__(self, logs: Logs, colony: str, query: t.LogQuery, first: Filter) -> None:
        self.bell = Bell()
        """Rings when there may be more."""
        self.leave: Leave = _nothing
        self._logs = logs
        self._colony = colony
        self._services = tuple(dict.fromkeys(query.service))
        self._grep = query.grep
        self._wanted = first
        self._place: Place | None = None
        self._end: tuple[RunningColony, float] | None = None
        self._awaited: RunningColony | None = None
        """What has ended, and it is told, while it may be started again."""
        self._ready: deque[t.LogLine] = deque()

    def __repr__(self) -> str:
        return f"<LocalLines of {self._colony} {self._place}>"

    async def take(self) -> t.LogLine | None:
        """The next line; None at the end."""
        while not self._ready:
            over = self.bell.last
            self.bell.reset()
            lines, missed = await self._look()
            if self._end is not None:
                (life, at), self._end = self._end, None
                self._awaited = life
                with anyio.CancelScope(shield=True):  # or what is taken already would be lost
                    before, later = parted([*lines, *(await self._look())[0]], at)
                self._ready.extend(lines_in(as_json(self._colony, before, missed))[0])
                self._note(life.fate, at)
                self._ready.extend(lines_in(as_json(self._colony, later, {}))[0])
            elif lines:
                self._ready.extend(lines_in(as_json(self._colony, lines, missed))[0])
            elif self._awaited is not None:
                await self._until_succeeded(self._awaited)
            elif over:
                return None
            else:
                await self.bell.rung()
        return self._ready.popleft()

    def ended(self, life: RunningColony) -> None:
        """The colony has ended, perhaps to be started again."""
        self._end = life, time.time()
        self.bell.ring()

    async def _until_succeeded(self, life: RunningColony) -> None:
        """Goes on with the colony's next life, if it has one; else this is the end."""
        if await life.successor() is None:
            if life.succession is not None:
                self._note(life.not_again, time.time())
            self.bell.ring(last=True)
        self._awaited = None

    def _note(self, text: str, at: float) -> None:
        self._ready.extend(lines_in(note_as_json(self._colony, text, at))[0])

    async def aclose(self) -> None:
        self.leave()

    def abandon(self) -> None:
        """Nothing to do: it hears only as long as it is known."""

    async def _look(self) -> tuple[tuple[LogLine, ...], dict[str, int]]:
        """What has come, and what was missed before it; in a thread, for there may be much."""
        look = partial(self._logs.page, self._colony, self._services, self._wanted)
        page = await anyio.to_thread.run_sync(look)
        missed: dict[str, int] = {}
        if self._place is None:
            self._place = Place(page)
        else:
            missed = self._place.advance(page)
        self._wanted = Filter(grep=self._grep, after=self._place.after)
        return page.lines, missed


class LocalEvents:
    """The events that wait for one reader."""

    def __init__(self, ready: list[Event]) -> None:
        self.leave: Leave = _nothing
        self._items: deque[Event] = deque(ready)
        self._dropped = 0
        self._bell = Bell()

    def __repr__(self) -> str:
        return f"<LocalEvents {len(self._items)} waiting, {self._dropped} dropped>"

    def put(self, event: Event) -> None:
        """Adds an event, and lets the oldest go if too many wait."""
        if len(self._items) >= WAITING:
            self._items.popleft()
            self._dropped += 1
        self._items.append(event)
        self._bell.ring()

    async def take(self) -> Event | None:
        """The next event. Without an end: the instance ends after its program's block."""
        while not self._items:
            self._bell.reset()
            await self._bell.rung()
        if self._dropped:
            lost, self._dropped = self._dropped, 0
            return gap(lost)
        return self._items.popleft()

    async def aclose(self) -> None:
        self.leave()

    def abandon(self) -> None:
        """Nothing to do: it hears only as long as it is known."""


def _nothing() -> None:
    return None


def _of_interest(happened: Happened, query: t.EventQuery) -> bool:
    if query.colony is not None and happened.colony != query.colony:
        return False
    return not query.type or happened.type in query.type
