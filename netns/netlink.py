"""A rtnetlink socket that sends several requests at once and hears about each.

Law: the kernel answers a send's requests in order: each that it refuses, and the last in any case
(more acknowledgements would tell nothing and cost a system call each). The first refusal is raised
with the kernel's own words. The kernel goes on after a refusal, so what a failed send did in part
is the caller's to undo.

A socket stays in the network namespace where it was made. One made inside a new namespace
configures it from anywhere, which is why nobody has to move to configure.

Rejected: pyroute2's own sockets. Its `netns=` argument forks twice (17 ms), and its asynchronous
socket spends 0.2 ms of the event loop on each request and knows only asyncio. A request here takes
some 20 µs of the kernel's time and never waits for anything but the kernel, so a plain blocking
socket on the network thread is right.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final, Self

import msgspec

from netns import messages
from netns.errors import NetlinkError
from netns.messages import IPAddress, IPNetwork, Request
from netns.rtnl import ifinfmsg

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_OPTIONS: Final = (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK)

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_SEQUENCE: Final = struct.Struct("=I")
_FLAGS: Final = struct.Struct("=H")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_RTA_DST, _RTA_OIF, _RTA_PRIORITY = 1, 4, 6
_FLAGS_OFFSET: Final = 6
_SEQUENCE_OFFSET: Final = 8
_ERRNO: Final = struct.Struct("=i")
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_F_MULTI: Final = 0x2
_F_CAPPED: Final = 0x100
_F_ACK_TLVS: Final = 0x200
_ATTRIBUTE_TEXT: Final = 1

_BUFFER: Final = 1 << 18
_PATIENCE: Final = 10.0  # seconds; the kernel answers within the send, so this is never waited


class Link(msgspec.Struct, frozen=True):
    """A network interface, as far as this package asks."""

    index: int
    name: str
    group: int
    alias: str | None
    up: bool


class Route(msgspec.Struct, frozen=True):
    """A route, as far as this package asks. `link` is 0 for an unreachable one."""

    destination: IPNetwork
    protocol: int
    metric: int
    link: int


class Connection:
    """A netlink socket in the network namespace that its maker stands in; used from anywhere, by
    one thread at a time. Raises `OSError` if the kernel gives no socket."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._sequence = 0
        for option in _OPTIONS:
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._socket.settimeout(_PATIENCE)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._socket.fileno()} {self._sequence} sent>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; closing twice is no error."""
        self._socket.close()


class Netlink(Connection):
    """A rtnetlink socket in the network namespace that the caller stands in.

    For one thread at a time. Raises `OSError` if the kernel gives no socket.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def send(self, *requests: Request) -> None:
        """Sends the requests at once and waits for all answers.

        Raises `NetlinkError` for the first that was refused; the others may have been done.
        """
        first = self._send(requests, messages.NLM_F_ACK)
        last, refused = self._sequence, None
        while True:
            for kind, flags, sequence, body in self._receive(requests[0]):
                if kind != _NLMSG_ERROR or not first <= sequence <= last:
                    continue
                refused = refused or _refusal(requests[sequence - first], flags, body)
                if sequence == last:
                    if refused:
                        raise refused
                    return

    def links(self) -> list[Link]:
        """Every link in the namespace."""
        return [_link(data) for data in self._collect(messages.dump_links())]

    def link(self, index: int) -> Link:
        """The link with this index. Raises `NetlinkError` if there is none."""
        (data,) = self._collect(messages.get_link(index))
        return _link(data)

    def routes(self, family: int) -> list[Route]:
        """Every route of the family, in all tables, the default routes too."""
        return [_route(data) for data in self._collect(messages.dump_routes(family))]

    def route_to(self, address: IPAddress) -> Route | None:
        """The route that a packet for this address takes; None if there is none."""
        try:
            (data,) = self._collect(messages.get_route(address))
        except NetlinkError:
            return None
        return _route(data)

    def _send(self, requests: tuple[Request, ...], last_flags: int = 0) -> int:
        """The sequence number of the first; the others follow it."""
        first = self._sequence + 1
        data = bytearray(b"".join([request.data for request in requests]))
        offset = 0
        for sequence, request in enumerate(requests, first):
            start, offset = offset, offset + len(request.data)
            _SEQUENCE.pack_into(data, start + _SEQUENCE_OFFSET, sequence)
        self._sequence = sequence
        (flags,) = _FLAGS.unpack_from(data, start + _FLAGS_OFFSET)
        _FLAGS.pack_into(data, start + _FLAGS_OFFSET, flags | last_flags)
        self._socket.send(data)
        return first

    def _receive(self, request: Request) -> Iterator[tuple[int, int, int, bytes]]:
        """The messages of one datagram: (type, flags, sequence, whole message)."""
        try:
            data = self._socket.recv(_BUFFER)
        except TimeoutError:
            raise NetlinkError(request.doing, 110, "the kernel did not answer") from None
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset : offset + length]
            offset += (length + 3) & ~3

    def _collect(self, request: Request) -> list[bytes]:
        """The answers to a question: one message, or a dump's many."""
        expected = self._send((request,))
        found: list[bytes] = []
        while True:
            for kind, flags, sequence, body in self._receive(request):
                if sequence != expected:
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    if kind == _NLMSG_ERROR and (error := _refusal(request, flags, body)):
                        raise error
                    return found
                found.append(body)
                if not flags & _F_MULTI:
                    return found


