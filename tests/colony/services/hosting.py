"""Real services in a test's hands, without front door or command line.

    async with colony(services={"web": page("hello")}) as shop:
        await shop.until("web", "ready")

The part of the tree that is about services runs as in production, in the test's own event loop, on
the host's network or in a namespace; every test ends by asking that nothing of it is left.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import tomlkit
from anyio.abc import SocketStream

from actors import Event, Ref, Supervisor, System
from actors.ref import slot_of
from colony import config
from colony.config import Config
from colony.journal import JOURNAL, Journal
from colony.logs import Filter, LogLine, Logs
from colony.services import Board, Control, GetService, ServiceStatus, board_name, control_name
from colony.services.linux import LinuxMachine
from colony.services.specs import SERVICES, Where, colony_children
from netns import Instance, Namespace, NetworkThread, sweep
from netns.actors import (
    ADDRESSES,
    NETWORK,
    AddressBook,
    GetNamespace,
    NamespaceOwner,
    NetworkOwner,
    ProcessesOwner,
    namespace_name,
)
from netns.streams import stream_of

E = TypeVar("E", bound=Event)

PATIENCE: Final = 30.0
PYTHON: Final = [sys.executable, "-I", "-S", "-u"]


def python(code: str) -> list[str]:
    """The command of a service that is a few lines of Python."""
    return [*PYTHON, "-c", code]


SERVER: Final = """
import socket, sys, os
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(os.environ["PORT"]))); s.listen(50)
print("listening", flush=True)
while True:
    c, _ = s.accept()
    c.close()
"""


def server(port: int, before: str = "", **more: Any) -> dict[str, Any]:
    """A service that accepts connections on its port, after having run `before`."""
    return {"command": python(before + SERVER), "port": port, **more}


def sleeper(**more: Any) -> dict[str, Any]:
    """A service without a port."""
    return {"command": ["sleep", "1000"], **more}


class Shop:
    """A running colony of services."""

    top: Ref[Supervisor]

    def __init__(
        self, system: System, loaded: Config, instance: str, thread: NetworkThread, logs: Logs
    ) -> None:
        self.system = system
        self.thread = thread
        self.logs = logs
        self.config = loaded
        self.instance = instance
        self.place: Namespace | None = None
        self.events: list[Event] = []
        self._more = anyio.Event()

    def note(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()
        self._more = anyio.Event()

    @property
    def board(self) -> Ref[Board]:
        return self.system.named(board_name(self.config.name), Board)

    @property
    def control(self) -> Ref[Control]:
        return self.system.named(control_name(self.config.name), Control)

    async def status(self, service: str) -> ServiceStatus:
        return await self.board.call(GetService(service))

    @contextmanager
    def _patience(self, what: str) -> Iterator[None]:
        """A limit; whoever meets it learns what was waited for, and what there was instead."""
        try:
            with anyio.fail_after(PATIENCE):
                yield
        except TimeoutError as error:
            lines = self.logs.page(self.config.name, (), Filter(count=20)).lines
            last = [f"{line.service} | {line.data.decode(errors='replace')}" for line in lines]
            seen = [*map(repr, self.events[-20:]), *last]
            error.add_note("\n  ".join([f"no {what}; the last events and lines:", *seen]))
            raise

    async def until(self, service: str, *states: str, life: int = 0) -> ServiceStatus:
        """Waits until a service is in one of the states, in this life or a later one."""
        with self._patience(f"{service} that is {' or '.join(states)} in life {life} or later"):
            while True:
                more = self._more
                status = await self.status(service)
                if status.state in states and status.life >= life:
                    return status
                with anyio.move_on_after(0.05):
                    await more.wait()

    def seen(self, kind: type[E], service: str = "") -> list[E]:
        """The events of a kind so far."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and service in ("", getattr(event, "service", ""))
        ]

    async def saw(self, kind: type[E], service: str = "", count: int = 1) -> E:
        """Waits for the `count`-th event of a kind."""
        with self._patience(f"{kind.__name__} of {service or 'any'}, number {count}"):
            while len(self.seen(kind, service)) < count:
                await self._more.wait()
        return self.seen(kind, service)[count - 1]

    def numbers(self, service: str) -> list[int]:
        """The numbers of the lines that a service has written so far."""
        page = self.logs.page(self.config.name, (service,), Filter())
        return [line.number for line in page.lines]

    async def lines(self, *services: str, **wanted: Any) -> list[LogLine]:
        wish = Filter(**wanted)
        page = await anyio.to_thread.run_sync(self.logs.page, self.config.name, services, wish)
        return list(page.lines)

    async def wrote(self, service: str, text: bytes) -> LogLine:
        """Waits for a line that contains a text."""
        with self._patience(f"line of {service} with {text!r}"):
            while True:
                for line in await self.lines(service):
                    if text in line.data:
                        return line
                await anyio.sleep(0.01)

    def board_waiters(self) -> int:
        """How many wait for something of a service, as far as the board knows."""
        cell = slot_of(self.board).cell
        assert cell is not None
        assert isinstance(cell.actor, Board)
        return len(cell.actor.waiters)

    async def connect(self, port: int) -> SocketStream:
        """A connection to a port of the colony. Raises `OSError`."""
        if self.place is None:
            return await anyio.connect_tcp("127.0.0.1", port)
        made = await self.thread.connect(self.place, port)
        return await stream_of(made)

    async def listener(self, port: int) -> socket.socket:
        """A socket that listens on a port of the colony, and is ours."""
        if self.place is None:
            return socket.create_server(("127.0.0.1", port))
        made = await self.thread.socket(self.place)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
        return made

    def processes(self) -> list[int]:
        """The living processes of this colony."""
        return list(sweep.find(sweep.marked(self.instance)))


