"""A colony and its services as a program holds them: what `colony.open` and `Host.add` give.

`colony.connect()` gives objects with the same methods for a colony of another process; what both
have is `colony.sdk.Colony` and `colony.sdk.Service`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketStream

from actors import (
    Event,
    Reason,
    Ref,
    Shutdown,
    Subscription,
    Supervisor,
)
from actors import events as kernel
from actors.restarts import RESTARTED
from colony import tree
from colony.api.types import Colony as ColonyView
from colony.config import Config
from colony.events import ProvisionStep, ServiceExited, ServiceReady
from colony.journal import JOURNAL, Journal, LastLines
from colony.sdk.errors import (
    ColonyFailed,
    Conflict,
    Failed,
    NotFound,
    ServiceFailed,
    starting,
)
from colony.sdk.face import ENDED, Colony, Service
from colony.services.board import carried_over
from colony.services.plan import ProcessExited
from colony.services.specs import first_statuses
from colony.services.status import ServiceStatus, after, explain, restarts
from netns.actors import NamespaceMade
from netns.streams import stream_of

__all__ = ["ColonyFailed", "RunningColony", "RunningService", "ServiceFailed", "explain"]

if TYPE_CHECKING:
    from actors import System
    from colony.api.types import ColonyState
    from colony.console import Console
    from colony.host import Host
    from colony.sdk.local import Local
    from colony.terminals.driven import Terminal

USABLE: Final = frozenset({"ready", "detached", "completed"})
"""States of a service in which it can be used."""

OVER: Final = ENDED
"""States of a service that it does not leave by itself."""


class RunningColony(Colony):
    """A colony of this instance, from the start of it to its end and after."""

    def __init__(
        self, host: Host, config: Config, urls: dict[str, str], environ: Mapping[str, str]
    ) -> None:
        self._host = host
        self._ref: Ref[Supervisor] | None = None
        self.config = config
        self.urls = urls
        """The URL of each service that has a port."""
        self.environ = environ
        self.began = time.time()
        self.ended = False
        self.succession: anyio.Event | None = None
        """While an operator restarts it: set once its successor is there, or cannot be."""
        self.preparing: anyio.CancelScope | None = None
        """While what its environment asks for is provided, which may take minutes: cancels it."""
        self.prepared = anyio.Event()
        """Set once its start has succeeded or failed."""
        self.step: ProvisionStep | None = None
        """The step of providing its environment that is being done."""
        self.step_began = 0.0
        self.stopping = False
        self.reason: str | None = None
        """Why it has ended, in words; None until then."""
        self.exit_code: int | None = None
        """How the service ended that ends the colony (`exit_colony`), as a shell says it; None
        until then."""
        self._last = ""
        """The path of that service's actor."""
        self.culprit: str | None = None
        """The service on whose account it gave up."""
        self.address: str | None = None
        self.timings: dict[str, float] = {}
        """Milliseconds that the steps of making its network took, and each service's process until
        it was ready for the first time."""
        self._statuses = {each.service: each for each in first_statuses(config, urls)}

    def __repr__(self) -> str:
        return f"<RunningColony {self.name} {self.state}>"

    def provides(self, event: ProvisionStep) -> None:
        """Notes what is being provided, and tells of it."""
        if event.state == "begun":
            self.step_began = event.at
        self.step = event if event.state in ("begun", "running") else None
        self.system.publish(event)

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def ref(self) -> Ref[Supervisor]:
        """Its supervisor. Raises `RuntimeError` while it is being started."""
        if self._ref is None:
            raise RuntimeError(f"colony {self.name} is being started")
        return self._ref

    @property
    def started(self) -> bool:
        """Whether it has come to have a supervisor."""
        return self._ref is not None

    @property
    def state(self) -> ColonyState:
        """Where it stands, as the API says it."""
        if self.ended and self.exit_code is not None:
            return "failed" if self.exit_code else "stopped"
        if self.ended:
            return "failed" if self.culprit or not self.stopping else "stopped"
        if self.stopping or self.culprit:
            return "stopping"
        return "starting" if self._ref is None else "running"

    @property
    def fate(self) -> str:
        """What became of it, in words, once it has ended."""
        if self.succession is not None:
            return f"{self.name} is being restarted"
        if self.exit_code is not None:
            return f"{self.name} has ended: {self.reason}"
        if self.state == "stopped":
            return f"{self.name} was stopped"
        verb = "gave up" if self.culprit else "has ended"
        return f"{self.name} {verb}: {self.reason}"

    @property
    def not_again(self) -> str:
        """What became of it, when it was to be started again and could not be."""
        return f"{self.name} could not be started again"

    @property
    def host(self) -> Host:
        """The instance that it runs in."""
        return self._host

    @property
    def system(self) -> System:
        """The system that it runs in, with its stream of events."""
        return self._host.system

    @property
    def statuses(self) -> Mapping[str, ServiceStatus]:
        """How each of its services is now."""
        self.system.events.release()
        return self._statuses

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(self.config.services)

    @property
    def link(self) -> Local:
        """What the methods that a remote colony has as well are made of."""
        from colony.sdk.local import Local

        return Local(self._host)

    def service(self, name: str) -> RunningService:
        """One of its services. Raises `KeyError`, with the names that there are."""
        if name not in self.config.services:
            known = ", ".join(self.config.services)
            raise KeyError(f"colony {self.name} has no service {name!r}; it has {known}")
        return RunningService(self, name)

    def announce(self, console: Console) -> None:
        """Tells a console what it has to know of the colony to show its lines; once."""
        if not console.knows(self.name):
            announce(console, self.config, self.urls)

    # -- what happens to it --------------------------------------------------------------------

    def begun(self, ref: Ref[Supervisor]) -> None:
        """Its supervisor runs."""
        self._ref = ref
        if not ref.alive:  # it has given up before we heard of its start
            self._end(kernel_reason(ref))

    def note(self, event: Event) -> None:
        """Takes in an event about this colony."""
        if isinstance(event, NamespaceMade):
            self.address = event.address
            self.timings = dict(event.steps)
        elif isinstance(event, ServiceReady):
            self.timings.setdefault(f"{event.service} ready", event.seconds * 1000)
        elif isinstance(event, kernel.LimitReached) and event.supervisor == self._services:
            self.culprit = event.child
            self.reason = (
                f"{event.child} needed more than {restarts(event.intensity)} in "
                f"{event.period:g} s; the last time: {explain(event.reason)}"
            )
        elif isinstance(event, ServiceExited) and self._is_its_end(event):
            self.exit_code = 1 if event.code is None else event.code
            self._last = f"{self._services}/{event.service}"
            self.reason = f"{event.service}, with which it ends, has ended: {event.status}"
        elif isinstance(event, kernel.Exited):
            self._note_end(event)
            return
        for name, status in self._statuses.items():
            self._statuses[name] = after(status, event, self._services)

    def _note_end(self, event: kernel.Exited) -> None:
        """Its supervisor has ended, or a service of its, whose reason knows by which signal."""
        if event.actor == self._path:
            if self._ref is not None:
                self._end(event.reason)
        elif event.actor == self._last and isinstance(event.reason, ProcessExited):
            self.exit_code = event.reason.status.shell

    def _is_its_end(self, event: ServiceExited) -> bool:
        """Whether the colony ends with this life of a service."""
        service = self.config.services.get(event.service)
        if service is None or not service.exit_colony:
            return False
        return not RESTARTED[service.restart, event.orderly]

    def now_is(
        self, config: Config, urls: dict[str, str], statuses: Sequence[ServiceStatus]
    ) -> None:
        """It has been changed while it runs."""
        self.config = config
        self.urls = urls
        self._statuses = carried_over(self._statuses, statuses)

    def _end(self, reason: Reason) -> None:
        self.ended = True
        self.reason = self.reason or ("stopped" if self.stopping else explain(reason))

    @property
    def _path(self) -> str:
        return f"{tree.SYSTEM}/{tree.COLONIES}/{self.name}"

    @property
    def _services(self) -> str:
        return f"{self._path}/{tree.SERVICES}"

    # -- what is done with it ------------------------------------------------------------------

    async def stopped(self) -> Reason:
        """Waits until the colony has ended, and returns why."""
        return await self.ref.stopped()

    async def successor(self) -> RunningColony | None:
        """After its end: the colony that an operator has started in its place, if one has."""
        if self.succession is None:
            return None
        await self.succession.wait()
        present = self._host.colonies.get(self.name)
        return present if present is not self and present is not None else None

    @property
    def isolated(self) -> bool:
        """Whether it lives in a namespace."""
        return tree.is_isolated(self.config, self._host.parts)

    async def stop(self) -> None:
        """Stops the colony. Stopping twice is no error."""
        await self._host.remove(self.name)

    async def restart(self) -> RunningColony:
        """As `Colony.restart`; returns a new object, as this one has ended."""
        with starting():
            await self.link.ask("restart_colony", {"colony": self.name}, ColonyView)
        return self._host.colonies[self.name]

    async def connect(self, port: int) -> SocketStream:
        """A connection to a port of the colony, made inside its network: also to a server that
        listens on 127.0.0.1 or ::1 alone. Raises `OSError`."""
        return await stream_of(await self.dial(port))

    async def dial(self, port: int) -> socket.socket:
        """The same as a non-blocking socket, the caller's to close."""
        name = self.name if self.isolated else None
        return await self._host.parts.places.connect(name, port)

    @asynccontextmanager
    async def terminal(
        self,
        name: str | None = None,
        *,
        argv: Sequence[str] | None = None,
        size: tuple[int, int] = (24, 80),
        read_only: bool = False,
    ) -> AsyncIterator[Terminal]:
        """As `Colony.terminal`. Raises `NotFound` and `Failed`."""
        from colony.terminals import driven, opening
        from colony.terminals.sizes import Size

        made = driven.terminal(self, name, argv=argv, size=Size(*size), read_only=read_only)
        async with AsyncExitStack() as stack:
            try:
                session = await stack.enter_async_context(made)
            except opening.NoTerminal as error:
                raise Conflict(str(error), code="conflict", help=error.help) from None
            except opening.NoSession as missing:
                raise NotFound(str(missing), code="not_found") from None
            except opening.NotStarted as error:
                raise Failed(str(error), code="failed") from None
            yield session

    async def last_lines(self, service: str, count: int = 10) -> tuple[bytes, ...]:
        """The last lines that a service wrote."""
        journal = self._host.system.named(JOURNAL, Journal)
        return await journal.call(LastLines(self.name, service, count))


