"""Who is whose neighbour, kept true as colonies come and go.

    neighbours      (one per instance)  every member; from them the permits and the hosts files
    member of X     (one per colony)    tells `neighbours` of X for as long as X lives

Law: `policy` says from all members what may pass and what each hosts file holds; whatever happens,
that is computed anew from all of them, and what differs is applied. Nothing is added or taken away
by hand, so nothing can be forgotten.

A colony's own member is told only when its permits and its hosts file are in place; its services
start after that.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from actors import Actor, ActorDown, Call, Cast, Down, Event, Ignore, Ref, Refused, on
from colony.events import Notice
from colony.network import policy
from colony.network.answers import Answers
from colony.network.policy import Member
from colony.network.ports import follow
from netns import Namespace, NetnsError
from netns.actors import (
    NETWORK,
    GetNamespace,
    GetNetwork,
    NamespaceOwner,
    NetworkOwner,
    namespace_name,
)
from netns.foreign import ForeignDrop

NEIGHBOURS: Final = "neighbours"
"""The name of `Neighbours` in its system."""

RESOLVE_AGAIN: Final = 30.0
"""Seconds after which the names in `allow` lists are looked up again, and others' packet rules."""


class MemberJoined(Event, frozen=True, kw_only=True):
    """A colony is there for its neighbours: `reaches` those, and is `reached_by` these."""

    colony: str
    reaches: tuple[str, ...]
    reached_by: tuple[str, ...]


class NamesChanged(Event, frozen=True, kw_only=True):
    """The addresses of the names in `allow` lists are others now. `missing` have none."""

    names: tuple[str, ...]
    missing: tuple[str, ...]


class Join(Call["Neighbours", None], frozen=True):
    """This colony is a member for as long as `owner` lives. Answered once all is in place."""

    owner: Ref[Any]
    member: Member
    space: Namespace


class GetMembers(Call["Neighbours", tuple[Member, ...]], frozen=True):
    """All members, by name."""


class ApplyAgain(Cast["Neighbours"], frozen=True):
    """The network's owner has begun a new life: its rules are as they were at the beginning."""


class Resolved(Cast["Neighbours"], frozen=True):
    """What names mean now."""

    addresses: dict[str, tuple[IPv4Address, ...]]


class _Neighbour(msgspec.Struct):
    owner: Ref[Any]
    member: Member
    space: Namespace
    hosts: dict[str, str] | None = None
    basis: tuple[Member, tuple[Member, ...]] | None = None


