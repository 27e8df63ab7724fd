"""Colony for programs without an event loop: the same objects, each call of which just blocks.

    import colony.sync

    with colony.sync.open("colony.toml") as c:
        c.service("web").ready(timeout=60)
        print(c.http("web").get("/health").body)
        for line in c.logs(until="compiled"):
            print(line.text)

    with colony.sync.connect() as instance:
        print([c.name for c in instance.colonies()])

`open` and `connect` each have an event loop in a thread of their own, for as long as their block.
Every method is that of the same name in `colony.sdk`, with its arguments and errors. A call that is
interrupted, as by Ctrl-C, is cancelled over there. The objects may be used from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from colony import sdk
from colony.api import types as t
from colony.sdk import Event, Response

if TYPE_CHECKING:
    from colony import config as configuration
    from colony.host import Options
    from colony.terminals import driven
    from colony.terminals.hub import Exit
    from colony.terminals.screen import Screen

__all__ = ["Colony", "Connection", "Flow", "Http", "Service", "Terminal", "connect", "open"]

T = TypeVar("T")
P = ParamSpec("P")


class _Loop:
    """An event loop in a thread, and calls into it."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
        """Calls there and waits. What interrupts the wait cancels the call."""
        future = self._portal.start_task_soon(partial(function, *args, **named))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def held(self, context: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """A block of the loop's as one of ours."""
        return self._portal.wrap_async_context_manager(context)


@contextmanager
def _loop() -> Iterator[_Loop]:
    with start_blocking_portal("asyncio") as portal:
        yield _Loop(portal)


@contextmanager
def open(
    source: str | Path | Mapping[str, Any] | configuration.Config,
    options: Options | None = None,
    *,
    name: str | None = None,
    workspace: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Colony]:
    """Runs a colony in this process for as long as the block; as `colony.open`."""
    from colony import embed
    from colony.host import DEFAULT

    with _loop() as loop:
        chosen = options or DEFAULT
        opened = embed.open(source, chosen, name=name, workspace=workspace, env=env)
        with loop.held(opened) as running:
            yield Colony(loop, running)


@contextmanager
def connect(address: str | None = None) -> Iterator[Connection]:
    """Reaches a running instance for as long as the block; as `colony.connect`."""
    with _loop() as loop, loop.held(sdk.connect(address)) as connection:
        yield Connection(loop, connection)


class Connection:
    """As `colony.Connection`: an instance of another process."""

    def __init__(self, loop: _Loop, wrapped: sdk.Connection) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    @property
    def version(self) -> t.Version:
        """Which Colony answers."""
        return self._wrapped.version

    def colony(self, name: str) -> Colony:
        """A colony by its name."""
        return Colony(self._loop, self._loop.call(self._wrapped.colony, name))

    def colonies(self) -> tuple[Colony, ...]:
        """All of them, the oldest first."""
        return tuple(Colony(self._loop, c) for c in self._loop.call(self._wrapped.colonies))

    def add(
        self,
        source: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        workspace: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Colony:
        """Starts a colony that stays."""
        add = partial(self._wrapped.add, source, name=name, workspace=workspace, env=env)
        return Colony(self._loop, self._loop.call(add))

    @contextmanager
    def open(
        self,
        source: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        workspace: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Colony]:
        """Runs a colony for as long as the block."""
        opened = self._wrapped.open(source, name=name, workspace=workspace, env=env)
        with self._loop.held(opened) as running:
            yield Colony(self._loop, running)

    def events(self, *types: str, since: int | None = None) -> Flow[Event]:
        """What happens in the instance, to all colonies."""
        return Flow(self._loop, self._wrapped.events(*types, since=since))

    def health(self) -> t.Health:
        """How the instance is."""
        return self._loop.call(self._wrapped.health)


class Colony:
    """As `colony.Colony`, whoever runs it."""

    def __init__(self, loop: _Loop, wrapped: sdk.Colony) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    @property
    def name(self) -> str:
        """Its name, unique in its instance."""
        return self._wrapped.name

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its services, in the order of colony.toml."""
        return self._wrapped.services

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each service that has a port."""
        return self._wrapped.urls

    def service(self, name: str) -> Service:
        """One of its services. Raises `KeyError`, with the names that there are."""
        return Service(self, self._loop, self._wrapped.service(name))

    def view(self) -> t.Colony:
        """How it is now, with all its services."""
        return self._loop.call(self._wrapped.view)

    def ready(self, timeout: float | None = None) -> t.Colony:
        """Waits until every service can be used."""
        return self._loop.call(self._wrapped.ready, timeout)

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 600.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> t.Executed:
        """Runs a command in its network, environment and folder, and waits for its end."""
        run = self._wrapped.exec
        return self._loop.call(run, command, timeout=timeout, cwd=cwd, env=env, check=check)

    def logs(
        self,
        *services: str,
        follow: bool = False,
        until: str | None = None,
        tail: int | None = None,
        grep: str | None = None,
        since: datetime | None = None,
    ) -> Flow[t.LogLine]:
        """What its services wrote, or those that are named: an iterator."""
        lines = self._wrapped.logs(
            *services, follow=follow, until=until, tail=tail, grep=grep, since=since
        )
        return Flow(self._loop, lines)

    def events(self, *types: str, since: int | None = None) -> Flow[Event]:
        """What happens to it: an iterator without an end."""
        return Flow(self._loop, self._wrapped.events(*types, since=since))

    def http(self, service: str) -> Http:
        """Asks a service over HTTP, inside the colony's network. Raises `KeyError`."""
        return self.service(service).http

    @contextmanager
    def terminal(
        self,
        name: str | None = None,
        *,
        argv: Sequence[str] | None = None,
        size: tuple[int, int] = (24, 80),
        read_only: bool = False,
    ) -> Iterator[Terminal]:
        """A terminal session to type into and read from, for as long as the block."""
        session = self._wrapped.terminal(name, argv=argv, size=size, read_only=read_only)
        with self._loop.held(session) as terminal:
            yield Terminal(self._loop, terminal)

    def restart(self) -> Colony:
        """Stops it and starts it again; the colony to go on with."""
        return Colony(self._loop, self._loop.call(self._wrapped.restart))

    def stop(self) -> None:
        """Stops it, and waits until it is gone."""
        self._loop.call(self._wrapped.stop)


class Service:
    """As `colony.Service`, over all its lives."""

    def __init__(self, colony: Colony, loop: _Loop, wrapped: sdk.Service) -> None:
        self.colony = colony
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self._wrapped.name

    @property
    def url(self) -> str | None:
        """Its URL at the front door; None if it has no port."""
        return self._wrapped.url

    @property
    def http(self) -> Http:
        """Asks it over HTTP, inside its colony's network."""
        return Http(self._loop, self._wrapped.http)

    @contextmanager
    def terminal(
        self, *, size: tuple[int, int] = (40, 120), read_only: bool = False
    ) -> Iterator[Terminal]:
        """Its terminal, to type into and read from, for as long as the block."""
        session = self._wrapped.terminal(size=size, read_only=read_only)
        with self._loop.held(session) as terminal:
            yield Terminal(self._loop, terminal)

    def view(self) -> t.Service:
        """How it is now: its state, process, restarts."""
        return self._loop.call(self._wrapped.view)

    def state(self) -> str:
        """What it is doing in a word."""
        return self._loop.call(self._wrapped.state)

    def ready(self, timeout: float | None = None) -> t.Service:
        """Waits until it can be used, in this life or a later one."""
        return self._loop.call(self._wrapped.ready, timeout)

    def start(self) -> t.Service:
        """Starts it after a stop."""
        return self._loop.call(self._wrapped.start)

    def stop(self) -> t.Service:
        """Stops it; it stays stopped until it is started."""
        return self._loop.call(self._wrapped.stop)

    def restart(self) -> t.Service:
        """Stops it and starts it again; not counted as a restart."""
        return self._loop.call(self._wrapped.restart)

    def signal(self, signal: str | int) -> t.Service:
        """Sends a signal, as "HUP" or 1, to its process group."""
        return self._loop.call(self._wrapped.signal, signal)

    def write(self, text: str) -> t.Service:
        """Writes to its standard input; a line needs its line end."""
        return self._loop.call(self._wrapped.write, text)

    def logs(
        self,
        *,
        follow: bool = False,
        until: str | None = None,
        tail: int | None = None,
        grep: str | None = None,
        since: datetime | None = None,
    ) -> Flow[t.LogLine]:
        """What it wrote, as `Colony.logs` does."""
        return self.colony.logs(
            self.name, follow=follow, until=until, tail=tail, grep=grep, since=since
        )


class Http:
    """As `colony.sdk.Http`: a service over HTTP, inside its colony's network."""

    def __init__(self, loop: _Loop, wrapped: sdk.Http) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    def request(
        self,
        method: str,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        json: Any = None,
        timeout: float = 30.0,
        limit: int = 1024 * 1024,
    ) -> Response:
        """A request of any method."""
        ask = partial(self._wrapped.request, method, path, headers=headers, body=body)
        return self._loop.call(ask, json=json, timeout=timeout, limit=limit)

    def get(
        self, path: str = "/", *, headers: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> Response:
        """A GET."""
        return self.request("GET", path, headers=headers, timeout=timeout)

    def post(
        self,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        json: Any = None,
        timeout: float = 30.0,
    ) -> Response:
        """A POST."""
        return self.request("POST", path, headers=headers, body=body, json=json, timeout=timeout)


class Flow(Generic[T]):
    """As `colony.sdk.Flow`: an iterator, and a context that ends it."""

    def __init__(self, loop: _Loop, wrapped: sdk.Flow[T]) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    def __enter__(self) -> Self:
        self._loop.call(self._wrapped.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """The next value. Interrupted, nothing is lost, and it can be asked again."""
        for item in self._loop.call(self._next):
            return item
        raise StopIteration

    async def _next(self) -> tuple[T, ...]:
        # A StopAsyncIteration would not pass through the task that brings it here.
        try:
            return (await self._wrapped.__anext__(),)
        except StopAsyncIteration:
            return ()

    def close(self) -> None:
        """Ends it. Ending twice is no error."""
        self._loop.call(self._wrapped.aclose)


class Terminal:
    """As `colony.terminals.driven.Terminal`: types and reads."""

    def __init__(self, loop: _Loop, wrapped: driven.Terminal) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<sync {self._wrapped!r}>"

    @property
    def name(self) -> str:
        """The session's name."""
        return self._wrapped.name

    @property
    def before(self) -> str:
        """What came before the last match."""
        return self._wrapped.before

    @property
    def exit(self) -> Exit | None:
        """How the program ended; None while it runs."""
        return self._wrapped.exit

    def send(self, text: str | bytes) -> None:
        """Types. Enter is a newline; Ctrl-C is "\\x03"."""
        self._loop.call(self._wrapped.send, text)

    def expect(self, pattern: str | re.Pattern[str], timeout: float = 30.0) -> re.Match[str]:
        """Waits until the output matches, and goes on after the match."""
        return self._loop.call(self._wrapped.expect, pattern, timeout)

    def wait(self) -> Exit:
        """Waits for the program's end, reading what it writes."""
        return self._loop.call(self._wrapped.wait)

    def screen(self) -> Screen:
        """What it shows now."""
        return self._loop.call(self._wrapped.screen)

    def resize(self, rows: int, columns: int) -> None:
        """Gives it another size, as far as its other viewers agree."""
        self._loop.call(self._wrapped.resize, rows, columns)
