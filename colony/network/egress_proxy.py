"""The only way out of a colony with `egress = "proxy"`: an HTTP proxy inside it, run by us outside.

    in the colony                    │ on the host
    client ─▶ 127.0.0.1:3128 ════════╪══▶ allowed? ─▶ resolve ─▶ allowed address? ─▶ connect
              (a socket of ours)     │      └── no: 403, and an event with who asked for what

Law: what is not allowed is never dialled, not even resolved; and what is dialled is the address
that was looked at, so that a name cannot mean another one a moment later. The colony itself has no
route out, so a program that does not ask the proxy reaches nobody.

Without an allow list every name may be reached, and all of it is told of. What is the host's own,
a neighbour's or a link's address is never reached by way of a name: only `allow` can name it.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import SocketAttribute, SocketStream

from actors import Actor, ActorDown, Event, Ignore
from colony.network import splice
from colony.network.egress import Destination, parse
from colony.services.holder import holder_among
from netns import Namespace, NetworkThread, sweep
from netns.actors import (
    NETWORK,
    GetNamespace,
    GetNetwork,
    NamespaceOwner,
    NetworkOwner,
    namespace_name,
)
from netns.pool import candidates
from netns.thread import Place

PORT: Final = 3128
"""Where it listens, on the colony's 127.0.0.1."""

HEAD_LIMIT: Final = 16384
HEAD_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 15.0

_CONNECT: Final = re.compile(rb"CONNECT ([^ \r\n]+):(\d{1,5}) HTTP/1\.[01]\r\n")
_PLAIN: Final = re.compile(
    rb"([A-Z]+) http://([^/ \r\n:]+|\[[^\]]+\])(?::(\d{1,5}))?(/[^ \r\n]*)? "
)
_HOP: Final = re.compile(rb"(?im)^(proxy-[a-z-]+|connection|keep-alive|host):[^\n]*\n")

IPAddress = IPv4Address | IPv6Address


class EgressAllowed(Event, frozen=True, kw_only=True):
    """A process of a colony went out by the proxy. `process` says which, "" if it has gone."""

    colony: str
    host: str
    port: int
    address: str
    process: str


class EgressDenied(Event, frozen=True, kw_only=True):
    """A process of a colony wanted out and was refused, for this reason."""

    colony: str
    host: str
    port: int
    reason: str
    process: str


class Wanted(msgspec.Struct, frozen=True):
    """What a client asks for. `head` is what is sent on first; "" for a tunnel."""

    host: str
    port: int
    head: bytes = b""


def read_head(head: bytes) -> Wanted | None:
    """What a request's head asks for; None if it is none that a proxy takes. Pure."""
    tunnel = _CONNECT.match(head)
    if tunnel is not None:
        return _wanted(tunnel[1], tunnel[2], b"")
    plain = _PLAIN.match(head)
    if plain is None:
        return None
    fields, end, body = head[plain.end() :].partition(b"\r\n\r\n")
    version, _, fields = fields.partition(b"\r\n")
    line = b" ".join((plain[1], plain[4] or b"/", version))
    # What was allowed is the URL's host: a Host that names another must not get to it.
    host = b"Host: " + plain[2] + (b":" + plain[3] if plain[3] else b"")
    own = b"\r\n".join((line, host, b"Connection: close"))
    kept = _HOP.sub(b"", fields + b"\r\n").removesuffix(b"\r\n")
    first = b"\r\n".join((own, kept)) if kept else own
    return _wanted(plain[2], plain[3] or b"80", first + end + body)


def _wanted(host: bytes, port: bytes, head: bytes) -> Wanted | None:
    number = int(port)
    if not 1 <= number <= 65535:
        return None
    return Wanted(host.decode("latin-1").strip("[]").lower().rstrip("."), number, head)


def why_not(wanted: Wanted, allow: Sequence[Destination] | None) -> str:
    """Why its name may not be asked for; "" if it may, as far as a name can say. Pure."""
    if allow is None or any(_names(place, wanted) for place in allow):
        return ""
    return f"{wanted.host}:{wanted.port} is not in `allow` of [network.policy.egress]"


def _names(place: Destination, wanted: Wanted) -> bool:
    if place.port not in (0, wanted.port):
        return False
    return place.network is not None or place.covers(wanted.host)


def why_not_there(
    wanted: Wanted,
    address: IPAddress,
    allow: Sequence[Destination] | None,
    ours: Sequence[IPv4Network] = (),
) -> str:
    """Why this address of it may not be reached; "" if it may. `ours` are the colonies' ranges
    beside those that they have by default. Pure."""
    inside = isinstance(address, IPv4Address) and any(
        place.network is not None and address in place.network and place.port in (0, wanted.port)
        for place in allow or ()
        if place.network is not None and place.network.prefixlen > 0
    )
    if inside:
        return ""
    if _is_near(address, ours):
        return f"{wanted.host} is {address}, which is this machine's or a neighbour's"
    if allow is None or any(_names(p, wanted) and p.network is None for p in allow):
        return ""
    everywhere = any(p.network is not None and p.network.prefixlen == 0 for p in allow)
    if everywhere and any(_names(p, wanted) for p in allow if p.network is not None):
        return ""
    return f"{wanted.host} is {address}, which is not in `allow`"


