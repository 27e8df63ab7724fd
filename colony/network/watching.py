"""What listens in a colony, noticed without being declared; and a way to who is on ::1 alone.

    look ─▶ compare ─▶ tell (events) ─▶ detours ─▶ routes
      ▲                                               │
      └───── soon after a change, seldom otherwise ───┘

Law: a look changes nothing in the colony, and a detour takes no port that a server may want.

A detour. Whoever comes by the colony's address (Caddy, a neighbour) is led to 127.0.0.1 by the
namespace's rules, and no rule leads to ::1. So where a server listens on ::1 and not on 127.0.0.1,
a port of ours on 127.0.0.1, one that the kernel chose, is spliced to it, and the namespace's map
`detours` names that port in place of the server's. Rejected: to listen on the same port of
127.0.0.1 ourselves (the server, restarted with another address, would find its port taken); a route
of Caddy's own (each change of Caddy's routes reloads it, which cuts every WebSocket on 2.6).

For UDP the same, by a relay. A client that asked before there was a detour has to ask by another
port or wait 30 s: the kernel remembers for that long where its packets went.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Final

import anyio
from anyio.abc import TaskGroup

from actors import Actor, Call, Event, Ignore, on
from colony.network import splice
from colony.places import AlsoRoute, ColonyRoutes
from netns import Namespace, NetworkThread
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.listeners import Listener, Listeners, out_of_reach
from netns.namespace import lead
from netns.ruleset import Transport
from netns.thread import IPAddress

PACES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, *[2.0] * 30, 5.0)
"""Seconds between one look and the next: from the first on after a change, then one further."""

TOGETHER: Final = 2.0
"""From so many seconds on, all colonies look in the same moments, which costs one waking."""

EPHEMERAL: Final = 32768
"""From here on the kernel chooses ports for whoever does not care: nobody looks for those."""

LOWEST: Final = 1024


def watch_name(colony: str) -> str:
    """The name of a colony's watch in its system."""
    return f"watch/{colony}"


class PortOpened(Event, frozen=True, kw_only=True):
    """Something in a colony began to listen: on all of `addresses`, as they were bound."""

    colony: str
    port: int
    protocol: str
    addresses: tuple[str, ...]


class PortClosed(Event, frozen=True, kw_only=True):
    """Nothing in a colony listens on this port any more."""

    colony: str
    port: int
    protocol: str


class GetListeners(Call["PortWatch", tuple[Listener, ...]], frozen=True):
    """What listens in the colony now, by port."""


Ports = dict[tuple[int, str], tuple[str, ...]]
"""(port, protocol) → the addresses where it listens."""


def by_port(listeners: Iterable[Listener], but: Iterable[int] = ()) -> Ports:
    """The listeners together by port and protocol, without these TCP ports. Pure.

    A UDP socket on a port that the kernel chose is most likely a client's, and passed over.
    """
    passed = set(but)
    found: dict[tuple[int, str], set[str]] = {}
    for each in listeners:
        ours = each.protocol == "tcp" and each.port in passed
        client = each.protocol == "udp" and each.port >= EPHEMERAL
        if not ours and not client:
            found.setdefault((each.port, each.protocol), set()).add(str(each.address))
    return {key: tuple(sorted(found[key])) for key in sorted(found)}


def worth_a_route(ports: Ports) -> tuple[int, ...]:
    """The TCP ports that `expose = "auto"` routes: those that somebody has chosen. Pure."""
    return tuple(p for p, protocol in ports if protocol == "tcp" and LOWEST <= p < EPHEMERAL)


def pause(pace: float, now: float) -> float:
    """Seconds from `now` to the next look; pure."""
    if pace < TOGETHER:
        return pace
    return pace - now % pace


