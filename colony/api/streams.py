"""Answers that go on: events, logs, a colony's console, a forwarded port.

Each reader has a bounded feed of its own, or follows a ring. One that is slow loses its oldest
items and is told how many; one that takes nothing at all is let go. A stream that is over ends as
HTTP ends it, so that a reader can tell that from an instance that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from actors import Event
from actors import events as kernel
from colony import tree
from colony.api import types as t
from colony.api.bridge import Bridge
from colony.api.feed import Feed
from colony.api.history import Happened
from colony.api.lines import FORMATS, NOTES, Looks, Place, filter_of, page_json, parted
from colony.api.operations import API, Ask, Operations
from colony.api.problems import ApiError
from colony.api.security import WRITE_TIMEOUT
from colony.console import Console
from colony.events import ServiceOutput
from colony.logs import Filter, LogLine
from colony.running import RunningColony

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a stream says that it lives."""

READERS_MOST: Final = 4000
"""Streams that are open at the same time."""

LINES_WAITING: Final = 2000
"""Pieces of a console that wait for one reader."""

ENDING: Final = "the instance is ending"

FAULTS: Final = (kernel.CrashReport, kernel.HandlerBlocked, kernel.KillIgnored)
"""Events that tell of a fault of Colony's own, or may."""

END_OF_LIFE: Final = b""
"""Among those pieces: here the colony has ended, or been ended for its restart."""

_HEADERS: Final = {
    "Server": "colony",
    "Colony-Api": str(API),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}


