"""Who listens in a namespace: asked of the kernel itself (sock_diag), without a look at processes.

Law: a listener is known by its sockets' addresses, so that nothing has to be declared and nothing
has to be tried by connecting to it, which a server would see.

A question costs some 50 µs. The kernel tells nobody when a socket begins to listen, so whoever
wants to know asks again and again.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from netns.errors import NetlinkError
from netns.thread import IPAddress, Located, NetworkThread, Place, place_of

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x1 | 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_ERROR: Final = 2
_DONE: Final = 3
_SKV6ONLY: Final = 11  # INET_DIAG_SKV6ONLY
_TCP_LISTEN: Final = 10
_UDP_UNCONNECTED: Final = 7

_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")  # family, protocol, extensions, states, id
_MESSAGE: Final = struct.Struct("=BBBB")  # family, state, timer, retrans; then the id
_PORT: Final = struct.Struct(">H")
_ATTRIBUTE: Final = struct.Struct("=HH")
_PORT_OFFSET: Final = 4
_ADDRESS_OFFSET: Final = 8
_ATTRIBUTES_OFFSET: Final = 72
_BUFFER: Final = 1 << 16

_ANY4: Final = IPv4Address("0.0.0.0")
_ANY6: Final = IPv6Address("::")
_LOCAL4: Final = IPv4Address("127.0.0.1")

# (protocol's name, its number, the state in which it waits for anybody)
_KINDS: Final = (
    ("tcp", socket.IPPROTO_TCP, _TCP_LISTEN),
    ("udp", socket.IPPROTO_UDP, _UDP_UNCONNECTED),
)


class Listener(msgspec.Struct, frozen=True, order=True):
    """A socket that waits for anybody.

    protocol
        "tcp" or "udp".
    address
        Where, as it was bound.
    only6
        Whether one on `::` leaves IPv4 alone (IPV6_V6ONLY).
    """

    port: int
    protocol: str
    address: IPAddress
    only6: bool = False

    @property
    def on_local4(self) -> bool:
        """Whether it is reached at 127.0.0.1."""
        if self.address == _ANY6:
            return not self.only6
        return self.address in (_ANY4, _LOCAL4)

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol}"


def out_of_reach(
    listeners: Iterable[Listener], protocol: str = "tcp"
) -> dict[int, tuple[IPAddress, ...]]:
    """The ports that nobody at 127.0.0.1 answers for, with the addresses of those who do: what a
    redirect to 127.0.0.1 does not reach."""
    where: dict[int, list[Listener]] = {}
    for listener in listeners:
        if listener.protocol == protocol:
            where.setdefault(listener.port, []).append(listener)
    return {
        port: tuple(sorted({each.address for each in found}, key=str))
        for port, found in where.items()
        if not any(each.on_local4 for each in found)
    }


class Listeners:
    """A way to ask one namespace who listens in it; its maker's to close."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<Listeners fd={self._socket.fileno()} {self._sequence} asked>"

    @classmethod
    async def open(cls, thread: NetworkThread, where: Place | Located) -> Listeners:
        """Makes the socket inside; from then on it is used from anywhere."""
        place = msgspec.structs.replace(place_of(where), mnt=None)
        return cls(await thread.run(_make, thread, place, undo=socket.socket.close))

    def close(self) -> None:
        """Closing twice is no error."""
        self._socket.close()

    def look(self, *, udp: bool = True) -> frozenset[Listener]:
        """All who listen now. Does not wait: the kernel answers within the call.

        Raises `NetlinkError` if this kernel cannot say (no inet_diag).
        """
        return frozenset(
            listener
            for name, protocol, state in _KINDS
            if udp or name == "tcp"
            for family in (socket.AF_INET, socket.AF_INET6)
            for listener in self._dump(name, family, protocol, state)
        )

    def _dump(self, name: str, family: int, protocol: int, state: int) -> list[Listener]:
        self._sequence += 1
        request = _REQUEST.pack(family, protocol, 0, 1 << state)
        header = _HEADER.pack(
            _HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP, self._sequence, 0
        )
        self._socket.send(header + request)
        found: list[Listener] = []
        while True:
            data = self._socket.recv(_BUFFER)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    if number == 2:  # ENOENT: this family or protocol is not in this kernel
                        return found
                    raise NetlinkError("asking who listens", number, os.strerror(number))
                found.append(_listener(name, body))


def _make(thread: NetworkThread, place: Place) -> socket.socket:
    with thread.inside(place):
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        made = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    made.settimeout(1.0)  # never waited: the answer is there when the question is sent
    return made


def _listener(protocol: str, body: bytes) -> Listener:
    family = _MESSAGE.unpack_from(body)[0]
    (port,) = _PORT.unpack_from(body, _PORT_OFFSET)
    raw = body[_ADDRESS_OFFSET : _ADDRESS_OFFSET + (16 if family == socket.AF_INET6 else 4)]
    address: IPAddress = IPv6Address(raw) if len(raw) == 16 else IPv4Address(raw)
    return Listener(port, protocol, address, only6=_only6(body))


def _only6(body: bytes) -> bool:
    offset = _ATTRIBUTES_OFFSET
    while offset + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, offset)
        if size < _ATTRIBUTE.size:
            break
        if kind == _SKV6ONLY:
            return bool(body[offset + _ATTRIBUTE.size])
        offset += (size + 3) & ~3
    return False
