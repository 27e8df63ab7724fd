"""The packet filter by the kernel's own messages: the few that a namespace needs.

Law: what is sent in one `apply` is one transaction, all or none, and a refusal is raised with the
kernel's own words.

libnftables (`nft`) reads any rule there is, but asks the kernel for all that it has before each
change, and needs half a millisecond for a table of three rules. A namespace's table is the same in
every one, and what changes later is an element of a set; both are a few hundred bytes that are
known beforehand. The host's own rules are made once, and by libnftables.

    with Packets() as here:
        here.apply("opening", add_table("colony"), add_element("colony", "nat4", key))
"""

from __future__ import annotations

import functools
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from netns.errors import PacketFilterError
from netns.netlink import Connection, attributes, explanation

NETLINK_NETFILTER: Final = 12

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_FAMILY: Final = struct.Struct("=BBH")  # family, version, resource
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")
_BUFFER: Final = 1 << 18

_INET: Final = 1
_SUBSYSTEM: Final = 10 << 8
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST: Final = 0x1
_ACK: Final = 0x4
_DUMP: Final = 0x300
_CREATE: Final = 0x400
_APPEND: Final = 0x800
_NESTED: Final = 0x8000

# From linux/netfilter/nf_tables.h.
_NEWTABLE: Final = 0
_DELTABLE: Final = 2
_NEWCHAIN: Final = 3
_NEWRULE: Final = 6
_GETRULE: Final = 7
_NEWSET: Final = 9
_NEWSETELEM: Final = 12
_GETSETELEM: Final = 13
_DELSETELEM: Final = 14

INTEGER: Final = 4
INET_SERVICE: Final = 13
"""Types of a map's key and value, as `nft` numbers them, to show them in words."""

_SET_MAP: Final = 8
_HOOK_PREROUTING: Final = 0
_DATA_REGISTER: Final = 1
_OTHER_REGISTER: Final = 2

Message = tuple[int, int, bytes]
"""Type, flags and attributes of one request."""

Expression = bytes


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """One attribute. A number is 32 bits in the network's order, a text has its end."""
    if isinstance(value, int):
        value = struct.pack("!I", value & 0xFFFFFFFF)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _nest(kind: int, *inside: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(inside))


def _data(kind: int, value: bytes) -> bytes:
    return _nest(kind, attribute(1, value))


# -- what a table is made of -----------------------------------------------------------------------


def add_table(name: str) -> Message:
    """A table of family inet; one that exists is no error."""
    return _NEWTABLE, _CREATE, attribute(1, name) + attribute(2, 0)


def delete_table(name: str) -> Message:
    """With all that is in it. It must exist."""
    return _DELTABLE, 0, attribute(1, name)


def add_nat_chain(table: str, name: str, priority: int) -> Message:
    """A chain of type nat at the hook prerouting that accepts by policy."""
    hook = _nest(4, attribute(1, _HOOK_PREROUTING), attribute(2, priority))
    body = attribute(1, table) + attribute(3, name) + attribute(7, "nat") + attribute(5, 1) + hook
    return _NEWCHAIN, _CREATE, body


def add_port_map(table: str, name: str) -> Message:
    """A map from ports to ports."""
    body = attribute(1, table) + attribute(2, name) + attribute(3, _SET_MAP)
    body += attribute(4, INET_SERVICE) + attribute(5, 2)
    body += attribute(6, INET_SERVICE) + attribute(7, 2) + attribute(10, 1)
    # Without these `nft` would show the map's numbers in the machine's own order.
    return _NEWSET, _CREATE, body + attribute(13, struct.pack("=BBIBBI", 0, 4, 2, 1, 4, 2))


def add_rule(table: str, chain: str, *expressions: Expression, first: bool = False) -> Message:
    """A rule behind the others, or before them."""
    body = attribute(1, table) + attribute(2, chain) + _nest(4, *expressions)
    return _NEWRULE, _CREATE if first else _CREATE | _APPEND, body


def add_element(table: str, name: str, key: bytes, value: bytes | None = None) -> Message:
    """An element of a set, or with `value` of a map; one that exists is no error."""
    return _NEWSETELEM, _CREATE, _element(table, name, key, value)


def delete_element(table: str, name: str, key: bytes, value: bytes | None = None) -> Message:
    """It must exist."""
    return _DELSETELEM, 0, _element(table, name, key, value)


def _element(table: str, name: str, key: bytes, value: bytes | None) -> bytes:
    parts = _data(1, key) + (b"" if value is None else _data(2, value))
    return attribute(1, table) + attribute(2, name) + _nest(3, _nest(1, parts))


# -- what a rule is made of ------------------------------------------------------------------------


def _expression(name: str, *attributes: bytes) -> Expression:
    return _nest(1, attribute(1, name), _nest(2, *attributes))


def equals(value: bytes) -> Expression:
    """What was loaded is this, or the rule ends here."""
    return _expression("cmp", attribute(1, _DATA_REGISTER), attribute(2, 0), _data(3, value))


def _meta(key: int) -> Expression:
    return _expression("meta", attribute(2, key), attribute(1, _DATA_REGISTER))


