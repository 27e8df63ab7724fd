"""The actors that own what this package makes.

    network      the network thread, the pool's network, the packet filter's table
    addresses    which colony has which address: survives a crash of `network`
    namespace    one colony's network, for as long as the actor lives
    way out      (rootless) the program that takes colonies' packets out of the hub

Law: what exists in the kernel exists because a task of its owner holds it, and the task takes it
down on its way out, however the owner ends. What must survive an owner's crash is another actor's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from actors import Actor, ActorDown, Call, Cast, Down, Event, Ignore, Refused, on
from netns import healing, lost, reap, sweep, uplink
from netns.errors import NetnsError
from netns.healing import Disturbances, Gone
from netns.instance import Instance, dead_instances
from netns.messages import IPAddress
from netns.namespace import Egress, Namespace
from netns.network import Network
from netns.pool import Pool, preferring
from netns.process import Process
from netns.thread import NetworkThread
from netns.uplink import KINDS, Kind, WayOut

NETWORK: Final = "network"
ADDRESSES: Final = "addresses"
WAY_OUT: Final = "way out"
"""The names of these actors in their system."""

BETWEEN_LIVES: Final = 5.0
"""Seconds that a namespace's owner waits for the network's to be started again."""

LOOK_AGAIN: Final = 0.02

LULL: Final = 0.5
"""Seconds without a new colony after which a namespace for the next one is made ahead: those that
are made one after the other would wait for it."""


def namespace_name(colony: str) -> str:
    """The name of a colony's namespace actor in its system."""
    return f"namespace/{colony}"


class Reaped(Event, frozen=True, kw_only=True):
    """What an instance that had died left behind was removed: `removed` says what, in words."""

    instance: str
    removed: tuple[str, ...]


class NamespaceMade(Event, frozen=True, kw_only=True):
    """A colony has its network. `steps` are the milliseconds of each step of making it."""

    colony: str
    address: str
    seconds: float
    steps: tuple[tuple[str, float], ...]
    redirect: bool


class NamespaceGone(Event, frozen=True, kw_only=True):
    """A colony's network was removed, and `killed` processes that were still in it."""

    colony: str
    killed: int
    seconds: float


class NetworkDisturbed(Event, frozen=True, kw_only=True):
    """Links or routes of this instance's colonies have gone on this host, whoever took them.
    `more`: so much went that nobody knows what."""

    links: tuple[str, ...]
    addresses: tuple[str, ...]
    more: bool


class NetworkHealed(Event, frozen=True, kw_only=True):
    """What somebody else had taken away was put back: `repaired` says what, in words. `colony` is
    "" for what all share."""

    colony: str
    repaired: tuple[str, ...]


class NetworkSick(Event, frozen=True, kw_only=True):
    """Something is missing and cannot be put back; it is tried again."""

    colony: str
    reason: str


class WayOutOpened(Event, frozen=True, kw_only=True):
    """Rootless colonies have a way out, by this program."""

    program: str
    pid: int
    seconds: float


class GetPool(Call["AddressBook", Pool | None], frozen=True):
    """The addresses as they are; None before the first time."""


class KeepPool(Cast["AddressBook"], frozen=True):
    """Remember these addresses."""

    pool: Pool


class GetRemembered(Call["AddressBook", dict[str, str]], frozen=True):
    """Which colony had which address in an earlier life of the instance, in a named network or
    ("") outside of any."""

    network: str = ""


