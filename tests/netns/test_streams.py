"""A connected socket as a stream, also one whose peer has gone meanwhile."""

from __future__ import annotations

import select
import socket
import struct

import anyio.to_thread
import pytest

from netns.streams import stream_of
from tests.netns.support import PATIENCE

pytestmark = pytest.mark.real_time


def pair() -> tuple[socket.socket, socket.socket]:
    """A connection over loopback: the client's end, non-blocking, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    client.setblocking(False)
    return client, accepted


def until_it_is_felt(client: socket.socket) -> None:
    """The kernel delivers a reset when it finds the time."""
    felt = select.poll()
    felt.register(client, 0)
    assert felt.poll(PATIENCE * 1000)


async def test_a_socket_becomes_a_stream_that_owns_it() -> None:
    client, accepted = pair()
    async with await stream_of(client) as stream:
        accepted.sendall(b"hello")
        assert await stream.receive() == b"hello"
    accepted.close()
    assert client.fileno() == -1


async def test_a_peer_that_has_reset_the_connection_is_a_connection_reset() -> None:
    client, accepted = pair()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()  # a reset, not an orderly end
    await anyio.to_thread.run_sync(until_it_is_felt, client)
    with pytest.raises(ConnectionResetError, match="the peer has gone"):
        await stream_of(client)
    assert client.fileno() == -1