def comes_by(interface: str) -> tuple[Expression, Expression]:
    """A packet that comes by this interface."""
    return _meta(6), equals(interface.encode().ljust(16, b"\0"))


def is_protocol(number: int) -> tuple[Expression, Expression]:
    """A packet of this transport protocol."""
    return _meta(16), equals(bytes([number]))


def is_for_us() -> tuple[Expression, Expression]:
    """A packet whose destination is an address of this namespace's."""
    fib = _expression("fib", attribute(3, 2), attribute(2, 3), attribute(1, _DATA_REGISTER))
    return fib, equals(struct.pack("=I", 2))


def by_map(name: str) -> tuple[Expression, Expression]:
    """The destination's port is in this map, whose value is kept for `lead_to`."""
    port = _expression(
        "payload",
        attribute(1, _OTHER_REGISTER),
        attribute(2, 2),
        attribute(3, 2),
        attribute(4, 2),
    )
    found = _expression(
        "lookup",
        attribute(2, _OTHER_REGISTER),
        attribute(3, _OTHER_REGISTER),
        attribute(1, name),
        attribute(4, 1),
    )
    return port, found


def lead_to(address: bytes, *, port: bool = False) -> tuple[Expression, Expression]:
    """The packet goes to this IPv4 address; with `port` to the port that `by_map` found."""
    load = _expression("immediate", attribute(1, _DATA_REGISTER), _data(2, address))
    parts = [attribute(1, 1), attribute(2, socket.AF_INET), attribute(3, _DATA_REGISTER)]
    if port:
        parts += [attribute(5, _OTHER_REGISTER), attribute(7, 2)]
    return load, _expression("nat", *parts)


# -- sending ---------------------------------------------------------------------------------------


def _part(
    sequence: int, kind: int, flags: int, body: bytes, *, family: int = _INET, resource: int = 0
) -> bytes:
    body = _FAMILY.pack(family, 0, socket.htons(resource)) + body
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, sequence, 0) + body


@functools.lru_cache(maxsize=4)
def _batch(first: int, messages: tuple[Message, ...]) -> bytes:
    """The messages as one transaction, whose last is acknowledged.

    Remembered, for each new namespace is told the same, from the first sequence number on.
    """
    parts = [_part(first, _BATCH_BEGIN, 0, b"", family=0, resource=10)]
    last = len(messages) - 1
    for number, (kind, flags, body) in enumerate(messages):
        asked = flags | _ACK if number == last else flags
        parts.append(_part(first + 1 + number, _SUBSYSTEM | kind, asked, body))
    parts.append(_part(first + 2 + last, _BATCH_END, 0, b"", family=0, resource=10))
    return b"".join(parts)


class Packets(Connection):
    """A connection to the packet filter of the network namespace that the caller stands in; used
    from anywhere, by one thread at a time. Raises `OSError` if the kernel gives no socket."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)

    def apply(self, doing: str, *messages: Message) -> None:
        """All of it or nothing. Raises `PacketFilterError` that begins with `doing`."""
        first = self._sequence + 1
        self._sequence += len(messages) + 2
        last = self._sequence - 1
        self._socket.send(_batch(first, messages))
        while True:
            for kind, flags, sequence, body in self._receive(doing):
                if kind != _NLMSG_ERROR or sequence < first:
                    continue
                # A refusal of the whole is told of the batch's beginning.
                if number := -_ERRNO.unpack_from(body, _HEADER.size)[0]:
                    why = explanation(flags, body) or os.strerror(number)
                    raise PacketFilterError(f"{doing}: {why}")
                if sequence == last:
                    return

    def count_rules(self, table: str, chain: str) -> int:
        """How many rules the chain has; 0 where there is none."""
        found = self._dump(_GETRULE, attribute(1, table) + attribute(2, chain))
        return len(found)

    def elements(self, table: str, name: str) -> list[tuple[bytes, bytes]]:
        """(key, value or end of the range) of each element of a set; () where there is none."""
        found: list[tuple[bytes, bytes]] = []
        for body in self._dump(_GETSETELEM, attribute(1, table) + attribute(2, name)):
            for kind, each in attributes(body[_HEADER.size + _FAMILY.size :]):
                if kind == 3:
                    found += [_read_element(element) for _, element in attributes(each)]
        return found

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        self._sequence += 1
        self._socket.send(_part(self._sequence, _SUBSYSTEM | kind, _DUMP, body))
        found: list[bytes] = []
        while True:
            for answer, _, sequence, whole in self._receive("looking at packet rules"):
                if sequence != self._sequence:
                    continue
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    return found
                found.append(whole)

    def _receive(self, doing: str) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            data = self._socket.recv(_BUFFER)
        except TimeoutError:
            raise PacketFilterError(f"{doing}: the kernel did not answer") from None
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset : offset + length]
            offset += max((length + 3) & ~3, _HEADER.size)


def _read_element(data: bytes) -> tuple[bytes, bytes]:
    """A key, and with it a map's value or the end of a range (NFTA_SET_ELEM_KEY_END)."""
    parts = dict(attributes(data))
    key = next((v for _, v in attributes(parts.get(1, b""))), b"")
    other = parts.get(2) or parts.get(10) or b""
    return key, next((v for _, v in attributes(other)), b"")