class AddressBook(Actor):
    """Remembers the addresses of the colonies while the network's owner may come and go, and from
    one instance to the next.

    file
        Where they are kept; None: nowhere. What it says is a wish: an address that is not in the
        pool of this time, or is somebody's, is forgotten.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.pool: Pool | None = None
        self.remembered: Book = {}
        self._made = anyio.Event()

    async def start(self) -> Ignore | None:
        if self.file is not None:
            self.remembered = await anyio.to_thread.run_sync(_read_book, self.file)
            self.ctx.run(self._keep, self.file, name="keep")
        return None

    @on(GetPool)
    def get(self, _msg: GetPool) -> Pool | None:
        return self.pool

    @on(KeepPool)
    def keep(self, msg: KeepPool) -> None:
        self.pool = msg.pool

    @on(GetRemembered)
    def get_remembered(self, msg: GetRemembered) -> dict[str, str]:
        return self.remembered.get(msg.network, {})

    async def _keep(self, file: Path) -> None:
        """Writes them down whenever a colony has got one."""

        def note(_event: Event) -> None:
            self._made.set()

        leave = self.ctx.system.events.listen(note, NamespaceMade)
        try:
            while True:
                await self._made.wait()
                self._made = anyio.Event()
                if self.pool is None:
                    continue
                book = {"": _lines_of(self.pool)}
                book |= {name: _lines_of(pool) for name, pool in self.pool.named.items()}
                with contextlib.suppress(OSError):  # a disk that is full: then it is forgotten
                    await anyio.to_thread.run_sync(_write_book, file, book)
        finally:
            leave()


Book = dict[str, dict[str, str]]
"""Network → colony → address."""


def _lines_of(pool: Pool) -> dict[str, str]:
    return {colony: str(address) for colony, address in pool.remembered().items()}


def _read_book(file: Path) -> Book:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Book)
    except (OSError, msgspec.DecodeError):
        return {}  # nothing but a wish


def _write_book(file: Path, book: Book) -> None:
    """Together with what another instance has written there."""
    whole = _read_book(file)
    for network, addresses in book.items():
        whole[network] = whole.get(network, {}) | addresses
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(whole)))
    new.replace(file)


def _close(disturbances: Disturbances) -> None:
    disturbances.close()


class GetNetwork(Call["NetworkOwner", Network], frozen=True):
    """The instance's network, open."""


class NetworkOwner(Actor):
    """Owns the network thread and the host's side of the network.

    instance
        Whose network it is.
    thread
        The network thread, not running: the actor starts and ends it.
    runtime
        The directory in which instances leave their locks; the dead ones are reaped at the start.
    isolated
        Whether colonies get namespaces; without, the thread is there to start processes, and
        `GetNetwork` is refused.
    way_out
        Rootless: the way out as its owner keeps it.

    After a crash the network is opened again with the same addresses; the colonies' own networks
    stay as they are meanwhile.
    """

    def __init__(
        self,
        instance: Instance,
        thread: NetworkThread,
        runtime: str,
        isolated: bool = True,
        way_out: WayOut | None = None,
    ) -> None:
        self.instance = instance
        self.isolated = isolated
        self.way_out = way_out
        self.thread = thread
        self.runtime = runtime
        self.network: Network | None = None

    async def start(self) -> Ignore | None:
        await self.thread.start()
        self.ctx.run(self._hold)
        await self._reap()
        if self.isolated:
            addresses = self.ctx.system.named(ADDRESSES, AddressBook)
            pool = await addresses.call(GetPool())
            remembered = await addresses.call(GetRemembered())
            self.network = await Network.open(
                self.thread,
                self.instance,
                pool=pool,
                wanted=preferring(remembered.values()),
                way_out=self.way_out,
            )
            if pool is None:
                self.network.remember(remembered)
            addresses.tell(KeepPool(self.network.pool))
            self.ctx.run(self._tend, self.network, name="tend")
            self.ctx.run(self._prepare, self.network, name="prepare")
        return None

    @on(GetNetwork)
    def get(self, _msg: GetNetwork) -> Network:
        if self.network is None:
            raise Refused("this instance makes no namespaces")
        return self.network

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                if self.network is not None:
                    await self.network.close()
                await self.thread.close()

    async def _prepare(self, network: Network) -> None:
        """Has a namespace ready for the next colony."""
        made = anyio.Event()

        def note(_event: Event) -> None:
            made.set()

        leave = self.ctx.system.events.listen(note, NamespaceMade)
        try:
            while True:
                with anyio.move_on_after(LULL) as lull:
                    await made.wait()
                if lull.cancelled_caught:
                    with contextlib.suppress(NetnsError, OSError):  # the next colony will say it
                        await network.prepare()
                    await made.wait()
                made = anyio.Event()
        finally:
            leave()

    async def _tend(self, network: Network) -> None:
        """Sees to it that the packet rules are whole, and tells whoever tends the rest."""
        instance = self.instance.id
        disturbances = await self.thread.run(lambda: Disturbances(instance), undo=_close)
        due = self.ctx.now
        try:
            while True:
                gone = Gone()
                with anyio.move_on_after(max(due - self.ctx.now, 0)):
                    await disturbances.next(gone)
                if gone.rules or gone.more or self.ctx.now >= due:
                    due = self.ctx.now + healing.LOOK_AGAIN
                    await self._heal(network)
                if gone.links or gone.addresses or gone.more:
                    self.ctx.system.publish(
                        NetworkDisturbed(
                            at=self.ctx.now,
                            links=tuple(sorted(gone.links)),
                            addresses=tuple(sorted(gone.addresses)),
                            more=gone.more,
                        )
                    )
        finally:
            disturbances.close()

    async def _heal(self, network: Network) -> None:
        publish, now = self.ctx.system.publish, self.ctx.now
        try:
            healed = await network.heal_host()
        except NetnsError as error:
            publish(NetworkSick(at=now, colony="", reason=str(error)))
        else:
            if healed:
                publish(NetworkHealed(at=now, colony="", repaired=tuple(healed)))

    async def _reap(self) -> None:
        found = await self.thread.run(dead_instances, self.runtime)
        found += await anyio.to_thread.run_sync(lost.lost_instances)
        for dead in found:
            removed = (await reap.reap(self.thread, dead)).words()
            self.ctx.system.publish(
                Reaped(at=self.ctx.now, instance=dead.id, removed=tuple(removed))
            )


