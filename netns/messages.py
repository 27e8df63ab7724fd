"""The rtnetlink requests of this package, as functions that build them.

Law: a request is complete when it is built (what, where, whose) and says in words what it does,
for its error's sake. pyroute2's message classes encode; nothing here is sent.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import AF_INET, AF_INET6
from typing import Any, Final

import msgspec

from netns import names
from netns.rtnl import ifaddrmsg, ifinfmsg, rtmsg

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWLINKPROP: Final = 108

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

_NEW: Final = NLM_F_CREATE | NLM_F_EXCL

_IFF_UP: Final = 1
_IFA_F_NODAD: Final = 0x02
_IFA_F_NOPREFIXROUTE: Final = 0x200
_EXT_MASK_NO_STATISTICS: Final = 8

_TABLE_MAIN: Final = 254
_UNICAST: Final = 1
_UNREACHABLE: Final = 7
_SCOPE_UNIVERSE: Final = 0
_SCOPE_LINK: Final = 253
_SCOPE_NOWHERE: Final = 255

# To encode a request takes some 60 µs, and most of a namespace's are those of the one before.
_remembered: Final = functools.lru_cache(maxsize=64)

_ABSENT: Final = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


class Request(msgspec.Struct, frozen=True):
    """One rtnetlink request, encoded but for its sequence number.

    doing
        What it does, in words, without a full stop.
    tolerated
        Error numbers that count as done (e.g. ENODEV for a deletion).
    """

    doing: str
    data: bytes
    tolerated: frozenset[int] = frozenset()


def _request(
    doing: str, kind: int, flags: int, message: Any, tolerated: frozenset[int] = frozenset()
) -> Request:
    message["header"]["type"] = kind
    message["header"]["flags"] = flags | NLM_F_REQUEST
    message.encode()
    return Request(doing, bytes(message.data), tolerated)


def _link(attributes: Sequence[tuple[str, Any]] = (), **fields: int) -> Any:
    message = ifinfmsg()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    return message


def create_veth(name: str, group: int, mtu: int, peer_namespace: int) -> Request:
    """A veth pair, its host end here, its peer `eth0` in the namespace behind a descriptor.

    The peer is made where it belongs: moving it later costs 15 ms of the kernel's grace periods.
    It cannot be created up (the pair is not one yet). Its index is 2 where it is the first device.
    """
    peer = {
        "index": names.INNER_INDEX,
        "attrs": [
            ("IFLA_IFNAME", names.INNER_INTERFACE),
            ("IFLA_MTU", mtu),
            ("IFLA_NET_NS_FD", peer_namespace),
        ],
    }
    data = {"attrs": [("VETH_INFO_PEER", peer)]}
    attributes: list[tuple[str, Any]] = [
        ("IFLA_IFNAME", name),
        ("IFLA_GROUP", group),
        ("IFLA_MTU", mtu),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}),
    ]
    flags = _NEW | NLM_F_ACK
    return _request(f"creating the veth pair {name}", RTM_NEWLINK, flags, _link(attributes))


def set_alias(index: int, alias: str) -> Request:
    message = _link([("IFLA_IFALIAS", alias)], index=index)
    return _request(f"setting the alias {alias}", RTM_NEWLINK, NLM_F_ACK, message)


def add_altname(index: int, altname: str) -> Request:
    """A second name. One that a dying predecessor still has is done without: it is for people."""
    message = _link([("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", altname)]})], index=index)
    flags = _NEW | NLM_F_APPEND | NLM_F_ACK
    tolerated = frozenset({errno.EEXIST, errno.EOPNOTSUPP})
    return _request(f"adding the name {altname}", RTM_NEWLINKPROP, flags, message, tolerated)


@_remembered
def set_up(index: int, what: str) -> Request:
    message = _link(index=index, flags=_IFF_UP, change=_IFF_UP)
    return _request(f"setting {what} up", RTM_NEWLINK, NLM_F_ACK, message)


def delete_link(name: str) -> Request:
    """Deletes a link, there or not. Waits for the kernel's grace period: 10 to 40 ms."""
    message = _link([("IFLA_IFNAME", name)])
    return _request(f"deleting the link {name}", RTM_DELLINK, NLM_F_ACK, message, _ABSENT)


