"""Bytes from one socket to another, for as long as either side has some.

Law: whoever is let in by `serve` is gone when it returns. A side that ends its half ends that half
of the other; a side that breaks off breaks off the other.

The connection behind is dialled when one in front is accepted, and what that raises closes the one
in front: to whoever connects, a port that leads nowhere looks like a server that hangs up.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from anyio.abc import Listener, SocketStream, UDPSocket

from netns.streams import stream_of
from proxy.ports import let_go

Dial = Callable[[], Awaitable[socket.socket]]
"""Gives a connected, non-blocking socket; the caller's to close. Raises `OSError`."""

CONNECTIONS: Final = 1000
"""At most so many at once on a port; the next ones wait in the kernel's queue."""

UDP_IDLE: Final = 60.0
"""Seconds without a packet after which a client's way back is forgotten."""

BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What `accept` says when whoever connects has to wait until others have gone."""


async def serve(listening: Sequence[socket.socket], dial: Dial) -> None:
    """Lets in whoever connects to these listening sockets, until cancelled; closes them then."""
    limit = anyio.Semaphore(CONNECTIONS)

    async def handle(client: SocketStream) -> None:
        async with client, limit:
            await splice(client, dial)

    async with anyio.create_task_group() as tasks:
        for sock in listening:
            tasks.start_soon(let_in, sock, handle)


async def serve_listener(listener: Listener[SocketStream], dial: Dial) -> None:
    """The same for a listener of anyio's at a path."""
    limit = anyio.Semaphore(CONNECTIONS)

    async def handle(client: SocketStream) -> None:
        async with client, limit:
            await splice(client, dial)

    async with listener:
        await listener.serve(handle)


async def let_in(
    listening: socket.socket, handle: Callable[[SocketStream], Awaitable[None]]
) -> None:
    """Hands over whoever connects, each in a task, until cancelled; closes the socket then.

    By itself, since anyio's listener for TCP, cancelled, drops whom it has accepted a moment before
    and leaves that socket open.
    """

    async def welcome(accepted: socket.socket) -> None:
        try:
            client = await stream_of(accepted)
        except ConnectionResetError:
            return
        await handle(client)

    listening.setblocking(False)
    try:
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listening)
                try:
                    accepted, _ = listening.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    if error.errno not in NO_ROOM:
                        raise
                    await anyio.sleep(1.0)
                    continue
                accepted.setblocking(False)
                tasks.start_soon(welcome, accepted)
    finally:
        let_go(listening)


async def splice(client: SocketStream, dial: Dial) -> None:
    """Joins a client with what `dial` gives, until both have ended."""
    try:
        behind = await stream_of(await dial())
    except OSError:
        return
    async with behind as server, anyio.create_task_group() as both:

        async def pump(source: SocketStream, sink: SocketStream) -> None:
            try:
                async for piece in source:
                    await sink.send(piece)
                await sink.send_eof()
            except BROKEN:
                both.cancel_scope.cancel()

        both.start_soon(pump, client, server)
        both.start_soon(pump, server, client)


async def connect(address: str, port: int) -> socket.socket:
    """A connected, non-blocking TCP socket of this process's own network; the caller's to close.

    In any event loop. Raises `OSError`.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sock.setblocking(False)
        number = sock.connect_ex((address, port))
        if number == errno.EINPROGRESS:
            await anyio.wait_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, f"connecting to {address} port {port}: {os.strerror(number)}")
    except BaseException:
        sock.close()
        raise
    return sock


async def relay(outside: socket.socket, dial: Dial) -> None:
    """Passes UDP packets on, and the answers back to whom they are for, until cancelled.

    Each client has a socket of its own behind, so that answers find their way.
    """
    behind: dict[tuple[str, int], socket.socket] = {}
    try:
        async with await UDPSocket.from_socket(outside) as front, anyio.create_task_group() as back:
            async for packet, client in front:
                sock = behind.get(client)
                if sock is None:
                    try:
                        sock = await dial()
                    except OSError:
                        continue
                    behind[client] = sock
                    back.start_soon(_answers, sock, front, client, behind)
                try:
                    sock.send(packet)
                except OSError:  # refused, or full: a packet may be lost
                    continue
    finally:
        for sock in behind.values():
            sock.close()
        outside.close()


async def _answers(
    sock: socket.socket,
    front: UDPSocket,
    client: tuple[str, int],
    behind: dict[tuple[str, int], socket.socket],
) -> None:
    try:
        while True:
            with anyio.move_on_after(UDP_IDLE) as patience:
                await anyio.wait_readable(sock)
            if patience.cancelled_caught:
                return
            try:
                packet = sock.recv(65536)
            except OSError:  # nobody listens there now
                continue
            await front.sendto(packet, *client)
    finally:
        behind.pop(client, None)
        sock.close()
