"""Answers that go on: events, logs, a colony's console, a forwarded port.

Each reader has a bounded feed of its own. One that is slow loses its oldest items and is told how
many; one that takes nothing at all is let go. A stream that is over ends as HTTP ends it, so that a
reader can tell that from an instance that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from actors import Event
from actors import events as kernel
from colony import tree
from colony.api import types as t
from colony.api.bridge import Bridge
from colony.api.feed import Feed
from colony.api.history import Happened, Line, recent, wanted
from colony.api.operations import API, Ask, Operations
from colony.api.problems import ApiError, invalid
from colony.api.security import WRITE_TIMEOUT
from colony.api.waiting import compiled
from colony.console import Console

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a stream says that it lives."""

READERS_MOST: Final = 4000
"""Streams that are open at the same time."""

LINES_WAITING: Final = 2000
"""Batches of lines that wait for one reader."""

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
            return history.listen(events=note) if query.follow else _nothing, before

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
            await response.write_eof()
        return response

    # -- logs ----------------------------------------------------------------------------------

    async def logs(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """The last lines, and with `follow` those that come until the colony has ended."""
        query: t.LogQuery = ask.query
        colony = self.operations.colony(ask.names["colony"])
        for name in query.service:
            self.operations._service(Ask({"colony": colony.name, "service": name}))
        grep = None if query.grep is None else compiled(query.grep, "grep")
        since = _moment(query.since)
        feed: Feed[list[Line]] = Feed(LINES_WAITING)
        post, put = self.bridge.post, feed.put
        history, services = self.operations.host.history, query.service

        async def subscribe() -> tuple[Callable[[], None], tuple[list[Line], int]]:
            def note(lines: list[Line]) -> None:
                if lines[0].colony == colony.name:
                    chosen = [line for line in lines if wanted(line, services, grep)]
                    if chosen:
                        post(put, chosen)

            ring = history.lines(colony.name)
            after = since if isinstance(since, int) else 0
            found = list(recent(ring, after=after, services=services, grep=grep))
            if isinstance(since, float):
                found = [line for line in found if line.ts >= since]
            found = found[len(found) - query.tail :] if query.tail < len(found) else found
            if not query.follow:
                return _nothing, (found, ring.next - 1)
            leave = history.listen(lines=note)
            over = self._at_the_end_of(colony.name, feed)
            return _both(leave, over), (found, ring.next - 1)

        async with self._open(feed, subscribe) as (found, cursor):
            if not query.follow:
                return _page(found, cursor, query)
            return await self._follow(request, feed, found, query)

    async def _follow(
        self, request: web.Request, feed: Feed[list[Line]], found: list[Line], query: t.LogQuery
    ) -> web.StreamResponse:
        as_json = query.format == "json"
        kind = "application/x-ndjson" if as_json else "text/plain; charset=utf-8"
        response = await _begin(request, kind)
        await _write(response, _lines(found, 0, as_json))
        while (taken := await feed.take(HEARTBEAT)) is not None:
            dropped, batches = taken
            lines = [line for batch in batches for line in batch]
            # Nothing to say: an empty line, so that a reader who has left is found out.
            await _write(response, _lines(lines, dropped, as_json) or b"\n")
        await response.write_eof()
        return response

    def _at_the_end_of(self, colony: str, feed: Feed[Any]) -> Callable[[], None]:
        """Closes a feed when a colony has ended. In the instance's loop."""
        host, post = self.operations.host, self.bridge.post
        path = f"{tree.SYSTEM}/{tree.COLONIES}/{colony}"

        def note(event: Event) -> None:
            if isinstance(event, kernel.Exited) and event.actor == path:
                post(feed.close)

        present = host.colonies.get(colony)
        if present is None or present.ended:
            post(feed.close)
        return host.system.events.listen(note)

    # -- the console ---------------------------------------------------------------------------

    async def console(self, ask: Ask, request: web.Request) -> web.StreamResponse:
        """What `colony run` shows of a colony: from now until it has ended. It may start later."""
        query: t.ConsoleQuery = ask.query
        feed: Feed[bytes] = Feed(LINES_WAITING)
        post, put, host = self.bridge.post, feed.put, self.operations.host
        path = f"{tree.SYSTEM}/{tree.COLONIES}/{query.colony}"
        console = Console(colour=query.colour, several=query.several)

        def announce() -> None:
            colony = host.colonies.get(query.colony)
            if colony is not None:
                colony.announce(console)

        async def subscribe() -> tuple[Callable[[], None], None]:
            def note(event: Event) -> None:
                if tree.colony_of(event) != query.colony:
                    return
                announce()
                lines = console.show(event)
                if lines:
                    post(put, lines)
                if isinstance(event, kernel.Exited) and event.actor == path:
                    post(feed.close)

            announce()
            return host.system.events.listen(note), None

        async with self._open(feed, subscribe):
            response = await _begin(request, "text/plain; charset=utf-8")
            while (taken := await feed.take(HEARTBEAT)) is not None:
                dropped, items = taken
                lost = f"… {dropped} outputs dropped\n".encode() if dropped else b""
                await _write(response, lost + b"".join(items))
            await response.write_eof()
        return response

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


def _lines(lines: list[Line], dropped: int, as_json: bool) -> bytes:
    if not as_json:
        lost = f"… {dropped} outputs dropped\n".encode() if dropped else b""
        return lost + b"".join(line.text + b"\n" for line in lines)
    if dropped and lines:
        first = msgspec.json.encode(lines[0].data() | {"dropped": dropped})
        return first + b"\n" + b"".join(line.json + b"\n" for line in lines[1:])
    return b"".join(line.json + b"\n" for line in lines)


def _page(lines: list[Line], cursor: int, query: t.LogQuery) -> web.Response:
    if query.format == "text":
        kind = {"Content-Type": "text/plain; charset=utf-8"}
        return web.Response(body=_lines(lines, 0, False), headers=_HEADERS | kind)
    body = b'{"lines":[' + b",".join(line.json for line in lines) + b'],"cursor":%d}' % cursor
    return web.Response(body=body, content_type="application/json", headers=_HEADERS)


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


def _moment(since: str | None) -> int | float | None:
    """A line's number, or a time in seconds since the epoch."""
    if since is None:
        return None
    if re.fullmatch("[0-9]{1,18}", since):
        return int(since)
    try:
        return datetime.fromisoformat(since).timestamp()
    except (ValueError, OverflowError, OSError):
        words = f"this is a line's number or a time in ISO 8601, got: {since!r}"
        raise invalid([t.Advice("since", words)]) from None


def _nothing() -> None:
    return None


def _both(one: Callable[[], None], other: Callable[[], None]) -> Callable[[], None]:
    def leave() -> None:
        one()
        other()

    return leave


async def _call(function: Callable[[], None]) -> None:
    function()
