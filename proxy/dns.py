"""A small DNS server for the colonies' names, where dnsmasq is not installed.

    A of ours → 127.0.0.1      AAAA of ours → ::1      any other type of ours → nothing, no error
    other names → REFUSED      what is no question → no answer

The law: the same answers as dnsmasq is configured to give. A name of ours must never be an error
for a type it has not: resolvers take REFUSED or NXDOMAIN for "ask elsewhere" or "gone", and lose
seconds or the name. Answers are never cached (TTL 0), for a front door may come and go.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import msgspec

from proxy.front_door import Lifetime
from proxy.loop_thread import LoopThread
from proxy.ports import DNS_PORTS, Claims, Reservation, on_some_port, preferring
from proxy.routes import SUFFIXES

_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHHIH")
_NAME_OF_QUESTION: Final = 0xC000 | _HEADER.size  # a compressed name: see where the question is

_QR, _OPCODE, _AA, _RD = 0x8000, 0x7800, 0x0400, 0x0100
_NOERROR, _FORMERR, _NOTIMP, _REFUSED = 0, 1, 4, 5
A, AAAA, ANY = 1, 28, 255
_IN: Final = 1

_MAX_NAME: Final = 255
_THREAD: Final = "colony-dns"


class Names(Protocol):
    """Which names are ours, and what is answered for them; names in lower case, without a dot at
    the end."""

    def holds(self, name: str) -> bool: ...

    def records(self, name: str, kind: int) -> list[tuple[int, bytes]]:
        """The type and data of the records that a question of type `kind` is answered with."""
        ...


class Zone(msgspec.Struct, frozen=True):
    """Which names are ours and where they lead; an empty address: that type has no record."""

    suffixes: tuple[str, ...] = SUFFIXES
    ipv4: str = "127.0.0.1"
    ipv6: str = "::1"

    def holds(self, name: str) -> bool:
        """Whether a name (lower case, no trailing dot) is one of the suffixes or under one."""
        return any(name == suffix or name.endswith(f".{suffix}") for suffix in self.suffixes)

    def records(self, name: str, kind: int) -> list[tuple[int, bytes]]:
        """The same for every name."""
        found: list[tuple[int, bytes]] = []
        if kind in (A, ANY) and self.ipv4:
            found.append((A, socket.inet_pton(socket.AF_INET, self.ipv4)))
        if kind in (AAAA, ANY) and self.ipv6:
            found.append((AAAA, socket.inet_pton(socket.AF_INET6, self.ipv6)))
        return found


def answer(packet: bytes, zone: Names) -> bytes | None:
    """The response to a DNS packet; None where there is to be none. Pure."""
    if len(packet) < _HEADER.size:
        return None
    ident, flags, questions, *_ = _HEADER.unpack_from(packet)
    if flags & _QR:
        return None
    reply = _QR | _AA | (flags & (_OPCODE | _RD))
    if flags & _OPCODE:
        return _HEADER.pack(ident, reply | _NOTIMP, 0, 0, 0, 0)
    if questions != 1:
        return _HEADER.pack(ident, reply | _FORMERR, 0, 0, 0, 0)
    parsed = _question(packet)
    if parsed is None:
        return None
    name, kind, cls, end = parsed
    question = packet[_HEADER.size : end]
    if cls != _IN or not zone.holds(name):
        return _HEADER.pack(ident, (reply & ~_AA) | _REFUSED, 1, 0, 0, 0) + question
    records = [
        _RECORD.pack(_NAME_OF_QUESTION, own, _IN, 0, len(data)) + data
        for own, data in zone.records(name, kind)
    ]
    return _HEADER.pack(ident, reply, 1, len(records), 0, 0) + question + b"".join(records)


def query(name: str, ident: int, kind: int = A) -> bytes:
    """A question for a name, as a packet."""
    labels = b"".join(
        bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split(".")
    )
    return _HEADER.pack(ident, _RD, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, _IN)


def is_answer(packet: bytes, ident: int) -> bool:
    """Whether a packet is a response without error to the question with that number."""
    if len(packet) < _HEADER.size:
        return False
    number, flags, *_ = _HEADER.unpack_from(packet)
    return bool(number == ident and flags & _QR and flags & 0xF == _NOERROR)


def _question(packet: bytes) -> tuple[str, int, int, int] | None:
    """Name, type, class and end of the one question; None if it is malformed."""
    at, labels = _HEADER.size, list[str]()
    while at < len(packet) and (length := packet[at]):
        at += 1
        # The two top bits mark a compressed name, which a question has no use for.
        if length > 63 or at + length > len(packet) or at - _HEADER.size > _MAX_NAME:
            return None
        labels.append(packet[at : at + length].decode("latin-1").lower())
        at += length
    at += 1
    if at + 4 > len(packet):
        return None
    kind, cls = struct.unpack_from("!HH", packet, at)
    return ".".join(labels), kind, cls, at + 4


class DnsResponder(Lifetime):
    """The DNS server over UDP on 127.0.0.1. `async with`, or `start` and `stop`; again if need be.

    ports
        Tried in turn. Default: 5354 and up.
    zone
        The names and where they lead. Without ::1 at the front door give `Zone(ipv6="")`.
    claims
        Where the claim on its port is kept between two lives, so that the next has it again.

    Once started, `port` says where it listens.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int] = DNS_PORTS,
        zone: Names | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.port = 0
        self._claims = claims
        self.zone: Names = zone or Zone()
        self._ports = tuple(ports)
        self._thread = LoopThread(_THREAD)
        self._held: Reservation | None = None
        self._sockets: list[socket.socket] = []
        self._stopped = anyio.Event()
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        return f"<DnsResponder port={self.port} {self.zone!r}>"

    async def start(self) -> None:
        """Returns when it answers. Raises `PortsTaken`. Cancelled or failed, nothing is left."""
        if self.port:
            raise RuntimeError("this DNS server was started before: stop it first")
        self._thread, self._stopped = LoopThread(_THREAD), anyio.Event()
        try:
            await self._thread.start()
            self._held = await on_some_port(
                "DNS",
                self._ports,
                self._listen_here,
                (socket.SOCK_DGRAM, socket.SOCK_STREAM),
                self._claims,
            )
        except BaseException:
            await self.stop()
            raise
        self.port = self._held.port
        self._ports = preferring(self.port, self._ports)

    async def run(self) -> None:
        """Returns when it was stopped, at once if it is not started. It does not end by itself."""
        if self.port:
            await self._stopped.wait()

    async def stop(self) -> None:
        """Closes its socket and ends its thread. Not cut short by cancel; may be called again."""
        with anyio.CancelScope(shield=True):
            async with self._ending:
                await self._thread.close()
                for sock in self._sockets:
                    sock.close()
                if self._held is not None:
                    self._held.release()
                self.port = 0
                self._stopped.set()

    async def _listen_here(self, port: Reservation) -> bool:
        """Takes the UDP sockets; the TCP ones have shown that the port is free, and close."""
        # Duplicates: on cancel the reservation closes its own while the thread still has these.
        self._sockets = [sock.dup() for sock in port.sockets if sock.type == socket.SOCK_DGRAM]
        await self._thread.run(self._listen, self._sockets)
        port.unbind()
        return True

    async def _listen(self, sockets: Sequence[socket.socket]) -> None:
        """In the thread: the loop calls back for each datagram; closing the loop ends that."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            loop.add_reader(sock, self._respond, sock)

    def _respond(self, sock: socket.socket) -> None:
        try:
            packet, sender = sock.recvfrom(4096)
        except OSError:
            return  # nothing there after all, or an answer of ours that found nobody
        response = answer(packet, self.zone)
        if response is not None:
            try:
                sock.sendto(response, sender)
            except OSError:
                return  # its buffer is full, or the asker has gone: it will ask again
