"""Dialogues with the embedded front door, byte by byte.

A dialogue is a script of blocking sockets: `client` is the browser's end, `a` and `b` are two
services that listen and say exactly what the test has them say.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import anyio.to_thread

from proxy.embedded import EmbeddedProxy
from proxy.routes import RouteTable, TcpUpstream
from tests.ports import free_ports
from tests.proxy.support import PATIENCE, held, host, route

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Wire:
    """One end of a connection, read piece by piece."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self._read = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Up to the end of a head."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read(self, count: int) -> bytes:
        while len(self._read) < count:
            self._more()
        data, self._read = self._read[:count], self._read[count:]
        return data

    def count(self, limit: int) -> int:
        """Reads and forgets up to `limit` bytes; how many there were before the other's end."""
        seen, self._read = len(self._read), b""
        while seen < limit and (chunk := self.sock.recv(1 << 20)):
            seen += len(chunk)
        return seen

    def rest(self) -> bytes:
        """Everything up to the other's end."""
        while chunk := self.sock.recv(65536):
            self._read += chunk
        data, self._read = self._read, b""
        return data

    def silent(self) -> bool:
        """Whether nothing has come that was not read yet."""
        if self._read:
            return False
        self.sock.settimeout(0.05)
        try:
            self._read = self.sock.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def end(self) -> None:
        """Says that no more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Breaks the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def _more(self) -> None:
        chunk = self.sock.recv(65536)
        if not chunk:
            raise EOFError(f"ended after {self._read!r}")
        self._read += chunk


class Stage:
    """Connections of one dialogue, closed at its end."""

    def __init__(self, door: EmbeddedProxy, listeners: dict[str, socket.socket]) -> None:
        self.door = door
        self.open: dict[str, Wire] = {}
        self._listeners = listeners
        self._open = ExitStack()

    def client(self, *, window: int = 0, address: str = "127.0.0.1") -> Wire:
        """A connection to the front door, from that address; `window` makes its receive buffer
        that small.
        """
        sock = socket.socket()
        sock.bind((address, 0))
        self._open.enter_context(closing(sock))
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.connect(("127.0.0.1", self.door.port))
        return Wire(sock)

    def service(self, name: str) -> Wire:
        """The next connection that the front door makes to that service."""
        sock, _ = self._listeners[name].accept()
        self._open.enter_context(closing(sock))
        return Wire(sock)

    def dialled(self, name: str) -> bool:
        """Whether a connection to that service waits to be accepted."""
        self._listeners[name].settimeout(0.05)
        try:
            self._open.enter_context(closing(self._listeners[name].accept()[0]))
        except TimeoutError:
            return False
        finally:
            self._listeners[name].settimeout(PATIENCE)
        return True

    def unsent(self) -> int:
        """How many bytes the front door holds for clients that the kernel does not take."""
        clients = tuple(self.door._door.clients)
        return sum(client._transport.get_write_buffer_size() for client in clients)

    def alone(self) -> bool:
        """Whether the front door has let go of every client, or does within our patience."""
        until = time.monotonic() + PATIENCE
        while self.door.connections and time.monotonic() < until:
            time.sleep(0.005)
        return not self.door.connections

    def close(self) -> None:
        self._open.close()


async def dialogue(script: Callable[[Stage], None], **options: Any) -> None:
    """Runs a script against an embedded front door with the services `a` and `b` behind it."""
    before = held()
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in ("a", "b")}
    routes = []
    for name, listener in listeners.items():
        listener.settimeout(PATIENCE)
        routes.append(route(name, TcpUpstream(listener.getsockname()[1], "127.0.0.1")))
    door = EmbeddedProxy(ports=free_ports(3), **options)
    await door.start(RouteTable(routes))
    stage = Stage(door, listeners)

    def play() -> None:
        with closing(stage):
            script(stage)

    try:
        await anyio.to_thread.run_sync(play)
    finally:
        await door.stop()
        for listener in listeners.values():
            listener.close()
    assert held() <= before


def get(colony: str, path: str = "/", *fields: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host(colony)}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def sent_on(colony: str, path: str = "/", *fields: str, method: str = "GET") -> bytes:
    """What the service receives for `get` of the same."""
    forwarded = (
        "X-Forwarded-For: 127.0.0.1",
        f"X-Forwarded-Host: {host(colony)}",
        "X-Forwarded-Proto: http",
    )
    return get(colony, path, *fields, *forwarded, method=method)
