"""A colony and its services as a program holds them: what `colony.open` and `Host.add` give.

`colony.connect()` gives objects with the same methods for a colony of another process; what both
have is `colony.sdk.Colony` and `colony.sdk.Service`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketStream

from actors import Crashed, Event, FailedToStart, Reason, Ref, Shutdown, Supervisor
from actors import events as kernel
from colony import tree
from colony.config import Config
from colony.journal import JOURNAL, Journal, LastLines
from colony.services.status import ServiceStatus, after
from netns.actors import NamespaceMade
from proxy import TcpUpstream

if TYPE_CHECKING:
    from actors import System
    from colony.api.types import ColonyState
    from colony.host import Host

USABLE: Final = frozenset({"ready", "detached", "completed"})
"""States of a service in which it can be used."""

OVER: Final = frozenset({"stopped", "completed", "failed"})
"""States of a service that it does not leave by itself."""


class ColonyFailed(Exception):
    """A colony could not be started; nothing of it is left."""


class ServiceFailed(Exception):
    """A service will not get ready. `last_lines` is what it wrote last."""

    def __init__(self, service: str, last_lines: tuple[bytes, ...], why: str = "") -> None:
        self.service = service
        self.last_lines = last_lines
        text = b"\n".join(last_lines).decode("utf-8", "replace")
        why = why or "its colony has ended"
        super().__init__(f"{service} did not get ready: {why}\n{text}".rstrip())


class RunningColony:
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
        self.stopping = False
        self.reason: str | None = None
        """Why it has ended, in words; None until then."""
        self.culprit: str | None = None
        """The service on whose account it gave up."""
        self.address: str | None = None
        self.timings: dict[str, float] = {}
        """Milliseconds that the steps of making its network took."""
        self.statuses = {
            name: ServiceStatus(colony=config.name, service=name, port=each.port)
            for name, each in config.services.items()
        }

    def __repr__(self) -> str:
        return f"<RunningColony {self.name} {self.state}>"

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
    def state(self) -> ColonyState:
        """Where it stands, as the API says it."""
        if self.ended:
            return "failed" if self.culprit or not self.stopping else "stopped"
        if self.stopping:
            return "stopping"
        return "starting" if self._ref is None else "running"

    @property
    def host(self) -> Host:
        """The instance that it runs in."""
        return self._host

    @property
    def system(self) -> System:
        """The system that it runs in, with its stream of events."""
        return self._host.system

    def service(self, name: str) -> RunningService:
        """One of its services. Raises `KeyError`, with the names that there are."""
        if name not in self.config.services:
            known = ", ".join(self.config.services)
            raise KeyError(f"colony {self.name} has no service {name!r}; it has {known}")
        return RunningService(self, name)

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
        elif isinstance(event, kernel.LimitReached) and event.supervisor == self._services:
            self.culprit = event.child
            self.reason = (
                f"{event.child} needed more than {event.intensity} restarts in "
                f"{event.period:g} s; the last time: {explain(event.reason)}"
            )
        elif isinstance(event, kernel.Exited) and event.actor == self._path:
            if self._ref is not None:
                self._end(event.reason)
            return
        for name, status in self.statuses.items():
            self.statuses[name] = after(status, event, self._services)

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

    async def stop(self) -> None:
        """Stops the colony. Stopping twice is no error."""
        await self._host.remove(self.name)

    async def connect(self, port: int) -> SocketStream:
        """A connection to a port of the colony, made inside its network: also to a server that
        listens on 127.0.0.1 or ::1 alone. Raises `OSError`."""
        parts = self._host.parts
        if not parts.isolated:
            return await anyio.connect_tcp("localhost", port)
        upstream = TcpUpstream(port, namespace=self.name)
        return await SocketStream.from_socket(await parts.places.dial(upstream))

    async def last_lines(self, service: str, count: int = 10) -> tuple[bytes, ...]:
        """The last lines that a service wrote."""
        journal = self._host.system.named(JOURNAL, Journal)
        return await journal.call(LastLines(self.name, service, count))


class RunningService:
    """A service of a running colony, over all its lives."""

    def __init__(self, colony: RunningColony, name: str) -> None:
        self.colony = colony
        self.name = name

    def __repr__(self) -> str:
        return f"<RunningService {self.colony.name}/{self.name} {self.status.state}>"

    @property
    def status(self) -> ServiceStatus:
        """How it is now."""
        return self.colony.statuses[self.name]

    @property
    def url(self) -> str | None:
        """Its URL at the front door; None if it has no port."""
        return self.colony.urls.get(self.name)

    async def ready(self, timeout: float | None = None) -> ServiceStatus:
        """Waits until it can be used, in this life or a later one.

        Raises `ServiceFailed` when it, or its colony, ends for good first, and `TimeoutError`
        after `timeout` seconds (default: without limit).
        """
        with anyio.fail_after(timeout):
            async for status in self.statuses():
                if status.state in USABLE:
                    return status
                if self.colony.ended or status.state in OVER:
                    lines = await self.colony.last_lines(self.name)
                    raise ServiceFailed(self.name, lines, self.colony.reason or status.detail)
        raise AssertionError("a system's events do not end before its colonies")

    async def statuses(self) -> AsyncIterator[ServiceStatus]:
        """Its status now, and after each event that is about its colony."""
        with self.colony.system.events.subscribe() as stream:
            yield self.status
            async for event in stream:
                if tree.colony_of(event) == self.colony.name:
                    yield self.status


def kernel_reason(ref: Ref[Supervisor]) -> Reason:
    """Why an actor is down."""
    from actors.ref import slot_of

    return slot_of(ref).down or Shutdown()


def explain(reason: Reason) -> str:
    """An exit reason in words for a user: the root of a chain of failed starts, no class names."""
    while isinstance(reason, Shutdown) and isinstance(reason.term, FailedToStart):
        reason = reason.term.reason
    return str(reason.error) if isinstance(reason, Crashed) else str(reason)