class RunningService(Service):
    """A service of a running colony, over all its lives."""

    colony: RunningColony

    def __repr__(self) -> str:
        return f"<RunningService {self.colony.name}/{self.name} {self.status.state}>"

    @property
    def status(self) -> ServiceStatus:
        """How it is now."""
        return self.colony.statuses[self.name]

    @contextmanager
    def watch(self) -> Iterator[Statuses]:
        """Its status now, and after each event that is about its colony, for as long as the
        block."""
        with self.colony.system.events.subscribe() as stream:
            yield Statuses(self, stream)


class Statuses:
    """The statuses of a service, one after the other: an async iterator."""

    def __init__(self, service: RunningService, stream: Subscription) -> None:
        self._service = service
        self._stream = stream
        self._first = True

    def __repr__(self) -> str:
        return f"<Statuses of {self._service!r}>"

    def __aiter__(self) -> Statuses:
        return self

    async def __anext__(self) -> ServiceStatus:
        if self._first:
            self._first = False
            return self._service.status
        colony = self._service.colony
        async for event in self._stream:
            if tree.colony_of(event) == colony.name:
                return self._service.status
        raise StopAsyncIteration


def announce(console: Console, config: Config, urls: dict[str, str]) -> None:
    """Tells a console what it has to know of a colony to show its lines."""
    at_once = [name for name, service in config.services.items() if service.stop.grace == 0]
    period = config.supervision.period
    console.expect(config.name, urls, list(config.services), period, at_once)


def kernel_reason(ref: Ref[Supervisor]) -> Reason:
    """Why an actor is down."""
    from actors.ref import slot_of

    return slot_of(ref).down or Shutdown()
