"""Sockets made elsewhere, as anyio's streams."""

from __future__ import annotations

import errno
import socket

from anyio.abc import SocketStream


async def stream_of(sock: socket.socket) -> SocketStream:
    """A connected socket as a stream, which owns it from now on.

    Raises `ConnectionResetError`, the socket closed, if its peer has gone since it was connected:
    anyio calls that a `ValueError`, as if the caller had passed the wrong socket.
    """
    try:
        return await SocketStream.from_socket(sock)
    except ValueError as error:
        sock.close()
        raise ConnectionResetError(errno.ECONNRESET, "the peer has gone") from error
    except BaseException:
        sock.close()
        raise