class WayOutOwner(Actor):
    """Rootless, owns the program by which colonies go out: the first of several that works.

    instance
        Its id, which the program bears.
    thread
        The network thread, running.
    programs
        Names of `uplink.KINDS`, tried in turn.
    way_out
        Where it says which there is.

    Where none works there is no way out, and `NetworkSick` says so; one that ends is started again
    by this actor's supervisor.
    """

    def __init__(
        self, instance: str, thread: NetworkThread, programs: tuple[str, ...], way_out: WayOut
    ) -> None:
        self.instance = instance
        self.thread = thread
        self.programs = programs
        self.way_out = way_out

    async def start(self) -> Ignore | None:
        began = self.ctx.now
        reasons = []
        for kind in (KINDS[name] for name in self.programs):
            try:
                process, pipe = await uplink.start(self.thread, kind, self.instance)
            except NetnsError as error:
                reasons.append(str(error))
                continue
            self.ctx.run(self._hold, kind, process, pipe)
            self.ctx.run(self._ask, kind, name="ask")
            self.way_out.kind, self.way_out.pid = kind, process.pid
            seconds = self.ctx.now - began
            self.ctx.system.publish(
                WayOutOpened(at=self.ctx.now, program=kind.name, pid=process.pid, seconds=seconds)
            )
            return None
        self._tell("; ".join(reasons))
        return None

    async def _hold(self, kind: Kind, process: Process, pipe: int) -> None:
        try:
            status = await process.wait()
            raise NetnsError(f"{kind.name}, the colonies' way out, has ended: {status}")
        finally:
            self.way_out.kind, self.way_out.pid = None, 0
            os.close(pipe)
            await process.aclose()

    async def _ask(self, kind: Kind) -> None:
        """Finds out whether it leads anywhere. Asked once: a machine may be offline for a while."""
        if not await uplink.answers(self.thread, kind):
            self._tell(f"{kind.name} runs, but a name query by way of it is not answered")

    def _tell(self, reason: str) -> None:
        text = f"colonies may have no way out: {reason}"
        self.ctx.system.publish(NetworkSick(at=self.ctx.now, colony="", reason=text))


class GetNamespace(Call["NamespaceOwner", Namespace], frozen=True):
    """The colony's network, open."""


