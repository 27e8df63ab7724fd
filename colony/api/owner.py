"""The actor that owns the API: the sockets, the server, and under trio the thread that it needs.

Its crash is nobody else's: colonies run on, what has happened and which colony ends with whom
(`bonds`) is the host's to remember, and the next life serves on the same socket.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.from_thread
import anyio.to_thread

from actors import Actor, Event, backend
from colony.api import security
from colony.api.sockets import Claim, claim
from colony.events import Notice, ServiceExited, ServiceFailed, ServiceReady

if TYPE_CHECKING:
    from colony.api.operations import Operations
    from colony.api.server import Server

API: Final = "api"
"""The actor's name in its system."""

SERVER: Final = "colony.api.server"


class ApiOpened(Event, frozen=True, kw_only=True):
    """The API is served. `socket` is the runtime directory's or, where another instance has that,
    one of this instance's own; `listen` is the TCP address, "" for none."""

    socket: str
    listen: str


class Listen:
    """A TCP address to serve the API on. Its repr has no token."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.host = host
        self.port = port
        self.door = security.door(host, port, token)

    def __repr__(self) -> str:
        return f"<Listen {self}>"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Api:
    """What the actor is given to own: where to serve what.

    path
        The unix socket by which it is found, unless another instance has it.
    spare
        The one that it has then, for those who know of it.
    operations
        What answers.
    listen
        A TCP address beside it. Default none.
    defer
        Seconds that answers may wait until a first service is ready: to load the server takes a
        tenth of a second of a CPU, which whoever waits for their page can use better. The sockets
        are there from the beginning, and who connects meanwhile is answered then. Default 0.
    """

    def __init__(
        self,
        path: Path,
        spare: Path,
        operations: Operations,
        listen: Listen | None = None,
        defer: float = 0.0,
    ) -> None:
        self.path = path
        self.spare = spare
        self.operations = operations
        self.listen = listen
        self.defer = defer
        self.claimed = False
        """Whether this instance is the one that others join."""
        self.socket: Path | None = None
        """The unix socket at which it is served; None before, and if it cannot be."""
        self.settled = anyio.Event()
        """Set once it is served, or cannot be."""

    def __repr__(self) -> str:
        return f"<Api at {self.path}>"


class ApiOwner(Actor):
    """Serves the API for as long as it lives."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def started(self) -> None:
        """Not in `start`: nothing else needs to wait for it."""
        self.ctx.run(self._serve)
        self.ctx.run(self.api.operations.host.bonds.keep)

    async def _serve(self) -> None:
        api = self.api
        async with AsyncExitStack() as stack:
            try:
                sockets = await self._sockets(stack)
            except OSError as error:
                self._publish_notice(f"the API is not served: {error}")
                sockets = []
            if sockets:
                await self._others_first()
                # In a thread: aiohttp is many files to read, and the loop has colonies to start.
                await anyio.to_thread.run_sync(import_module, SERVER)
                await self._open(stack, sockets)
                listen = "" if api.listen is None else str(api.listen)
                event = ApiOpened(at=self.ctx.now, socket=str(api.socket), listen=listen)
                self.ctx.system.publish(event)
            api.settled.set()
            await anyio.sleep_forever()

    async def _others_first(self) -> None:
        """Waits until a service is ready, or will not be; in the first life, and not for long."""
        defer, self.api.defer = self.api.defer, 0.0
        if not defer:
            return
        settled = anyio.Event()

        def note(event: Event) -> None:
            if isinstance(event, ServiceReady | ServiceExited | ServiceFailed):
                settled.set()

        leave = self.ctx.system.events.listen(note)
        try:
            with anyio.move_on_after(defer):
                await settled.wait()
        finally:
            leave()

    async def _sockets(self, stack: AsyncExitStack) -> list[socket.socket]:
        api = self.api
        claimed = await anyio.to_thread.run_sync(claim, api.path)
        api.claimed = claimed is not None
        if claimed is None:
            claimed = await anyio.to_thread.run_sync(claim, api.spare)
            assert claimed is not None, "nobody else knows this place"
        stack.push_async_callback(_release, claimed)
        sockets = [claimed.sock]
        api.socket = claimed.path
        if api.listen is not None:
            sock = _tcp(api.listen)
            stack.callback(sock.close)
            sockets.append(sock)
        return sockets

    async def _open(self, stack: AsyncExitStack, sockets: list[socket.socket]) -> None:
        """Starts the server in this loop, or in a thread's where this one is trio's.

        Not cut short: asyncio, cancelled in the midst of that, has begun to watch a socket and
        gives nobody the means to end it.
        """
        if backend.current().name == "asyncio":
            with anyio.CancelScope(shield=True):
                server = await self._server_here(sockets)
            stack.push_async_callback(_shielded_close, server)
            return
        from proxy.loop_thread import LoopThread

        portal = await stack.enter_async_context(anyio.from_thread.BlockingPortal())
        thread = LoopThread("api")
        stack.push_async_callback(thread.close)
        await thread.start()
        with anyio.CancelScope(shield=True):
            server = await thread.run(self._server_there, portal, sockets)

        async def close() -> None:
            with anyio.CancelScope(shield=True):
                await thread.run(server.close)

        stack.push_async_callback(close)

    async def _server_here(self, sockets: list[socket.socket]) -> Server:
        from colony.api.bridge import SameLoop
        from colony.api.server import Server

        return await self._opened(Server(self.api.operations, SameLoop()), sockets)

    async def _server_there(
        self, portal: anyio.from_thread.BlockingPortal, sockets: list[socket.socket]
    ) -> Server:
        from colony.api.bridge import OtherLoop
        from colony.api.server import Server

        return await self._opened(Server(self.api.operations, OtherLoop(portal)), sockets)

    async def _opened(self, server: Server, sockets: list[socket.socket]) -> Server:
        if self.api.listen is not None:
            server.door = self.api.listen.door
        await server.open(*sockets)
        return server

    def _publish_notice(self, text: str) -> None:
        self.ctx.system.publish(Notice(at=self.ctx.now, colony="", text=text))


def _tcp(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.create_server((listen.host, listen.port), family=family, backlog=1024)
    sock.setblocking(False)
    return sock


async def _release(claimed: Claim) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(claimed.release)


async def _shielded_close(server: Server) -> None:
    with anyio.CancelScope(shield=True):
        await server.close()
