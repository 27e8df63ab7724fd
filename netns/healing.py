"""What was taken away behind Colony's back is put back, while the colony's processes run on.

    deleted                        put back by
    ─────────────────────────────  ───────────────────────────────────────────────────────────
    the pin (`ip netns delete`)    a new pin of the same namespace, which we hold open
    the veth pair                  a new pair, with the same addresses, on the same namespace
    a route, on the host           the route
    a route or address, inside     all of them; if eth0 is down or gone, a new pair
    the inner table, a rule of it  the table, with its detours
    the hosts file's text          the text, written where the colony sees it
    the host's table, a rule of    the table, with everybody who was in its sets
    it, an element of a set
    the host's forwarding          the setting, as long as colonies go out by it

Law: looking changes nothing, and what is whole is not touched. Everything here is what creation
does, step by step; a namespace itself cannot be deleted while it is held open, so no process ever
needs to be restarted.

The kernel tells of links, routes and rules that go (`Disturbances`); of files it does not, so
whoever tends a network also looks now and then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from ipaddress import IPv4Address
from typing import Final

import anyio
import msgspec

from netns import messages, names, namespace, netlink, nfnetlink, pins, ruleset
from netns.errors import NetlinkError
from netns.host import Host
from netns.messages import RTM_DELLINK, RTM_DELROUTE, IPAddress
from netns.namespace import Build, Namespace, Plan
from netns.netlink import Netlink, Route
from netns.nfnetlink import Packets
from netns.thread import NetworkThread

LOOK_AGAIN: Final = 5.0
SELDOM: Final = 30.0
"""Seconds between two looks when the kernel tells nothing: at first, and once nothing has been
amiss for long. An instance of many colonies that nobody disturbs would be busy with looking."""

_SLACKENS: Final = 1.5

GATHERING: Final = 0.05
"""Seconds after something was told: what goes together is looked at together."""

_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_ROUTE: Final = 0x40
_NETLINK_NETFILTER: Final = 12
_NFTABLES_GROUP: Final = 7
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_NFT: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NFT_GONE: Final = frozenset({_NFT | 2, _NFT | 5, _NFT | 8})  # a table, a chain, a rule
_LINK_SIZE: Final = 16
_IFLA_IFNAME: Final = 3
_ROUTE_SIZE: Final = 12
_PROTOCOL_AT: Final = 5
_RTA_DST: Final = 1
_RTA_PRIORITY: Final = 6
_NFT_SIZE: Final = 4
_NFTA_TABLE: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_BUFFER: Final = 1 << 16


class Gone(msgspec.Struct):
    """What of an instance's things on the host went, whoever took it.

    links, addresses
        The host's ends of veth pairs, and the colonies' addresses whose routes.
    rules
        A table, a chain or a rule of its packet rules.
    more
        More was told than fitted: anything may have gone.
    """

    links: set[str] = msgspec.field(default_factory=set)
    addresses: set[str] = msgspec.field(default_factory=set)
    rules: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.links or self.addresses or self.rules or self.more)


class Disturbances:
    """Hears of an instance's links, routes and packet rules that go where its maker stands, which
    is on the network thread; its maker's to close. What others lose is passed over."""

    __slots__ = ("_metric", "_prefix", "_sockets", "_table")

    def __init__(self, instance: str) -> None:
        self._prefix = names.link_prefix(instance)
        self._table = names.table_name(instance)
        self._metric = struct.pack("=I", names.instance_number(instance))
        route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        rules = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._sockets = (route, rules)
        route.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_ROUTE))
        rules.bind((0, 0))
        rules.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
        for sock in self._sockets:
            sock.setblocking(False)

    def __repr__(self) -> str:
        return f"<Disturbances fds={[sock.fileno() for sock in self._sockets]}>"

    def close(self) -> None:
        """Closing twice is no error."""
        for sock in self._sockets:
            sock.close()

    async def next(self, gone: Gone) -> None:
        """Waits until something has gone, and a moment longer: what goes together is told of
        together. It is in `gone` even when the caller is cancelled meanwhile."""
        async with anyio.create_task_group() as tasks:

            async def listen(sock: socket.socket) -> None:
                while not gone:
                    self._read(sock, gone)
                    if not gone:
                        await anyio.wait_readable(sock)
                tasks.cancel_scope.cancel()

            for sock in self._sockets:
                tasks.start_soon(listen, sock)
        await anyio.sleep(GATHERING)
        for sock in self._sockets:
            self._read(sock, gone)

    def _read(self, sock: socket.socket, gone: Gone) -> None:
        while True:
            try:
                data = sock.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError:  # more was told than fits
                gone.more = True
                continue
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
                self._note(kind, data[offset + _HEADER.size : offset + length], gone)
                offset += max((length + 3) & ~3, _HEADER.size)

    def _note(self, kind: int, body: bytes, gone: Gone) -> None:
        if kind == RTM_DELLINK:
            link = _text(body[_LINK_SIZE:], _IFLA_IFNAME)
            if link.startswith(self._prefix):
                gone.links.add(link)
        elif kind == RTM_DELROUTE and body[_PROTOCOL_AT] == names.ROUTE_PROTOCOL:
            parts = dict(netlink.attributes(body[_ROUTE_SIZE:]))
            address = parts.get(_RTA_DST, b"")
            if len(address) == 4 and parts.get(_RTA_PRIORITY) == self._metric:
                gone.addresses.add(str(IPv4Address(address)))
        elif kind in _NFT_GONE and _text(body[_NFT_SIZE:], _NFTA_TABLE) == self._table:
            gone.rules = True


