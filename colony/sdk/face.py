"""A colony and its services in a program's hands, the same in this process and in another one.

    colony.open(...)     RunningColony ──┐                ┌── Local: calls the operations of the API
                                         ├─ Colony ─ Link ┤
    colony.connect(...)  RemoteColony ───┘                └── Wire: asks them over the socket

Everything here is made of the API's routes, so that both behave alike because they are alike; what
differs is only how a route is asked (`Link`). A program takes a `Colony` and does not care:

    async def check(c: colony.Colony) -> str:
        await c.service("web").ready(timeout=60)
        return (await c.http("web").get("/health")).body

Durations are seconds. A wait, a request to a service or a command that is cancelled is given up on
the other side as well, a command with everything that it has started. A change that has begun, such
as a restart, is carried to its end.
"""

from __future__ import annotations

import json as json_
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio

from colony.api import types as t
from colony.escapes import plain
from colony.sdk.errors import CommandFailed, NotFound, ServiceFailed, TimedOut
from colony.sdk.flow import Flow, Source
from colony.sdk.values import Event, Response

if TYPE_CHECKING:
    from colony.terminals.driven import Terminal

T = TypeVar("T")

LONGEST_WAIT_MS: Final = 3_600_000.0
"""What one request may wait; a longer wait is several."""

SHOWN_LINES: Final = 10
"""Last lines of a failing service that its error carries."""


class Link(Protocol):
    """How a route of the API is asked. Raises `ColonyError` by the problem's code."""

    async def ask(
        self,
        route: str,
        names: Mapping[str, str],
        returns: type[T],
        *,
        query: Any = None,
        body: Any = None,
    ) -> T:
        """The answer of a route of `colony.api.routes`, by its name."""
        ...

    async def lines(self, colony: str, query: t.LogQuery) -> Source[t.LogLine]:
        """The lines that are there, and with `follow` those that come."""
        ...

    async def events(self, query: t.EventQuery) -> Source[Event]:
        """What happens."""
        ...

    async def last_lines(self, colony: str, service: str, count: int) -> tuple[str, ...]:
        """What a service wrote last."""
        ...


