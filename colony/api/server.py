"""The HTTP server: aiohttp between sockets and `operations`. What it serves is the table `routes`.

    request ─▶ let in? ─▶ route ─▶ query and body as values ─▶ operation, in the instance's loop
            ◀─ value as JSON, or a problem, or a stream ◀──────┘

A caller who goes away ends what is only for it (a wait, a command, a stream). What changes the
instance is done to its end all the same, so that it is never left half done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final, get_origin

import msgspec
from aiohttp import web

from colony.api import problems, security
from colony.api.bonds import Caller, caller_at
from colony.api.bridge import Bridge
from colony.api.operations import API, Answer, Ask, Operations
from colony.api.problems import ApiError
from colony.api.routes import ROUTES, Route
from colony.api.streams import STREAMS, Streams
from colony.api.terminals import Terminals
from colony.api.types import Advice, Problem

log: Final = logging.getLogger("colony.api")

HEADERS: Final = {
    "Server": "colony",
    "Colony-Api": str(API),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

FOR_THE_CALLER: Final = frozenset({"exec", "forward", "wait_service", "http_service"})
"""Operations beside the GETs that end when their caller goes away."""

_PEER: Final = struct.Struct("3i")
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_NOTHING_FETCHED: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves the API on sockets that somebody else has made."""

    def __init__(self, operations: Operations, bridge: Bridge) -> None:
        self.operations = operations
        self.bridge = bridge
        self.streams = Streams(operations, bridge)
        self.terminals = Terminals(self)
        self.door: security.Door | None = None
        """The rules for those who come over TCP."""
        self._runner: web.AppRunner | None = None
        self._working: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Server {self.streams!r}>"

    async def open(self, *sockets: socket.socket) -> None:
        """Serves on these sockets, which are bound."""
        app = web.Application(client_max_size=security.BODY_MAX)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._respond_to(route))
        for path, answer in self.terminals.routes():
            app.router.add_route("GET", path, self._connect_to(answer))
        app.router.add_route("*", "/{rest:.*}", self._no_such_route)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=security.HEADER_TIMEOUT,
            max_line_size=security.LINE_MAX,
            max_field_size=security.LINE_MAX,
            lingering_time=1.0,
            shutdown_timeout=0.5,
        )
        await self._runner.setup()
        for each in sockets:
            await web.SockSite(self._runner, each, backlog=1024).start()

    async def close(self) -> None:
        """Ends every stream in good order, then every connection."""
        self.streams.close()
        await self.terminals.close()
        if self._runner is not None:
            await self._runner.cleanup()
        for task in tuple(self._working):
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    # -- one request ---------------------------------------------------------------------------

    def _respond_to(self, route: Route) -> Respond:
        several = frozenset(
            field.encode_name
            for field in msgspec.structs.fields(route.query)
            if get_origin(field.type) is tuple
        )
        answer = self._stream if route.name in STREAMS else self._operate

        async def respond(request: web.Request) -> web.StreamResponse:
            try:
                self._let_in(request, public=route.public)
                ask = Ask(
                    dict(request.match_info),
                    self._query(route, several, request),
                    await self._body(route, request),
                )
                return await answer(route, ask, request)
            except ApiError as error:
                return _problem(error.problem)
            except web.HTTPRequestEntityTooLarge:
                return _problem(_too_large().problem)
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:
                return _fault(route, error)

        return respond

    def _connect_to(self, answer: Respond) -> Respond:
        """What answers a WebSocket; a problem that comes before it is one is an answer as any."""

        async def respond(request: web.Request) -> web.StreamResponse:
            try:
                self._let_in(request)
                return await answer(request)
            except ApiError as error:
                return _problem(error.problem)
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:
                log.error("%s failed", request.path, exc_info=error)
                return _problem(ApiError("fault", f"{type(error).__name__}: {error}").problem)

        return respond

    def _let_in(self, request: web.Request, *, public: bool = False) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            pid, uid = peer_of(sock)
            security.check_peer(uid, os.getuid())
            self.operations.check_caller(pid)
        else:
            assert self.door is not None
            security.check_tcp(request.headers, self.door, public=public)
        has_body = request.can_read_body
        security.check_content(request.method, request.content_type, has_body)

    def _query(self, route: Route, several: frozenset[str], request: web.Request) -> Any:
        if not request.query_string:
            return problems.converted({}, route.query)
        values: dict[str, Any] = {}
        for name, value in request.query.items():
            if name in several:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise problems.invalid([Advice(name, "this is given twice")])
            else:
                values[name] = value
        return problems.converted(values, route.query)

    async def _body(self, route: Route, request: web.Request) -> Any:
        if route.body is None:
            return None
        if (request.content_length or 0) > security.BODY_MAX:
            raise _too_large()
        try:
            async with asyncio.timeout(security.BODY_TIMEOUT):
                data = await request.read()
        except TimeoutError:
            seconds = security.BODY_TIMEOUT
            raise ApiError("timeout", f"the body did not arrive in {seconds:g} s") from None
        return problems.decoded(data, route.body)

    async def _operate(self, route: Route, ask: Ask, request: web.Request) -> web.StreamResponse:
        operation = getattr(self.operations, route.name)
        if route.method == "GET" or route.name in FOR_THE_CALLER:
            value = await self.bridge.run(operation, ask)
        else:
            caller = _bound_to(request, ask)
            value = await self._to_its_end(operation, msgspec.structs.replace(ask, caller=caller))
        if isinstance(value, Answer):
            more = {} if value.location is None else {"Location": value.location}
            return _json(value.value, value.status, more)
        if route.media != _JSON:
            return _text(value, route)
        return _json(value, route.status, {})

    async def _to_its_end(self, operation: Callable[[Ask], Awaitable[Any]], ask: Ask) -> Any:
        """Carries out an operation whether or not its caller stays."""
        task = asyncio.ensure_future(self.bridge.run(operation, ask))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        if ask.caller is not None:
            task.add_done_callback(ask.caller.close)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_heard)
            raise

    async def _stream(self, route: Route, ask: Ask, request: web.Request) -> web.StreamResponse:
        return await STREAMS[route.name](self.streams, ask, request)

    async def _no_such_route(self, request: web.Request) -> web.StreamResponse:
        try:
            self._let_in(request)
        except ApiError as error:
            return _problem(error.problem)
        allowed = [route.method for route in ROUTES if _pattern(route).fullmatch(request.path)]
        if allowed:
            words = f"{request.method} is not for {request.path}, which takes {', '.join(allowed)}"
            answer = _problem(ApiError("method_not_allowed", words).problem)
            answer.headers["Allow"] = ", ".join(sorted(set(allowed)))
            return answer
        paths = sorted({route.path for route in ROUTES})
        return _problem(problems.unknown("path", request.path, paths).problem)


