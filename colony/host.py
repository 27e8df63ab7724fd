"""One instance of Colony in the caller's event loop: the tree, and what it is given to own.

    async with Host(options) as host:
        colony = await host.add(config.load("colony.toml"))
        await colony.stopped()

Leaving the block stops every colony and every owner in reverse order and gives the instance's
identity back. Works on asyncio and trio: what needs asyncio runs in a thread of its own.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.to_thread
import msgspec

from actors import (
    ActorDown,
    ChildRefused,
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
    crashes,
    events,
)
from colony import tree
from colony.api.bonds import Bonds
from colony.api.history import History
from colony.api.owner import Api, Listen
from colony.chronicle import Chronicle, ColonyPolicy
from colony.chronicle_file import EventFiles
from colony.config import Config
from colony.config.order import in_order
from colony.console import is_own_fault, is_told
from colony.events import Notice
from colony.logs import Logs
from colony.machine import look_at_machine
from colony.modes import Modes, Wishes, choose
from colony.network.named import NETWORKS_FILE
from colony.paths import SOCKET, home_directory, make_private, runtime_directory
from colony.places import Places
from colony.preparing import prepared, taken_back
from colony.records import encoder, journal_directory
from colony.resolver import resolves
from colony.running import ColonyFailed, RunningColony, RunningService, ServiceFailed, explain
from netns import Instance, NetworkThread
from netns.instance import DeadInstance
from netns.limits import raise_open_files
from netns.names import INSTANCE_VARIABLE
from netns.reap import reap
from proxy import (
    HTTP_PORTS,
    LOCAL,
    LOCALHOST,
    CaddyProcess,
    Claims,
    Dnsmasq,
    DnsResponder,
    EmbeddedProxy,
    ExistingCaddy,
    FrontDoor,
    NameServer,
)
from proxy.actors import DNS, DOOR, DnsOwner, DoorOwner, WhereIsDns, WhereIsDoor
from proxy.caddy_door import Routing

__all__ = [
    "ColonyFailed",
    "Failures",
    "Host",
    "HostFailed",
    "Options",
    "RunningColony",
    "RunningService",
    "ServiceFailed",
    "explain",
]


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
    caddy_routes
        How Caddy is told of routes: "static", "dynamic", or "auto", which is dynamic for a Caddy of
        our own that would cut WebSockets at each change (before 2.7), unless `caddy_admin` opens
        its API for others to look at.
    http_ports
        Ports to try for HTTP, in turn; None for 80, then 8080 and up.
    serve
        Whether to serve the API at the runtime directory's socket, for others to join and ask.
        Default false: a program that embeds Colony does not take in the colonies of others.
    listen
        A TCP address at which to serve the API as well. Default none.
    home
        Where what outlasts the instance is kept: the services' logs. Default as
        `paths.home_directory` says.
    daemon
        Whether it is there for others' colonies only.
    defer_api
        Seconds that the API may answer later, until a first service is ready. Default 0.
    """

    wishes: Wishes = Wishes()
    runtime: Path | None = None
    caddy: str | None = None
    caddy_admin: str | None = None
    caddy_routes: Routing = "auto"
    http_ports: tuple[int, ...] | None = None
    serve: bool = False
    listen: Listen | None = None
    daemon: bool = False
    home: Path | None = None
    defer_api: float = 0.0


DEFAULT: Final = Options()

BLOCKED: Final = 0.25
"""Seconds in which nothing else runs after which it is said whose code holds all up."""

ADDRESSES_FILE: Final = "addresses.json"

ENDED_KEPT: Final = 100
"""Colonies that have ended and are still remembered, for those who ask why."""


class HostFailed(Exception):
    """The instance cannot run; the text says why. Nothing of it is left."""


YOUNG: Final = 5000
"""Objects that are made, beyond those let go of, between two looks for garbage. With Python's 700
each restart of a service would wait for one."""

SWITCH: Final = 0.0005
"""Seconds for which the loop waits for a thread that computes, such as one that reads a terminal's
flood. By Python's own 5 ms a turn that asks the kernel for something twice can take 10."""


