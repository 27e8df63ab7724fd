"""A viewer's connection to the instance: standard library alone.

with Connection(address, path_of("colonies", "blog", "terminals", "terminal", "attach")) as one:
    one.send(b"ls\\r")
    for kind, data in one.receive():
        ...

Sending never waits: what the instance does not take yet is kept, and goes out while we wait for
something to come (`ready`). If it waited, a command that writes more than it reads would stop, and
we with it, each because the other does not read. So whoever sends much looks at `full` first.

It ends with a farewell: what was sent last has arrived when the block is left, whatever the other
side was about to say.
"""

from __future__ import annotations

import json
import os
import select
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from colony.client import Address, Gone, Held, Query, connected, encoded, problem_of
from colony.http1 import Body, Head, ResponseParser
from colony.terminals.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    BadFrame,
    FrameReader,
    accept_for,
    masked,
)

FULL: Final = 256 * 1024
"""Bytes that are kept for the instance to take, before one better sends no more."""

FAREWELL: Final = 1.0
"""Seconds that the instance has to take what was sent last."""

_PIECE: Final = 256 * 1024
_ENOUGH: Final = b"\x03\xe8"  # 1000, a normal closure
_HEAD_MAX: Final = 64 * 1024


class Connection(Held):
    """A WebSocket. Raises `Unreachable`, `Problem` when the instance says no, and `Gone`."""

    def __init__(self, address: Address, path: str, query: Query | None = None) -> None:
        self._address = address
        self._frames = FrameReader()
        self._rest = b""
        self._unsent = bytearray()
        self.over = False
        """Whether the other side has closed it."""
        self._socket = connected(address)
        try:
            self._shake_hands(path, query)
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise self._gone(error) from None
        except BaseException:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<Connection to {self._address}>"

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self._send(BINARY, data)

    def tell(self, t: str, **more: Any) -> None:
        """Sends a control message."""
        self._send(TEXT, json.dumps({"t": t, **more}).encode())

    def receive(self) -> list[tuple[int, bytes]]:
        """What has come, waiting for something if nothing has; TEXT and BINARY alone."""
        while not self._rest and self.fileno() not in self.ready():
            pass
        try:
            data, self._rest = self._rest or self._socket.recv(_PIECE), b""
            if not data:
                raise self._gone("it has closed the connection")
            return [each for each in self._frames.feed(data) if self._is_message(*each)]
        except (OSError, BadFrame) as error:
            raise self._gone(error) from None

    def ready(
        self,
        *files: int,
        seconds: float | None = None,
        writing: Iterable[int] = (),
        listening: bool = True,
    ) -> set[int]:
        """Which of these can be read or, of `writing`, written; and our own `fileno()` if something
        has come, or, not `listening`, once the other side has hung up. Waits for the first, at most
        so long, and sends meanwhile what is unsent."""
        own = self.fileno()
        poll = select.poll()  # which knows no limit of descriptors
        for fd in files:
            poll.register(fd, select.POLLIN)
        for fd in writing:
            poll.register(fd, select.POLLOUT)
        wanted = select.POLLIN if listening else select.POLLRDHUP
        poll.register(own, wanted | (select.POLLOUT if self._unsent else 0))
        if self._rest and listening:
            seconds = 0
        found = dict(poll.poll(None if seconds is None else max(0, seconds) * 1000))
        mine = found.pop(own, 0)
        if mine & select.POLLOUT:
            self._flush()
        here = mine & ~select.POLLOUT or (self._rest and listening)
        return {*found, own} if here else {*found}

    @property
    def full(self) -> bool:
        """Whether much is unsent still."""
        return len(self._unsent) >= FULL

    def close(self) -> None:
        """Ends the connection, once the other side has taken what was sent. Twice is no error."""
        if self.fileno() >= 0 and not self.over:
            with suppress(OSError, Gone):
                self._say_farewell()
        self._socket.close()

    def _say_farewell(self) -> None:
        self._send(CLOSE, _ENOUGH)
        deadline = time.monotonic() + FAREWELL
        while not self.over and (left := deadline - time.monotonic()) > 0:
            if self.fileno() in self.ready(seconds=left):
                self.receive()

    def _is_message(self, kind: int, data: bytes) -> bool:
        if kind == PING:
            self._send(PONG, data)
        elif kind == CLOSE:
            self.over = True
        return kind in (TEXT, BINARY)

    def _send(self, kind: int, data: bytes) -> None:
        self._unsent += masked(kind, data, os.urandom(4))
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            raise self._gone(error) from None

    def _gone(self, error: object) -> Gone:
        return Gone(f"the instance at {self._address} went away: {error}")

    def _shake_hands(self, path: str, query: Query | None) -> None:
        key = b64encode(os.urandom(16))
        asked = encoded(self._address, "GET", path, query, None)
        upgrade = (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: " + key + b"\r\n"
        )
        self._socket.sendall(asked.replace(b"Connection: close\r\n", upgrade))
        data = b""
        while b"\r\n\r\n" not in data and len(data) < _HEAD_MAX:
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise self._gone("it has closed the connection")
            data += piece
        if not data.startswith(b"HTTP/1.1 101 "):
            raise self._refusal(data)
        head, _, self._rest = data.partition(b"\r\n\r\n")
        if accept_for(key).encode() not in head:
            raise self._gone("it does not speak WebSocket")

    def _refusal(self, data: bytes) -> Exception:
        parser, head, body = ResponseParser("GET"), None, b""
        while True:
            for event in parser.feed(data):
                if isinstance(event, Head):
                    head = event
                elif isinstance(event, Body):
                    body += event.data
            if parser.complete:
                break
            data = self._socket.recv(_PIECE)
            if not data:
                break
        if head is None:
            return self._gone("it does not speak HTTP")
        return problem_of(head, body)