class Streams:
    """The streams that are open."""

    def __init__(self, operations: Operations, bridge: Bridge) -> None:
        self.operations = operations
        self.bridge = bridge
        self._looks = Looks(operations.host.parts.logs)
        self._feeds: set[Feed[Any]] = set()
        self._closing = False

    def __repr__(self) -> str:
        return f"<Streams {len(self._feeds)} open>"

    def close(self) -> None:
        """Ends all of them, once what waits is sent."""
        self._closing = True
        for feed in tuple(self._feeds):
            feed.close()

    @contextlib.asynccontextmanager
    async def _open(
        self, feed: Feed[Any], subscribe: Callable[[], Awaitable[tuple[Callable[[], None], Any]]]
    ) -> AsyncIterator[Any]:
        """Subscribes a feed in the instance's loop, for as long as the block; gives what there was
        before, taken in the same instant."""
        if len(self._feeds) >= READERS_MOST or self._closing:
            raise ApiError("too_many", f"{len(self._feeds)} streams are open already")
        self._feeds.add(feed)
        self.operations.subscribers = len(self._feeds)
        leave: Callable[[], None] | None = None
        try:
            leave, before = await self.bridge.run(subscribe)
            yield before
        finally:
            self._feeds.discard(feed)
            self.operations.subscribers = len(self._feeds)
            if leave is not None:
                await asyncio.shield(self.bridge.run(_call, leave))

    # -- events --------------------------------------------------------------------------------

    async def events(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """Server-sent events, with replay from the id that the reader saw last."""
        query: t.EventQuery = ask.query
        history = self.operations.host.history
        since = _last_event_id(request.headers.get("Last-Event-ID"), query.since)
        feed: Feed[Happened] = Feed()
        post, put = self.bridge.post, feed.put

        async def subscribe() -> tuple[Callable[[], None], tuple[int, list[Happened]]]:
            def note(happened: Happened) -> None:
                if _of_interest(happened, query):
                    post(put, happened)

            before = history.since(history.last_id if since is None else since)
            return history.listen(note) if query.follow else _nothing, before

        async with self._open(feed, subscribe) as (lost, before):
            if not query.follow:
                feed.close()
            response = await _begin(request, "text/event-stream")
            first = _gap(lost) if lost else b": connected\n\n"
            kept = [each for each in before if _of_interest(each, query)]
            await _write(response, first + b"".join(map(_frame, kept)))
            while (taken := await feed.take(HEARTBEAT)) is not None:
                dropped, items = taken
                data = (_gap(dropped) if dropped else b"") + b"".join(map(_frame, items))
                await _write(response, data or b": \n\n")
            if self._closing:
                await _write(response, b'event: end\ndata: {"why": "%b"}\n\n' % ENDING.encode())
            await response.write_eof()
        return response

    # -- logs ----------------------------------------------------------------------------------

    async def logs(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """The last lines, and with `follow` those that come until the colony has ended."""
        query: t.LogQuery = ask.query
        colony = self.operations.colony(ask.names["colony"]).name
        for name in query.service:
            self.operations._service(Ask({"colony": colony, "service": name}))
        first = filter_of(query)
        if first.after > self._looks.logs.position:  # of another instance's
            first = msgspec.structs.replace(first, after=0)
        if query.follow:
            return await self._follow(request, colony, query, first)
        page = await self._looks.page(colony, _once(query.service), first)
        kind, shown = FORMATS[query.format]
        if query.format == "text":
            headers = {**_HEADERS, "Content-Type": kind}
            return web.Response(body=shown(colony, page.lines, {}), headers=headers)
        body = page_json(colony, page)
        return web.Response(body=body, content_type="application/json", headers=_HEADERS)

    async def _follow(
        self, request: web.Request, colony: str, query: t.LogQuery, first: Filter
    ) -> web.StreamResponse:
        kind, shown = FORMATS[query.format]
        note, looks, services = NOTES[query.format], self._looks, _once(query.service)
        bell: Feed[None] = Feed(1)
        ends: deque[tuple[RunningColony, float]] = deque()
        async with self._open(bell, partial(self._ring_for, colony, bell, ends)):
            page = await looks.page(colony, services, first)
            response = await _begin(request, kind)
            await _write(response, shown(colony, page.lines, {}))
            place, living = Place(page), True

            async def more() -> tuple[tuple[LogLine, ...], dict[str, int]]:
                wanted = Filter(grep=query.grep, after=place.after)
                page = await looks.page(colony, services, wanted)
                return page.lines, place.advance(page)

            while living:
                living = await bell.take(HEARTBEAT) is not None
                lines, missed = await more()
                # Nothing to say: an empty line, so that a reader who has left is found out.
                if not ends:
                    await _write(response, shown(colony, lines, missed) or b"\n")
                    if not living:
                        await _write(response, note(colony, ENDING, time.time()))
                    continue
                ended, at = ends.popleft()
                before, later = parted([*lines, *(await more())[0]], at)
                await _write(response, shown(colony, before, missed))
                await _write(response, note(colony, ended.fate, at))
                await _write(response, shown(colony, later, {}))
                living = await self.bridge.run(ended.successor) is not None
                if not living and ended.succession is not None:
                    await _write(response, note(colony, ended.not_again, time.time()))
            await response.write_eof()
        return response

    async def _ring_for(
        self, colony: str, bell: Feed[None], ends: deque[tuple[RunningColony, float]]
    ) -> tuple[Callable[[], None], None]:
        """Rings when a colony's services have written something, and when it has ended: then it is
        in `ends`, with the time."""
        host, post, put = self.operations.host, self.bridge.post, bell.put
        path = f"{tree.SYSTEM}/{tree.COLONIES}/{colony}"

        def has_ended(life: RunningColony, at: float) -> None:
            ends.append((life, at))
            put(None)

        def note(event: Event) -> None:
            if isinstance(event, ServiceOutput) and event.colony == colony:
                post(put, None)
            elif isinstance(event, kernel.Exited) and event.actor == path:
                post(has_ended, host.colonies[colony], time.time())

        present = host.colonies[colony]
        if present.ended:
            post(has_ended, present, time.time())
        return host.system.events.listen(note), None

    # -- the console ---------------------------------------------------------------------------

    async def console(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """What `colony run` shows of a colony: from now until it has ended. It may start later, and
        goes on over a restart by an operator."""
        query: t.ConsoleQuery = ask.query
        feed: Feed[bytes] = Feed(LINES_WAITING)
        ended: list[RunningColony] = []
        async with self._open(feed, partial(self._show_for, query, feed, ended)):
            response = await _begin(request, "text/plain; charset=utf-8")
            while (taken := await feed.take(HEARTBEAT)) is not None:
                dropped, items = taken
                lost = f"… {dropped} outputs dropped\n".encode() if dropped else b""
                await _write(response, lost + b"".join(items))
                if END_OF_LIFE in items and await self.bridge.run(ended[-1].successor) is None:
                    break
            await response.write_eof()
        return response

    async def _show_for(
        self, query: t.ConsoleQuery, feed: Feed[bytes], ended: list[RunningColony]
    ) -> tuple[Callable[[], None], None]:
        """Feeds what a console shows of the events of a colony, and END_OF_LIFE when it has ended:
        then it is in `ended`."""
        host, post, put = self.operations.host, self.bridge.post, feed.put
        path = f"{tree.SYSTEM}/{tree.COLONIES}/{query.colony}"
        console = Console(colour=query.colour, several=query.several, debug=query.debug)

        def announce() -> None:
            colony = host.colonies.get(query.colony)
            if colony is not None:
                colony.announce(console)

        def note(event: Event) -> None:
            owner = tree.colony_of(event)
            fault = query.instance and owner is None and isinstance(event, FAULTS)
            if owner != query.colony and not fault:
                return
            announce()
            lines = console.show(event)
            if lines:
                post(put, lines)
            if isinstance(event, kernel.Exited) and event.actor == path:
                life = host.colonies.get(query.colony)
                if life is None:
                    post(feed.close)
                else:
                    ended.append(life)
                    post(put, END_OF_LIFE)

        announce()
        return host.system.events.listen(note), None

    # -- a port --------------------------------------------------------------------------------

    async def forward(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """Holds a port open for as long as the reader stays."""
        from colony.api.forwarding import forward

        feed: Feed[t.Forwarding] = Feed()
        self._feeds.add(feed)
        post, put = self.bridge.post, feed.put

        async def hold() -> None:
            colony = self.operations.colony(ask.names["colony"])
            await forward(colony, ask.body, lambda standing: post(put, standing))

        task = asyncio.ensure_future(self.bridge.run(hold))
        task.add_done_callback(lambda _: feed.close())
        try:
            taken = await feed.take(HEARTBEAT)
            if not taken or not taken[1]:
                await task  # raises why
            response = await _begin(request, "application/x-ndjson")
            await _write(response, msgspec.json.encode(taken[1][0]) + b"\n" if taken else b"")
            while await feed.take(HEARTBEAT) is not None:
                await _write(response, b"\n")
            await response.write_eof()
        finally:
            self._feeds.discard(feed)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return response


STREAMS: Final[dict[str, Callable[[Streams, Ask, web.Request], Awaitable[web.StreamResponse]]]] = {
    "events": Streams.events,
    "logs": Streams.logs,
    "console": Streams.console,
    "forward": Streams.forward,
}


# -- bytes -----------------------------------------------------------------------------------------


async def _begin(request: web.Request, kind: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": kind})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Sends a piece; lets a reader go that takes nothing."""
    if not data:
        return
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the reader takes nothing") from None


def _frame(happened: Happened) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        happened.id,
        happened.type.encode(),
        happened.json,
    )


def _gap(lost: int) -> bytes:
    return b'event: gap\ndata: {"lost": %d}\n\n' % lost


# -- what is asked ---------------------------------------------------------------------------------


def _of_interest(happened: Happened, query: t.EventQuery) -> bool:
    if query.colony is not None and happened.colony != query.colony:
        return False
    return not query.type or happened.type in query.type


def _last_event_id(header: str | None, since: int | None) -> int | None:
    """The header is newer than the query: a browser that comes back sends both."""
    if header is not None and re.fullmatch("[0-9]{1,18}", header):
        return int(header)
    return since


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _nothing() -> None:
    return None


async def _call(function: Callable[[], None]) -> None:
    function()
