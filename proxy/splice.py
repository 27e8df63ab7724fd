"""The connections of the embedded front door: HTTP/1.1 routed by Host, bytes copied untouched.

                    Client                                     Service
    browser ══► request head ─► route ─► X-Forwarded-* ═══════════════════► service
                request body, counted   ══════════════════════════════════►
            ◄══════════════════════════════════════  response head, body, counted
                the response is complete: the next request head may be read

The law: a request reaches the service that its own Host names, and no other; an answer reaches the
request that it answers. A client may use one connection for many hosts (a forward proxy does), so a
splice that looks once, at the first head, is wrong. Here both directions are framed (`http1`: some
4 µs for the two heads), one exchange runs on a connection at a time, and only when its response is
complete is the next head read. If that names another service, the connection to the first is
dropped and the other is dialled. After a 101 both directions are raw bytes to the end.

What a client pipelines is held back until its turn, not sent ahead: otherwise a service that closes
early would leave answers that nobody can assign.

A client's connection is in one state:

    HEAD ──head──► (dial) WAIT ◄──► BODY
      ▲                    ├──response complete──► HEAD
      └────────────────────┤
                           └──101──► TUNNEL
    any ──page──► ENDING   the answer is out; what still comes is read and dropped, for closing on
                           unread bytes resets the connection and takes the answer with it

Whoever asks often asks in the same words, and many answers begin alike. So what one head said is
kept for a second, by its very bytes (`Known`), and the next one like it is neither parsed nor
looked up: with the same bytes, from the same address, by the same table, it means the same.

Everything runs in one `WireLoop`; backpressure is that of its wires: a full side pauses the reading
of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from enum import Enum, auto
from http import HTTPStatus
from typing import Protocol, cast

from proxy import pages
from proxy.http1 import (
    UNTIL_CLOSE,
    BadChunk,
    BadRequest,
    Body,
    RequestHead,
    read_request,
    read_response,
)
from proxy.known import Asked, Known
from proxy.routes import EMPTY, Route, RouteTable, Upstream, is_ours, normal_host
from proxy.wires import Wire, WireLoop

_log = logging.getLogger(__name__)

_ACCEPTED_AT_ONCE = 64


class Dialer(Protocol):
    """Gives a connected, non-blocking stream socket for an upstream.

    Called in the front door's own asyncio loop, and cancelled when the client goes or the time is
    up. Whatever it raises makes the 503 page; the socket it returns belongs to the front door.
    """

    async def __call__(self, upstream: Upstream, /) -> socket.socket: ...


class Limits(Protocol):
    """The times in seconds that a connection is given; see `EmbeddedProxy`."""

    head_seconds: float
    idle_seconds: float
    dial_seconds: float
    linger_seconds: float


class Door:
    """What the connections share: the routes, the dialer, the limits, and who is connected.

    `table` may be set from any thread: a table is a value, and each head looks anew.

    It accepts by itself. asyncio's own server, closed, drops what it has accepted and not yet
    handed to a protocol, and leaves its socket open.
    """

    def __init__(self, dialer: Dialer, limits: Limits) -> None:
        self.table: RouteTable = EMPTY
        self.port = 0
        self.dialer = dialer
        self.limits = limits
        self.known = Known()
        self.now = 0.0  # the loop's time at the last sweep: precise enough
        self.clients: set[Client] = set()
        self.services: set[Service] = set()
        self._listening: list[socket.socket] = []
        self._somebody = asyncio.Event()

    def listen(self, sock: socket.socket) -> None:
        """Takes the connections of a socket that listens, which stays its owner's."""
        this_loop().add_reader(sock, self._accept, sock)
        self._listening.append(sock)

    def _accept(self, sock: socket.socket) -> None:
        loop = this_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor left: until some are free, nobody is let in
                _log.warning("the front door lets nobody in for a second: %s", error)
                loop.remove_reader(sock)
                loop.call_later(1.0, self._accept_again, sock)
                return
            connection.setblocking(False)
            if not self.clients:
                self.now = loop.time()
                self._somebody.set()
            self.clients.add(Client(self, loop, connection, str(address[0]).encode()))

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._listening:
            this_loop().add_reader(sock, self._accept, sock)

    async def sweep(self, every: float) -> None:
        """Ends connections whose time is up; rests while there are none. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.now = loop.time()
            self.known.forget()
            for client in tuple(self.clients):
                client.check_time()
            if not self.clients:
                self._somebody.clear()
                await self._somebody.wait()
            await asyncio.sleep(every)

    async def close(self) -> None:
        """Lets nobody in, cuts every connection, and returns when their sockets are closed."""
        for sock in self._listening:
            asyncio.get_running_loop().remove_reader(sock)
        self._listening.clear()
        while self.clients or self.services:
            for client in self.clients:
                client.abort()
            for service in self.services:
                service.abort()
            await asyncio.sleep(0)


class State(Enum):
    """See the module's diagram."""

    HEAD = auto()
    WAIT = auto()
    BODY = auto()
    TUNNEL = auto()
    ENDING = auto()


