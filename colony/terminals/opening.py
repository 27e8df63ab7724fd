"""The terminals of a running colony: found, started, joined, ended. In the instance's event loop.

A terminal's name is `terminal` for the session of [terminal], a number for another session, and a
service's own name for that of a service with `pty = true`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio.lowlevel
import anyio.to_thread

from actors import (
    ActorDown,
    ChildRefused,
    ChildSpec,
    DynamicSupervisor,
    FailedToStart,
    Ref,
    StartChild,
    WhichChildren,
)
from colony.terminals.hub import Hub, News, Viewer
from colony.terminals.plan import MAIN, SessionPlan, session_command, session_environment
from colony.terminals.screen import Screen, emulated, recent
from colony.terminals.service import (
    ServiceTerminal,
    ServiceTerminals,
    TerminalOf,
    terminals_of_services,
)
from colony.terminals.session import (
    GRACE,
    HANGUP,
    Describe,
    Join,
    Look,
    Session,
    SessionInfo,
)
from colony.terminals.sizes import DEFAULT, Size

if TYPE_CHECKING:
    from colony.running import RunningColony

TERMINALS: Final = "terminals"
"""The id of the sessions' supervisor among a colony's children."""

MOST: Final = 64
"""Sessions of one colony."""


class NoSession(Exception):
    """There is no such session; `known` are those that there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"there is no terminal {name!r}; there are {', '.join(known) or 'none'}")


class NoTerminal(NoSession):
    """The service is there, and has no terminal."""

    def __init__(self, colony: str, service: str) -> None:
        super().__init__(service, ())
        self.help = f"its output: colony logs -f {colony}/{service}"
        self.args = (
            f"service {service} has no terminal: write pty = true in [services.{service}]",
        )


class NotStarted(Exception):
    """A session could not be started; the text says why."""


def terminals_name(colony: str) -> str:
    """The name of the sessions' supervisor in the system."""
    return f"terminals {colony}"


def terminals_spec(colony: str) -> ChildSpec[Any]:
    """The supervisor of a colony's sessions. It never restarts one."""
    spec = DynamicSupervisor.spec(max_children=MOST)
    return spec.options(id=TERMINALS, name=terminals_name(colony))


class Shown(Protocol):
    """What is looked at: a session, or a service's terminal."""

    hub: Hub

    async def write(self, data: bytes) -> None:
        """Types, waiting while nothing is taken."""
        ...

    def left(self) -> None:
        """A viewer has left."""
        ...


class Attached:
    """A viewer together with what it looks at: what a connection works with."""

    def __init__(self, viewer: Viewer, shown: Shown, session: Ref[Session] | None = None) -> None:
        self.session = session
        """None for the terminal of a service."""
        self._viewer = viewer
        self._shown = shown

    def __repr__(self) -> str:
        return f"<Attached to {self._shown!r}>"

    async def take(self) -> bytes | News | None:
        """What comes next; see `Viewer.take`."""
        return await self._viewer.take()

    async def write(self, data: bytes) -> None:
        """Types, unless it may only read. Waits while the program takes nothing."""
        if not self._viewer.read_only:
            await self._shown.write(self._viewer.hub.typed(data))

    def resize(self, size: Size | None) -> None:
        """The viewer's window has another size."""
        self._viewer.hub.resize(self._viewer, size)

    def refresh(self) -> None:
        """Is shown again what it has been shown."""
        self._viewer.hub.refresh(self._viewer)

    async def screen(self) -> Screen:
        """What it shows now. Raises `NoEmulator`."""
        return await screen_of(self._viewer.hub)

    def leave(self) -> None:
        """Looks no more."""
        self._viewer.hub.leave(self._viewer)
        self._shown.left()


async def sessions(colony: RunningColony) -> dict[str, Ref[Session]]:
    """The sessions by name, the oldest first. Empty for a colony that has ended."""
    try:
        children = await _supervisor(colony).call(WhichChildren())
    except (ActorDown, LookupError):
        return {}
    return {child.id: child.ref for child in children if child.ref is not None}


async def describe(colony: RunningColony) -> tuple[SessionInfo, ...]:
    """How the terminals are: [terminal]'s, the numbered ones, those of services."""
    found = []
    for ref in (await sessions(colony)).values():
        with suppress(ActorDown):
            found.append(await ref.call(Describe()))
    found.sort(key=lambda info: (info.name.isdigit(), info.name.zfill(6)))
    for name, service in colony.config.services.items():
        if service.pty and (terminal := await service_terminal(colony, name)) is not None:
            found.append(_described(colony, terminal, service.argv))
    return tuple(found)


def _described(
    colony: RunningColony, terminal: ServiceTerminal, argv: tuple[str, ...]
) -> SessionInfo:
    hub, service = terminal.hub, terminal.service
    return SessionInfo(
        colony=colony.name,
        name=service,
        command=argv,
        pid=colony.statuses[service].pid or 0,
        rows=hub.size.rows,
        columns=hub.size.columns,
        viewers=len(hub.viewers),
        title=hub.modes.title,
        bytes=hub.ring.end,
        service=service,
    )


async def service_terminal(colony: RunningColony, service: str) -> ServiceTerminal | None:
    """The terminal of a service that has one; None once the colony has ended."""
    try:
        keeper = colony.system.named(terminals_of_services(colony.name), ServiceTerminals)
        return await keeper.call(TerminalOf(service))
    except (ActorDown, LookupError):
        return None


async def session(colony: RunningColony, name: str) -> Ref[Session]:
    """One session. Raises `NoSession`."""
    present = await sessions(colony)
    if name in present:
        return present[name]
    services = colony.config.services
    if name in services and not services[name].pty:
        raise NoTerminal(colony.name, name)
    raise NoSession(name, (*present, *(each for each in services if services[each].pty)))


