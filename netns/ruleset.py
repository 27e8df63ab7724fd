"""The packet filter's rules, as the data that libnftables reads (its JSON).

Law: rules are made once and do not grow with the colonies; what changes is one element in a set.

Inside a namespace, table `inet colony`:

    prerouting   from eth0, for an address of ours, tcp or udp  →  dnat to 127.0.0.1

so that a dev server that listens on 127.0.0.1 alone is reached by the colony's address; one that
listens on 0.0.0.0 is as well. No rule can lead to a server on ::1 alone from outside; so who sees
one (`listeners`) makes a port of its own on 127.0.0.1 that leads there, and says so in the map
`detours`:

    prerouting   … tcp port in `detours`                    →  dnat to 127.0.0.1, that port

The same for UDP, `udp_detours`, is made when the first one is wanted: hardly anybody ever does, and
each colony would pay for it.

On the host, table `inet colony_{instance}`; `vc{instance}*` are the host ends of its veth pairs,
`nat4` and `nat6` the addresses of its colonies that may reach out:

    input        what answers us passes; from a colony outside nat4/nat6 the rest is rejected
    forward      what answers, or was published by dnat, passes
                 from a colony to another:  what is in `peers4` passes, the rest is rejected
                 from a colony elsewhere:   what is in `allow4` passes, and all from nat4/nat6
                 to a colony:    the rest is dropped (a machine on the LAN may not route into one)
    postrouting  from nat4/nat6/some4, leaving by another door than a colony's  →  masquerade

    allowed, denied   where the others lead: accepted or rejected, and told of (`packet_log`)

Rejected is TCP by a reset, which looks as if nobody listened, and all else by ICMP: of that the
kernel sends about one a second to one address, and a connection would hang meanwhile.

`peers4` and `allow4` hold (from, to, port), see `permits`; `some4` those who are in `allow4`.

An `accept` here does not overrule another table's `drop` at the same hook (Docker, ufw): then the
colonies have no egress. Between the host and a colony nothing is forwarded, so that always works.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from socket import IPPROTO_TCP, IPPROTO_UDP
from typing import Any, Final, Literal

from netns import names, nfnetlink, packet_log

Command = dict[str, Any]
Expression = dict[str, Any]

FAMILY: Final = "inet"
SETS: Final[dict[str, Any]] = {
    "nat4": "ipv4_addr",
    "nat6": "ipv6_addr",
    "some4": "ipv4_addr",
    "peers4": ("ipv4_addr", "ipv4_addr", "inet_service"),
    "allow4": ("ipv4_addr", "ipv4_addr", "inet_service"),
}

# chain → (type, hook, priority)
INNER_CHAIN: Final = "prerouting"
_HOST_HOOKS: Final = {
    "input": ("filter", "input", 0),
    "forward": ("filter", "forward", 0),
    "postrouting": ("nat", "postrouting", 100),
}
# How many links' budgets are kept apart, and for how many seconds after their last use.
_LINKS: Final = 65_535
_REMEMBERED: Final = 60

_ALLOWED: Final = "allowed"
_DENIED: Final = "denied"
HOST_CHAINS: Final = (_ALLOWED, _DENIED, *_HOST_HOOKS)

Transport = Literal["tcp", "udp"]

_DETOURS: Final[Mapping[Transport, str]] = {"tcp": "detours", "udp": "udp_detours"}
_PROTOCOLS: Final[Mapping[Transport, int]] = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP}
_HERE: Final = bytes((127, 0, 0, 1))

_ACCEPT: Final[Expression] = {"accept": None}
_DROP: Final[Expression] = {"drop": None}
_REJECT: Final[Expression] = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
_RESET: Final[Expression] = {"reject": {"type": "tcp reset"}}
_MASQUERADE: Final[Expression] = {"masquerade": None}


def _match(left: Expression, right: Any, op: str = "==") -> Expression:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str, right: Any, op: str = "==") -> Expression:
    return _match({"meta": {"key": key}}, right, op)


def _source(protocol: str, right: str, op: str = "==") -> Expression:
    return _match({"payload": {"protocol": protocol, "field": "saddr"}}, right, op)


def _permitted(name: str) -> Expression:
    """From whom, to whom and to which port, all three in a set."""
    parts = (("ip", "saddr"), ("ip", "daddr"), ("th", "dport"))
    key = [{"payload": {"protocol": protocol, "field": field}} for protocol, field in parts]
    return _match({"concat": key}, f"@{name}")


_ANSWERS: Final = _match({"ct": {"key": "state"}}, ["established", "related"], "in")
_ANY_PORT: Final = _meta("l4proto", {"set": ["tcp", "udp"]})
_PUBLISHED: Final = _match({"ct": {"key": "status"}}, "dnat", "in")
_NEIGHBOURS: Final = _match(
    {"payload": {"protocol": "icmpv6", "field": "type"}},
    {"set": ["nd-neighbor-solicit", "nd-neighbor-advert"]},
)
_TO_LOCAL: Final = _match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")


@functools.cache
def inner_table() -> tuple[nfnetlink.Message, ...]:
    """The table inside a namespace: what arrives for it goes to 127.0.0.1."""
    table, chain = names.INNER_TABLE, INNER_CHAIN
    return (
        nfnetlink.add_table(table),
        nfnetlink.add_nat_chain(table, chain, -100),
        nfnetlink.add_port_map(table, _DETOURS["tcp"]),
        nfnetlink.add_rule(table, chain, *_arrives("tcp"), *_by_detour("tcp")),
        *(
            nfnetlink.add_rule(table, chain, *_arrives(each), *nfnetlink.lead_to(_HERE))
            for each in _PROTOCOLS
        ),
    )


INNER_RULES: Final = 3
"""How many rules `inner_table` has; one more with `udp_detours`."""


@functools.cache
def udp_detours() -> tuple[nfnetlink.Message, ...]:
    """What makes detours of UDP possible. Inside a namespace that has none of it."""
    table = names.INNER_TABLE
    rule = (*_arrives("udp"), *_by_detour("udp"))
    return (
        nfnetlink.add_port_map(table, _DETOURS["udp"]),
        nfnetlink.add_rule(table, INNER_CHAIN, *rule, first=True),
    )


def _arrives(protocol: Transport) -> tuple[nfnetlink.Expression, ...]:
    from_outside = nfnetlink.comes_by(names.INNER_INTERFACE)
    return (
        *from_outside,
        *nfnetlink.is_for_us(),
        *nfnetlink.is_protocol(_PROTOCOLS[protocol]),
    )


def _by_detour(protocol: Transport) -> tuple[nfnetlink.Expression, ...]:
    return (*nfnetlink.by_map(_DETOURS[protocol]), *nfnetlink.lead_to(_HERE, port=True))


def add_detour(port: int, other: int, protocol: Transport = "tcp") -> nfnetlink.Message:
    """A port that is reached at another one on 127.0.0.1. Inside a namespace."""
    key, value = port.to_bytes(2, "big"), other.to_bytes(2, "big")
    return nfnetlink.add_element(names.INNER_TABLE, _DETOURS[protocol], key, value)


def delete_detour(port: int, protocol: Transport = "tcp") -> nfnetlink.Message:
    """Takes it back."""
    key = port.to_bytes(2, "big")
    return nfnetlink.delete_element(names.INNER_TABLE, _DETOURS[protocol], key)


def inner_detours(packets: nfnetlink.Packets, protocol: Transport = "tcp") -> dict[int, int]:
    """The detours that are there."""
    found = packets.elements(names.INNER_TABLE, _DETOURS[protocol])
    return {int.from_bytes(key, "big"): int.from_bytes(other, "big") for key, other in found}


def _log(prefix: str, group: int) -> list[Expression]:
    """What a connection's first packet is told of by, so many of each link and so many in all;
    nothing without a group."""
    if not group:
        return []
    link = {"elem": {"val": {"meta": {"key": "iif"}}, "timeout": _REMEMBERED}}
    of_each = {"name": prefix.replace(" ", "_"), "key": link, "size": _LINKS}
    told = {"prefix": prefix, "group": group, "snaplen": packet_log.SNAPLEN}
    return [
        {"meter": {**of_each, "stmt": _limit(packet_log.RATE)}},
        _limit(packet_log.RATE_OF_ALL),
        {"log": told},
    ]


def _limit(rate: int) -> Expression:
    return {"limit": {"rate": rate, "burst": 2 * rate, "per": "second"}}


def host_rules(instance: str, log: int = 0) -> list[Command]:
    """The instance's table on the host, with empty sets.

    log
        The group of the packet log that is told of connections; 0: none is.
    """
    table = names.table_name(instance)
    rules = _host_chains(f"{names.link_prefix(instance)}*", log)
    return [
        *_table(table, _HOST_HOOKS, SETS),
        *(_rule(table, chain, rule) for chain in rules for rule in rules[chain]),
    ]


def _host_chains(doors: str, log: int) -> dict[str, list[list[Expression]]]:
    """The rules of each chain; `doors` is what the names of the colonies' links match."""
    inward, outward = _meta("iifname", doors), _meta("oifname", doors)
    elsewhere = _meta("oifname", doors, "!=")
    allow, deny = ({"goto": {"target": chain}} for chain in (_ALLOWED, _DENIED))
    confined = [
        [inward, _source("ip", "@nat4", "!="), deny],
        [inward, _source("ip6", "@nat6", "!="), deny],
    ]
    allowed, denied = (
        [_log(of, log)] * bool(log) for of in (packet_log.ALLOWED, packet_log.DENIED)
    )
    return {
        _ALLOWED: [*allowed, [_ACCEPT]],
        _DENIED: [*denied, [_meta("l4proto", "tcp"), _RESET], [_REJECT]],
        # Without neighbour discovery a confined colony could not even answer over IPv6.
        "input": [
            [inward, _ANSWERS, _ACCEPT],
            [inward, _NEIGHBOURS, _ACCEPT],
            [inward, _ANY_PORT, _permitted("allow4"), allow],
            *confined,
            [inward, allow],
        ],
        "forward": [
            [_ANSWERS, _ACCEPT],
            [outward, _PUBLISHED, _ACCEPT],
            [inward, outward, _ANY_PORT, _permitted("peers4"), allow],
            [inward, outward, deny],
            [inward, _ANY_PORT, _permitted("allow4"), allow],
            *confined,
            [inward, allow],
            [outward, _DROP],
        ],
        "postrouting": [
            [elsewhere, _source("ip", "@nat4"), _MASQUERADE],
            [elsewhere, _source("ip", "@some4"), _MASQUERADE],
            [elsewhere, _source("ip6", "@nat6"), _MASQUERADE],
        ],
    }


