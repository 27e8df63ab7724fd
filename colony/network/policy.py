"""Who may reach whom, and under what names. Pure.

    B lets A in      B has `allow_from`: A is in it; else: both are of the same `network`
    A goes to B      A has no `allow`: every port of B; else: the ports that `allow` names for B
    both             A's packets for B pass, and A's hosts file has B's names

A colony of no network without `allow_from` lets nobody in: that is the default.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

import msgspec

from colony.network import egress
from netns.permits import EVERY_PORT, Permit

SUFFIX: Final = "colony.local"


class Member(msgspec.Struct, frozen=True):
    """A colony, as its neighbours know it. The fields are those of `[network]`.

    direct
        Whether its own packets leave the machine; not with `egress` none or proxy.
    """

    colony: str
    address: IPv4Address
    services: tuple[str, ...] = ()
    network: str | None = None
    hostname: str | None = None
    allow_from: tuple[str, ...] | None = None
    allow: tuple[str, ...] | None = None
    direct: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """By which it is known to others, itself first."""
        own = [self.colony, *([self.hostname] if self.hostname else [])]
        short = [*own, *(f"{service}.{self.colony}" for service in self.services)]
        return tuple(dict.fromkeys(name for each in short for name in (each, f"{each}.{SUFFIX}")))


def lets_in(target: Member, source: Member) -> bool:
    """Whether `target` wants connections from `source`."""
    if target.colony == source.colony:
        return False
    if target.allow_from is not None:
        return source.colony in target.allow_from
    return target.network is not None and target.network == source.network


def ports_of(source: Member, target: Member) -> tuple[tuple[int, int], ...]:
    """The ranges of ports at which `source` may reach `target`; () for none."""
    if not lets_in(target, source):
        return ()
    if source.allow is None:
        return (EVERY_PORT,)
    found = [egress.parse(text) for text in source.allow]
    meant = {each.port for each in found if _means(each, target)}
    return (EVERY_PORT,) if 0 in meant else tuple((port, port) for port in sorted(meant))


def why_not(source: Member, target: Member, port: int) -> str:
    """Why `source` may not reach `target` at this port, and what would let it; "" if it may."""
    here, there = source.colony, target.colony
    if not lets_in(target, source):
        if target.allow_from is not None:
            return f"{there} lets in {', '.join(target.allow_from) or 'nobody'} (its allow_from)"
        return (
            f"{there} lets nobody in but its own network; name {here} in its allow_from, or give "
            "both one `network`"
        )
    if any(low <= port <= high for low, high in ports_of(source, target)):
        return ""
    return f"{here} goes only where its `allow` says, and {there}:{port} is not in it"


def _means(destination: egress.Destination, target: Member) -> bool:
    if destination.network is not None:
        return target.address in destination.network
    return any(destination.covers(name) for name in target.names)


def reach(members: Iterable[Member]) -> dict[str, tuple[Member, ...]]:
    """Whom each colony may reach, by its name; nothing for one that reaches nobody.

    Not every pair is looked at: with 500 colonies that would be a quarter of a million whenever one
    comes or goes.
    """
    known = tuple(sorted(members, key=lambda each: each.colony))
    named = {each.colony: each for each in known}
    together: dict[str, list[Member]] = {}
    for each in known:
        if each.network is not None:
            together.setdefault(each.network, []).append(each)
    found: dict[str, list[Member]] = {}
    for target in known:
        if target.allow_from is not None:
            names = dict.fromkeys(target.allow_from)
            sources = [named[name] for name in names if name in named]
        else:
            sources = together.get(target.network or "", [])
        for source in sources:
            if ports_of(source, target):
                found.setdefault(source.colony, []).append(target)
    return {source: tuple(targets) for source, targets in found.items()}


@functools.lru_cache(maxsize=4096)
def _alone(address: IPv4Address) -> IPv4Network:
    """Kept: making one takes 20 µs, and all are wanted whenever a colony comes or goes."""
    return IPv4Network(address)


def between(members: Iterable[Member]) -> frozenset[Permit]:
    """What may pass from colony to colony."""
    known = {each.colony: each for each in members}
    return frozenset(
        Permit(known[source].address, _alone(target.address), ports)
        for source, targets in reach(known.values()).items()
        for target in targets
        for ports in ports_of(known[source], target)
    )


def hosts(me: Member, members: Iterable[Member]) -> dict[str, str]:
    """The names in a colony's hosts file with their addresses: its own on 127.0.0.1, and those of
    the neighbours that it may reach. A name that several have is the first one's, its own first;
    `localhost` is nobody else's, even where a colony is called so."""
    found: dict[str, str] = {}
    for name in (*me.names, *(n for s in me.services for n in (s, f"{s}.{SUFFIX}"))):
        if name != me.colony:  # it stands beside `localhost` already
            found[name] = "127.0.0.1"
    for other in sorted(members, key=lambda each: each.colony):
        if ports_of(me, other):
            for name in other.names:
                if name not in (me.colony, "localhost"):
                    found.setdefault(name, str(other.address))
    return found


def wanted_names(members: Iterable[Member]) -> frozenset[str]:
    """The host names in all `allow` lists that are no colony's: to be resolved."""
    known = tuple(members)
    names = {name for member in known for name in member.names}
    return frozenset(
        destination.host
        for member in known
        if member.direct
        for text in member.allow or ()
        if (destination := egress.parse(text)).network is None and destination.host not in names
    )


def outward(
    members: Iterable[Member],
    resolved: Mapping[str, Sequence[IPv4Address]],
    nameservers: Iterable[IPv4Address] = (),
) -> frozenset[Permit]:
    """What may leave the machine, of those who have an `allow` list; always to a name server."""
    servers = tuple(nameservers)
    found: set[Permit] = set()
    for member in members:
        if member.allow is None or not member.direct:
            continue
        places: dict[int, list[IPv4Network]] = {53: [IPv4Network(server) for server in servers]}
        for text in member.allow:
            place = egress.parse(text)
            networks = [place.network] if place.network is not None else []
            if place.network is None:
                networks = [IPv4Network(address) for address in resolved.get(place.host, ())]
            places.setdefault(place.port, []).extend(networks)
        found |= _disjoint(member.address, places)
    return frozenset(found)


def _disjoint(source: IPv4Address, places: dict[int, list[IPv4Network]]) -> set[Permit]:
    """The same without two that overlap, which the packet filter's sets do not take."""
    everywhere = list(collapse_addresses(places.pop(0, [])))
    found = {Permit(source, network, EVERY_PORT) for network in everywhere}
    for port, networks in places.items():
        left = list(collapse_addresses(networks))
        for hole in everywhere:
            left = [part for network in left for part in _without(network, hole)]
        found |= {Permit(source, network, (port, port)) for network in left}
    return found


def _without(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if network.subnet_of(hole):
        return []
    return list(network.address_exclude(hole)) if hole.subnet_of(network) else [network]