async def found(colony: RunningColony, name: str) -> Ref[Session] | ServiceTerminal:
    """The session of that name, else the terminal of the service of that name. Raises
    `NoSession`."""
    try:
        return await session(colony, name)
    except NoSession:
        service = colony.config.services.get(name)
        terminal = None
        if service is not None and service.pty:
            terminal = await service_terminal(colony, name)
        if terminal is None:
            raise
        return terminal


async def start(
    colony: RunningColony,
    *,
    name: str | None = None,
    argv: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    size: Size | None = None,
    lingers: bool = True,
) -> tuple[str, Ref[Session]]:
    """Starts a session; its name and its ref.

    name
        Default the lowest free number. One that is there already is joined, not started.
    argv, env, cwd
        Default [terminal] of the colony's file, nothing more, and the colony's folder.

    Raises `NotStarted`.
    """
    while True:
        chosen = name or free_number(await sessions(colony))
        plan = session_plan(colony, chosen, argv, env, cwd, size, lingers)
        spec = Session.spec(plan, colony.host.parts.thread).options(
            id=chosen, restart="temporary", shutdown=HANGUP + GRACE + 2.0
        )
        try:
            ref = await _supervisor(colony).call(StartChild(spec))
        except ChildRefused as refused:
            if refused.code != "already_started":
                raise NotStarted(why_not(colony.name, refused)) from None
            if name is not None:
                with suppress(NoSession):
                    return name, await session(colony, name)
            continue
        except (ActorDown, LookupError):
            raise NotStarted(f"colony {colony.name} has ended") from None
        assert ref is not None
        return chosen, ref


def session_plan(
    colony: RunningColony,
    name: str,
    argv: Sequence[str] | None,
    env: Mapping[str, str] | None,
    cwd: str | None,
    size: Size | None,
    lingers: bool,
) -> SessionPlan:
    """What a session of a colony runs."""
    config, parts = colony.config, colony.host.parts
    environment = session_environment(colony.environ, config, colony.urls, name) | dict(env or {})
    return SessionPlan(
        colony=colony.name,
        name=name,
        argv=tuple(argv) if argv else session_command(config, environment),
        env=environment,
        cwd=os.path.join(config.workspace, cwd or ""),
        instance=parts.instance.id,
        isolated=colony.isolated,
        size=size or DEFAULT,
        lingers=lingers,
    )


def free_number(taken: Mapping[str, object]) -> str:
    """The lowest number, from 1, that no session has."""
    number = 1
    while str(number) in taken:
        number += 1
    return str(number)


async def attach(
    colony: RunningColony,
    name: str = MAIN,
    *,
    read_only: bool = False,
    size: Size | None = None,
    since: int | None = None,
    clear: bool = True,
) -> Attached:
    """Joins a terminal; [terminal]'s own is started if it does not run.

    Raises `NoSession` and `NotStarted`. The caller has it `leave`.
    """
    while True:
        if name == MAIN:
            _, ref = await start(colony, name=MAIN, size=size)
        else:
            which = await found(colony, name)
            if isinstance(which, ServiceTerminal):
                viewer = which.hub.join(read_only=read_only, size=size, since=since, clear=clear)
                return Attached(viewer, which)
            ref = which
        with suppress(ActorDown):  # it ended this very moment
            return await join(ref, read_only=read_only, size=size, since=since, clear=clear)
        await anyio.lowlevel.checkpoint()


async def join(
    ref: Ref[Session],
    *,
    read_only: bool = False,
    size: Size | None = None,
    since: int | None = None,
    clear: bool = True,
) -> Attached:
    """Joins this session. Raises `ActorDown`."""
    viewer, actor = await ref.call(Join(read_only, size, since, clear))
    return Attached(viewer, actor, ref)


@asynccontextmanager
async def attached(
    colony: RunningColony, name: str = MAIN, **options: Any
) -> AsyncIterator[Attached]:
    """`attach` for as long as the block."""
    one = await attach(colony, name, **options)
    try:
        yield one
    finally:
        one.leave()


async def screen(colony: RunningColony, name: str) -> Screen:
    """What a terminal shows. Raises `NoSession` and `NoEmulator`."""
    which = await found(colony, name)
    if isinstance(which, ServiceTerminal):
        return await screen_of(which.hub)
    try:
        return await screen_of(await which.call(Look()))
    except ActorDown:
        raise NoSession(name, tuple(await sessions(colony))) from None


async def screen_of(hub: Hub) -> Screen:
    """What a hub shows, emulated in a thread."""
    data, size, modes = recent(hub.ring, hub.modes), hub.size, hub.modes.copy()
    return await anyio.to_thread.run_sync(emulated, data, size, modes)


async def end(colony: RunningColony, name: str) -> None:
    """Hangs a session up, and waits until it is gone. Raises `NoSession`."""
    ref = await session(colony, name)
    with suppress(ActorDown):
        await colony.system.stop_actor(ref)


def why_not(colony: str, refused: ChildRefused) -> str:
    """In words, why a session was not started."""
    if refused.code == "max_children":
        return f"colony {colony} has {MOST} terminals already; end one: colony terminals --end"
    reason = refused.reason
    while isinstance(reason, FailedToStart):
        reason = reason.reason
    error = getattr(reason, "error", None)
    return str(error or reason or refused.code)


def _supervisor(colony: RunningColony) -> Ref[DynamicSupervisor]:
    return colony.system.named(terminals_name(colony.name), DynamicSupervisor)