def _is_near(address: IPAddress, ours: Sequence[IPv4Network]) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified or address.is_link_local:
        return True
    if address.is_multicast:
        return True
    if isinstance(address, IPv6Address):
        return address in _OURS6
    return any(address in network for network in (*_OURS, *ours))


_OURS: Final[tuple[IPv4Network, ...]] = tuple(n for n in candidates() if str(n).startswith("10."))
_OURS6: Final = IPv6Network("fd00::/8")


class EgressProxy(Actor):
    """A colony's proxy, for as long as it lives.

    allow
        As in `[network.policy.egress]`; None: everything outside this machine.
    """

    def __init__(
        self, colony: str, thread: NetworkThread, allow: tuple[str, ...] | None = None
    ) -> None:
        self.colony = colony
        self.thread = thread
        self.allow = None if allow is None else tuple(parse(text) for text in allow)

    async def start(self) -> Ignore | None:
        owner = self.ctx.system.named(namespace_name(self.colony), NamespaceOwner)
        space = await owner.call(GetNamespace())
        sock = await self.thread.socket(space)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", PORT))
            sock.listen()
        except BaseException:
            sock.close()
            raise
        self.ctx.run(self._serve, space, sock, name="egress proxy")
        return None

    async def _serve(self, space: Namespace, sock: socket.socket) -> None:
        async def handle(client: SocketStream) -> None:
            async with client:
                with contextlib.suppress(*splice.BROKEN, anyio.EndOfStream, ActorDown):
                    await self._handle(space, client)

        await splice.let_in(sock, handle)

    async def _handle(self, space: Namespace, client: SocketStream) -> None:
        head = b""
        with anyio.move_on_after(HEAD_SECONDS):
            while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
                head += await client.receive(4096)
        wanted = read_head(head)
        if wanted is None:
            await _refuse(client, 400, "this is the colony's way out: an HTTP proxy")
            return
        port = int(client.extra(SocketAttribute.remote_port))
        process = await self.thread.run(_process, self.thread, space, port)
        reason = why_not(wanted, self.allow)
        server: socket.socket | None = None
        address = ""
        if not reason:
            reason, address, server = await self._connect(wanted)
        if server is None:
            self._denied(wanted, reason, process)
            await _refuse(client, 502 if reason.startswith("cannot") else 403, reason)
            return
        self.ctx.system.publish(
            EgressAllowed(
                at=self.ctx.now,
                colony=self.colony,
                host=wanted.host,
                port=wanted.port,
                address=address,
                process=process,
            )
        )
        await self._join(client, server, wanted, head)

    async def _join(
        self, client: SocketStream, server: socket.socket, wanted: Wanted, head: bytes
    ) -> None:
        async def dial() -> socket.socket:
            return server

        try:
            if wanted.head:
                await _send(server, wanted.head)
            else:
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _send(server, head.partition(b"\r\n\r\n")[2])
        except BaseException:
            server.close()
            raise
        await splice.splice(client, dial)

    async def _connect(self, wanted: Wanted) -> tuple[str, str, socket.socket | None]:
        """(why not, the address, the socket)."""
        try:
            addresses = await anyio.to_thread.run_sync(_addresses, wanted.host)
        except OSError as error:
            return f"cannot resolve {wanted.host}: {error.strerror or error}", "", None
        reason = f"cannot resolve {wanted.host}: it has no address"
        ours = await self._ranges()
        for address in addresses:
            refused = why_not_there(wanted, address, self.allow, ours)
            if refused:
                reason = refused
                continue
            try:
                with anyio.fail_after(CONNECT_SECONDS):
                    made = await splice.connect(str(address), wanted.port)
            except (OSError, TimeoutError) as error:
                reason = f"cannot connect to {address} port {wanted.port}: {error or 'no answer'}"
                continue
            return "", str(address), made
        return reason, "", None

    async def _ranges(self) -> tuple[IPv4Network, ...]:
        """Of all colonies of this instance. Raises `ActorDown` when nobody can say."""
        network = await self.ctx.system.named(NETWORK, NetworkOwner).call(GetNetwork())
        return tuple(pool.v4 for pool in network.pool.all)

    def _denied(self, wanted: Wanted, reason: str, process: str) -> None:
        self.ctx.system.publish(
            EgressDenied(
                at=self.ctx.now,
                colony=self.colony,
                host=wanted.host,
                port=wanted.port,
                reason=reason,
                process=process,
            )
        )


def _addresses(host: str) -> list[IPAddress]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


async def _send(server: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[server.send(data) :]
        except BlockingIOError:
            await anyio.wait_writable(server)


async def _refuse(client: SocketStream, status: int, reason: str) -> None:
    words = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway"}[status]
    body = f"{reason}\n".encode()
    head = f"HTTP/1.1 {status} {words}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    await client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def _process(thread: NetworkThread, space: Namespace, port: int) -> str:
    """Which process of the colony has a connection from this port to us. On the network thread."""
    with thread.inside(Place(space.place.net)):
        text = Path("/proc/thread-self/net/tcp").read_text("ascii")
    rows = [line.split() for line in text.splitlines()[1:]]
    inodes = {
        row[9]
        for row in rows
        if int(row[1].rpartition(":")[2], 16) == port and int(row[2].rpartition(":")[2], 16) == PORT
    }
    inodes.discard("0")
    if not inodes:
        return ""
    found = holder_among(inodes, sweep.processes_in(space.inode))
    return str(found) if found.pid else ""
