"""A running instance, and its colonies, in the hands of a program of another process.

    async with colony.connect() as instance:
        async with instance.open("colony.toml", name="fix-123") as c:
            await c.ready(timeout=60)
            done = await c.exec(["npm", "test"], timeout=600)

On asyncio and trio. The connection owns nothing of the instance: what `add` started goes on after
the block; what `open` started ends with its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from colony.api import types as t
from colony.client import Address
from colony.sdk.errors import (
    ColonyError,
    Conflict,
    InstanceLost,
    NotFound,
    starting,
)
from colony.sdk.face import Colony, Service
from colony.sdk.flow import Flow
from colony.sdk.values import Event
from colony.sdk.wire import Wire

if TYPE_CHECKING:
    from colony.terminals.driven import Terminal

TAKE_BACK_AGAIN: Final = 0.1
"""Seconds after which a cancelled start is looked for again: it may not have begun before."""


@asynccontextmanager
async def connect(address: str | None = None) -> AsyncIterator[Connection]:
    """Reaches a running instance, for as long as the block.

    address
        `unix:///PATH` or `http://HOST:PORT`; default $COLONY_HOST, else the socket of this user's
        instance. Over TCP the token is $COLONY_TOKEN, else the one in $COLONY_HOME.

    Raises `InstanceLost` if none answers, and `ValueError` for an address that is none.
    """
    wire = Wire(Address.find(address))
    try:
        version = await wire.ask("version", {}, t.Version)
        yield Connection(wire, version)
    finally:
        await wire.aclose()


class Connection:
    """An instance of another process."""

    def __init__(self, wire: Wire, version: t.Version) -> None:
        self.wire = wire
        self.version = version
        """Which Colony answers, with its process and its instance's id."""

    def __repr__(self) -> str:
        return f"<Connection to {self.wire.address}>"

    async def colony(self, name: str) -> RemoteColony:
        """A colony by its name. Raises `NotFound`, with the near miss."""
        view = await self.wire.ask("get_colony", {"colony": name}, t.Colony)
        return RemoteColony(self.wire, view)

    async def colonies(self) -> tuple[RemoteColony, ...]:
        """All of them, the oldest first, also those that have ended."""
        return tuple(RemoteColony(self.wire, view) for view in await self._views())

    async def add(
        self,
        source: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        workspace: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> RemoteColony:
        """Starts a colony that stays, and returns once its services' processes run. If the very
        same runs already it is that one.

        source
            A colony.toml, on the instance's machine, or what one says as an object.
        name
            Over the one in `source`: copies of one project need names of their own.
        workspace
            With an object: the folder that its services run in.
        env
            The environment under the colony's own; default this process's.

        Raises `Refused` with every mistake in the configuration, `Conflict` if another one of that
        name runs, and `ColonyFailed`, with nothing of it left. Cancelled, the instance starts it
        all the same, as it carries every change to its end; `open` takes it back.
        """
        return (await self._created(_wanted(source, name, workspace, env)))[1]

    @asynccontextmanager
    async def open(
        self,
        source: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        workspace: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AsyncIterator[RemoteColony]:
        """Runs a colony for as long as the block, as `add` starts it.

        Leaving it, also by an exception or cancellation, stops the colony and forgets it. Raises as
        `add` does, and `Conflict` also if the very same runs already: it is not ours to end.
        """
        body = _wanted(source, name, workspace, env)
        new, colony = await self._created_or_taken_back(body)
        if not new:
            raise Conflict(
                f"a colony named {colony.name!r} runs already in the instance",
                help="give this one a name of its own: open(..., name=...)",
            )
        try:
            yield colony
        finally:
            with anyio.CancelScope(shield=True):
                await colony.remove()

    def events(self, *types: str, since: int | None = None) -> Flow[Event]:
        """What happens in the instance, to all colonies; as `Colony.events`."""
        query = t.EventQuery(since=since, type=types)
        return Flow(lambda: self.wire.events(query))

    async def health(self) -> t.Health:
        """How the instance is."""
        return await self.wire.ask("health", {}, t.Health)

    async def _created(self, body: t.CreateColony) -> tuple[bool, RemoteColony]:
        """The colony, and whether it is a new one."""
        with starting():
            status, view = await self.wire.asked("create_colony", {}, t.Colony, body=body)
        return status == 201, RemoteColony(self.wire, view)

    async def _created_or_taken_back(self, body: t.CreateColony) -> tuple[bool, RemoteColony]:
        """The same; cancelled, it leaves no colony.

        An instance carries a start to its end whether or not its caller stays. So the request goes
        on until it is answered, and meanwhile what it starts is stopped.
        """
        before = {view.name for view in await self._views()}
        outcome: list[tuple[bool, RemoteColony] | ColonyError] = []
        answered = anyio.Event()

        async def create() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    outcome.append(await self._created(body))
                except ColonyError as error:
                    outcome.append(error)
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            try:
                await answered.wait()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    while not answered.is_set():
                        await self._take_back(body, before)
                        with anyio.move_on_after(TAKE_BACK_AGAIN):
                            await answered.wait()
                    await self._take_back(body, before)
                raise
        if isinstance(outcome[0], ColonyError):
            raise outcome[0]
        return outcome[0]

    async def _take_back(self, body: t.CreateColony, before: set[str]) -> None:
        """Removes what the request has started, if it has started something."""
        name = body.name or (body.config or {}).get("colony", {}).get("name")
        with suppress(ColonyError):
            for view in await self._views():
                ours = view.name == name if name else view.path == body.path
                if ours and view.name not in before:
                    await RemoteColony(self.wire, view).remove()

    async def _views(self) -> tuple[t.Colony, ...]:
        return await self.wire.ask("list_colonies", {}, tuple[t.Colony, ...])


def _wanted(
    source: str | Path | Mapping[str, Any],
    name: str | None,
    workspace: str | Path | None,
    env: Mapping[str, str] | None,
) -> t.CreateColony:
    """The request for a new colony. Paths are made whole: the instance's folder is another one."""
    return t.CreateColony(
        name=name,
        path=None if isinstance(source, Mapping) else os.path.abspath(source),
        config=dict(source) if isinstance(source, Mapping) else None,
        workspace=None if workspace is None else os.path.abspath(workspace),
        env=dict(os.environ if env is None else env),
    )


class RemoteColony(Colony):
    """A colony of another process."""

    def __init__(self, wire: Wire, view: t.Colony) -> None:
        self._wire = wire
        self._name = view.name
        self._take(view)

    def __repr__(self) -> str:
        return f"<RemoteColony {self.name}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def services(self) -> tuple[str, ...]:
        return self._services

    @property
    def link(self) -> Wire:
        return self._wire

    def service(self, name: str) -> RemoteService:
        """One of its services, as they were when it was looked at last. Raises `KeyError`."""
        if name not in self._services:
            known = ", ".join(self._services)
            raise KeyError(f"colony {self.name} has no service {name!r}; it has {known}")
        return RemoteService(self, name)

    async def view(self) -> t.Colony:
        """How it is now, with all its services; what was added to it meanwhile is known then."""
        view = await super().view()
        self._take(view)
        return view

    async def stop(self) -> None:
        """Stops it, and waits until it is gone; what is known of it stays in the instance. One that
        is gone is no error."""
        with suppress(NotFound):
            await self._wire.ask("stop_colony", {"colony": self.name}, t.Colony)

    async def restart(self) -> RemoteColony:
        """As `Colony.restart`; returns this very object, which goes on standing for it."""
        with starting():
            names = {"colony": self.name}
            self._take(await self._wire.ask("restart_colony", names, t.Colony))
        return self

    def terminal(
        self,
        name: str | None = None,
        *,
        argv: Sequence[str] | None = None,
        size: tuple[int, int] = (24, 80),
        read_only: bool = False,
    ) -> AbstractAsyncContextManager[Terminal]:
        """As `Colony.terminal`. Raises `NotFound` and `Failed`."""
        from colony.sdk.terminal import terminal

        return terminal(self._wire, self.name, name, argv=argv, size=size, read_only=read_only)

    async def remove(self) -> None:
        """Stops it and forgets it. One that is gone, or whose instance is, is no error."""
        with suppress(NotFound, InstanceLost):
            await self._wire.ask("delete_colony", {"colony": self.name}, t.Colony)

    def _take(self, view: t.Colony) -> None:
        self._services = tuple(each.name for each in view.services)
        self.urls = {each.name: each.url for each in view.services if each.url is not None}


class RemoteService(Service):
    """A service of a colony of another process."""

    colony: RemoteColony
