"""A viewer's connection to the instance: blocking, standard library alone.

with Connection(address, path_of("colonies", "blog", "terminals", "terminal", "attach")) as one:
    one.send(b"ls\\r")
    for kind, data in one.receive():
        ...
"""

from __future__ import annotations

import json
import os
import select
from base64 import b64encode
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

_PIECE: Final = 256 * 1024
_HEAD_MAX: Final = 64 * 1024


class Connection(Held):
    """A WebSocket. Raises `Unreachable`, `Problem` when the instance says no, and `Gone`."""

    def __init__(self, address: Address, path: str, query: Query | None = None) -> None:
        self._address = address
        self._frames = FrameReader()
        self._rest = b""
        self.over = False
        """Whether the other side has closed it."""
        self._socket = connected(address)
        try:
            self._shake_hands(path, query)
        except OSError as error:
            self.close()
            raise self._gone(error) from None
        except BaseException:
            self.close()
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
        try:
            data, self._rest = self._rest or self._socket.recv(_PIECE), b""
            if not data:
                raise self._gone("it has closed the connection")
            return [each for each in self._frames.feed(data) if self._is_message(*each)]
        except (OSError, BadFrame) as error:
            raise self._gone(error) from None

    @property
    def waiting(self) -> bool:
        """Whether something has come that no descriptor will tell of."""
        return bool(self._rest)

    def _is_message(self, kind: int, data: bytes) -> bool:
        if kind == PING:
            self._send(PONG, data)
        elif kind == CLOSE:
            self.over = True
        return kind in (TEXT, BINARY)

    def _send(self, kind: int, data: bytes) -> None:
        try:
            self._socket.sendall(masked(kind, data, os.urandom(4)))
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


def readable(*files: Any, seconds: float | None = None) -> list[int]:
    """Which of these can be read, waiting for the first: as `poll`, which has no limit of
    descriptors."""
    poll = select.poll()
    for each in files:
        poll.register(each, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if seconds is None else max(0, seconds) * 1000)]