HEAD, WAIT, BODY, TUNNEL, ENDING = State  # looked up by the enum, each costs a hundred times this


class Client:
    """The browser's side of a connection; owns the service's side and the dialling."""

    __slots__ = (
        "_address",
        "_body",
        "_dialling",
        "_door",
        "_eof",
        "_full",
        "_held",
        "_known",
        "_request",
        "_route",
        "_service",
        "_service_eof",
        "_since",
        "_state",
        "_table",
        "_transport",
        "_upstream_full",
    )

    def __init__(
        self, door: Door, loop: WireLoop, connection: socket.socket, address: bytes
    ) -> None:
        self._door = door
        self._address = address
        self._state = HEAD
        self._held = b""
        self._since = door.now
        self._eof = False
        self._full = False
        self._service_eof = False
        self._upstream_full = False
        self._body = Body(0)
        self._known = door.known.requests.get
        self._service: Service | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._request: RequestHead
        self._route: Route
        self._table: RouteTable  # that the route is of
        self._transport = Wire(loop, connection, self)

    def __repr__(self) -> str:
        return f"<Client {self._state.name} held={len(self._held)} {self._service!r}>"

    # its wire calls these

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is HEAD:
            if self._held or not self._asks_again(data):
                self._read_head(self._held + data)
        elif state is BODY:
            self._send_body(data)
        elif state is TUNNEL:
            assert self._service is not None
            self._service.transport.write(data)
        elif state is WAIT:
            self._hold(self._held + data)

    def eof_received(self) -> bool:
        """Passes the client's end on. True: our own side stays open, for the answer."""
        self._eof = True
        service = self._service
        if self._state in (HEAD, ENDING):
            return False
        if self._state is TUNNEL and self._service_eof:
            return False
        if self._state is BODY and service is not None and not service.awaited:
            return False  # answered before its body was sent, which now never comes
        if service is not None and not self._held:
            _end(service.transport)
        return True

    def pause_writing(self) -> None:
        self._full = True
        if self._service is not None:
            self._service.transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self._service is not None:
            self._service.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.clients.discard(self)
        self._state = ENDING
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        service, self._service = self._service, None
        if service is not None:
            service.drop(flush=exc is None)

    # one exchange after the other

    def _asks_again(self, data: bytes) -> bool:
        """Sends a request on, if it is known where to and we are connected there already."""
        asked, service = self._known(data), self._service
        if (
            asked is None
            or service is None
            or asked.table is not self._door.table
            or asked.client != self._address
            or service.upstream != asked.route.upstream
        ):
            return False
        self._request, self._route = asked.head, asked.route
        self._state = WAIT
        service.ask(asked.head, asked.sent)
        return True

    def _read_head(self, data: bytes) -> None:
        try:
            head = read_request(data)
        except BadRequest as bad:
            self._answer(pages.bad_request(bad.status, bad.reason), head_only=False)
            return
        if head is None:
            if not self._held:
                self._since = self._door.now
            self._held = data
            return
        self._request = head
        rest = data[head.end :] if head.end < len(data) else b""
        host = head.host.decode("latin-1")
        self._table = self._door.table
        route = self._table.find(host)
        if route is not None and route.up:
            self._route = route
            self._to_service(rest)
        else:
            page = self._no_route(host) if route is None else _down(route)
            self._answer(page, head_only=head.method == b"HEAD")

    def _no_route(self, host: str) -> pages.Page:
        door, host = self._door, normal_host(host)
        return pages.not_found(door.table, door.port) if is_ours(host) else pages.foreign()

    def _to_service(self, rest: bytes) -> None:
        self._state = WAIT
        service = self._service
        if service is not None and service.upstream == self._route.upstream:
            self._held = b""
            self._send_head(service, rest)
            return
        if service is not None:
            self._service = None
            service.drop(flush=False)
        self._hold(rest)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        upstream = self._route.upstream
        try:
            async with asyncio.timeout(self._door.limits.dial_seconds):
                sock = await self._door.dialer(upstream)
        except Exception as error:
            if not isinstance(error, OSError):
                _log.warning("dialling %s failed", upstream.dial, exc_info=error)
            self._dialling = None
            self._service_is_down()
            return
        self._dialling = None
        service = self._service = Service(self._door, self, upstream, sock)
        self._upstream_full = False
        if self._full:
            service.transport.pause_reading()
        rest, self._held = self._held, b""
        self._update_reading()
        self._send_head(service, rest)

    def _send_head(self, service: Service, rest: bytes) -> None:
        head, address = self._request, self._address
        sent = head.forwarded(address)
        self._door.known.keep_request(Asked(head, address, self._table, self._route, sent))
        service.ask(head, sent)
        if head.body:
            self._state = BODY
            self._body = Body(head.body)
            if rest:
                self._send_body(rest)
        elif rest:
            self._hold(rest)
        if self._eof and not self._held:
            _end(service.transport)

    def _send_body(self, data: bytes) -> None:
        service = self._service
        assert service is not None
        try:
            end = self._body.feed(data)
        except BadChunk as bad:
            self._end_badly(str(bad))
            return
        service.transport.write(data if end == len(data) else data[:end])
        if self._body.done:
            self._state = WAIT
            if end < len(data):
                self._hold(data[end:])
            if not service.awaited:
                self._next()

    def _next(self) -> None:
        """The exchange is over: on to what was held back, or wait for the next head."""
        self._state = HEAD
        self._since = self._door.now
        if self._held:
            held, self._held = self._held, b""
            self._update_reading()
            self._read_head(held)
        elif self._eof:
            self._transport.close()

    # the service's side calls these

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def write_last(self, data: bytes) -> None:
        """The response is complete with this."""
        self._transport.write(data)
        if self._state is not WAIT:
            return
        if self._held or self._eof:
            self._next()
        else:
            self._state = HEAD
            self._since = self._door.now

    def tunnel(self, service: Service) -> None:
        """The service switched protocols. What the client sent since goes through as it is."""
        self._state = TUNNEL
        held, self._held = self._held, b""
        if held:
            service.transport.write(held)
            self._update_reading()

    def upstream_full(self, full: bool) -> None:
        self._upstream_full = full
        self._update_reading()

    def service_eof(self) -> bool:
        """The service ended its side. True: in a tunnel the other direction goes on."""
        if self._state is not TUNNEL or self._eof:
            return False
        self._service_eof = True
        _end(self._transport)
        return True

    def service_lost(self, service: Service, exc: Exception | None) -> None:
        self._service = None
        in_exchange = self._state in (WAIT, BODY) and service.awaited
        if in_exchange and not service.answered and service.exchanges == 1:
            self._service_is_down()
        elif exc is not None and self._state is not HEAD:
            self._reset()
        else:
            # Also a service that closed an old connection just as a request came: the client knows
            # by the close that nothing was answered and may ask again, which we may not.
            self._finish()

    # ending

    def _service_is_down(self) -> None:
        self._answer(_down(self._route), head_only=self._request.method == b"HEAD")

    def _end_badly(self, reason: str) -> None:
        if self._service is not None and self._service.answered:
            self._reset()
        else:
            self._answer(pages.bad_request(HTTPStatus.BAD_REQUEST, reason), head_only=False)

    def _answer(self, page: pages.Page, *, head_only: bool) -> None:
        """Answers by ourselves, which ends the connection."""
        service, self._service = self._service, None
        if service is not None:
            service.drop(flush=False)
        if self._transport.is_closing():
            return
        self._transport.write(page.response(head_only=head_only))
        self._finish()

    def _finish(self) -> None:
        """What is written still goes out; what is read from here on is dropped."""
        self._state = ENDING
        self._held = b""
        self._since = self._door.now
        if self._eof:
            self._transport.close()
        elif not self._transport.is_closing():
            _end(self._transport)
            self._upstream_full = False
            self._update_reading()

    def _reset(self) -> None:
        """Breaks off so that the client sees it: half an answer must not look like a whole one."""
        self._transport.reset()

    def check_time(self) -> None:
        limits, age = self._door.limits, self._door.now - self._since
        if self._transport.get_write_buffer_size():
            self._since = self._door.now  # it still takes what we have for it
        elif self._state is ENDING and age > limits.linger_seconds:
            self._transport.abort()
        elif self._state is HEAD and self._held and age > limits.head_seconds:
            reason = f"the request's head took longer than {limits.head_seconds:g} seconds"
            self._answer(pages.bad_request(HTTPStatus.REQUEST_TIMEOUT, reason), head_only=False)
        elif self._state is HEAD and age > limits.idle_seconds:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # reading is paused while something is held back or the service takes no more

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._update_reading()

    def _update_reading(self) -> None:
        if self._upstream_full or (self._held and self._state is not HEAD):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