def _refusal(request: Request, flags: int, body: bytes) -> NetlinkError | None:
    """The error in an answer, None for an acknowledgement or a tolerated error."""
    number = -_ERRNO.unpack_from(body, _HEADER.size)[0]
    if number == 0 or number in request.tolerated:
        return None
    return NetlinkError(request.doing, number, explanation(flags, body))


def explanation(flags: int, body: bytes) -> str:
    """The text of the extended acknowledgement, "" without one."""
    if not flags & _F_ACK_TLVS:
        return ""
    echoed = _HEADER.size + _ERRNO.size
    length = _HEADER.size if flags & _F_CAPPED else _HEADER.unpack_from(body, echoed)[0]
    offset = echoed + ((length + 3) & ~3)
    while offset + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, offset)
        if size < _ATTRIBUTE.size:
            break
        if kind == _ATTRIBUTE_TEXT:
            text = body[offset + _ATTRIBUTE.size : offset + size]
            return text.rstrip(b"\0").decode(errors="replace")
        offset += (size + 3) & ~3
    return ""


def _decoded(cls: Any, data: bytes) -> Any:
    message = cls(data)
    message.decode()
    return message


def _link(data: bytes) -> Link:
    message = _decoded(ifinfmsg, data)
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        group=message.get_attr("IFLA_GROUP") or 0,
        alias=message.get_attr("IFLA_IFALIAS"),
        up=bool(message["flags"] & 1),
    )


def _route(data: bytes) -> Route:
    """By hand: a host with 500 colonies has some thousand routes, and pyroute2 takes 60 µs each."""
    family, bits, _, _, _, protocol, *_ = _ROUTE.unpack_from(data, _HEADER.size)
    parts = dict(attributes(data[_HEADER.size + _ROUTE.size :]))
    any_address = bytes(16 if family == socket.AF_INET6 else 4)
    address = ipaddress.ip_address(parts.get(_RTA_DST, any_address))
    return Route(
        destination=ipaddress.ip_network((address, bits)),
        protocol=protocol,
        metric=_number(parts.get(_RTA_PRIORITY)),
        link=_number(parts.get(_RTA_OIF)),
    )


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(_SEQUENCE.unpack(value)[0])


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (type, value) of each attribute in a message's body."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + size]
        offset += (size + 3) & ~3


def exists(name: str) -> bool:
    """Whether the calling thread's namespace has a link of this name. Some 5 µs."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def index_of(name: str) -> int:
    """The index of a link by its name. Raises `NetlinkError` if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        number = error.errno or 0
        raise NetlinkError(f"looking up the link {name}", number, os.strerror(number)) from None
