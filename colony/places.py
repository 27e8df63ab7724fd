"""Where a colony's services are reached: its namespace's address, and the way in for the door.

Two ways lead to a service. Caddy dials by itself, so a route holds the namespace's address, where
the namespace's own rules pass a connection on to 127.0.0.1. The embedded door asks a `Dialer`,
which makes the socket inside the namespace and so reaches a listener on 127.0.0.1 or ::1 alone.
Rootless Caddy has to be led there as well (`network.relays`).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from actors import Actor, ActorDown, Call, Cast, Ignore, Reason, on
from colony.network import splice
from colony.network.relays import Relays
from colony.network.splice import connect
from netns import Namespace, NetworkThread
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.listeners import Listeners
from proxy import Route, TcpUpstream, UnixUpstream, Upstream, dial
from proxy.actors import ROUTES, PutRoutes, Routes, follow_routes


def routes_name(colony: str) -> str:
    """The name of a colony's `ColonyRoutes` in its system."""
    return f"routes/{colony}"


class Places:
    """The namespaces by colony, for the door's own thread to look up.

    Written by `ColonyRoutes` only; a dict's get is atomic, so the reader needs no lock.
    """

    def __init__(self, thread: NetworkThread) -> None:
        self._thread = thread
        self._spaces: dict[str, Namespace] = {}

    def __repr__(self) -> str:
        return f"<Places of {', '.join(self._spaces) or 'nobody'}>"

    def put(self, colony: str, space: Namespace) -> None:
        """This colony's services are in there."""
        self._spaces[colony] = space

    def remove(self, colony: str) -> None:
        """This colony has no namespace any more."""
        self._spaces.pop(colony, None)

    def place(self, colony: str) -> Namespace | None:
        """The colony's namespace, None if it has none now."""
        return self._spaces.get(colony)

    def colony_in(self, inode: int) -> str | None:
        """Whose network namespace has this inode; None for nobody's."""
        spaces = tuple(self._spaces.items())
        return next((name for name, space in spaces if space.inode == inode), None)

    async def dial(self, upstream: Upstream) -> socket.socket:
        """A `proxy.Dialer`: a connected socket, made where the service is. Raises `OSError`."""
        if isinstance(upstream, TcpUpstream) and upstream.namespace is not None:
            space = self._spaces.get(upstream.namespace)
            if space is None:
                raise ConnectionRefusedError(f"colony {upstream.namespace} has no namespace now")
            return await self._thread.connect(space, upstream.port, space.address.v4)
        return await dial(upstream)

    async def connect(self, colony: str | None, port: int) -> socket.socket:
        """A connected socket to a TCP port of a colony; None: of the host's localhost.

        In any event loop, unlike `dial`. Raises `OSError`.
        """
        if colony is not None:
            return await self.dial(TcpUpstream(port, namespace=colony))
        try:
            return await connect("127.0.0.1", port)
        except OSError:
            return await connect("::1", port)

    async def connect_udp(self, colony: str | None, port: int) -> socket.socket:
        """A UDP socket whose peer is a port on a colony's loopback; None: on the host's 127.0.0.1.

        On ::1 where a server is there and none on 127.0.0.1: UDP says of nobody that he is not
        there, so that is asked of the kernel.
        """
        address = "127.0.0.1"
        if colony is None:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
        else:
            space = self._spaces.get(colony)
            if space is None:
                raise ConnectionRefusedError(f"colony {colony} has no namespace now")
            address = await self._listens_by_udp(space, port)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made = await self._thread.socket(space, family, socket.SOCK_DGRAM)
        try:
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    async def _listens_by_udp(self, space: Namespace, port: int) -> str:
        listeners = await Listeners.open(self._thread, space)
        try:
            heard = [each for each in listeners.look() if each.protocol == "udp"]
        finally:
            listeners.close()
        found = [each for each in heard if each.port == port]
        return "::1" if found and not any(each.on_local4 for each in found) else "127.0.0.1"


class SetRoutes(Call["ColonyRoutes", None], frozen=True):
    """These are the colony's routes from now on."""

    routes: tuple[Route, ...]


class AlsoRoute(Cast["ColonyRoutes"], frozen=True):
    """These ports have routes, too, from now on, without being declared."""

    ports: tuple[int, ...]


class PutAgain(Cast["ColonyRoutes"], frozen=True):
    """Who keeps the wanted routes has forgotten them."""


class ColonyRoutes(Actor):
    """Holds a colony's routes at the front door for as long as it lives.

    A route belongs to a service's definition, not to one life of its process: a restart of a
    service touches none. With a namespace the routes lead to its address, or with `relays`, the
    instance's directory, to sockets in there that lead into it.
    """

    def __init__(
        self,
        colony: str,
        routes: Sequence[Route],
        places: Places,
        *,
        isolated: bool,
        relays: Path | None = None,
    ) -> None:
        self.colony = colony
        self.routes = routes
        self.places = places
        self.isolated = isolated
        self.directory = relays
        self.relays: Relays | None = None
        self.also: tuple[int, ...] = ()

    async def start(self) -> Ignore | None:
        if self.directory is not None:
            self.relays = Relays(self.ctx, self.directory, self._way_to)
        follow_routes(self.ctx, PutAgain())
        await self._put()
        return None

    @on(PutAgain)
    async def _put_again(self, _msg: PutAgain) -> None:
        with suppress(ActorDown):  # dead again: its next life will be told of, too
            await self._put()

    @on(SetRoutes)
    async def _set(self, msg: SetRoutes) -> None:
        self.routes = msg.routes
        await self._put()

    @on(AlsoRoute)
    async def _also(self, msg: AlsoRoute) -> None:
        if msg.ports != self.also:
            self.also = msg.ports
            with suppress(ActorDown):
                await self._put()

    async def _put(self) -> None:
        system = self.ctx.system
        routes = with_ports(self.colony, self.routes, self.also)
        if self.isolated:
            owner = system.named(namespace_name(self.colony), NamespaceOwner)
            space = await owner.call(GetNamespace())
            self.places.put(self.colony, space)
            routes = tuple(led_to(route, space) for route in routes)
        if self.relays is not None:
            routes = tuple([relayed(each, await self.relays.to(each.port)) for each in routes])
        wanted: Any = PutRoutes(self.ctx.ref, self.colony, routes)
        await system.named(ROUTES, Routes).call(wanted)

    def _way_to(self, port: int) -> splice.Dial:
        return lambda: self.places.connect(self.colony, port)

    async def stopping(self, reason: Reason) -> None:
        self.places.remove(self.colony)


def with_ports(colony: str, declared: Sequence[Route], ports: Sequence[int]) -> tuple[Route, ...]:
    """The routes of a colony with those of further ports, as far as they are not declared."""
    known = {route.port for route in declared}
    further = [port for port in ports if port not in known]
    return (
        *declared,
        *(Route(colony, port, TcpUpstream(port), f"port {port}") for port in further),
    )


def led_to(route: Route, space: Namespace) -> Route:
    """The route with its upstream in a namespace."""
    upstream = TcpUpstream(route.port, address=str(space.address.v4), namespace=route.colony)
    return msgspec.structs.replace(route, upstream=upstream)


def relayed(route: Route, path: str) -> Route:
    """The route with its upstream behind a socket of ours."""
    return msgspec.structs.replace(route, upstream=UnixUpstream(path))
