"""Connections that colonies begin, as the host's packet rules let them pass or end them.

    rules ── log group N ──▶ a netlink socket ──▶ Attempt(source, destination, allowed)

Law: looking costs the connection nothing. The kernel copies a packet's first bytes, at most `RATE`
a second of each colony's, so that none hides another's, and what is more is not told of.

The group is a number that one socket of the machine has; it is bound before the rules name it.

Who sent a packet is not in the message. But the kernel passes a packet to this socket while its
sender is still sending, and with `watch` it signals that to us: a signal that means nothing to
anybody, whose tracepoint tells who was on the processor.

    sendto() ─▶ rules ─▶ log ─▶ the message is in the socket ─▶ SIGURG ─▶ noted: pid, time

One message, one note, both in one order, for the group has a lock. The message is there first: so
when there are as many of both they belong together, and until then the rest is on its way. A
process that sent by the way of another's time (the kernel's own `ksoftirqd`) is not its sender.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import anyio
import msgspec

from netns.closing import Closing
from netns.errors import PacketFilterError
from netns.netlink import attributes
from netns.nfnetlink import NETLINK_NETFILTER, attribute
from netns.perf import Point, Record, Recorder

RATE: Final = 20
"""Attempts told of each second of one colony, allowed and denied each; twice as many at once."""

RATE_OF_ALL: Final = 10 * RATE
"""The same of all colonies."""

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
_SIGNAL: Final = signal.SIGURG  # ignored, unless somebody wants it
_POLL_IN: Final = 1
_MOMENTS: Final = tuple(0.001 * 2**number for number in range(8))  # a quarter of a second
_FIRST_PIDS: Final = 0xEFFF_FFFC  # PROC_PID_INIT_INO: the machine's own world of processes

PROTOCOLS: Final = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


class Attempt(msgspec.Struct, frozen=True):
    """A connection that something in a colony began, or a packet that it sent to somebody new.

    sender, time
        The process that was on the processor when the kernel told of it, and when (the monotonic
        clock's nanoseconds); 0 if that is not known. Of TCP it need not be the sender.
    """

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: str
    source_port: int
    port: int
    allowed: bool
    sender: int = 0
    time: int = 0


def is_numbered_as_the_kernel_does() -> bool:
    """Whether a process has the number here that the kernel's notes have; in a container it may
    have another. Only where it has, `told` notes anything."""
    return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PIDS


def told() -> Point:
    """What notes the senders of this process's packet log."""
    ours = f"sig == {_SIGNAL} && code == {_POLL_IN} && pid == {os.getpid()}"
    return Point("signal/signal_generate", (ours,))


class PacketLog:
    """A group of the kernel's packet log, of the network namespace that the caller stands in; its
    maker's to close. Raises `PacketFilterError` where the kernel has none.

    group
        For the rules' `log`.
    """

    def __init__(self, near: int) -> None:
        self._senders: Recorder | None = None
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
        self._closing = Closing(self._socket.close)
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
        return self._closing.closed

    def close(self) -> None:
        """Closing twice is no error. From any thread; whoever is in `next` hears of it."""
        self._closing.close()

    def watch(self, senders: Recorder | None) -> None:
        """From now on attempts have a sender, as `senders` (of `told`) has it noted; None: no more.
        Of one log in a process at a time, in the thread that calls `next`. Raises
        `anyio.ClosedResourceError` when it was closed."""
        with self._closing.held():
            self._senders = senders
            flags = fcntl.fcntl(self._socket, fcntl.F_GETFL) & ~os.O_ASYNC
            if senders is not None:
                fcntl.fcntl(self._socket, fcntl.F_SETSIG, _SIGNAL)
                fcntl.fcntl(self._socket, fcntl.F_SETOWN, os.getpid())
                flags |= os.O_ASYNC
            fcntl.fcntl(self._socket, fcntl.F_SETFL, flags)

    async def next(self) -> list[Attempt]:
        """Waits for the next ones. Raises `anyio.ClosedResourceError` when it was closed, or is
        meanwhile."""
        with self._closing.waiting():
            while True:
                await anyio.wait_readable(self._socket)
                if found := await self._read():
                    return found

    async def _read(self) -> list[Attempt]:
        """What is there, and the notes that belong to it."""
        notes: list[Record] = []
        messages: list[bytes] = []
        for moment in _MOMENTS:
            notes += self._senders.read() if self._senders is not None else ()
            messages += self._received()
            if self._senders is None or len(notes) >= len(messages):
                break
            await anyio.sleep(moment)
        return list(paired(messages, notes))

    def _received(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # else more than fits: some are lost
                    raise

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


def paired(messages: list[bytes], notes: list[Record]) -> Iterator[Attempt]:
    """The attempts in the messages, with the sender of each if there is a note of each. Pure."""
    known = sorted(notes) if len(notes) == len(messages) else []
    for number, message in enumerate(messages):
        for attempt in read(message):
            if known:
                pid, time = known[number].pid, known[number].time
                attempt = msgspec.structs.replace(attempt, sender=pid, time=time)
            yield attempt


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
