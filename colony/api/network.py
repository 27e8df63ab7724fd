"""The network as the API knows it: forwards, focus, networks, what may pass, whether one reaches
another. The operations; their types are in `network_types`, the routes in `routes`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio

from actors import ActorDown, Call, Refused
from colony.api.network_types import (
    Focused,
    Forwarded,
    KnownName,
    Listening,
    NamedNetwork,
    Names,
    NetworkGroup,
    NetworkMember,
    Ping,
    Pinged,
    Ports,
    Rules,
)
from colony.api.problems import ApiError, conflict, invalid, unknown
from colony.api.security import check_place
from colony.api.types import Advice

if TYPE_CHECKING:
    from colony.api.operations import Ask
    from colony.host import Host
    from colony.network.policy import Member
    from colony.network.ports import Standing
    from colony.running import RunningColony

PING_SECONDS: Final = 3.0


class NetworkOperations:
    """The part of `Operations` that is about the network."""

    host: Host

    async def network_ports(self, ask: Ask) -> Ports:
        from colony.network.ports import GetFocus, GetForwards

        forwards = await self._ports(GetForwards())
        shown = sorted(forwards, key=lambda each: (each.colony, each.host_port))
        return Ports(
            focus=await self._ports(GetFocus()),
            forwards=tuple(self._forwarded(each) for each in shown),
            listening=await self._listening(),
        )

    async def list_networks(self, ask: Ask) -> tuple[NetworkGroup, ...]:
        from colony.network.ports import GetForwards

        members, subnets = await self._members(), await self._subnets()
        standing = await self._ports(GetForwards()) if members else ()
        names = sorted({*(member.network or "" for member in members), *subnets})
        return tuple(
            NetworkGroup(
                name,
                tuple(
                    _view(each, members, standing)
                    for each in members
                    if (each.network or "") == name
                ),
                subnets.get(name),
            )
            for name in names
        )

    async def create_network(self, ask: Ask) -> NamedNetwork:
        from colony.config.values import Refused as Wrong
        from colony.config.values import name as check_name
        from colony.network.named import CreateNetwork, read_subnet

        try:
            name = check_name(ask.body.name)
        except Wrong as wrong:
            raise invalid([Advice("name", f"a network's name {wrong.message}")]) from None
        try:
            if ask.body.subnet is not None:
                read_subnet(ask.body.subnet)
        except ValueError as error:
            raise invalid([Advice("subnet", str(error))]) from None
        subnet = await self._named(CreateNetwork(name, ask.body.subnet))
        return NamedNetwork(name, subnet)

    async def remove_network(self, ask: Ask) -> NamedNetwork:
        from colony.network.named import RemoveNetwork

        name = ask.names["network"]
        subnets = await self._subnets()
        if name not in subnets:
            raise unknown("network", name, sorted(subnets))
        return NamedNetwork(name, await self._named(RemoveNetwork(name)))

    async def get_network(self, ask: Ask) -> NetworkGroup:
        groups = {group.name: group for group in await self.list_networks(ask)}
        name = ask.names["network"]
        if name not in groups:
            raise unknown("network", name, [each for each in groups if each])
        return groups[name]

    async def network_rules(self, ask: Ask) -> Rules:
        from netns.actors import NETWORK, GetNetwork, NetworkOwner
        from netns.names import table_name

        table = f"inet {table_name(self.host.parts.instance.id)}"
        if not self.host.parts.isolated:
            return Rules("", (), ())
        network = await self.host.system.named(NETWORK, NetworkOwner).call(GetNetwork())
        peers, outward = network.permitted
        return Rules(table, tuple(sorted(map(str, peers))), tuple(sorted(map(str, outward))))

    async def network_names(self, ask: Ask) -> Names:
        from colony.network.policy import reach
        from colony.resolver import resolves
        from proxy.actors import DNS, DnsOwner, WhereIsDns
        from proxy.routes import LOCAL, SUFFIXES

        port, members = 0, await self._members()
        if self.host.parts.dns is not None:
            try:
                port = await self.host.system.named(DNS, DnsOwner).call(WhereIsDns())
            except ActorDown as down:
                raise ApiError("failed", f"the name server is down just now: {down}") from None
        reached = reach(members)
        names = tuple(
            KnownName(
                name,
                str(each.address),
                each.colony,
                tuple(source for source, targets in sorted(reached.items()) if each in targets),
            )
            for each in members
            for name in each.names
        )
        kind, address = self.host.modes.dns, "127.0.0.1" if port else ""
        return Names(kind, address, port, SUFFIXES, await resolves(LOCAL), names)

    async def add_forward(self, ask: Ask) -> Forwarded:
        from colony.network.forms import parse
        from colony.network.ports import AddForward

        colony = self.colony(ask.names["colony"])
        try:
            forward = parse(ask.body.ports)
        except ValueError as error:
            raise invalid([Advice("ports", str(error))]) from None
        return self._forwarded(await self._ports(AddForward(colony.name, forward)))

    async def remove_forward(self, ask: Ask) -> Forwarded:
        from colony.network.ports import RemoveForward

        colony, port = self.colony(ask.names["colony"]), ask.names["port"]
        if not port.isascii() or not port.isdigit():
            raise invalid([Advice("port", f"a port is a number, got: {port!r}")])
        wanted = RemoveForward(colony.name, int(port), ask.query.protocol)
        return self._forwarded(await self._ports(wanted))

    async def focus(self, ask: Ask) -> Focused:
        from colony.network.ports import Focus

        if ask.body.colony:
            self.colony(ask.body.colony)
        found = await self._ports(Focus(ask.body.colony))
        return Focused(found.colony, found.ports, found.missed)

    async def ping(self, ask: Ask) -> Pinged:
        from netns.probing import try_tcp

        body: Ping = ask.body
        source, target = self.colony(body.source), self.colony(body.target)
        parts = self.host.parts
        place = parts.places.place(source.name)
        if not parts.isolated or place is None or target.address is None:
            there = source if place is None else target
            raise conflict(
                f"colony {there.name} has no network of its own", "both colonies must have one"
            )
        ports = [each.port for each in target.config.services.values() if each.port]
        port = body.port or (ports[0] if ports else 9)
        began = time.perf_counter()
        error = await try_tcp(parts.thread, place, target.address, port, PING_SECONDS)
        shut = await self._shut(_lives_in(source), _lives_in(target), port)
        ms = round((time.perf_counter() - began) * 1000, 3)
        # Where the rules deny, it is refused just as where nobody listens.
        refused = isinstance(error, ConnectionRefusedError) and not shut
        ok = error is None or refused
        found = "" if error is None else error.strerror or str(error)
        why = "" if ok else shut or f"{found}: see colony net rules, and others' firewalls"
        return Pinged(*(source.name, target.name, target.address, port), ok, error is None, ms, why)

    def check_caller(self, pid: int) -> None:
        """Raises `ApiError` (403) for a process in a colony that may not use the API. From any
        thread."""
        peer, own = _network_of(pid), _network_of(os.getpid())
        name = None if peer is None else self.host.parts.places.colony_in(peer)
        running = None if name is None else self.host.colonies.get(name)
        allowed = running is not None and running.config.network.policy.api
        check_place(peer, own or 0, name, allowed=allowed)

    # -- how -----------------------------------------------------------------------------------

    def colony(self, name: str) -> Any:
        raise NotImplementedError  # `Operations` has it

    async def _ports(self, message: Call[Any, Any]) -> Any:
        from colony.network.ports import PORTS, HostPorts

        try:
            return await self.host.system.named(PORTS, HostPorts).call(message)
        except Refused as refused:
            raise conflict(str(refused), "see them: colony net ports") from None
        except ActorDown as down:
            raise ApiError("failed", f"the host's ports have no owner just now: {down}") from None

    async def _named(self, message: Call[Any, Any]) -> Any:
        from colony.network.named import NETWORKS, NamedNetworks

        if not self.host.parts.isolated:
            raise conflict("colonies are on the host's network here", "see why: colony doctor")
        try:
            return await self.host.system.named(NETWORKS, NamedNetworks).call(message)
        except Refused as refused:
            raise conflict(str(refused), "see them: colony net list") from None
        except ActorDown as down:
            raise ApiError("failed", f"the networks have no owner just now: {down}") from None

    async def _subnets(self) -> dict[str, str]:
        from colony.network.named import GetNetworks

        return await self._named(GetNetworks()) if self.host.parts.isolated else {}

    def _forwarded(self, standing: Standing) -> Forwarded:
        forward = standing.forward
        return Forwarded(
            colony=standing.colony,
            service=self._service_at(standing.colony, forward.port, forward.protocol),
            addresses=standing.addresses,
            host_port=standing.host_port,
            port=forward.port,
            protocol=forward.protocol,
            origin=standing.origin,
        )

    def _service_at(self, colony: str, port: int, protocol: str) -> str | None:
        running = self.host.colonies.get(colony)
        if running is None or protocol != "tcp":
            return None
        services = running.config.services.values()
        return next((each.name for each in services if each.port == port), None)

    async def _listening(self) -> tuple[Listening, ...]:
        from colony.network.watching import GetListeners, PortWatch, by_port, watch_name

        found: list[Listening] = []
        for name, running in self.host.colonies.items():
            if running.ended or not self.host.parts.isolated:
                continue
            with anyio.move_on_after(1.0):
                try:
                    watch = self.host.system.named(watch_name(name), PortWatch)
                    seen = by_port(await watch.call(GetListeners()))
                except ActorDown:
                    continue
                found += [
                    Listening(name, self._service_at(name, port, protocol), port, protocol, at)
                    for (port, protocol), at in seen.items()
                ]
        return tuple(found)

    async def _shut(self, source: str, target: str, port: int) -> str:
        """Why policy keeps one colony from another, in words; "" if it does not."""
        from colony.network.policy import why_not

        members = {each.colony: each for each in await self._members()}
        if source not in members or target not in members:
            return ""
        return why_not(members[source], members[target], port)

    async def _members(self) -> tuple[Member, ...]:
        from colony.network.neighbours import NEIGHBOURS, GetMembers, Neighbours

        if not self.host.parts.isolated:
            return ()
        try:
            return await self.host.system.named(NEIGHBOURS, Neighbours).call(GetMembers())
        except ActorDown:
            return ()


def _network_of(pid: int) -> int | None:
    """The inode of a process's network namespace; None if that may not be known."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


def _lives_in(colony: RunningColony) -> str:
    """The colony whose network it has, which is another's with mode share."""
    return colony.config.network.share or colony.name


def _view(
    member: Member, members: tuple[Member, ...], standing: Iterable[Standing]
) -> NetworkMember:
    from colony.network.policy import ports_of

    reaches = tuple(each.colony for each in members if ports_of(member, each))
    ports = tuple(
        f"{each.host_port}:{each.forward.port}/{each.forward.protocol}"
        for each in standing
        if each.colony == member.colony
    )
    return NetworkMember(member.colony, str(member.address), member.names, reaches, ports)
