"""A `Link` to an instance of another process: one request a connection, over its API socket.

Law: no task, no thread, no queue of its own. A request is a socket that its caller reads; giving up
closes it, and the instance sees that. A stream that nobody reads fills the socket, and then the
instance drops its oldest values and says how many.
"""

from __future__ import annotations

import json
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import SocketStream, UNIXSocketStream

from colony import client
from colony.api import types as t
from colony.api.routes import BY_NAME
from colony.http1 import Body, Broken, Head, ResponseParser
from colony.sdk.errors import InstanceLost, error_of
from colony.sdk.values import Event, event_of, gap

T = TypeVar("T")

_PIECE: Final = 64 * 1024
_LOST: Final = (OSError, Broken, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Wire:
    """An instance at an address. `aclose` ends what is still open."""

    def __init__(self, address: client.Address) -> None:
        self.address = address
        self._open: weakref.WeakSet[Answer] = weakref.WeakSet()
        self._abandoned: deque[Answer] = deque()

    def __repr__(self) -> str:
        return f"<Wire {self.address}>"

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
        return (await self.asked(route, names, returns, query=query, body=body))[1]

    async def asked(
        self,
        route: str,
        names: Mapping[str, str],
        returns: type[T],
        *,
        query: Any = None,
        body: Any = None,
    ) -> tuple[int, T]:
        """The status of a route's answer, and the answer."""
        answer = await self.opened(route, names, query=query, body=body)
        try:
            data = await answer.whole()
        finally:
            await answer.aclose()
        return answer.status, msgspec.json.decode(data, type=returns)

    async def opened(
        self, route: str, names: Mapping[str, str], *, query: Any = None, body: Any = None
    ) -> Answer:
        """An answer whose head has come; the caller closes it. Raises `ColonyError`."""
        await self._clear()
        chosen = BY_NAME[route]
        path = chosen.path.format_map(
            {name: quote(value, safe="") for name, value in names.items()}
        )
        parameters = None if query is None else msgspec.to_builtins(query)
        content = None if body is None else msgspec.to_builtins(body)
        data = client.encoded(self.address, chosen.method, path, parameters, content)
        return await self._sent(chosen.method, data)

    async def upgraded(self, path: str, query: client.Query, key: bytes) -> Answer:
        """A WebSocket's connection: what comes in the answer's pieces are its frames.

        The caller checks the answer's accept header, and closes it. Raises `ColonyError`.
        """
        await self._clear()
        data = client.encoded(self.address, "GET", path, query, None)
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += b"Sec-WebSocket-Key: " + key + b"\r\n"
        return await self._sent("GET", data.replace(b"Connection: close\r\n", upgrade))

    async def _sent(self, method: str, data: bytes) -> Answer:
        answer = Answer(self, await self._connected(), method)
        self._open.add(answer)
        try:
            await answer.begin(data)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def lines(self, colony: str, query: t.LogQuery) -> WireSource[t.LogLine]:
        """A colony's lines. Raises `ColonyError`."""
        answer = await self.opened("logs", {"colony": colony}, query=query)
        if query.follow:
            return WireSource(answer, lines_in)
        try:
            page = msgspec.json.decode(await answer.whole(), type=t.LogPage)
        finally:
            await answer.aclose()
        return WireSource(answer, lines_in, page.lines)

    async def events(self, query: t.EventQuery) -> WireSource[Event]:
        """What happens. Raises `ColonyError`."""
        return WireSource(await self.opened("events", {}, query=query), events_in)

    async def last_lines(self, colony: str, service: str, count: int) -> tuple[str, ...]:
        """What a service wrote last; nothing if its colony is gone."""
        query = t.LogQuery(service=(service,), tail=count)
        try:
            page = await self.ask("logs", {"colony": colony}, t.LogPage, query=query)
        except LookupError:
            return ()
        return tuple(line.text for line in page.lines)

    async def aclose(self) -> None:
        """Ends every answer that is still open, at once."""
        for answer in tuple(self._open):
            await answer.aclose()

    def abandon(self, answer: Answer) -> None:
        """Nobody reads this answer any more: the next request, or the end, closes it."""
        self._abandoned.append(answer)

    async def _clear(self) -> None:
        while self._abandoned:
            await self._abandoned.popleft().aclose()

    async def _connected(self) -> SocketStream | UNIXSocketStream:
        try:
            sock = await anyio.to_thread.run_sync(client.connected, self.address)
        except client.Unreachable as error:
            raise InstanceLost(str(error)) from None
        try:
            if self.address.path is None:
                return await SocketStream.from_socket(sock)
            return await UNIXSocketStream.from_socket(sock)
        except BaseException:
            sock.close()
            raise


class Answer:
    """One request and what comes back, on a connection of its own."""

    def __init__(self, wire: Wire, stream: SocketStream | UNIXSocketStream, method: str) -> None:
        self.wire = wire
        self.status = 0
        self.headers: dict[str, str] = {}
        self._stream = stream
        self._parser = ResponseParser(method)
        self._pieces: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Answer {self.status or 'to come'} from {self.wire.address}>"

    async def begin(self, request: bytes) -> None:
        """Sends the request and waits for the answer's head. Raises `ColonyError`."""
        head: Head | None = None
        await self.send(request)
        while head is None:
            head = await self._receive()
        self.status, self.headers = head.status, head.headers
        if head.status >= 400:
            problem = client.problem_of(head, await self.whole())
            plain = {"type": "", "title": "", "status": head.status, "detail": "", "code": ""}
            raise error_of(msgspec.convert(plain | problem.data, type=t.Problem))

    async def send(self, data: bytes) -> None:
        """Sends more. Raises `InstanceLost`."""
        try:
            await self._stream.send(data)
        except _LOST as error:
            raise self.lost(error) from None

    async def piece(self) -> bytes | None:
        """What has come, waiting for it if nothing has; None at the end. Raises `InstanceLost`."""
        while not self._pieces:
            if self._parser.complete:
                return None
            await self._receive()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    async def whole(self) -> bytes:
        """The rest of the body."""
        pieces = []
        while (piece := await self.piece()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Ends the connection, at once."""
        await anyio.aclose_forcefully(self._stream)

    async def _receive(self) -> Head | None:
        try:
            data = await self._stream.receive(_PIECE)
        except anyio.EndOfStream:
            data = b""
        except _LOST as error:
            raise self.lost(error) from None
        head = None
        try:
            if not data:
                self._parser.end()
            for event in self._parser.feed(data):
                if isinstance(event, Head):
                    head = event
                elif isinstance(event, Body):
                    self._pieces.append(event.data)
        except Broken as error:
            raise self.lost(error) from None
        return head

    def lost(self, error: object) -> InstanceLost:
        """The instance has gone, and why."""
        why = str(error) or "the connection is closed"
        return InstanceLost(f"the instance at {self.wire.address} went away: {why}")


class WireSource(Generic[T]):
    """The values in an answer's body."""

    def __init__(
        self,
        answer: Answer,
        values_in: Callable[[bytes], tuple[list[T], bytes]],
        ready: tuple[T, ...] = (),
    ) -> None:
        self._answer = answer
        self._values_in = values_in
        self._ready = deque(ready)
        self._rest = b""
        self._complete = bool(ready)

    def __repr__(self) -> str:
        return f"<WireSource of {self._answer!r}>"

    async def take(self) -> T | None:
        """The next value; None at the end."""
        while not self._ready:
            piece = None if self._complete else await self._answer.piece()
            if piece is None:
                return None
            values, self._rest = self._values_in(self._rest + piece)
            self._ready.extend(values)
        return self._ready.popleft()

    async def aclose(self) -> None:
        await self._answer.aclose()

    def abandon(self) -> None:
        self._answer.wire.abandon(self._answer)


# -- bytes -----------------------------------------------------------------------------------------


def lines_in(data: bytes) -> tuple[list[t.LogLine], bytes]:
    """The lines of a piece of a log, and what is not whole yet. An empty one says nothing."""
    *whole, rest = data.split(b"\n")
    return [msgspec.json.decode(line, type=t.LogLine) for line in whole if line], rest


def events_in(data: bytes) -> tuple[list[Event], bytes]:
    """The server-sent events of a piece, and what is not whole yet."""
    *frames, rest = data.split(b"\n\n")
    return [event for frame in frames for event in _event(frame)], rest


def _event(frame: bytes) -> Iterator[Event]:
    fields = dict(
        line.split(b": ", 1) for line in frame.split(b"\n") if line[:2] not in (b"", b": ")
    )
    if fields.get(b"event") == b"gap":
        yield gap(json.loads(fields[b"data"])["lost"])
    elif b"data" in fields and b"id" in fields:  # or it tells of the stream's end, which is seen
        yield event_of(fields[b"data"])