class Host:
    """The instance, from entering the block to leaving it.

    log_crashes
        Whether a crash of Colony's own goes to the log "actors", too. Default true; false where a
        console shows it.

    Raises on entry `modes.Impossible` when a wish by name cannot be met, and `HostFailed` when
    an owner at the top cannot do its work, such as opening the front door.
    """

    def __init__(self, options: Options = DEFAULT, *, log_crashes: bool = True) -> None:
        self.options = options
        self.system = System(watchdog=BLOCKED, log_crashes=False)
        self.log_crashes = log_crashes
        self.modes: Modes
        self.parts: tree.Parts
        self.failures: Failures
        self.colonies: dict[str, RunningColony] = {}
        """Every colony by name, the oldest first; also those that have ended, until replaced."""
        self.history = History()
        self.bonds = Bonds(self)
        self.opened = anyio.Event()
        """Set once the front door answers, so that URLs can be made."""
        self.http_port = 0
        self.suffix = LOCALHOST
        self._door_port, self._dns_port = Claims(), Claims()
        self._stack = AsyncExitStack()
        self._top: Ref[Supervisor]
        self._despaired = False

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
        if options.serve:  # a program that embeds us has limits of its own
            raise_open_files()
            sys.setswitchinterval(SWITCH)
        machine = await anyio.to_thread.run_sync(look_at_machine)
        self.modes = choose(
            options.wishes,
            machine,
            existing_caddy=options.caddy is not None,
            caddy_admin=options.caddy_admin is not None,
        )
        runtime = options.runtime or runtime_directory()
        try:
            await anyio.to_thread.run_sync(make_private, runtime)
            instance = await anyio.to_thread.run_sync(Instance.claim, runtime)
        except OSError as error:
            raise HostFailed(_why_unusable(runtime, error)) from None
        self._stack.push_async_callback(self._give_up, instance)
        self._stack.callback(self.bonds.close)
        await self._stack.enter_async_context(self.system)
        if self.log_crashes:
            self.system.events.listen(_log_own_fault)
        self._stack.callback(self._look_for_despair)
        self.system.events.listen(self._note)
        self.system.events.listen(self.history.note)
        self.parts = self._parts(instance, runtime)
        self.system.events.listen(self.parts.chronicle.note)

    def _look_for_despair(self) -> None:
        """Notes whether the tree has ended by itself, or never came to stand."""
        top: Ref[Supervisor] | None = getattr(self, "_top", None)
        self._despaired = top is None or not top.alive

    async def _give_up(self, instance: Instance) -> None:
        """Gives up the identity. What an owner in despair has left goes first, as after a crash of
        the whole process: once the identity is gone, nobody can tell whose it was.
        """
        self._door_port.close()
        self._dns_port.close()
        with anyio.CancelScope(shield=True):
            if self._despaired:
                lock = await anyio.to_thread.run_sync(os.open, instance.lock, os.O_RDONLY)
                async with NetworkThread() as thread:
                    await reap(thread, DeadInstance(instance.id, instance.directory, lock))
            await anyio.to_thread.run_sync(instance.release)

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
            chronicle=self._chronicle(instance),
            api=self._api(runtime, instance),
            ways_out=self.modes.ways_out,
            relays=self.modes.network == "rootless" and self.modes.proxy == "caddy",
            logs=Logs((self.options.home or home_directory()) / "logs"),
            networks_file=(self.options.home or home_directory()) / NETWORKS_FILE,
            addresses_file=(self.options.home or home_directory()) / ADDRESSES_FILE,
        )

    def _chronicle(self, instance: Instance) -> Chronicle:
        return Chronicle(
            EventFiles(journal_directory(self.options.home)), encoder(instance.id), os.getpid()
        )

    def _api(self, runtime: Path, instance: Instance) -> Api | None:
        if not self.options.serve:
            return None
        from colony.api.operations import Operations

        operations = Operations(self)
        operations.daemon = self.options.daemon
        listen = self.options.listen
        operations.listen = None if listen is None else str(listen)
        spare = instance.own / SOCKET
        return Api(runtime / SOCKET, spare, operations, listen, self.options.defer_api)

    def _door(self, instance: Instance, places: Places) -> FrontDoor:
        options = self.options
        ports = HTTP_PORTS if options.http_ports is None else options.http_ports
        if self.modes.proxy == "embedded":
            return EmbeddedProxy(ports=ports, dialer=places.dial, claims=self._door_port)
        if options.caddy is not None:
            return ExistingCaddy(options.caddy, ports=ports, routes=options.caddy_routes)
        return CaddyProcess(
            instance.own / "caddy",
            admin=options.caddy_admin,
            ports=ports,
            env={INSTANCE_VARIABLE: instance.id},
            routes=options.caddy_routes,
            claims=self._door_port,
        )

    def _dns(self, instance: Instance) -> NameServer | None:
        if self.modes.dns == "none":
            return None
        if self.modes.dns == "embedded":
            return DnsResponder(claims=self._dns_port)
        return Dnsmasq(env={INSTANCE_VARIABLE: instance.id}, claims=self._dns_port)

    async def start(self) -> None:
        """Starts the owners at the top and waits until the front door answers, and the API, too,
        unless `Options.defer_api` lets it wait for the first service.

        Apart from entering the block, so that whoever wants to can listen to the events first.
        Raises `HostFailed`.
        """
        self.failures = Failures(self.system)
        for name in await taken_back(self.options.home or home_directory()):
            text = f"the provisioning of {name} had been cut off; it was taken back"
            self.system.publish(Notice(at=anyio.current_time(), colony="", text=text))
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
        self.opened.set()
        if not self.options.defer_api:
            await self.served()

    async def served(self) -> bool:
        """Waits until the API is served, or never will be; whether it is this instance's socket
        that others find. False at once without `Options.serve`.
        """
        api = self.parts.api
        if api is None:
            return False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._unless_stopped, tasks.cancel_scope)
            await api.settled.wait()
            tasks.cancel_scope.cancel()
        return api.claimed

    async def settle(self) -> None:
        """Once the API is served, takes what is loaded for lasting: what looks for garbage passes
        over it from then on, and comes less often. To look through all of it holds the event loop
        for as long as some hundred requests take, and it is none. For a process that is an instance
        and nothing else.
        """
        await self.served()
        gc.freeze()
        gc.set_threshold(YOUNG)

    async def _unless_stopped(self, scope: anyio.CancelScope) -> None:
        await self._top.stopped()
        scope.cancel()

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

    async def add(
        self,
        config: Config,
        environ: Mapping[str, str] | None = None,
        *,
        keep: bool = False,
        known: Callable[[RunningColony], object] | None = None,
    ) -> RunningColony:
        """Starts a colony and returns once its services' processes run.

        `environ` is the environment under the colony's own; this process's by default. With `keep`
        what was provided for it stays when it cannot be started, and the next start goes on.
        `known` is called with it before anything is provided or started. Raises `ColonyFailed`,
        with nothing of the colony left, if a step of starting it fails, or if this instance has a
        colony of that name, or without namespaces one with its port.
        """
        present = self.colonies.get(config.name)
        if present is not None and not present.ended:
            raise ColonyFailed(f"a colony named {config.name!r} runs already in this instance")
        self._refuse_shared_ports(config)
        environ = dict(os.environ if environ is None else environ)
        colony = RunningColony(self, config, self.urls(config), environ)
        self._remember(colony)
        try:
            if known is not None:
                known(colony)
            await self._prepare_and_start(colony, environ, keep)
        except BaseException:
            if self.colonies.get(config.name) is colony:
                del self.colonies[config.name]
            raise
        finally:
            colony.preparing = None
            colony.prepared.set()
        return colony

    async def _prepare_and_start(
        self, colony: RunningColony, environ: Mapping[str, str], keep: bool
    ) -> None:
        with anyio.CancelScope() as colony.preparing:
            async with self._prepared(colony, environ, keep) as colony.environ:
                # From here on it is stopped by its supervisor, and not by cancelling a call to it.
                colony.preparing = None
                await self._start(colony)
            return
        raise ColonyFailed(f"colony {colony.name} was stopped before it had started")

    def _prepared(
        self, colony: RunningColony, environ: Mapping[str, str], keep: bool
    ) -> AbstractAsyncContextManager[dict[str, str]]:
        return prepared(
            colony.config,
            self.options.home or home_directory(),
            environ,
            {INSTANCE_VARIABLE: self.parts.instance.id},
            colony.provides,
            anyio.current_time,
            keep=keep,
        )

    def _refuse_shared_ports(self, config: Config) -> None:
        """On the host's own network two servers would race for the port, and one would crash until
        its colony gives up."""
        if tree.is_isolated(config, self.parts):
            return
        for other in self.colonies.values():
            if other.isolated:
                continue
            if not other.ended and other.name != config.name:
                clash = shared_port(config, other.config)
                if clash is not None:
                    raise ColonyFailed(clash)

    async def _start(self, colony: RunningColony) -> None:
        config = colony.config
        self.parts.chronicle.put(policy_of(config, self.system.now()))
        spec = tree.colony_spec(config, self.parts, colony.urls, colony.environ)
        try:
            ref = await self._colonies().call(StartChild(spec))
        except ChildRefused as refused:
            raise ColonyFailed(_why_refused(config.name, refused)) from refused
        assert ref is not None
        colony.begun(ref)

    def _remember(self, colony: RunningColony) -> None:
        self.colonies.pop(colony.name, None)
        self.colonies[colony.name] = colony
        ended = [name for name, each in self.colonies.items() if each.ended]
        for name in ended[: max(0, len(ended) - ENDED_KEPT)]:
            del self.colonies[name]

    def _note(self, event: Event) -> None:
        """Lets the colony that an event is about know of it."""
        colony = self.colonies.get(tree.colony_of(event) or "")
        if colony is not None:
            colony.note(event)

    async def remove(self, name: str) -> None:
        """Stops a colony of this instance, if it is there, and waits until it is gone.

        Not by `TerminateChild`: the supervisor of all colonies would have no time for the others
        until this one is gone.
        """
        colony = self.colonies.get(name)
        if colony is None or colony.ended:
            return
        colony.stopping = True
        if colony.preparing is not None:
            colony.preparing.cancel()
        await colony.prepared.wait()
        if colony.started:
            with suppress(ActorDown):
                await self.system.stop_actor(colony.ref)

    def _colonies(self) -> Ref[DynamicSupervisor]:
        return self.system.named(tree.COLONIES, DynamicSupervisor)


