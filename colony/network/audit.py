"""What colonies connect to, and what they may not, as events.

    packet rules ─▶ `packet_log` ─▶ whose address? which process? ─▶ ConnectionAllowed, …Denied

Law: an event for each connection that is begun, as long as there are not too many: the same again
within `AGAIN` seconds is one, and the kernel tells of so many a second (`packet_log.RATE`) and no
more. What goes by the colony's HTTP proxy is told of by that, by name; the front door's and the
forwards' ways into a colony are none of its doing and not told of.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from actors import Actor, ActorDown, Event, Ignore
from colony.services.holder import holder_among
from netns import Namespace, NetworkThread, sweep
from netns.actors import (
    NETWORK,
    GetNamespace,
    GetNetwork,
    NamespaceOwner,
    NetworkOwner,
    namespace_name,
)
from netns.network import Network
from netns.packet_log import Attempt
from netns.thread import Place

AUDIT: Final = "audit"
"""The name of `Audit` in its system."""

AGAIN: Final = 10.0
REMEMBERED: Final = 1000
PAUSE: Final = 0.1


class ConnectionAllowed(Event, frozen=True, kw_only=True):
    """A process of a colony connected to somewhere outside it. `to` is the colony whose address
    it is, "" for none; `process` says who, "" if it had gone."""

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


class Audit(Actor):
    """Tells of the connections that colonies begin."""

    def __init__(self, thread: NetworkThread) -> None:
        self.thread = thread
        self.told: dict[tuple[object, ...], float] = {}

    async def start(self) -> Ignore | None:
        self.ctx.run(self._listen, name="listen")
        return None

    async def _listen(self) -> None:
        while True:
            # Between two lives of the network's owner there is no log, and then another.
            with suppress(ActorDown, OSError, anyio.ClosedResourceError):
                owner = self.ctx.system.named(NETWORK, NetworkOwner)
                network = await owner.call(GetNetwork())
                if network.log is None:
                    return
                while True:
                    for attempt in await network.log.next():
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
        with suppress(ActorDown, OSError):
            owner = self.ctx.system.named(namespace_name(colony), NamespaceOwner)
            space = await owner.call(GetNamespace())
            inodes = await self.thread.run(sockets_at, self.thread, space, attempt)
            if inodes:
                return await anyio.to_thread.run_sync(_holder, inodes, space.inode)
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