async def eventually(look: Callable[[], bool]) -> None:
    """Waits until something is so that sends no event."""
    with anyio.fail_after(PATIENCE):
        while not look():  # noqa: ASYNC110
            await anyio.sleep(0.01)


@asynccontextmanager
async def colony(
    services: Mapping[str, Mapping[str, Any]],
    *,
    isolated: bool = False,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    logs: Logs | None = None,
    **tables: Mapping[str, Any],
) -> AsyncIterator[Shop]:
    """Runs a colony of these services for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="colony-test-") as folder:
        root = Path(folder)
        for name, text in (files or {}).items():
            (root / name).write_text(text)
        whole: dict[str, Any] = {"colony": {"name": f"t-{secrets.token_hex(4)}"}, **tables}
        whole["services"] = services
        loaded = config.parse(tomlkit.dumps(whole), str(root / "colony.toml"))
        instance = Instance.claim(root / "run")
        try:
            async with _running(loaded, instance, isolated, env, logs or Logs()) as shop:
                yield shop
        finally:
            instance.release()
        assert [_command(pid) for pid in shop.processes()] == []


@asynccontextmanager
async def _running(
    loaded: Config,
    instance: Instance,
    isolated: bool,
    env: Mapping[str, str] | None,
    logs: Logs,
) -> AsyncIterator[Shop]:
    thread = NetworkThread()
    runtime = str(instance.directory.parent.parent)
    machine = LinuxMachine(thread, logs)
    where = Where(instance.id, str(instance.directory), isolated, machine)
    environ = dict(os.environ if env is None else env)
    async with System() as system:
        shop = Shop(system, loaded, instance.id, thread, logs)
        system.events.listen(shop.note)
        await system.start(Journal.spec(logs).options(id="journal", name=JOURNAL))
        await system.start(AddressBook.spec().options(id="addresses", name=ADDRESSES))
        network = NetworkOwner.spec(instance, thread, runtime, isolated)
        await system.start(network.options(id="network", name=NETWORK, shutdown=30.0))
        owner: Any = ProcessesOwner.spec(loaded.name, instance.id).options(id="processes")
        if isolated:
            owner = NamespaceOwner.spec(loaded.name, "nat")
            owner = owner.options(id="namespace", name=namespace_name(loaded.name), shutdown=30.0)
        urls = {name: f"http://{name}.test" for name in loaded.services}
        children = colony_children(loaded, where, urls, environ, f"{loaded.name}/{SERVICES}")
        spec = Supervisor.spec(
            [owner, *children],
            strategy="rest_for_one",
            intensity=3,
            period=60.0,
            auto_shutdown="any_significant",
        )
        shop.top = await system.start(spec.options(id=loaded.name, restart="temporary"))
        if isolated:
            named = system.named(namespace_name(loaded.name), NamespaceOwner)
            shop.place = await named.call(GetNamespace())
        yield shop


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return f"pid {pid}, which has ended since"