class Neighbours(Actor):
    """Keeps the permits and the hosts files of all colonies."""

    def __init__(self) -> None:
        self.known: dict[str, _Neighbour] = {}
        self.answers = Answers()
        self.drops: frozenset[ForeignDrop] = frozenset()
        self._resolve_now = anyio.Event()

    async def start(self) -> Ignore | None:
        network = self.ctx.system.named(NETWORK, NetworkOwner)
        follow(self.ctx, network.path, ApplyAgain())
        self.ctx.run(self._again_and_again, name="resolve")
        await self._look_around()
        return None

    @on(Join)
    async def join(self, msg: Join) -> None:
        member = msg.member
        self._refuse_taken(member)
        before = self.known.get(member.colony)
        self.known[member.colony] = _Neighbour(msg.owner, member, msg.space)
        try:
            await self._look_up(policy.wanted_names([member]))
            await self._apply()
        except NetnsError as error:
            del self.known[member.colony]
            if before is not None:
                self.known[member.colony] = before
            raise Refused(str(error)) from None
        self.ctx.monitor(msg.owner)
        self._tell(member)

    @on(GetMembers)
    def members(self, _msg: GetMembers) -> tuple[Member, ...]:
        return tuple(self.known[name].member for name in sorted(self.known))

    @on(Down)
    async def gone(self, msg: Down) -> None:
        """A colony has ended: its neighbours forget its names. Unless its member lives again."""
        gone = [n for n, each in self.known.items() if each.owner == msg.ref and not msg.ref.alive]
        for name in gone:
            del self.known[name]
        if gone:
            with suppress(ActorDown):
                await self._apply()

    @on(ApplyAgain)
    async def _again(self, _msg: ApplyAgain) -> None:
        with suppress(ActorDown):  # dead again: its next life will be told of, too
            await self._apply()

    @on(Resolved)
    async def _resolved(self, msg: Resolved) -> None:
        if self._remember(msg.addresses):
            with suppress(ActorDown):
                await self._apply()

    def _refuse_taken(self, member: Member) -> None:
        for name, other in self.known.items():
            taken = {name, other.member.hostname} - {None}
            if name != member.colony and member.colony == other.member.hostname:
                raise Refused(
                    f"{member.colony} is the hostname of colony {name} already; give that another"
                )
            if name != member.colony and member.hostname in taken:
                raise Refused(
                    f"hostname {member.hostname} is colony {name}'s already; give one of the two "
                    "another"
                )

    # -- applied -------------------------------------------------------------------------------

    async def _apply(self) -> None:
        network = await self.ctx.system.named(NETWORK, NetworkOwner).call(GetNetwork())
        members = [each.member for each in self.known.values()]
        servers = [s for s in await network.nameservers() if isinstance(s, IPv4Address)]
        allowed = policy.outward(members, self.answers.addresses, servers)
        await network.permit(policy.between(members), allowed)
        reach = policy.reach(members)
        for each in self.known.values():
            basis = (each.member, reach.get(each.member.colony, ()))
            if basis == each.basis or not each.space.is_open:
                continue
            hosts = policy.hosts(*basis)
            if hosts != each.hosts:
                await network.set_hosts(each.space, hosts)
            each.basis, each.hosts = basis, hosts

    def _tell(self, member: Member) -> None:
        others = [each.member for each in self.known.values()]
        self.ctx.system.publish(
            MemberJoined(
                at=self.ctx.now,
                colony=member.colony,
                reaches=tuple(o.colony for o in others if policy.ports_of(member, o)),
                reached_by=tuple(o.colony for o in others if policy.ports_of(o, member)),
            )
        )

    async def _look_around(self) -> None:
        """Says whose packet rules stand in the way, once for each: Docker may come later."""
        try:
            network = await self.ctx.system.named(NETWORK, NetworkOwner).call(GetNetwork())
            drops = await network.foreign_drops()
        except (ActorDown, NetnsError):
            return
        known, self.drops = self.drops, frozenset(drops)
        for drop in drops:
            if drop in known:
                continue
            self.ctx.system.publish(Notice(at=self.ctx.now, colony="", text=str(drop)))

    # -- names ---------------------------------------------------------------------------------

    async def _look_up(self, names: frozenset[str]) -> None:
        new = frozenset(name for name in names if name not in self.answers)
        if new:
            self._remember(await _resolve(new))

    def _remember(self, found: dict[str, tuple[IPv4Address, ...]]) -> bool:
        """Whether any name means anything else now; that is told."""
        if not self.answers.take(found, self.ctx.now):
            return False
        self.ctx.system.publish(
            NamesChanged(
                at=self.ctx.now,
                names=tuple(sorted(found)),
                missing=tuple(sorted(name for name, addresses in found.items() if not addresses)),
            )
        )
        return True

    async def _again_and_again(self) -> None:
        while True:
            await anyio.sleep(RESOLVE_AGAIN)
            await self._look_around()
            names = policy.wanted_names([each.member for each in self.known.values()])
            if names:
                self.ctx.ref.tell(Resolved(await _resolve(names)))


async def _resolve(names: frozenset[str]) -> dict[str, tuple[IPv4Address, ...]]:
    """What the host's resolver says, of all at once: a name server that does not answer costs
    seconds, and would cost them for each name."""
    found: dict[str, tuple[IPv4Address, ...]] = {}

    async def ask(name: str) -> None:
        found[name] = await anyio.to_thread.run_sync(_addresses, name)

    async with anyio.create_task_group() as tasks:
        for name in sorted(names):
            tasks.start_soon(ask, name)
    return found


def _addresses(name: str) -> tuple[IPv4Address, ...]:
    """Blocks."""
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({IPv4Address(answer[4][0]) for answer in answers}))


# -- one colony's ----------------------------------------------------------------------------------


class JoinAgain(Cast["ColonyMember"], frozen=True):
    """`neighbours` has begun a new life and knows of nobody."""


class ColonyMember(Actor):
    """Tells the neighbours of a colony for as long as it lives.

    colony, services, network, hostname, allow_from, allow, direct
        As for `Member`.
    """

    def __init__(
        self,
        colony: str,
        services: tuple[str, ...] = (),
        network: str | None = None,
        hostname: str | None = None,
        allow_from: tuple[str, ...] | None = None,
        allow: tuple[str, ...] | None = None,
        direct: bool = True,
    ) -> None:
        self.colony = colony
        self.rest = (services, network, hostname, allow_from, allow, direct)

    async def start(self) -> Ignore | None:
        neighbours = self.ctx.system.named(NEIGHBOURS, Neighbours)
        follow(self.ctx, neighbours.path, JoinAgain())
        await self._join()
        return None

    @on(JoinAgain)
    async def _again(self, _msg: JoinAgain) -> None:
        with suppress(ActorDown):  # dead again: its next life will be told of, too
            await self._join()

    async def _join(self) -> None:
        owner = self.ctx.system.named(namespace_name(self.colony), NamespaceOwner)
        space = await owner.call(GetNamespace())
        member = Member(self.colony, space.address.v4, *self.rest)
        neighbours = self.ctx.system.named(NEIGHBOURS, Neighbours)
        await neighbours.call(Join(self.ctx.ref, member, space))