class NamespaceOwner(Actor):
    """Owns one colony's network, and sees to it that no process outlives it.

    colony
        Whose.
    egress, hosts, address, network
        As for `Network.create`.
    """

    def __init__(
        self,
        colony: str,
        egress: Egress = "nat",
        hosts: Mapping[str, IPAddress | str] | None = None,
        address: IPv4Address | None = None,
        network: str | None = None,
    ) -> None:
        self.colony = colony
        self.egress = egress
        self.hosts = hosts
        self.address = address
        self.network = network
        self.space: Namespace | None = None

    async def start(self) -> Ignore | None:
        began = self.ctx.now
        network = await self._network()
        space = await network.create(
            self.colony,
            egress=self.egress,
            hosts=self.hosts,
            address=self.address,
            network=self.network,
        )
        self.ctx.run(self._hold, space)
        self.ctx.run(self._tend, space, name="tend")
        self.space = space
        self.ctx.system.publish(
            NamespaceMade(
                at=self.ctx.now,
                colony=self.colony,
                address=str(space.address),
                seconds=self.ctx.now - began,
                steps=tuple(space.steps.items()),
                redirect=space.redirect,
            )
        )
        return None

    @on(GetNamespace)
    def get(self, _msg: GetNamespace) -> Namespace:
        assert self.space is not None
        return self.space

    async def _hold(self, space: Namespace) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self._remove(space)

    async def _tend(self, space: Namespace) -> None:
        """Puts back what somebody else takes away, while the processes inside run on."""
        wake = anyio.Event()

        def note(event: Event) -> None:
            if isinstance(event, NetworkDisturbed) and (
                event.more or space.link in event.links or str(space.address) in event.addresses
            ):
                wake.set()

        leave = self.ctx.system.events.listen(note, NetworkDisturbed)
        pause = healing.LOOK_AGAIN
        due = self.ctx.now + pause
        try:
            while space.is_open:
                with anyio.move_on_after(due - self.ctx.now):
                    await wake.wait()
                wake = anyio.Event()
                # The kernel tells of what is on the host.
                thorough = self.ctx.now >= due
                whole = await self._heal(space, thorough)
                if thorough or not whole:
                    pause = healing.slackened(pause) if whole else healing.LOOK_AGAIN
                    due = self.ctx.now + pause
        finally:
            leave()

    async def _heal(self, space: Namespace, thorough: bool) -> bool:
        """Whether nothing was amiss."""
        publish, now, colony = self.ctx.system.publish, self.ctx.now, self.colony
        try:
            repaired = await (await self._network()).heal(space, thorough=thorough)
        except (NetnsError, OSError) as error:
            publish(NetworkSick(at=now, colony=colony, reason=str(error)))
            return False
        except ActorDown:
            return False  # the network has no owner: the next look is after it has one
        if repaired:
            publish(NetworkHealed(at=now, colony=colony, repaired=tuple(repaired)))
        return not repaired

    async def _network(self) -> Network:
        """The instance's network. Its owner may be between two lives just now: then the next one's.

        Raises `ActorDown` if there is none within `BETWEEN_LIVES` seconds.
        """
        deadline = self.ctx.now + BETWEEN_LIVES
        while True:
            try:
                return await self.ctx.system.named(NETWORK, NetworkOwner).call(GetNetwork())
            except ActorDown:
                if self.ctx.now > deadline:
                    raise
                await anyio.sleep(LOOK_AGAIN)

    async def _remove(self, space: Namespace) -> None:
        began = self.ctx.now
        killed = await sweep.kill_all(space.inode)
        try:
            await (await self._network()).destroy(space)
        finally:  # the network's owner may never come back
            space.let_go()
        self.ctx.system.publish(
            NamespaceGone(
                at=self.ctx.now,
                colony=self.colony,
                killed=len(killed),
                seconds=self.ctx.now - began,
            )
        )


class NamespaceGuest(NamespaceOwner):
    """In place of a namespace of its own: lives in another colony's, for as long as that is there,
    and ends its own processes in it.

    colony, instance
        Whose, as COLONY_NAME and COLONY_INSTANCE name them.
    lender
        The colony whose network it shares.
    """

    def __init__(self, colony: str, instance: str, lender: str) -> None:
        super().__init__(colony)
        self.instance = instance
        self.lender = lender

    async def start(self) -> Ignore | None:
        try:
            owner = self.ctx.system.named(namespace_name(self.lender), NamespaceOwner)
            self.space = await owner.call(GetNamespace())
        except ActorDown:
            raise NetnsError(
                f"colony {self.lender}, whose network colony {self.colony} shares, does not run "
                "in this instance; start it first"
            ) from None
        self.ctx.monitor(owner)
        self.ctx.run(self._hold, self.space)
        return None

    @on(Down)
    def gone(self, _msg: Down) -> None:
        raise NetnsError(f"the network of colony {self.lender}, which this one shares, has gone")

    async def _remove(self, space: Namespace) -> None:
        await sweep.kill_all(sweep.colony_of(self.instance, self.colony))


class ProcessesOwner(Actor):
    """In place of a namespace, where there is none: sees to it that no process of a colony
    outlives it. Those that got away from their parents are known by their environment.

    colony, instance
        Whose, as COLONY_NAME and COLONY_INSTANCE name them.
    """

    def __init__(self, colony: str, instance: str) -> None:
        self.colony = colony
        self.instance = instance

    async def start(self) -> Ignore | None:
        self.ctx.run(self._hold)
        return None

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await sweep.kill_all(sweep.colony_of(self.instance, self.colony))