def slackened(pause: float) -> float:
    """Seconds until the next look after one, `pause` seconds on, that found nothing amiss."""
    return min(pause * _SLACKENS, SELDOM)


def _text(attributes: bytes, kind: int) -> str:
    value = dict(netlink.attributes(attributes)).get(kind, b"")
    return value.rstrip(b"\0").decode(errors="replace")


def heal(
    thread: NetworkThread, host: Host, space: Namespace, *, thorough: bool = True
) -> list[str]:
    """Puts back what is missing of a colony's network; says what, in words. On the network
    thread. Not `thorough`: looks at what is on the host alone."""
    if not space.is_open:
        return []
    plan = Plan(space.colony, space.address, "", "", space.egress, space.mtu)
    build = Build(thread, host, plan, space)
    repaired: list[str] = []
    directory = host.instance.pins
    if not _is_pinned(space, directory):
        with host.views.own_change():
            pins.remove(space.colony, directory)  # another's mount, or an empty file
        namespace.pin(build)
        repaired.append(f"the name {space.name}")
    if not netlink.exists(space.link):
        _relink(build)
        repaired.append(f"the veth pair {space.link}")
    elif not _has_routes(host, space):
        _reroute(build)
        repaired.append(f"the route to {space.address.v4}")
    elif thorough and _reroute_inside(build):
        repaired.append("the colony's own routes")
    if not thorough:
        return repaired
    if space.redirect and _redirect_again(build):
        repaired.append("the colony's own packet rules")
    if rewrite_hosts(thread, space, space.hosts):
        repaired.append("the hosts file")
    space.covered = host.views.cover_new(thread, space, space.covered)
    return repaired


def rewrite_hosts(thread: NetworkThread, space: Namespace, text: str) -> bool:
    """Gives the colony's hosts file this text; whether it had another. On the network thread.

    In the colony's own view and in place: a mount holds on to the file, whatever became of its name
    on the host.
    """
    with thread.inside(space), contextlib.suppress(FileNotFoundError):
        path = os.path.realpath("/etc/hosts")
        status = os.stat(path)
        if (status.st_dev, status.st_ino) != space.hosts_file:
            return False  # a machine without such a file: what is seen here would be the host's
        with open(path, errors="replace") as file:
            if file.read() == text:
                return False
        with open(path, "w") as file:
            file.write(text)
        return True
    return False