class Service:
    """The connection to a service, for as long as its client has requests for it.

    awaited
        A request was sent and its response is not complete.
    answered
        Some of that response has been passed on.
    exchanges
        How many requests were sent. The first on a fresh connection that gets no answer says that
        the service is down; a later one may only have met a connection about to be closed.
    """

    __slots__ = (
        "_body",
        "_client",
        "_door",
        "_held",
        "_known",
        "_request",
        "_tunnel",
        "answered",
        "awaited",
        "exchanges",
        "transport",
        "upstream",
    )

    def __init__(self, door: Door, client: Client, upstream: Upstream, sock: socket.socket) -> None:
        self.upstream = upstream
        self.awaited = False
        self.answered = False
        self.exchanges = 0
        self._door = door
        self._client: Client | None = client
        self._held = b""
        self._body: Body | None = None
        self._known = door.known.answers.get
        self._tunnel = False
        self._request: RequestHead
        self.transport = Wire(this_loop(), sock, self)
        door.services.add(self)

    def __repr__(self) -> str:
        return f"<Service {self.upstream.dial} exchanges={self.exchanges} awaited={self.awaited}>"

    def ask(self, request: RequestHead, sent: bytes) -> None:
        """Sends a request's head, in these words: the next response is to it."""
        self._request = request
        self.awaited = True
        self.answered = False
        self.exchanges += 1
        self.transport.write(sent)

    def drop(self, *, flush: bool) -> None:
        """Its client is done with it. `flush`: what was written still goes out."""
        self._client = None
        if flush:
            self.transport.close()
        else:
            self.transport.abort()

    def abort(self) -> None:
        self.transport.abort()

    # its wire calls these

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None:
            return
        if self._tunnel:
            client.write(data)
        elif not self.awaited:
            # Nobody asked. Passed on, it would be taken for the answer to the next request.
            self.transport.abort()
        elif self._body is not None:
            self._pass_body(client, self._body, data, 0)
        elif self._held or not self._answers_again(client, data):
            self._read_head(client, self._held + data)

    def eof_received(self) -> bool:
        return self._client is not None and self._client.service_eof()

    def pause_writing(self) -> None:
        if self._client is not None:
            self._client.upstream_full(True)

    def resume_writing(self) -> None:
        if self._client is not None:
            self._client.upstream_full(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.services.discard(self)
        client, self._client = self._client, None
        if client is not None:
            client.service_lost(self, exc)

    # the response

    def _answers_again(self, client: Client, data: bytes) -> bool:
        """Passes on what is a whole response and begins with a head that is known."""
        end = data.find(b"\r\n\r\n") + 4
        head = self._known(data[:end])
        if head is None or len(data) != end + head.body or self._request.method == b"HEAD":
            return False
        self.answered = True
        self.awaited = False
        client.write_last(data)
        return True

    def _read_head(self, client: Client, data: bytes) -> None:
        method = self._request.method
        head = read_response(data, method)
        while head is not None and head.status < 200 and head.interim:
            client.write(data[: head.end])
            data = data[head.end :]
            head = read_response(data, method)
        if head is None:
            self._held = data
            return
        self._door.known.keep_answer(data, head, method)
        self._held = b""
        self.answered = True
        if head.body >= 0 and len(data) == head.end + head.body and head.status != 101:
            self.awaited = False
            client.write_last(data)
        elif head.status == 101 and self._request.upgrade:
            self._tunnel = True
            client.write(data)
            client.tunnel(self)
        else:
            self._pass_body(client, Body(head.body), data, head.end)

    def _pass_body(self, client: Client, body: Body, data: bytes, start: int) -> None:
        try:
            end = body.feed(data, start)
        except BadChunk:
            body, end = Body(UNTIL_CLOSE), len(data)
        part = data if end == len(data) else data[:end]
        if not body.done:
            self._body = body
            client.write(part)
            return
        self._body = None
        self.awaited = False
        if end < len(data):
            client.write(part)
            self.transport.abort()  # more than was announced: where would the next one begin?
        else:
            client.write_last(part)


def this_loop() -> WireLoop:
    """The loop of the front door's thread."""
    return cast(WireLoop, asyncio.get_running_loop())


def _down(route: Route) -> pages.Page:
    return pages.service_down(route.colony, route.service)


def _end(transport: Wire) -> None:
    """Says that no more will be written. That a peer has gone already, its reader will say."""
    with contextlib.suppress(OSError):
        transport.write_eof()