def _bound_to(request: web.Request, ask: Ask) -> Caller | None:
    """The process that what is asked for ends with, if it asks for that and is on this machine."""
    if not getattr(ask.body, "bound", False):
        return None
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    sock = transport.get_extra_info("socket")
    pid, _ = peer_of(sock) if sock.family == socket.AF_UNIX else (0, None)
    if not pid:
        return None
    caller = caller_at(sock, pid)
    if caller is None:
        raise ConnectionResetError
    return caller


def peer_of(sock: Any) -> tuple[int, int | None]:
    """The process and the user at the other end of a unix socket, as the kernel knows them."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError:
        return 0, None
    pid, uid, _ = _PEER.unpack(data)
    return int(pid), int(uid)


def _pattern(route: Route) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path)))


def _json(value: Any, status: int, headers: dict[str, str]) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type=_JSON, headers=HEADERS | headers)


def _text(value: str, route: Route) -> web.Response:
    headers = HEADERS | {"Content-Security-Policy": _NOTHING_FETCHED}
    return web.Response(
        text=value, status=route.status, content_type=route.media, charset="utf-8", headers=headers
    )


def _problem(problem: Problem) -> web.Response:
    body = msgspec.json.encode(problem)
    headers = dict(HEADERS)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="colony"'
    return web.Response(body=body, status=problem.status, content_type=_PROBLEM, headers=headers)


def _too_large() -> ApiError:
    return ApiError("too_large", f"a body has at most {security.BODY_MAX // 1024} KiB")


def _fault(route: Route, error: Exception) -> web.Response:
    log.error("%s %s failed", route.method, route.path, exc_info=error)
    words = f"{type(error).__name__}: {error}"
    return _problem(ApiError("fault", words, help="this is a fault of Colony").problem)


def _heard(task: asyncio.Task[Any]) -> None:
    """Takes note of an outcome that nobody waits for, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()