class Colony(ABC):
    """A colony, from its start to its end and after."""

    urls: dict[str, str]
    """The URL of each service that has a port."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name, unique in its instance."""

    @property
    @abstractmethod
    def services(self) -> tuple[str, ...]:
        """The names of its services, in the order of colony.toml."""

    @property
    @abstractmethod
    def link(self) -> Link:
        """How its instance is asked."""

    @abstractmethod
    def service(self, name: str) -> Service:
        """One of its services. Raises `KeyError`, with the names that there are."""

    @abstractmethod
    async def stop(self) -> None:
        """Stops it, and waits until it is gone. Stopping twice is no error."""

    @abstractmethod
    async def restart(self) -> Colony:
        """Stops it and starts it again, as its configuration was; not counted as restarts. Returns
        the colony to go on with, once its services' processes run. Raises `ColonyFailed`, with
        nothing of it left, and `Conflict` if it is not there any more."""

    @abstractmethod
    def terminal(
        self,
        name: str | None = None,
        *,
        argv: Sequence[str] | None = None,
        size: tuple[int, int] = (24, 80),
        read_only: bool = False,
    ) -> AbstractAsyncContextManager[Terminal]:
        """A terminal session to type into and read from, for as long as the block.

        name
            A session that is to be joined, and lives on after the block: "terminal" for that of
            [terminal], which is started if need be, or the name of a service with `pty = true`.
            Default: a new one that ends with the block.
        argv
            What a new one runs; default as [terminal] says.
        size
            Rows and columns.

        Raises `NotFound` if there is no session of that name, `Conflict` for a service without a
        terminal, and `Failed` if its program cannot be started.
        """

    async def view(self) -> t.Colony:
        """How it is now, with all its services."""
        return await self.link.ask("get_colony", {"colony": self.name}, t.Colony)

    async def ready(self, timeout: float | None = None) -> t.Colony:
        """Waits until every service can be used. Raises as `Service.ready` does."""
        with anyio.CancelScope() as patience:
            began = anyio.current_time()
            patience.deadline = float("inf") if timeout is None else began + timeout
            for name in self.services:
                await self.service(name).ready()
        if patience.cancelled_caught:
            late = [each.name for each in (await self.view()).services if not each.ready]
            words = f"{', '.join(late)} of colony {self.name} not ready after {timeout:g} s"
            lines = await self.link.last_lines(self.name, late[0], SHOWN_LINES) if late else ()
            raise TimedOut(words, last_lines=lines, code="timeout")
        return await self.view()

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 600.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> t.Executed:
        """Runs a command in its network, environment and folder, and waits for its end.

        command
            The words of it; a text goes to `sh -c`.
        timeout
            Seconds after which it is ended; then `timed_out` is true. At most a day.
        cwd
            Below the colony's folder. Default that folder.
        env
            Over the colony's own environment.
        check
            Raise `CommandFailed` for a code other than 0.

        Gives `code` (as a shell does: 128 and the signal), `stdout` and `stderr`, of each the last
        256 KiB. Raises `Conflict` if the colony does not run, and `Failed` if there is no such
        program. Cancelling ends the command.
        """
        argv = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        wanted = t.Exec(argv, cwd, None if env is None else dict(env), timeout * 1000)
        done = await self.link.ask("exec", {"colony": self.name}, t.Executed, body=wanted)
        if check and (done.code or done.timed_out):
            shown = command if isinstance(command, str) else shlex.join(argv)
            raise CommandFailed(shown, done)
        return done

    def logs(
        self,
        *services: str,
        follow: bool = False,
        until: str | None = None,
        tail: int | None = None,
        grep: str | None = None,
        since: datetime | None = None,
    ) -> Flow[t.LogLine]:
        """What its services wrote, or those that are named: an async iterator.

        follow
            Go on with the lines that come, until the colony has ended. What became of it is said by
            a line whose `stream` is "note"; if it is being restarted, its next life's lines follow.
        until
            End after the first line in which this regular expression is found; implies `follow`.
        tail
            How many lines of the past come first, at most 10,000; default 100, or all with `since`.
        grep
            Only lines in which this regular expression is found.
        since
            Only lines from this time on.

        Raises `NotFound`, and `re.error` for `until` at once. A line's `dropped` says how many were
        lost before it, which happens to a reader that does not keep up.
        """
        query = t.LogQuery(
            service=services,
            tail=tail,
            since=None if since is None else since.astimezone().isoformat(),
            grep=grep,
            follow=follow or until is not None,
        )
        pattern = None if until is None else re.compile(until)
        return Flow(
            lambda: self.link.lines(self.name, query),
            None if pattern is None else partial(_found_in, pattern),
        )

    def events(self, *types: str, since: int | None = None) -> Flow[Event]:
        """What happens to it, or only these types: an async iterator without an end.

        From the moment on at which the block is entered or the first event is asked for; with
        `since`, from the event after that id. One of type "gap" says that some were lost.
        """
        query = t.EventQuery(since=since, colony=self.name, type=types)
        return Flow(lambda: self.link.events(query))

    def http(self, service: str) -> Http:
        """Asks a service over HTTP, inside the colony's network. Raises `KeyError`."""
        return Http(self.service(service))


