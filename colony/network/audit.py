"""What colonies connect to, and what they may not, as events.

    packet rules ─▶ `packet_log` ─▶ whose address? which process? ─▶ ConnectionAllowed, …Denied

Law: an event for each connection that is begun, as long as there are not too many: the same again
within `AGAIN` seconds is one, and the kernel tells of so many of a colony's a second
(`packet_log.RATE`) and no more. What goes by the colony's HTTP proxy is told of by that, by name;
the front door's and the forwards' ways into a colony are none of its doing and not told of.

The process is the one that the kernel noted as it connected (`callers`), while there is a colony to
be noted: one that has ended since, or is in the colony's network. Where that is not to be had, it
is the one that has the socket when we look.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from actors import Actor, ActorDown, Call, Event, Ignore, Refused, on
from colony.services.holder import GONE, holder_among, holder_at
from netns import Namespace, NetworkThread, sweep
from netns.actors import (
    NETWORK,
    GetNamespace,
    GetNetwork,
    NamespaceGone,
    NamespaceMade,
    NamespaceOwner,
    NetworkOwner,
    namespace_name,
)
from netns.callers import Callers
from netns.network import Network
from netns.packet_log import Attempt, PacketLog
from netns.perf import Recorder
from netns.thread import Place

AUDIT: Final = "audit"
"""The name of `Audit` in its system."""

AGAIN: Final = 10.0
REMEMBERED: Final = 1000
PAUSE: Final = 0.1


class ConnectionAllowed(Event, frozen=True, kw_only=True):
    """A process of a colony connected to somewhere outside it. `to` is the colony whose address
    it is, "" for none; `process` says who, "" if nobody knows."""

    colony: str
    protocol: str
    address: str
    port: int
    to: str
    process: str


class ConnectionDenied(Event, frozen=True, kw_only=True):
    """A process of a colony wanted to connect to somewhere, and may not."""

    colony: str
    protocol: str
    address: str
    port: int
    to: str
    process: str


class NotesCallers(Call["Audit", bool], frozen=True):
    """Whether the kernel notes who connects, just now."""


class Audit(Actor):
    """Tells of the connections that colonies begin."""

    def __init__(self, thread: NetworkThread) -> None:
        self.thread = thread
        self.told: dict[tuple[object, ...], float] = {}
        self.callers = Callers()
        self.noting = False
        self.log: PacketLog | None = None

    @on(NotesCallers)
    def notes_callers(self, _msg: NotesCallers) -> bool:
        return self.noting

    async def start(self) -> Ignore | None:
        self.ctx.run(self._listen, name="listen")
        self.ctx.run(self._note_callers, name="note callers")
        return None

    async def _note_callers(self) -> None:
        """Has the kernel note who connects for as long as there is a colony."""
        inhabited = _Inhabited()
        leave = self.ctx.system.events.listen(inhabited.note)
        try:
            with suppress(ActorDown, Refused):
                owner = self.ctx.system.named(NETWORK, NetworkOwner)
                network = await owner.call(GetNetwork())
                if network.log is None:
                    return
                inhabited.begin(network)
            while True:
                await inhabited.becomes(True)
                try:
                    await anyio.to_thread.run_sync(self.callers.open)
                    self._watch(self.callers.senders)
                    self.noting = True
                    await inhabited.becomes(False)
                except OSError:
                    return  # no right to it, or an old kernel: the doctor says so
                finally:
                    self.noting = False
                    self._watch(None)
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self.callers.close)
        finally:
            leave()

    def _watch(self, senders: Recorder | None) -> None:
        if self.log is not None:
            with suppress(anyio.ClosedResourceError):
                self.log.watch(senders)

    async def _listen(self) -> None:
        while True:
            # Between two lives of the network's owner there is no log, and then another.
            with suppress(ActorDown, OSError, anyio.ClosedResourceError):
                owner = self.ctx.system.named(NETWORK, NetworkOwner)
                network = await owner.call(GetNetwork())
                self.log = network.log
                if self.log is None:
                    return
                self._watch(self.callers.senders)
                while True:
                    for attempt in await self.log.next():
                        await self._tell(network, attempt)
            await anyio.sleep(PAUSE)

    async def _tell(self, network: Network, attempt: Attempt) -> None:
        colony = network.pool.colony_at(attempt.source)
        if colony is None or not self._is_new(colony, attempt):
            return
        kind = ConnectionAllowed if attempt.allowed else ConnectionDenied
        self.ctx.system.publish(
            kind(
                at=self.ctx.now,
                colony=colony,
                protocol=attempt.protocol,
                address=str(attempt.destination),
                port=attempt.port,
                to=network.pool.colony_at(attempt.destination) or "",
                process=await self._process(colony, attempt),
            )
        )

    def _is_new(self, colony: str, attempt: Attempt) -> bool:
        now = self.ctx.now
        what = (colony, attempt.protocol, attempt.destination, attempt.port, attempt.allowed)
        last = self.told.pop(what, None)
        if last is not None and now < last + AGAIN:
            self.told[what] = last
            return False
        self.told[what] = now
        if len(self.told) > REMEMBERED:
            del self.told[next(iter(self.told))]
        return True

    async def _process(self, colony: str, attempt: Attempt) -> str:
        space = None
        with suppress(ActorDown):
            owner = self.ctx.system.named(namespace_name(colony), NamespaceOwner)
            space = await owner.call(GetNamespace())
        inside = sweep.in_namespace(space.inode if space else 0)
        found = await anyio.to_thread.run_sync(_noted, self.callers, attempt, inside)
        if found or space is None:
            return found
        with suppress(OSError):
            inodes = await self.thread.run(sockets_at, self.thread, space, attempt)
            if inodes:
                return await anyio.to_thread.run_sync(_holder, inodes, space.inode)
        return ""


class _Inhabited:
    """Which colonies there are, by the events of their networks."""

    def __init__(self) -> None:
        self._colonies: set[str] = set()
        self._changed = anyio.Event()

    def begin(self, network: Network) -> None:
        """With those that are there already."""
        self._colonies |= {colony for pool in network.pool.all for colony in pool.held()}
        self._changed.set()

    def note(self, event: Event) -> None:
        if isinstance(event, NamespaceMade):
            self._colonies.add(event.colony)
            self._changed.set()
        elif isinstance(event, NamespaceGone):
            self._colonies.discard(event.colony)
            self._changed.set()

    async def becomes(self, wanted: bool) -> None:
        """Waits until there is one, or none any more."""
        while bool(self._colonies) is not wanted:
            await self._changed.wait()
            self._changed = anyio.Event()


def _noted(callers: Callers, attempt: Attempt, inside: sweep.Belongs) -> str:
    """Who connected, in words; "" if that is not known, or if it is not inside."""
    for _ in range(2):  # it may end while it is looked at
        caller = callers.who(attempt)
        if caller is None:
            return ""
        if caller.command or inside(caller.pid):
            holder = holder_at(caller.pid, caller.command)
            if holder.command != GONE:
                return str(holder)
    return ""


def sockets_at(thread: NetworkThread, space: Namespace, attempt: Attempt) -> set[str]:
    """The inodes of the sockets in the namespace at the attempt's own port. On the network
    thread."""
    with thread.inside(Place(space.place.net)):
        rows = [
            line.split()
            for suffix in ("", "6")
            for line in _lines(f"/proc/thread-self/net/{attempt.protocol}{suffix}")
        ]
    port = attempt.source_port
    return {row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port} - {"0"}


def _holder(inodes: set[str], namespace: int) -> str:
    """Which process in the namespace has one of these sockets; "" if none has. Looks at all."""
    found = holder_among(inodes, sweep.processes_in(namespace))
    return str(found) if found.pid else ""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("ascii").splitlines()[1:]
    except OSError:
        return []  # no IPv6
