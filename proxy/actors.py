"""The actors that own the front door.

    routes    what is wanted: which service is where; survives a crash of all below
    door      Caddy, or the embedded proxy: makes it so
    dns       dnsmasq, or the embedded responder

Law: `routes` knows nothing of doors, and a door remembers nothing: it is told the whole table when
it starts and at each change. So a door that died comes back with every route. And should `routes`
itself die, whoever put routes there puts them again, and the door goes on as it was meanwhile: see
`follow_routes`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import anyio

from actors import Actor, ActorDown, Call, Cast, Context, Down, Event, Ref, Reply, events, on
from proxy.errors import ProxyError
from proxy.front_door import FrontDoor, NameServer
from proxy.routes import EMPTY, Route, RouteTable

ROUTES: Final = "routes"
DOOR: Final = "door"
DNS: Final = "dns"
"""The names of the three in their system."""

GATHERING: Final = 0.25
"""Seconds that new `routes` have to be told of all routes again, before the door follows them."""


class DoorOpened(Event, frozen=True, kw_only=True):
    """The front door, of this `kind`, answers on `port`, `seconds` after it was started."""

    kind: str
    port: int
    addresses: tuple[str, ...]
    seconds: float


class DnsOpened(Event, frozen=True, kw_only=True):
    """The name server, of this `kind`, answers on `port` (UDP), `seconds` after its start."""

    kind: str
    port: int
    seconds: float


# -- what is wanted --------------------------------------------------------------------------------


class PutRoutes(Call["Routes", None], frozen=True):
    """These are all the routes of `colony` from now on; they go when `owner`'s life ends."""

    owner: Ref[Any]
    colony: str
    routes: tuple[Route, ...]


class WatchRoutes(Call["Routes", RouteTable], frozen=True):
    """Answers with the table, and tells `watcher` of each change until its life ends."""

    watcher: Ref[DoorOwner]


class GetRoutes(Call["Routes", RouteTable], frozen=True):
    """The table as it is."""


class Routes(Actor):
    """Keeps the wanted routes, by the colony that they belong to."""

    def __init__(self) -> None:
        self.table = EMPTY
        self._owners: dict[str, Ref[Any]] = {}
        self._watchers: dict[Ref[DoorOwner], int] = {}

    @on(PutRoutes)
    def put(self, msg: PutRoutes) -> None:
        self._owners[msg.colony] = msg.owner
        self.ctx.monitor(msg.owner)
        self._change(self.table.remove(msg.colony).put(*msg.routes))

    @on(WatchRoutes)
    def watch(self, msg: WatchRoutes) -> RouteTable:
        self._watchers[msg.watcher] = msg.watcher.incarnation
        self.ctx.monitor(msg.watcher)
        return self.table

    @on(GetRoutes)
    def get(self, _msg: GetRoutes) -> RouteTable:
        return self.table

    @on(Down)
    def gone(self, msg: Down) -> None:
        """Forgets a dead watcher, and the routes of a dead owner: unless it lives again."""
        if self._watchers.get(msg.ref) is not None and not msg.ref.alive:
            del self._watchers[msg.ref]
        for colony, owner in tuple(self._owners.items()):
            if owner == msg.ref and not owner.alive:
                del self._owners[colony]
                self._change(self.table.remove(colony))

    def _change(self, table: RouteTable) -> None:
        if table == self.table:
            return
        self.table = table
        for watcher in self._watchers:
            watcher.tell(RoutesChanged(table))


def follow_routes(ctx: Context[Any], message: Cast[Any]) -> None:
    """Tells an actor `message`, as long as it lives, whenever `routes` has begun a new life: it has
    forgotten everything then.
    """
    path = ctx.system.named(ROUTES, Routes).path

    def note(event: Event) -> None:
        if isinstance(event, events.Started) and event.actor == path:
            ctx.ref.tell(message)

    async def until_the_end(leave: Callable[[], None]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            leave()

    leave = ctx.system.events.listen(note, events.Started)
    ctx.run(until_the_end, leave, name="follow routes")


# -- who makes it so -------------------------------------------------------------------------------


class RoutesChanged(Cast["DoorOwner"], frozen=True):
    """The routes are these now."""

    table: RouteTable


class RoutesAreNew(Cast["DoorOwner"], frozen=True):
    """`routes` has begun a new life, and is being told of all routes again."""


class WatchAgain(Cast["DoorOwner"], frozen=True):
    """A door's note to itself: time to follow the new `routes`."""


class Settled(Call["DoorOwner", None], frozen=True):
    """Answered once all that is wanted now is in place, or has been refused."""


class WhereIsDoor(Call["DoorOwner", int], frozen=True):
    """The front door's port."""


class DoorOwner(Actor):
    """Owns a front door. Its death is this actor's; the next life opens it again, on the port that
    it had if that is still to be had, with the routes as they are then.
    """

    def __init__(self, door: FrontDoor, kind: str) -> None:
        self.door = door
        self.kind = kind

    async def started(self) -> None:
        """Opens the door: not in `start`, so that what needs no door need not wait for it."""
        began = self.ctx.now
        self.ctx.run(self._hold)
        follow_routes(self.ctx, RoutesAreNew())
        await self.door.start(await self._watch())
        self.ctx.run(self.door.run, name="run")
        self.ctx.system.publish(
            DoorOpened(
                at=self.ctx.now,
                kind=self.kind,
                port=self.door.port,
                addresses=self.door.addresses,
                seconds=self.ctx.now - began,
            )
        )

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.door.stop()

    async def _watch(self) -> RouteTable:
        return await self.ctx.system.named(ROUTES, Routes).call(WatchRoutes(self.ctx.ref))

    @on(RoutesAreNew)
    def _routes_are_new(self, _msg: RoutesAreNew) -> None:
        self.ctx.send_after(GATHERING, WatchAgain())

    @on(WatchAgain)
    async def _watch_again(self, _msg: WatchAgain) -> None:
        with suppress(ActorDown):  # dead again: its next life will be told of, too
            self.door.want(await self._watch())

    @on(RoutesChanged)
    def changed(self, msg: RoutesChanged) -> None:
        self.door.want(msg.table)

    @on(Settled)
    def _when_settled(self, _msg: Settled) -> Reply[None]:
        reply: Reply[None] = self.ctx.defer()
        self.ctx.run(self._settle, reply, name="settle")
        return reply

    async def _settle(self, reply: Reply[None]) -> None:
        with suppress(ProxyError):
            await self.door.settled()
        reply.send(None)

    @on(WhereIsDoor)
    def where(self, _msg: WhereIsDoor) -> int:
        return self.door.port


class WhereIsDns(Call["DnsOwner", int], frozen=True):
    """The name server's UDP port."""


class DnsOwner(Actor):
    """Owns a name server, as `DoorOwner` owns a door."""

    def __init__(self, server: NameServer, kind: str) -> None:
        self.server = server
        self.kind = kind

    async def started(self) -> None:
        began = self.ctx.now
        self.ctx.run(self._hold)
        await self.server.start()
        self.ctx.run(self.server.run, name="run")
        self.ctx.system.publish(
            DnsOpened(
                at=self.ctx.now,
                kind=self.kind,
                port=self.server.port,
                seconds=self.ctx.now - began,
            )
        )

    @on(WhereIsDns)
    def where(self, _msg: WhereIsDns) -> int:
        return self.server.port

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.server.stop()
