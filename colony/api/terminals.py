"""Terminals over the wire: WebSockets between a viewer's connection and its session.

    /api/colonies/{colony}/terminals/{terminal}/attach      a session
    /api/colonies/{colony}/attach                           one command, with or without a terminal

Binary frames are bytes, text frames JSON; `docs/terminal-protocol.md` has them all. Each connection
is two tasks, one for each direction. The output goes at the reader's pace: what it has not taken
stays in the session's ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import msgspec
from aiohttp import WSMsgType, web
from msgspec import Meta, Struct

from actors import ActorDown
from colony.api import problems
from colony.api.problems import ApiError, conflict, unknown
from colony.api.security import PROTOCOL
from colony.terminals import opening, streamed
from colony.terminals.hub import Exit, News
from colony.terminals.plan import MAIN
from colony.terminals.sizes import size_of
from netns.errors import SpawnError

if TYPE_CHECKING:
    from colony.api.server import Server
    from colony.running import RunningColony

MESSAGE_MAX: Final = 1024 * 1024
"""Bytes of one message from a viewer."""

UNASKED: Final = 16 * 1024
"""Bytes that are sent before it is asked whether the connection takes more."""

START_TIMEOUT: Final = 15.0
"""Seconds in which a command's first message has to come."""

LAST_WORDS: Final = 2.0
"""Seconds that what a viewer had typed when it left may take to be typed."""

GONE: Final = 1001
REFUSED: Final = 1008


class AttachQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How a session is joined. `rows` and `columns` 0: this viewer has no size. `window`: the bytes
    that may be sent before it has acknowledged them; 0, as many as the connection takes. `clear`:
    its screen is cleared before it is shown what was."""

    read_only: bool = False
    since: Annotated[int, Meta(ge=0)] | None = None
    rows: Annotated[int, Meta(ge=0)] = 0
    columns: Annotated[int, Meta(ge=0)] = 0
    window: Annotated[int, Meta(ge=0)] = 0
    clear: bool = True


class Resize(Struct, frozen=True, tag_field="t", tag="resize"):
    """The viewer's window has this size now."""

    rows: int
    columns: int


class Ack(Struct, frozen=True, tag_field="t", tag="ack"):
    """The viewer has dealt with so many bytes more."""

    bytes: Annotated[int, Meta(ge=0)]


class Refresh(Struct, frozen=True, tag_field="t", tag="refresh"):
    """The viewer's terminal has lost what it showed."""


class Detach(Struct, frozen=True, tag_field="t", tag="detach"):
    """The viewer leaves."""


class Eof(Struct, frozen=True, tag_field="t", tag="eof"):
    """There is no more for the command's standard input."""


class Signal(Struct, frozen=True, tag_field="t", tag="signal"):
    """A signal for the command, as "INT"."""

    signal: str


class Start(Struct, frozen=True, tag_field="t", tag="start", forbid_unknown_fields=True):
    """The command to run."""

    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4096)]
    tty: bool = False
    stdin: bool = True
    cwd: str | None = None
    env: dict[str, str] | None = None
    rows: int = 0
    columns: int = 0


Told = Resize | Ack | Refresh | Detach | Eof | Signal

_told: Final[msgspec.json.Decoder[Told]] = msgspec.json.Decoder(Told)


class Connected(Protocol):
    """What is at the instance's end of a connection."""

    async def take(self) -> bytes | News | None: ...

    async def write(self, data: bytes) -> None: ...


