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
from anyio.abc import SocketListener, SocketStream, UDPSocket

from netns.streams import stream_of
from proxy.ports import shut

Dial = Callable[[], Awaitable[socket.socket]]
"""Gives a connected, non-blocking socket; the caller's to close. Raises `OSError`."""

CONNECTIONS: Final = 1000
"""At most so many at once on a port; the next ones wait in the kernel's queue."""

UDP_IDLE: Final = 60.0
"""Seconds without a packet after which a client's way back is forgotten."""

BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


async def serve(listening: Sequence[socket.socket], dial: Dial) -> None:
    """Lets in whoever connects to these listening sockets, until cancelled; closes them then."""
    listeners: list[SocketListener] = []
    try:
        for sock in listening:
            listeners.append(await SocketListener.from_socket(sock))
        await serve_listeners(listeners, dial)
    finally:
        for sock in listening:
            shut(sock)
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()
        for sock in listening:
            sock.close()


async def serve_listeners(listeners: Sequence[SocketListener], dial: Dial) -> None:
    """The same for listeners of anyio's."""
    limit = anyio.Semaphore(CONNECTIONS)

    async def handle(client: SocketStream) -> None:
        async with limit, client:
            await splice(client, dial)

    try:
        async with anyio.create_task_group() as tasks:
            for listener in listeners:
                tasks.start_soon(listener.serve, handle)
    finally:
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


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
