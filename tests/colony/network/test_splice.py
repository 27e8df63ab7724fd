"""Connections passed on: what is let in is served, and nothing of it is left at the end."""

from __future__ import annotations

import gc
import socket

import anyio
import anyio.to_thread
import pytest

from colony.network import splice

pytestmark = pytest.mark.real_time


async def refuse() -> socket.socket:
    raise ConnectionRefusedError


async def test_bytes_go_through_and_each_half_ends_by_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as behind, socket.socket() as client:
        port = behind.getsockname()[1]
        door = socket.create_server(("127.0.0.1", 0))
        async with anyio.create_task_group() as tasks:
            client.connect(door.getsockname())
            tasks.start_soon(splice.serve, [door], lambda: splice.connect("127.0.0.1", port))
            server, _ = await anyio.to_thread.run_sync(behind.accept)
            with server:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                assert await anyio.to_thread.run_sync(server.recv, 100) == b"hello"
                assert await anyio.to_thread.run_sync(server.recv, 100) == b""
                server.sendall(b"bye")
                assert await anyio.to_thread.run_sync(client.recv, 100) == b"bye"
            tasks.cancel_scope.cancel()
    assert door.fileno() == -1


@pytest.mark.parametrize("steps", range(12))
async def test_who_connects_just_when_it_ends_leaves_no_socket_open(steps: int) -> None:
    """A socket that is left is closed by the collector, with a warning, which is an error here."""
    door = socket.create_server(("127.0.0.1", 0))
    clients = [socket.socket() for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(splice.serve, [door], refuse)
        await anyio.lowlevel.checkpoint()
        for client in clients:
            client.connect(door.getsockname())
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    for client in clients:
        client.close()
    gc.collect()
    assert door.fileno() == -1
