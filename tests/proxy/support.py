"""What the tests of the front door share: services to reach, clients to ask, doors to open.

Services and clients are real and run in asyncio threads of their own, so that a test is the same
under asyncio and trio.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec
from aiohttp import WSMsgType, web

from proxy.caddy import CaddyProcess
from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_door import Routing
from proxy.embedded import EmbeddedProxy
from proxy.errors import CaddyUnreachable
from proxy.existing_caddy import ExistingCaddy
from proxy.front_door import FrontDoor
from proxy.loop_thread import LoopThread
from proxy.process import Program, find
from proxy.reconciler import Timing
from proxy.routes import Route, RouteTable, TcpUpstream
from tests.ports import free_ports

PATIENCE = 30.0
"""How long in seconds anything may take before the test gives up on it."""

FAST = Timing(check=0.2)
"""Edits by others are healed sooner than by default."""


@contextmanager
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def ask(
    port: int, host: str, path: str = "/", *, method: str = "GET", body: bytes | None = None
) -> Response:
    """One request on a connection of its own. Blocks; see `fetch`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Host": host})
        response = connection.getresponse()
        return Response(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()


async def fetch(
    port: int, host: str, path: str = "/", *, method: str = "GET", body: bytes | None = None
) -> Response:
    return await anyio.to_thread.run_sync(lambda: ask(port, host, path, method=method, body=body))


class Service:
    """A web application: tells its name, echoes, streams, and can be told when to go on.

    /            its name            /headers   the request's headers as JSON
    /echo        the body            /events    an event, and the next after each `go`
    /ws          echoes messages     /dribble   a Content-Length, then a byte after each `go`
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.left = threading.Event()
        """Set when the client of a stream has gone."""
        self.pause = 0.0
        """Seconds from the last byte that it is sent to its `/echo`."""
        self._go: asyncio.Queue[None] = asyncio.Queue()
        self._thread = LoopThread(f"service-{name}")
        self._runner: web.AppRunner

    @property
    def upstream(self) -> TcpUpstream:
        return TcpUpstream(self.port, "127.0.0.1")

    def go(self) -> None:
        """Lets a stream send its next piece."""
        self._thread.call(self._go.put_nowait, None)

    async def start(self, port: int = 0) -> None:
        await self._thread.start()
        await self._thread.run(self._serve, port)

    async def stop(self) -> None:
        if self._thread.running:
            await self._thread.run(self._end)
        await self._thread.close()

    async def _serve(self, port: int) -> None:
        self._go = asyncio.Queue()
        app = web.Application()
        app.router.add_get("/headers", self._headers)
        app.router.add_post("/echo", self._echo)
        app.router.add_get("/events", self._events)
        app.router.add_get("/dribble", self._dribble)
        app.router.add_get("/ws", self._ws)
        app.router.add_get("/", self._name)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        sock = socket.create_server(("127.0.0.1", port))
        self.port = sock.getsockname()[1]
        await web.SockSite(self._runner, sock).start()

    async def _end(self) -> None:
        await self._runner.cleanup()

    async def _name(self, _: web.Request) -> web.Response:
        return web.Response(text=self.name)

    async def _headers(self, request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self.pause)
        return web.Response(body=body)

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                await ws.send_str(f"{self.name}: {message.data}")
        return ws

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        return await self._stream(request, response, b"data: 1\n\n")

    async def _dribble(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        return await self._stream(request, response, b"x")

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, piece: bytes
    ) -> web.StreamResponse:
        try:
            await response.prepare(request)
            while True:
                await response.write(piece)
                await self._go.get()
        finally:
            self.left.set()


@asynccontextmanager
async def service(name: str, port: int = 0) -> AsyncIterator[Service]:
    one = Service(name)
    try:
        await one.start(port)
        yield one
    finally:
        with anyio.CancelScope(shield=True):
            await one.stop()


def route(colony: str, upstream: TcpUpstream, service: str = "web", port: int = 3000) -> Route:
    return Route(colony, port, upstream, service)


def host(colony: str, port: int = 3000) -> str:
    return f"{colony}-{port}.colony.local"


class Stranger(NamedTuple):
    """A Caddy of somebody else, with a server of its own."""

    admin: CaddyAdmin
    port: int
    pid: int


@asynccontextmanager
async def strangers_caddy(
    directory: Path, config: dict[str, Any] | None = None, admin: CaddyAdmin | None = None
) -> AsyncIterator[Stranger]:
    """Runs a Caddy that is not ours; by default its own server answers `stranger`."""
    admin_port, port = free_ports(2)
    whole: dict[str, Any] = {
        "admin": {"listen": f"127.0.0.1:{admin_port}", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
    }
    whole |= strangers_apps(port) if config is None else config
    program = await Program.start(
        "caddy",
        [find("caddy", "needed by the tests"), "run", "--config", "-"],
        env={"HOME": str(directory), "XDG_DATA_HOME": str(directory), "PATH": os.defpath},
        cwd=directory,
        stdin=msgspec.json.encode(whole),
    )
    try:
        admin = admin or CaddyAdmin(f"http://127.0.0.1:{admin_port}")
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    await admin.get("/config/")
                    break
                except CaddyUnreachable:
                    await anyio.sleep(0.01)
        yield Stranger(admin, port, program.pid)
    finally:
        await program.stop()


def strangers_apps(port: int) -> dict[str, Any]:
    return {
        "apps": {
            "http": {
                "servers": {
                    "srv0": {
                        "listen": [f"127.0.0.1:{port}"],
                        "automatic_https": {"disable": True},
                        "routes": [
                            {"handle": [{"handler": "static_response", "body": "stranger"}]}
                        ],
                    }
                }
            }
        }
    }


DOORS = ("caddy", "dynamic", "existing", "embedded")


ROUTINGS: Final[dict[str, Routing]] = {"caddy": "static", "dynamic": "dynamic"}


@asynccontextmanager
async def running(door: FrontDoor, table: RouteTable) -> AsyncIterator[None]:
    """Starts a door, runs it beside the body, stops it."""
    try:
        await door.start(table)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.run)
            with anyio.fail_after(PATIENCE * 2):
                yield
            tasks.cancel_scope.cancel()
    finally:
        await door.stop()


@asynccontextmanager
async def opened(
    kind: str, directory: Path, routes: Sequence[Route] = (), *, ports: Sequence[int] = ()
) -> AsyncIterator[FrontDoor]:
    """An open front door of that kind."""
    ports = ports or free_ports(3)
    table = RouteTable(routes)
    if kind == "existing":
        async with strangers_caddy(directory) as stranger:
            door = ExistingCaddy(stranger.admin.address, ports=ports, timing=FAST)
            async with running(door, table):
                yield door
        return
    one: FrontDoor = (
        CaddyProcess(directory / "caddy", ports=ports, timing=FAST, routes=ROUTINGS[kind])
        if kind in ROUTINGS
        else EmbeddedProxy(ports=ports)
    )
    async with running(one, table):
        yield one


@asynccontextmanager
async def one_behind(kind: str, directory: Path) -> AsyncIterator[tuple[FrontDoor, Service]]:
    """An open front door of that kind, and the service `one` behind it."""
    async with (
        service("one") as one,
        opened(kind, directory, [route("one", one.upstream)]) as door,
    ):
        yield door, one


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for what only the outside world can bring about."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)


def script(path: Path, *lines: str) -> str:
    """Writes an executable shell script."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def listing(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def held() -> set[str]:
    """What this process has open, by what it is and by number, and the threads that a front door
    or a program of ours would have.

    To be compared by `<=`: what an earlier test has left to the garbage collector may go meanwhile.
    """
    found = {
        f"thread {thread.name} {thread.native_id}"
        for thread in threading.enumerate()
        if thread.name.startswith("colony-") or thread.name.endswith("-output")
    }
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one by which this list was read
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