def host_rule_count(instance: str, log: int = 0) -> int:
    """How many rules the host's table has."""
    return sum("rule" in command["add"] for command in host_rules(instance, log))


def element(
    verb: str, instance: str, v4: IPv4Address | None, v6: IPv6Address | None
) -> list[Command]:
    """Adds a colony's addresses to, or (`verb` "delete") takes them from, those that reach out."""
    table = names.table_name(instance)
    return [
        {verb: {"element": {"family": FAMILY, "table": table, "name": name, "elem": [str(value)]}}}
        for name, value in _sets_of(v4, v6)
    ]


def let_out(
    instance: str, v4: IPv4Address | None, v6: IPv6Address | None
) -> tuple[nfnetlink.Message, ...]:
    """Adds a colony's addresses to those that reach out."""
    table = names.table_name(instance)
    return tuple(nfnetlink.add_element(table, s, value.packed) for s, value in _sets_of(v4, v6))


def keep_in(
    instance: str, v4: IPv4Address | None, v6: IPv6Address | None
) -> tuple[nfnetlink.Message, ...]:
    """Takes them from those."""
    table = names.table_name(instance)
    return tuple(nfnetlink.delete_element(table, s, value.packed) for s, value in _sets_of(v4, v6))


def _sets_of(
    v4: IPv4Address | None, v6: IPv6Address | None
) -> list[tuple[str, IPv4Address | IPv6Address]]:
    found: tuple[tuple[str, IPv4Address | IPv6Address | None], ...] = (("nat4", v4), ("nat6", v6))
    return [(name, value) for name, value in found if value is not None]


def remove_table(table: str) -> list[Command]:
    """Removes a table, there or not: adding one that exists is no error, deleting none is."""
    named = {"table": {"family": FAMILY, "name": table}}
    return [{"add": named}, {"delete": named}]


def _table(
    table: str, chains: dict[str, tuple[str, str, int]], sets: dict[str, Any] | None = None
) -> list[Command]:
    place = {"family": FAMILY, "table": table}
    commands: list[Command] = [{"add": {"table": {"family": FAMILY, "name": table}}}]
    for name, kind in (sets or {}).items():
        ranges = {} if isinstance(kind, str) else {"flags": ["interval"]}
        commands.append({"add": {"set": {**place, "name": name, "type": kind, **ranges}}})
    for name in (_ALLOWED, _DENIED):
        commands.append({"add": {"chain": {**place, "name": name}}})
    for name, (kind, hook, priority) in chains.items():
        chain = {**place, "name": name, "type": kind, "hook": hook, "prio": priority}
        commands.append({"add": {"chain": {**chain, "policy": "accept"}}})
    return commands


def _rule(table: str, chain: str, expressions: list[Expression]) -> Command:
    place = {"family": FAMILY, "table": table, "chain": chain}
    return {"add": {"rule": {**place, "expr": expressions}}}
