"""One instance of Colony in the caller's event loop: the tree, and what it is given to own.

    async with Host(options) as host:
        colony = await host.add(config.load("colony.toml"))
        await colony.stopped()

Leaving the block stops every colony and every owner in reverse order and gives the instance's
identity back. Works on asyncio and trio: what needs asyncio runs in a thread of its own.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.to_thread
import msgspec

from actors import (
    ActorDown,
    ChildRefused,
    Crashed,
    DynamicSupervisor,
    Event,
    FailedToStart,
    Reason,
    Ref,
    Shutdown,
    StartChild,
    StartFailed,
    Supervisor,
    System,
    TerminateChild,
    events,
)
from colony import tree
from colony.config import Config
from colony.events import ServiceReady
from colony.journal import JOURNAL, Journal, LastLines
from colony.modes import Machine, Modes, Wishes, choose
from colony.paths import runtime_directory
from colony.places import Places
from colony.resolver import resolves
from colony.services.port_actor import GetState, PortActor, ServiceState
from netns import Instance, NetworkThread, probe
from netns.names import INSTANCE_VARIABLE
from proxy import (
    HTTP_PORTS,
    LOCAL,
    LOCALHOST,
    CaddyProcess,
    Dnsmasq,
    DnsResponder,
    EmbeddedProxy,
    ExistingCaddy,
    FrontDoor,
    NameServer,
)
from proxy.actors import DNS, DOOR, DnsOwner, DoorOwner, WhereIsDns, WhereIsDoor


class Options(msgspec.Struct, frozen=True):
    """How an instance is to run.

    wishes
        Isolation, front door and name server; "auto" each by default.
    runtime
        The directory of running instances; default as `paths.runtime_directory` says.
    caddy
        The admin address of a Caddy that runs already, as `http://localhost:2019`.
    caddy_admin
        Where our own Caddy's admin API listens; default a unix socket of ours.
    http_ports
        Ports to try for HTTP, in turn; None for 80, then 8080 and up.
    """

    wishes: Wishes = Wishes()
    runtime: Path | None = None
    caddy: str | None = None
    caddy_admin: str | None = None
    http_ports: tuple[int, ...] | None = None


DEFAULT: Final = Options()


class HostFailed(Exception):
    """The instance cannot run; the text says why. Nothing of it is left."""


class ColonyFailed(Exception):
    """A colony could not be started; nothing of it is left."""


class RunningColony:
    """A colony of this instance."""

    def __init__(self, host: Host, config: Config, ref: Ref[Supervisor], urls: dict[str, str]):
        self._host = host
        self.config = config
        self.ref = ref
        self.urls = urls
        """The URL of each service that has a port."""

    def __repr__(self) -> str:
        return f"<RunningColony {self.name} {'up' if self.ref.alive else 'down'}>"

    @property
    def name(self) -> str:
        return self.config.name

    async def stopped(self) -> Reason:
        """Waits until the colony has ended, and returns why."""
        return await self.ref.stopped()

    async def stop(self) -> None:
        """Stops the colony. Stopping twice is no error."""
        await self._host.remove(self.name)

    def service(self, name: str) -> RunningService:
        """One of its services. Raises `KeyError`, with the names that there are."""
        if name not in self.config.services:
            known = ", ".join(self.config.services)
            raise KeyError(f"colony {self.name} has no service {name!r}; it has {known}")
        return RunningService(self, name)

    @property
    def system(self) -> System:
        """The system that it runs in, with its stream of events."""
        return self._host.system

    async def last_lines(self, service: str, count: int = 10) -> tuple[bytes, ...]:
        """The last lines that a service wrote."""
        journal = self._host.system.named(JOURNAL, Journal)
        return await journal.call(LastLines(self.name, service, count))


class ServiceFailed(Exception):
    """A service will not get ready: its colony has ended. `last_lines` is what it wrote last."""

    def __init__(self, service: str, last_lines: tuple[bytes, ...]) -> None:
        self.service = service
        self.last_lines = last_lines
        text = b"\n".join(last_lines).decode("utf-8", "replace")
        super().__init__(f"{service} did not get ready: its colony has ended\n{text}".rstrip())


class RunningService:
    """A service of a running colony, over all its lives."""

    def __init__(self, colony: RunningColony, name: str) -> None:
        self.colony = colony
        self.name = name

    def __repr__(self) -> str:
        return f"<RunningService {self.colony.name}/{self.name}>"

    @property
    def url(self) -> str | None:
        """Its URL at the front door; None if it has no port."""
        return self.colony.urls.get(self.name)

    async def state(self) -> ServiceState | None:
        """How it is now; None between two lives and after the last."""
        path = f"{self.colony.ref.path}/{tree.SERVICES}/{self.name}"
        ref: Ref[PortActor] | None = self.colony.system.at(path)
        if ref is None:
            return None
        try:
            return await ref.call(GetState())
        except ActorDown:
            return None

    async def ready(self) -> ServiceState:
        """Waits until it listens on its port, in this life or a later one.

        Raises `ServiceFailed` when its colony ends first. Without limit otherwise: put it in
        `anyio.fail_after`.
        """
        colony = self.colony
        with colony.system.events.subscribe() as stream:
            while True:
                state = await self.state()
                if state is not None and state.ready:
                    return state
                if not colony.ref.alive:
                    raise ServiceFailed(self.name, await colony.last_lines(self.name))
                async for event in stream:
                    if self._tells(event):
                        break

    def _tells(self, event: Event) -> bool:
        """Whether, after this event, it is worth asking again."""
        if isinstance(event, ServiceReady):
            return (event.colony, event.service) == (self.colony.name, self.name)
        return isinstance(event, events.Exited) and event.actor == self.colony.ref.path


class Host:
    """The instance, from entering the block to leaving it.

    Raises on entry `modes.Impossible` when a wish by name cannot be met, and `HostFailed` when
    an owner at the top cannot do its work, such as opening the front door.
    """

    def __init__(self, options: Options = DEFAULT) -> None:
        self.options = options
        self.system = System()
        self.modes: Modes
        self.parts: tree.Parts
        self.failures: Failures
        self.http_port = 0
        self.suffix = LOCALHOST
        self._stack = AsyncExitStack()
        self._top: Ref[Supervisor]

    def __repr__(self) -> str:
        return f"<Host port={self.http_port} {self.system!r}>"

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        options = self.options
        machine = await anyio.to_thread.run_sync(look_at_machine)
        self.modes = choose(options.wishes, machine, existing_caddy=options.caddy is not None)
        runtime = options.runtime or runtime_directory()
        instance = await anyio.to_thread.run_sync(Instance.claim, runtime)
        self._stack.callback(instance.release)
        await self._stack.enter_async_context(self.system)
        self.parts = self._parts(instance, runtime)

    def _parts(self, instance: Instance, runtime: Path) -> tree.Parts:
        thread = NetworkThread()
        places = Places(thread)
        return tree.Parts(
            instance=instance,
            runtime=str(runtime),
            isolated=self.modes.isolated,
            thread=thread,
            places=places,
            door=self._door(instance, places),
            door_kind=self.modes.proxy,
            dns=self._dns(instance),
            dns_kind=self.modes.dns,
        )

    def _door(self, instance: Instance, places: Places) -> FrontDoor:
        options = self.options
        ports = HTTP_PORTS if options.http_ports is None else options.http_ports
        if self.modes.proxy == "embedded":
            return EmbeddedProxy(ports=ports, dialer=places.dial)
        if options.caddy is not None:
            return ExistingCaddy(options.caddy, ports=ports)
        return CaddyProcess(
            instance.directory / "caddy",
            admin=options.caddy_admin,
            ports=ports,
            env={INSTANCE_VARIABLE: instance.id},
        )

    def _dns(self, instance: Instance) -> NameServer | None:
        if self.modes.dns == "none":
            return None
        if self.modes.dns == "embedded":
            return DnsResponder()
        return Dnsmasq(env={INSTANCE_VARIABLE: instance.id})

    async def start(self) -> None:
        """Starts the owners at the top and waits until the front door answers.

        Apart from entering the block, so that whoever wants to can listen to the events first.
        Raises `HostFailed`.
        """
        self.failures = Failures(self.system)
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            try:
                self._top = await self.system.start(tree.system_spec(self.parts))
                tasks.start_soon(self._choose_suffix)
                self.http_port = await self.system.named(DOOR, DoorOwner).call(WhereIsDoor())
            except (StartFailed, ActorDown) as error:
                failed = error
                tasks.cancel_scope.cancel()
        if failed is not None or self.failures.first:
            raise HostFailed(self.failures.first or str(failed)) from failed

    async def _choose_suffix(self) -> None:
        """Finds out which names resolve here: once the name server answers, since the machine's
        resolver may ask that very one.
        """
        if self.parts.dns is not None:
            with suppress(ActorDown):
                await self.system.named(DNS, DnsOwner).call(WhereIsDns())
        self.suffix = LOCAL if await resolves(LOCAL) else LOCALHOST

    async def stopped(self) -> Reason:
        """Waits until the whole tree has ended, which it does by itself only in despair."""
        return await self._top.stopped()

    # -- colonies ------------------------------------------------------------------------------

    def urls(self, config: Config) -> dict[str, str]:
        """The URL of each service of a colony that has a port, as it resolves on this machine."""
        return {
            route.service: route.url(self.http_port, self.suffix)
            for route in tree.colony_routes(config)
        }

    async def add(self, config: Config) -> RunningColony:
        """Starts a colony and returns once its services' processes run.

        Raises `ColonyFailed`, with nothing of the colony left, if a step of starting it fails, or
        if this instance has a colony of that name.
        """
        urls = self.urls(config)
        spec = tree.colony_spec(config, self.parts, urls, os.environ)
        try:
            ref = await self._colonies().call(StartChild(spec))
        except ChildRefused as refused:
            raise ColonyFailed(_why_refused(config.name, refused)) from refused
        assert ref is not None
        return RunningColony(self, config, ref, urls)

    async def remove(self, name: str) -> None:
        """Stops a colony of this instance, if it is there."""
        with suppress(ChildRefused):
            await self._colonies().call(TerminateChild(name))

    def _colonies(self) -> Ref[DynamicSupervisor]:
        return self.system.named(tree.COLONIES, DynamicSupervisor)


class Failures:
    """Remembers why the first owner failed: what follows from it says less."""

    def __init__(self, system: System) -> None:
        self.first = ""
        system.events.listen(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, events.Exited | events.StartFailed) and not event.reason.orderly:
            self.first = self.first or explain(event.reason)


def explain(reason: Reason) -> str:
    """An exit reason in words for a user: the root of a chain of failed starts, no class names."""
    while isinstance(reason, Shutdown) and isinstance(reason.term, FailedToStart):
        reason = reason.term.reason
    return str(reason.error) if isinstance(reason, Crashed) else str(reason)


def _why_refused(name: str, refused: ChildRefused) -> str:
    if refused.code == "already_started":
        return f"a colony named {name!r} runs already in this instance"
    if refused.reason is None:
        return f"colony {name!r} was not started: {refused.code}"
    failed = refused.reason
    trail: list[str] = []
    while isinstance(failed, Shutdown) and isinstance(failed.term, FailedToStart):
        trail.append(failed.term.id)
        failed = failed.term.reason
    what = f"{trail[-1]} of colony {name}" if trail else f"colony {name}"
    return f"{what} cannot start: {explain(failed)}"


def look_at_machine() -> Machine:
    """What this machine has. Blocks for some milliseconds."""
    capability = probe()
    why_not = "" if capability.namespaces else f"{capability.reason}; {capability.remedy}"
    return Machine(
        why_not=why_not,
        caddy=shutil.which("caddy") is not None,
        dnsmasq=shutil.which("dnsmasq") is not None or os.path.exists("/usr/sbin/dnsmasq"),
    )
