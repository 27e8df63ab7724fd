"""Connections that colonies begin, as the host's packet rules let them pass or end them.

    rules ── log group N ──▶ a netlink socket ──▶ Attempt(source, destination, allowed)

Law: looking costs the connection nothing. The kernel copies a packet's first bytes, at most
`RATE` a second for the whole instance, and what is more than that is not told of.

The group is a number that one socket of the machine has; it is bound before the rules name it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import anyio
import msgspec

from netns.errors import PacketFilterError
from netns.netlink import attributes
from netns.nfnetlink import NETLINK_NETFILTER, attribute

RATE: Final = 20
"""Attempts told of each second; twice as many at once."""

SNAPLEN: Final = 64
ALLOWED: Final = "colony allowed"
DENIED: Final = "colony denied"

_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.Struct("=BBH")
_ERRNO: Final = struct.Struct("=i")
_PORTS: Final = struct.Struct("!HH")
_ULOG: Final = 4 << 8
_CONFIG: Final = _ULOG | 1
_REQUEST_ACK: Final = 0x1 | 0x4
_NLMSG_ERROR: Final = 2
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5  # attributes of a configuration
_PAYLOAD, _PREFIX = 9, 10  # attributes of a packet
_BIND: Final = bytes([1])
_COPY_PACKET: Final = struct.pack("!IBB", SNAPLEN, 2, 0)
_BUFFER: Final = 1 << 16
_GROUPS: Final = 200  # tried, from the instance's own number on

PROTOCOLS: Final = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


class Attempt(msgspec.Struct, frozen=True):
    """A connection that something in a colony began, or a packet that it sent to somebody new."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: str
    source_port: int
    port: int
    allowed: bool


class PacketLog:
    """A group of the kernel's packet log, of the network namespace that the caller stands in; its
    maker's to close. Raises `PacketFilterError` where the kernel has none.

    group
        For the rules' `log`.
    """

    def __init__(self, near: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
        try:
            self._socket.settimeout(5.0)
            self.group = self._bind(near)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<PacketLog group {self.group} fd={self._socket.fileno()}>"

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Closing twice is no error. Whoever waits in `next` hears of it at the next packet."""
        self._socket.close()

    async def next(self) -> list[Attempt]:
        """Waits for the next ones. Raises `anyio.ClosedResourceError` or `OSError` when it was
        closed."""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # more than fits: some are lost
                    continue
                raise
            if found := list(read(data)):
                return found

    def _bind(self, near: int) -> int:
        for number in range(near, near + _GROUPS):
            group = 1 + number % 0xFFFE
            if self._configure(group, attribute(_COMMAND, _BIND), (errno.EBUSY, errno.EPERM)):
                self._configure(group, attribute(_MODE, _COPY_PACKET))
                self._configure(group, attribute(_THRESHOLD, 1))
                return group
        raise PacketFilterError("no group of the kernel's packet log is free")

    def _configure(self, group: int, body: bytes, taken: tuple[int, ...] = ()) -> bool:
        """Whether it was done; not if that failed by one of `taken`."""
        body = _FAMILY.pack(socket.AF_UNSPEC, 0, socket.htons(group)) + body
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, _CONFIG, _REQUEST_ACK, group, 0) + body)
        while True:
            answer = self._socket.recv(_BUFFER)
            _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
            if kind != _NLMSG_ERROR or sequence != group:
                continue
            number = -_ERRNO.unpack_from(answer, _HEADER.size)[0]
            if number == 0:
                return True
            if number in taken:
                return False
            raise PacketFilterError(f"opening the kernel's packet log: {os.strerror(number)}")


def read(data: bytes) -> Iterator[Attempt]:
    """The attempts in what the kernel sends. Pure."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind == _ULOG:
            body = data[offset + _HEADER.size + _FAMILY.size : offset + length]
            parts = dict(attributes(body))
            allowed = parts.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace") == ALLOWED
            attempt = _read_packet(parts.get(_PAYLOAD, b""), allowed)
            if attempt is not None:
                yield attempt
        offset += max((length + 3) & ~3, _HEADER.size)


def _read_packet(packet: bytes, allowed: bool) -> Attempt | None:
    if len(packet) < 20:
        return None
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    if packet[0] >> 4 == 4:
        start, number = (packet[0] & 0xF) * 4, packet[9]
        source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    elif len(packet) >= 40:
        start, number = 40, packet[6]
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    else:
        return None
    if number not in PROTOCOLS or len(packet) < start + _PORTS.size:
        return None
    source_port, port = _PORTS.unpack_from(packet, start)
    return Attempt(source, destination, PROTOCOLS[number], source_port, port, allowed)