def _redirect_again(build: Build) -> bool:
    """Makes the namespace's own table anew if anything of it is missing."""
    space = build.space
    with build.inside(), Packets() as packets:
        if _is_whole(space, packets):
            return False
        table, udp = names.INNER_TABLE, space.udp_detours
        packets.apply(
            f"putting the packet rules of {space.name} back",
            *(nfnetlink.add_table(table), nfnetlink.delete_table(table)),
            *ruleset.inner_table(),
            *(ruleset.add_detour(port, other) for port, other in space.detours.items()),
            *(() if udp is None else ruleset.udp_detours()),
            *(ruleset.add_detour(port, other, "udp") for port, other in (udp or {}).items()),
        )
        return True


def _is_whole(space: Namespace, packets: Packets) -> bool:
    """Whether the namespace's own table has all its rules and detours."""
    rules, udp = ruleset.INNER_RULES, space.udp_detours
    if udp is not None:
        rules += 1
    return (
        packets.count_rules(names.INNER_TABLE, ruleset.INNER_CHAIN) == rules
        and ruleset.inner_detours(packets) == space.detours
        and (udp is None or ruleset.inner_detours(packets, "udp") == udp)
    )


def _is_pinned(space: Namespace, directory: str) -> bool:
    try:
        return os.stat(pins.path_of(space.colony, directory)).st_ino == space.inode
    except OSError:
        return False


def _has_routes(host: Host, space: Namespace) -> bool:
    index = netlink.index_of(space.link)
    own: list[IPAddress] = [space.address.v4, *([space.address.v6] if space.ipv6 else [])]
    return all(_leads(host.netlink.route_to(address), index) for address in own)


def _leads(route: Route | None, index: int) -> bool:
    return route is not None and (route.protocol, route.link) == (names.ROUTE_PROTOCOL, index)


def _reroute(build: Build) -> None:
    host, space = build.host, build.space
    index, metric, address = netlink.index_of(space.link), host.instance.number, space.address
    ways = [messages.add_route(address.v4, index, metric, source=address.gateway4)]
    if space.ipv6:
        ways.append(messages.add_route(address.v6, index, metric, source=address.gateway6))
    try:
        host.netlink.send(*map(_or_there, ways))
    except NetlinkError:  # the link is down, or has lost its address: a new one has all
        host.netlink.send(messages.delete_link(space.link))
        _relink(build)


def _or_there(request: messages.Request) -> messages.Request:
    return msgspec.structs.replace(request, tolerated=frozenset({errno.EEXIST}))


def _reroute_inside(build: Build) -> bool:
    """Gives the namespace its addresses and ways again if it has lost its way to the host."""
    with build.inside():
        build.inner = Netlink()
        try:
            build.index = netlink.index_of(names.INNER_INTERFACE)
            gateway = build.inner.route_to(build.plan.address.gateway4)
            out = build.inner.route_to(build.host.pool.v4[-1])  # nobody's
            if _leads(gateway, build.index) and _leads(out, build.index):
                return False
            build.inner.send(*map(_or_there, namespace.inner_routes(build)))
            return True
        except NetlinkError:  # eth0 is down, or gone, or another's: a new pair has all
            if netlink.exists(names.INNER_INTERFACE):
                build.inner.send(messages.delete_link(names.INNER_INTERFACE))
        finally:
            build.leave()
    build.host.netlink.send(messages.delete_link(build.space.link))
    _relink(build)
    return True


def _relink(build: Build) -> None:
    with build.inside():
        build.inner = Netlink()
    try:
        namespace.make_link(build)
        with build.inside():
            build.index = netlink.index_of(names.INNER_INTERFACE)
        namespace.configure_host_side(build)
        namespace.set_inside_up(build)
        namespace.route_inside(build)
    finally:
        build.leave()
