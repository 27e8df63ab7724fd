"""The embedded front door: the same hosts and pages as Caddy's, without Caddy.

    host loop (asyncio or trio)              its own thread, a `WireLoop`
      start ───────────────────────────────► listening sockets on 127.0.0.1 and ::1
      want(table) ─── one reference ───────► looked at for every request head
      stop ────────────────────────────────► everything cut, closed and joined

There is nothing to reload and nothing to reconcile: a route holds from the next request on. How the
connections work is in `splice` and `wires`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

import anyio

from proxy.front_door import Lifetime
from proxy.loop_thread import LoopThread
from proxy.ports import HTTP_PORTS, Claims, Reservation, on_some_port, preferring
from proxy.routes import EMPTY, RouteTable, TcpUpstream, UnixUpstream, Upstream
from proxy.splice import Dialer, Door
from proxy.wires import WireLoop

_THREAD: Final = "colony-front-door"


async def dial(upstream: Upstream) -> socket.socket:
    """The default dialer: TCP from the host's own network namespace, and unix sockets.

    `localhost` is 127.0.0.1 and then ::1, for many dev servers listen on one of them only. Raises
    `OSError`.
    """
    match upstream:
        case UnixUpstream(path=path):
            return await _connect(socket.AF_UNIX, path)
        case TcpUpstream(port=port, address="localhost"):
            try:
                return await _connect(socket.AF_INET, ("127.0.0.1", port))
            except OSError:
                return await _connect(socket.AF_INET6, ("::1", port))
        case TcpUpstream(port=port, address=address):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return await _connect(family, (address, port))


async def _connect(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


class EmbeddedProxy(Lifetime):
    """A front door without Caddy. `async with`, or `start` and `stop`; may be started again.

    ports
        Tried in turn. Default: 80, then 8080 and up.
    dialer
        How a service is reached. Default: `dial`.
    head_seconds
        How long a client may take for a request's head once begun, before 408. Default 10.
    idle_seconds
        How long a connection stays without a request. Default 300.
    dial_seconds
        How long a service may take to accept, before 503. Default 3.
    linger_seconds
        How long a connection is read on after its last answer is out, for a client that is still
        sending: closing at once would take the answer from it. Default 2.
    claims
        Where the claim on its port is kept between two lives, so that the next has it again.

    Once started, `port` and `addresses` say where it listens.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int] = HTTP_PORTS,
        dialer: Dialer = dial,
        head_seconds: float = 10.0,
        idle_seconds: float = 300.0,
        dial_seconds: float = 3.0,
        linger_seconds: float = 2.0,
        claims: Claims | None = None,
    ) -> None:
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.dial_seconds = dial_seconds
        self.linger_seconds = linger_seconds
        self.port = 0
        self.addresses: tuple[str, ...] = ()
        self._ports = tuple(ports)
        self._door = Door(dialer, self)
        self._thread = LoopThread(_THREAD, WireLoop)
        self._sockets: list[socket.socket] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._held: Reservation | None = None
        self._claims = claims
        self._stopped = anyio.Event()
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        where = f"port {self.port}" if self.port else "not started"
        return f"<EmbeddedProxy {where} connections={self.connections}>"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._door.clients)

    @property
    def wanted(self) -> RouteTable:
        """The routes that are served now."""
        return self._door.table

    async def start(self, table: RouteTable = EMPTY) -> None:
        """Returns when it answers. Raises `PortsTaken`. Cancelled or failed, nothing is left."""
        if self.port:
            raise RuntimeError("this front door was started before: stop it first")
        self._door.table = table
        self._thread, self._stopped = LoopThread(_THREAD, WireLoop), anyio.Event()
        try:
            await self._thread.start()
            self._held = await on_some_port(
                "the front door", self._ports, self._listen_here, claims=self._claims
            )
        except BaseException:
            await self.stop()
            raise
        self.port, self.addresses = self._held.port, self._held.addresses
        self._ports = preferring(self.port, self._ports)

    def want(self, table: RouteTable) -> None:
        """From the next request on, these are the routes. From any thread."""
        self._door.table = table

    def show(self, port: int) -> None:
        """The links on its pages lead to this port instead of its own, until it is started again:
        for one that stands behind another front door."""
        self._door.port = port

    async def settled(self) -> None:
        """Returns at once: what is wanted is what is served."""

    async def run(self) -> None:
        """Returns when it was stopped, at once if it is not started. It does not end by itself."""
        if self.port:
            await self._stopped.wait()

    async def stop(self) -> None:
        """Cuts every connection and releases all. Not cut short by cancel; may be called again."""
        with anyio.CancelScope(shield=True):
            async with self._ending:
                if self._thread.running:
                    await self._thread.run(self._close)
                await self._thread.close()
                for sock in self._sockets:
                    sock.close()
                if self._held is not None:
                    self._held.release()
                self.port, self.addresses = 0, ()
                self._stopped.set()

    async def _listen_here(self, port: Reservation) -> bool:
        self._door.port = port.port
        # Duplicates: on cancel the reservation closes its own while the thread still has these.
        self._sockets = [sock.dup() for sock in port.sockets]
        await self._thread.run(self._listen, self._sockets)
        return True

    # in the thread

    async def _listen(self, sockets: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        self._door.now = loop.time()
        self._sweeping = loop.create_task(self._door.sweep(self._sweep_seconds()))
        for sock in sockets:
            self._door.listen(sock)

    def _sweep_seconds(self) -> float:
        times = (self.head_seconds, self.idle_seconds, self.linger_seconds)
        return min(1.0, *(seconds / 4 for seconds in times))

    async def _close(self) -> None:
        await self._door.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