class Failures:
    """Remembers why the first owner failed: what follows from it says less."""

    def __init__(self, system: System) -> None:
        self.first = ""
        system.events.listen(self._note, events.Exited, events.StartFailed)

    def _note(self, event: Event) -> None:
        if isinstance(event, events.Exited | events.StartFailed) and not event.reason.orderly:
            self.first = self.first or explain(event.reason)


def policy_of(config: Config, at: float) -> ColonyPolicy:
    """What the event journal is told of a colony that is going to be started."""
    rules, services = config.supervision, config.services
    return ColonyPolicy(
        at=at,
        colony=config.name,
        path=os.path.abspath(config.path),
        services=tuple(in_order({name: service.after for name, service in services.items()})),
        exits=tuple(name for name, service in services.items() if service.exit_colony),
        strategy=rules.strategy,
        intensity=rules.intensity,
        period=rules.period,
    )


def shared_port(config: Config, other: Config) -> str | None:
    """Why two colonies cannot both be on the host's network, in words; None if they can."""
    theirs = {service.port: service.name for service in other.services.values()}
    for service in config.services.values():
        if service.port is not None and service.port in theirs:
            return (
                f"{service.name} of colony {config.name} cannot start: port {service.port} is "
                f"{theirs[service.port]}'s of colony {other.name}; change one of the two (with "
                "networks of their own, see `colony doctor`, each has its own ports)"
            )
    return None


def _why_unusable(runtime: Path, error: OSError) -> str:
    """Why the runtime directory is none: in our own words where the error is ours."""
    why = error.strerror or str(error)
    if isinstance(error, FileExistsError) and not runtime.is_dir():
        why = "it is a file; remove it, or set COLONY_RUNTIME_DIR to another path"
    return f"the runtime directory {runtime} cannot be used: {why}"


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


def _log_own_fault(event: Event) -> None:
    """For a program that embeds us. A service's end is no fault of ours."""
    if isinstance(event, events.CrashReport) and is_own_fault(event) and not is_told(event):
        crashes.log(event)