def delete_group(group: int) -> Request:
    """Deletes every link of a group in one grace period."""
    message = _link([("IFLA_GROUP", group)])
    return _request(
        f"deleting the links of group {group:#x}", RTM_DELLINK, NLM_F_ACK, message, _ABSENT
    )


def dump_links() -> Request:
    message = _link([("IFLA_EXT_MASK", _EXT_MASK_NO_STATISTICS)])
    return _request("listing the links", RTM_GETLINK, NLM_F_DUMP, message)


@_remembered
def get_link(index: int) -> Request:
    message = _link([("IFLA_EXT_MASK", _EXT_MASK_NO_STATISTICS)], index=index)
    return _request(f"reading link {index}", RTM_GETLINK, 0, message)


@_remembered
def add_address(index: int, address: IPAddress) -> Request:
    """A single address (/32, /128), usable at once: no duplicate detection, no route with it."""
    message = ifaddrmsg()
    message["family"] = _family(address)
    message["prefixlen"] = address.max_prefixlen
    message["index"] = index
    flags = _IFA_F_NOPREFIXROUTE | (_IFA_F_NODAD if address.version == 6 else 0)
    message["attrs"] = [
        ("IFA_LOCAL", str(address)),
        ("IFA_ADDRESS", str(address)),
        ("IFA_FLAGS", flags),
    ]
    return _request(f"adding the address {address}", RTM_NEWADDR, _NEW | NLM_F_ACK, message)


@_remembered
def add_route(
    destination: IPNetwork,
    index: int,
    metric: int,
    *,
    source: IPAddress | None = None,
    gateway: IPAddress | None = None,
) -> Request:
    """A route through a link, by a gateway or (without one) to what is at its other end."""
    scope = _SCOPE_UNIVERSE if gateway or destination.version == 6 else _SCOPE_LINK
    message = _route(destination, _UNICAST, scope, metric)
    message["attrs"].append(("RTA_OIF", index))
    if source:
        message["attrs"].append(("RTA_PREFSRC", str(source)))
    if gateway:
        message["attrs"].append(("RTA_GATEWAY", str(gateway)))
    doing = f"adding the route to {destination}" + (f" by {gateway}" if gateway else "")
    return _request(doing, RTM_NEWROUTE, _NEW | NLM_F_ACK, message)


def delete_route(destination: IPNetwork, index: int, metric: int) -> Request:
    """Deletes a route through a link, there or not."""
    message = _route(destination, _UNICAST, _SCOPE_NOWHERE, metric)
    message["attrs"].append(("RTA_OIF", index))
    doing = f"deleting the route to {destination}"
    return _request(doing, RTM_DELROUTE, NLM_F_ACK, message, _ABSENT)


def claim_pool(network: IPNetwork, metric: int) -> Request:
    """An `unreachable` route for a whole pool, under the instance's own metric.

    It says in the kernel whose the pool is, and answers at once for a colony that is gone, where
    the host's default route would swallow the packet.
    """
    message = _route(network, _UNREACHABLE, _SCOPE_UNIVERSE, metric)
    return _request(f"claiming the pool {network}", RTM_NEWROUTE, _NEW | NLM_F_ACK, message)


def unclaim_pool(network: IPNetwork, metric: int) -> Request:
    """Takes `claim_pool` back, claimed or not."""
    message = _route(network, _UNREACHABLE, _SCOPE_NOWHERE, metric)
    doing = f"giving back the pool {network}"
    return _request(doing, RTM_DELROUTE, NLM_F_ACK, message, _ABSENT)


def dump_routes(family: int) -> Request:
    message = rtmsg()
    message["family"] = family
    return _request("listing the routes", RTM_GETROUTE, NLM_F_DUMP, message)


def _route(destination: IPNetwork, kind: int, scope: int, metric: int) -> Any:
    message = rtmsg()
    message["family"] = _family(destination)
    message["dst_len"] = destination.prefixlen
    message["table"] = _TABLE_MAIN
    message["proto"] = names.ROUTE_PROTOCOL
    message["scope"] = scope
    message["type"] = kind
    message["attrs"] = [("RTA_PRIORITY", metric)]
    if destination.prefixlen:
        message["attrs"].append(("RTA_DST", str(destination.network_address)))
    return message


def _family(address: IPAddress | IPNetwork) -> int:
    return AF_INET6 if address.version == 6 else AF_INET