class Service:
    """A service of a colony, over all its lives."""

    colony: Colony
    name: str

    def __init__(self, colony: Colony, name: str) -> None:
        self.colony = colony
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.colony.name}/{self.name}>"

    @property
    def url(self) -> str | None:
        """Its URL at the front door; None if it has no port."""
        return self.colony.urls.get(self.name)

    async def view(self) -> t.Service:
        """How it is now: its state, process, restarts."""
        return await self._ask("get_service")

    async def state(self) -> str:
        """What it is doing in a word: `services.status.State` has them all."""
        return (await self.view()).state

    async def ready(self, timeout: float | None = None) -> t.Service:
        """Waits until it can be used, in this life or a later one, and returns how it is then.

        Raises `ServiceFailed` when it, or its colony, ends for good first, and `TimedOut`, which
        is a `TimeoutError`, after `timeout` seconds (default: without limit). Both carry the last
        lines that it wrote.
        """
        with anyio.CancelScope() as patience:
            began = anyio.current_time()
            patience.deadline = float("inf") if timeout is None else began + timeout
            while not (waited := await self._waited()).met:
                await self._raise_if_over(waited.service)
            return waited.service
        lines = await self._last_lines()
        words = f"{self.name} of colony {self.colony.name} is not ready after {timeout:g} s"
        raise TimedOut(words, last_lines=lines, code="timeout")

    async def start(self) -> t.Service:
        """Starts it after a stop; returns once its process runs. Raises `Conflict`, `Failed`."""
        return await self._ask("start_service")

    async def stop(self) -> t.Service:
        """Stops it; it stays stopped until it is started. Raises `Conflict`."""
        return await self._ask("stop_service")

    async def restart(self) -> t.Service:
        """Stops it and starts it again; not counted as a restart. Raises `Conflict`, `Failed`."""
        return await self._ask("restart_service")

    async def signal(self, signal: str | int) -> t.Service:
        """Sends a signal, as "HUP" or 1, to its process group. Raises `Conflict`, `Refused`."""
        return await self._ask("signal_service", body=t.Signal(signal))

    async def write(self, text: str) -> t.Service:
        """Writes to its standard input; a line needs its line end. Raises `Conflict`, `Failed`."""
        return await self._ask("write_stdin", body=t.Stdin(text))

    def terminal(
        self, *, size: tuple[int, int] = (40, 120), read_only: bool = False
    ) -> AbstractAsyncContextManager[Terminal]:
        """Its terminal, to type into and read from, for as long as the block; for a service with
        `pty = true`. It stays over restarts: a line in brackets says when a life ends.

        size
            Rows and columns; of several viewers the smallest counts.

        Raises `Conflict` for a service without a terminal.
        """
        return self.colony.terminal(self.name, size=size, read_only=read_only)

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

    @property
    def http(self) -> Http:
        """Asks it over HTTP, inside its colony's network."""
        return Http(self)

    async def _ask(self, route: str, body: Any = None) -> t.Service:
        return await self.colony.link.ask(route, self._names, t.Service, body=body)

    @property
    def _names(self) -> dict[str, str]:
        return {"colony": self.colony.name, "service": self.name}

    async def _waited(self) -> t.Waited:
        query = t.WaitQuery("ready", timeout_ms=LONGEST_WAIT_MS)
        try:
            return await self.colony.link.ask("wait_service", self._names, t.Waited, query=query)
        except NotFound as missing:
            raise ServiceFailed(self.name, (), str(missing)) from None

    async def _raise_if_over(self, service: t.Service) -> None:
        """Raises unless only the longest wait of one request is over."""
        colony = await self.colony.view()
        if colony.state in ("starting", "running") and service.state not in ENDED:
            return
        why = colony.reason or service.detail or f"it is {service.state}"
        raise ServiceFailed(self.name, await self._last_lines(), why)

    async def _last_lines(self) -> tuple[str, ...]:
        return await self.colony.link.last_lines(self.colony.name, self.name, SHOWN_LINES)


ENDED: Final = frozenset({"stopped", "completed", "failed"})
"""States of a service that it does not leave by itself; `running.OVER` says the same."""


class Http:
    """A service over HTTP: no host name, no proxy, no guessing, also if it listens on the
    colony's 127.0.0.1 alone.

    Each request is a connection of its own. Raises `Failed` if the service does not answer,
    `TimedOut` after `timeout` seconds, `Conflict` if it has no port. A status of 400 and up is an
    answer like another.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def __repr__(self) -> str:
        return f"<Http of {self._service!r}>"

    async def request(
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
        """A request of any method. `json` is a value to send instead of `body`; of the answer's
        body at most `limit` bytes are read."""
        fields = dict(headers or {})
        if json is not None:
            body = json_.dumps(json)
            fields.setdefault("Content-Type", "application/json")
        wanted = t.HttpRequest(path, method, fields, body, limit, timeout * 1000)
        service = self._service
        names = {"colony": service.colony.name, "service": service.name}
        answer = await service.colony.link.ask("http_service", names, t.HttpResponse, body=wanted)
        return Response(answer.status, answer.headers, answer.body, answer.truncated)

    async def get(
        self, path: str = "/", *, headers: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> Response:
        """A GET."""
        return await self.request("GET", path, headers=headers, timeout=timeout)

    async def post(
        self,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        json: Any = None,
        timeout: float = 30.0,
    ) -> Response:
        """A POST."""
        return await self.request(
            "POST", path, headers=headers, body=body, json=json, timeout=timeout
        )


def _found_in(pattern: re.Pattern[str], line: t.LogLine) -> bool:
    """Whether a service wrote it."""
    if line.stream == "note":
        return False
    text = line.text
    return pattern.search(text) is not None or pattern.search(plain(text)) is not None
