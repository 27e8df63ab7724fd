"""Which loopback port the front door gets: 80 if it is free and allowed, else 8080, else the next.

    claim (against other Colonies)  →  bind (against everybody)  →  hand over to the program

The law: a port counts as ours only if nobody else could have it. Binding alone does not say so:
Caddy sets SO_REUSEPORT, so two Caddys started in the same instant both bind and then share the
connections between them. Hence the claim, a unix socket in the abstract namespace named after the
port: it belongs to one network namespace as ports do, is taken in one step, and ends with its
process, however that dies.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from proxy.errors import PortsTaken

HTTP_PORTS: Final = (80, *range(8080, 8180))
"""The ports tried for HTTP, in this order."""

DNS_PORTS: Final = tuple(range(5354, 5454))
"""The ports tried for DNS, in this order."""

BACKLOG: Final = 1024

_LISTENS: Final = "0A"
"""The state of a listening socket in /proc/net/tcp."""

LOOPBACK: Final = ("127.0.0.1", "::1")


class Claim:
    """A name that one process of this network namespace holds at a time. Ends with `release`."""

    def __init__(self, name: str) -> None:
        """Takes the name at once; raises `OSError` (EADDRINUSE) while another holds it."""
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(f"\0colony/{name}")
        except OSError:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<Claim {self.name}{' released' if self._socket.fileno() < 0 else ''}>"

    def release(self) -> None:
        self._socket.close()


class Claims:
    """An owner's claim on the port of a program, over that program's lives: between one's end and
    the next no other Colony takes the port. Its maker's to close."""

    def __init__(self) -> None:
        self._kept: tuple[int, Claim] | None = None

    def __repr__(self) -> str:
        return f"<Claims {'nothing' if self._kept is None else self._kept[0]}>"

    def take(self, port: int) -> Claim:
        """The claim on a port: what is kept, or a new one. Raises `OSError` as `Claim` does."""
        if self._kept is None or self._kept[0] != port:
            return Claim(f"port/{port}")
        (_, claim), self._kept = self._kept, None
        return claim

    def keep(self, port: int, claim: Claim) -> None:
        """This one, and in place of what was kept."""
        self.close()
        self._kept = port, claim

    def close(self) -> None:
        """Gives up what is kept. Closing twice is no error."""
        if self._kept is not None:
            self._kept[1].release()
            self._kept = None


class Reservation:
    """A port that is bound and claimed by us, on each loopback address that this machine has.

    Its stream `sockets` listen: a port that is bound only, another could bind too. `unbind` frees
    the port for a program to bind it and keeps the claim; `release` ends both, and may be called
    again. If it is to be `kept`, what it is kept in has the claim then.
    """

    def __init__(self, port: int, claim: Claim, sockets: Sequence[socket.socket]) -> None:
        self.port = port
        self.kept: Claims | None = None
        self.sockets = tuple(sockets)
        self.addresses = tuple(dict.fromkeys(str(sock.getsockname()[0]) for sock in sockets))
        self._claim: Claim | None = claim

    def __repr__(self) -> str:
        return f"<Reservation {self.port} on {', '.join(self.addresses)}>"

    def unbind(self) -> None:
        for sock in self.sockets:
            let_go(sock)

    def release(self) -> None:
        self.unbind()
        claim, self._claim = self._claim, None
        if claim is None:
            return
        if self.kept is not None:
            self.kept.keep(self.port, claim)
        else:
            claim.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def let_go(sock: socket.socket) -> None:
    """Closes a socket that listens, so that from now on nobody is let in and its port is free.

    Closing alone does not do that at once while some thread starts a process: until that has become
    another program it holds a copy of all that we have open, and on a busy machine for long enough
    to be met.
    """
    if sock.type == socket.SOCK_STREAM:
        with contextlib.suppress(OSError):  # it is closed already
            sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def reserve(
    port: int,
    kinds: Sequence[socket.SocketKind] = (socket.SOCK_STREAM,),
    claims: Claims | None = None,
) -> Reservation:
    """Claims and binds `port` on 127.0.0.1, and on ::1 where the machine has it.

    `kinds` are the kinds of socket that the port is wanted for; `claims` may have the claim
    already. Raises `OSError`; `reason` puts it in words.
    """
    claim = Claim(f"port/{port}") if claims is None else claims.take(port)
    sockets: list[socket.socket] = []
    try:
        for address in LOOPBACK:
            for kind in kinds:
                sock = _bind(address, port, kind)
                if sock is not None:
                    sockets.append(sock)
    except OSError:
        for sock in sockets:
            let_go(sock)
        claim.release()
        raise
    return Reservation(port, claim, sockets)


async def on_some_port(
    what: str,
    ports: Iterable[int],
    attempt: Callable[[Reservation], Awaitable[bool]],
    kinds: Sequence[socket.SocketKind] = (socket.SOCK_STREAM,),
    claims: Claims | None = None,
) -> Reservation:
    """Tries ports in turn until `attempt` makes use of one; its reservation is the caller's then,
    and what becomes of its claim is up to `claims`.

    `attempt` gets each reservation that could be had, and returns False if somebody was quicker
    after all. What it raises ends the search. Raises `PortsTaken` when there is no port left.
    """
    tried: dict[int, str] = {}
    for port in ports:
        try:
            reservation = reserve(port, kinds, claims)
        except OSError as error:
            tried[port] = reason(error)
            continue
        try:
            if await attempt(reservation):
                reservation.kept = claims
                return reservation
        except BaseException:
            reservation.release()
            raise
        reservation.release()
        tried[port] = "taken"
    raise PortsTaken(what, tried)


def listening(table: str, port: int) -> int:
    """How many sockets listen on a port, in a table of the form of /proc/net/tcp. Pure."""
    rows = (line.split() for line in table.splitlines()[1:])
    return sum(row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def listeners(port: int) -> int:
    """How many sockets listen on a TCP port of this network namespace, over IPv4 and IPv6."""
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(table) as file:
            count += listening(file.read(), port)
    return count


def preferring(port: int, ports: Iterable[int]) -> tuple[int, ...]:
    """The ports to try, this one first: a URL outlives the process that served it, if it can."""
    return (port, *(other for other in ports if other != port))


def reason(error: OSError) -> str:
    """Why a port could not be had, in words."""
    match error.errno:
        case errno.EADDRINUSE:
            return "taken"
        case errno.EACCES:
            return "not allowed without root"
        case _:
            return error.strerror or str(error)


def _bind(address: str, port: int, kind: socket.SocketKind) -> socket.socket | None:
    """A bound socket; None if this machine has no IPv6."""
    v6 = ":" in address
    try:
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind)
    except OSError:
        if v6:
            return None
        raise
    try:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Without it, connections of an earlier life in TIME_WAIT keep the port for a minute.
            # On UDP it would let two programs bind the same port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if v6 and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return sock