class Pace:
    """How far what is sent is ahead of what the viewer has dealt with.

    A page cannot stop reading its WebSocket: what its terminal is too slow for, it keeps. So it
    acknowledges; beyond the window we send no more, and what comes stays in the session's ring.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._ahead = 0
        self._moved = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Pace {self._ahead} of {self._window or 'any'}>"

    async def sent(self, count: int) -> None:
        """So much more was sent. Waits until more may be."""
        self._ahead += count
        while self._window and self._ahead >= self._window:
            self._moved.clear()
            await self._moved.wait()

    def acknowledged(self, count: int) -> None:
        """So much more has been dealt with; never more than was sent."""
        self._ahead = max(0, self._ahead - count)
        self._moved.set()


class Terminals:
    """The connections of viewers. Lives in the server's event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Terminals {len(self._open)} connections>"

    def routes(self) -> list[tuple[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
        """Paths, and what answers there."""
        return [
            ("/api/colonies/{colony}/terminals/{terminal}/attach", self._attach),
            ("/api/colonies/{colony}/attach", self._run),
        ]

    async def close(self) -> None:
        """Lets every viewer go."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    # -- a session -----------------------------------------------------------------------------

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        _check_upgrade(request)  # first: to join may start a session
        query = problems.converted(dict(request.query), AttachQuery)
        attached = await self._server.bridge.run(
            join, self._colony(request), request.match_info["terminal"], query
        )
        try:
            socket, pace = await _accepted(request), Pace(query.window)
            await self._both_ways(socket, attached, self._type(attached, pace), pace)
        finally:
            await self._leave(attached)
        return socket

    async def _leave(self, attached: opening.Attached) -> None:
        async def leave() -> None:
            attached.leave()

        await asyncio.shield(asyncio.ensure_future(self._server.bridge.run(leave)))

    def _type(self, attached: opening.Attached, pace: Pace) -> Callable[[Told], Awaitable[bool]]:
        async def resize(told: Resize) -> None:
            attached.resize(size_of(told.rows, told.columns))

        async def refresh() -> None:
            attached.refresh()

        async def hear(told: Told) -> bool:
            if isinstance(told, Resize):
                await self._server.bridge.run(resize, told)
            elif isinstance(told, Refresh):
                await self._server.bridge.run(refresh)
            elif isinstance(told, Ack):
                pace.acknowledged(told.bytes)
            return not isinstance(told, Detach)

        return hear

    # -- a command -----------------------------------------------------------------------------

    async def _run(self, request: web.Request) -> web.StreamResponse:
        _check_upgrade(request)
        colony = self._colony(request)
        socket = await _accepted(request)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                start = msgspec.json.decode(await socket.receive_str(), type=Start)
        except (TimeoutError, TypeError, msgspec.DecodeError) as error:
            words = f"the first message says what to start: {error}"
            await socket.close(code=REFUSED, message=words.encode()[:120])
            return socket
        try:
            await (self._run_on_terminal if start.tty else self._run_on_pipes)(
                colony, start, socket
            )
        except (SpawnError, opening.NotStarted, ActorDown, OSError, ValueError) as error:
            code = streamed.code_of_refusal(str(error))
            await _tell(socket, {"t": "refused", "code": code, "detail": str(error)})
        await socket.close()
        return socket

    async def _run_on_terminal(
        self, colony: RunningColony, start: Start, socket: web.WebSocketResponse
    ) -> None:
        async def begin() -> opening.Attached:
            size = size_of(start.rows, start.columns)
            _, ref = await opening.start(
                colony, argv=start.argv, env=start.env, cwd=start.cwd, size=size, lingers=False
            )
            # Since the beginning: a command's output goes on below what is there.
            return await opening.join(ref, size=size, since=0)

        attached, pace = await self._server.bridge.run(begin), Pace(0)
        try:
            await self._both_ways(socket, attached, self._type(attached, pace), pace)
        finally:
            await self._leave(attached)

    async def _run_on_pipes(
        self, colony: RunningColony, start: Start, socket: web.WebSocketResponse
    ) -> None:
        bridge = self._server.bridge

        async def begin() -> streamed.Streamed:
            return await streamed.start(
                colony, start.argv, env=start.env, cwd=start.cwd, stdin=start.stdin
            )

        command = await bridge.run(begin)
        running = asyncio.ensure_future(bridge.run(command.run))

        async def hear(told: Told) -> bool:
            if isinstance(told, Eof):
                await bridge.run(command.end_input)
            elif isinstance(told, Signal):
                number = _number(told.signal)
                if number is not None:
                    await bridge.run(command.signal, number)
            return not isinstance(told, Detach)

        try:
            await self._both_ways(socket, command, hear, Pace(0))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    # -- both ways -----------------------------------------------------------------------------

    def _colony(self, request: web.Request) -> RunningColony:
        name = request.match_info["colony"]
        colonies = self._server.operations.host.colonies
        if name not in colonies:
            raise unknown("colony", name, colonies)
        colony = colonies[name]
        if colony.state not in ("running", "stopping"):
            help = f"start it: colony start -c {name}"
            raise conflict(f"colony {name} is {colony.state}", help)
        return colony

    async def _both_ways(
        self,
        socket: web.WebSocketResponse,
        other: Connected,
        hear: Callable[[Told], Awaitable[bool]],
        pace: Pace,
    ) -> None:
        """Until the program has ended and all is sent, or the viewer goes.

        What a viewer typed before it went, whose connection may have been cut by then, is typed.
        """
        down = asyncio.ensure_future(self._send(socket, other, pace))
        up = asyncio.ensure_future(self._receive(socket, other, hear))
        tasks = {down, up}
        self._open |= tasks
        try:
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await asyncio.wait({up}, timeout=LAST_WORDS)
                raise
            if down.done() and not down.cancelled() and down.exception() is not None:
                await asyncio.wait({up}, timeout=LAST_WORDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open -= tasks
        for task in (down, up):
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, ConnectionError):
                raise error
        await socket.close(code=GONE if down.cancelled() and up.cancelled() else 1000)

    async def _send(self, socket: web.WebSocketResponse, other: Connected, pace: Pace) -> None:
        run = self._server.bridge.run
        while (item := await run(other.take)) is not None:
            if isinstance(item, bytes):
                await socket.send_bytes(item)
                await pace.sent(len(item))
            else:
                await socket.send_str(msgspec.json.encode(item).decode())
                if isinstance(item, Exit):
                    return

    async def _receive(
        self,
        socket: web.WebSocketResponse,
        other: Connected,
        hear: Callable[[Told], Awaitable[bool]],
    ) -> None:
        run = self._server.bridge.run
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await run(other.write, message.data)
            elif message.type is WSMsgType.TEXT:
                try:
                    told = _told.decode(message.data)
                except msgspec.DecodeError as error:
                    await socket.close(code=REFUSED, message=str(error).encode()[:120])
                    return
                if not await hear(told):
                    return


async def join(colony: RunningColony, name: str, query: AttachQuery) -> opening.Attached:
    """Joins a session. Raises `ApiError`."""
    try:
        return await opening.attach(
            colony,
            name,
            read_only=query.read_only,
            size=size_of(query.rows, query.columns),
            since=query.since,
            clear=query.clear,
        )
    except opening.NoTerminal as error:
        raise conflict(str(error), error.help) from None
    except opening.NoSession as error:
        what = f"terminal in colony {colony.name} called"
        raise unknown(what, name, dict.fromkeys((MAIN, *error.known))) from None
    except opening.NotStarted as error:
        raise ApiError("failed", str(error)) from None


def _socket() -> web.WebSocketResponse:
    # Never the subprotocol with the token in it: the answer repeats the one that is chosen.
    return web.WebSocketResponse(
        compress=False,
        max_msg_size=MESSAGE_MAX,
        timeout=1.0,
        protocols=(PROTOCOL,),
        writer_limit=UNASKED,
    )


def _check_upgrade(request: web.Request) -> None:
    """Raises `ApiError` (400) for what does not ask for a WebSocket."""
    try:
        ready = _socket().can_prepare(request).ok
    except web.HTTPException:
        ready = False
    if not ready:
        help = "ask as a WebSocket (RFC 6455)"
        raise ApiError("invalid_request", "this is a WebSocket", help=help)


async def _accepted(request: web.Request) -> web.WebSocketResponse:
    socket = _socket()
    try:
        await socket.prepare(request)
    except web.HTTPException as error:
        raise ApiError("invalid_request", f"this is no WebSocket: {error.text}") from None
    return socket


async def _tell(socket: web.WebSocketResponse, told: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionError):
        await socket.send_str(msgspec.json.encode(told).decode())


def _number(name: str) -> int | None:
    number = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    return int(number) if isinstance(number, signal.Signals) else None