class Detours:
    """The detours of one namespace and protocol, kept as they are wanted."""

    def __init__(
        self,
        thread: NetworkThread,
        space: Namespace,
        tasks: TaskGroup,
        protocol: Transport = "tcp",
    ) -> None:
        self._thread = thread
        self._space = space
        self._tasks = tasks
        self._protocol = protocol
        self._ends: dict[int, anyio.CancelScope] = {}
        self.ports: dict[int, int] = {}
        """The port of ours for each port that has a detour."""

    def __repr__(self) -> str:
        return f"<Detours {self._protocol} {self.ports}>"

    async def want(self, wanted: Mapping[int, tuple[IPAddress, ...]]) -> None:
        """These ports have a detour from now on, to these addresses, and no others."""
        for port in [port for port in self.ports if port not in wanted]:
            await self._drop(port)
        for port, addresses in wanted.items():
            if port not in self.ports:
                await self._make(port, addresses)

    async def _make(self, port: int, addresses: tuple[IPAddress, ...]) -> None:
        udp = self._protocol == "udp"
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        sock = await self._thread.socket(self._space, kind=kind)
        try:
            sock.bind(("127.0.0.1", 0))
            if not udp:
                sock.listen()
            other: int = sock.getsockname()[1]
            await self._lead(port, other)
        except BaseException:
            sock.close()
            raise
        self.ports[port] = other
        self._ends[port] = scope = anyio.CancelScope()

        async def dial() -> socket.socket:
            if udp:
                return await self._towards(addresses[0], port)
            return await self._thread.connect(self._space, port, *addresses)

        async def run() -> None:
            with scope:
                await (splice.relay(sock, dial) if udp else splice.serve([sock], dial))

        self._tasks.start_soon(run)

    async def _towards(self, address: IPAddress, port: int) -> socket.socket:
        """A UDP socket inside that sends to a server."""
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = await self._thread.socket(self._space, family, socket.SOCK_DGRAM)
        try:
            sock.connect((str(address), port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _drop(self, port: int) -> None:
        self.ports.pop(port)
        await self._lead(port, None)
        self._ends.pop(port).cancel()

    async def _lead(self, port: int, other: int | None) -> None:
        await self._thread.run(lead, self._thread, self._space, port, other, self._protocol)


class PortWatch(Actor):
    """Watches what listens in a colony.

    colony, thread
        Whose, and by what thread namespaces are entered.
    routes
        The name of the `ColonyRoutes` that is told which ports deserve a route; "": none is.
    """

    def __init__(self, colony: str, thread: NetworkThread, routes: str = "") -> None:
        self.colony = colony
        self.thread = thread
        self.routes = routes
        self.seen: frozenset[Listener] = frozenset()
        self.ports: Ports = {}
        self.own: frozenset[int] = frozenset()
        self._wake = anyio.Event()

    async def start(self) -> Ignore | None:
        owner = self.ctx.system.named(namespace_name(self.colony), NamespaceOwner)
        space = await owner.call(GetNamespace())
        listeners = await Listeners.open(self.thread, space)
        self.ctx.run(self._watch, space, listeners, name="watch")
        return None

    @on(GetListeners)
    def listeners(self, _msg: GetListeners) -> tuple[Listener, ...]:
        return tuple(sorted(x for x in self.seen if x.port not in self.own))

    async def _watch(self, space: Namespace, listeners: Listeners) -> None:
        leave = self.ctx.system.events.listen(self._note)
        try:
            async with anyio.create_task_group() as tasks:
                detours = Detours(self.thread, space, tasks)
                udp = Detours(self.thread, space, tasks, "udp")
                pace = 0
                while True:
                    changed = await self._look(listeners, detours, udp, redirect=space.redirect)
                    pace = 0 if changed else min(pace + 1, len(PACES) - 1)
                    with anyio.move_on_after(pause(PACES[pace], self.ctx.now)):
                        await self._wake.wait()
                        pace = 0
                    self._wake = anyio.Event()
        finally:
            leave()
            listeners.close()

    async def _look(
        self, listeners: Listeners, detours: Detours, udp: Detours, *, redirect: bool
    ) -> bool:
        seen = listeners.look()
        if seen == self.seen:
            return False
        self.seen = seen
        own = frozenset(detours.ports.values())
        if redirect:
            await detours.want(out_of_reach(x for x in seen if x.port not in own))
            servers = [each for each in seen if each.port < EPHEMERAL]  # and no clients
            await udp.want(out_of_reach(servers, "udp"))
        self.own = frozenset(detours.ports.values())
        before, self.ports = self.ports, by_port(seen, self.own | own)
        self._tell(before)
        return True

    def _tell(self, before: Ports) -> None:
        publish, now = self.ctx.system.publish, self.ctx.now
        if before == self.ports:
            return
        for (port, protocol), addresses in self.ports.items():
            if (port, protocol) not in before:
                opened = PortOpened(
                    at=now, colony=self.colony, port=port, protocol=protocol, addresses=addresses
                )
                publish(opened)
        for port, protocol in before:
            if (port, protocol) not in self.ports:
                publish(PortClosed(at=now, colony=self.colony, port=port, protocol=protocol))
        if self.routes:
            routes = self.ctx.system.named(self.routes, ColonyRoutes)
            routes.tell(AlsoRoute(worth_a_route(self.ports)))

    def _note(self, event: Event) -> None:
        """Something happens in the colony: soon it may listen elsewhere."""
        if getattr(event, "colony", None) == self.colony and not isinstance(
            event, PortOpened | PortClosed
        ):
            self._wake.set()
