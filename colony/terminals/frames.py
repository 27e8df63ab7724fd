"""WebSocket frames for the command line (RFC 6455), without a socket. Pure.

    reader = FrameReader()
    for kind, data in reader.feed(received):    # whole messages: BINARY, TEXT, CLOSE, PING, PONG
        ...
    sock.sendall(masked(BINARY, b"ls\\n", os.urandom(4)))

Own code, since aiohttp is asyncio's and takes longer to import than `colony attach` to answer.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha1
from typing import Final

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

MESSAGE_MAX: Final = 16 * 1024 * 1024
"""The longest message in bytes that is taken."""

_CONTINUED: Final = 0
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class BadFrame(Exception):
    """The other side does not speak the protocol."""


def accept_for(key: bytes) -> str:
    """What a server answers to `Sec-WebSocket-Key`."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode()


def masked(kind: int, data: bytes, mask: bytes) -> bytes:
    """A whole message as a client sends it."""
    return _head(kind, len(data), 0x80) + mask + _xor(data, mask)


def unmasked(kind: int, data: bytes) -> bytes:
    """A whole message as a server sends it."""
    return _head(kind, len(data), 0) + data


def _head(kind: int, length: int, flag: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", 0x80 | kind, flag | length)
    if length < 1 << 16:
        return struct.pack("!BBH", 0x80 | kind, flag | 126, length)
    return struct.pack("!BBQ", 0x80 | kind, flag | 127, length)


def _xor(data: bytes, mask: bytes) -> bytes:
    """As two large numbers: Python's fastest way without a library."""
    if not data:
        return b""
    whole = (mask * (len(data) // 4 + 1))[: len(data)]
    number = int.from_bytes(data, "little") ^ int.from_bytes(whole, "little")
    return number.to_bytes(len(data), "little")


class FrameReader:
    """Gathers frames into messages, in whatever pieces they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kind = 0
        self._parts: list[bytes] = []

    def __repr__(self) -> str:
        return f"<FrameReader {len(self._buffer)} bytes waiting>"

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The messages that are complete now. Raises `BadFrame`."""
        self._buffer += data
        while (frame := self._frame()) is not None:
            final, kind, body = frame
            if kind >= CLOSE:
                yield kind, body
                continue
            if (kind == _CONTINUED) != bool(self._kind):
                raise BadFrame("a message begins within another, or goes on without one")
            self._kind = self._kind or kind
            self._parts.append(body)
            if sum(map(len, self._parts)) > MESSAGE_MAX:
                raise BadFrame(f"a message is longer than {MESSAGE_MAX} bytes")
            if final:
                message, self._parts = b"".join(self._parts), []
                kind, self._kind = self._kind, 0
                yield kind, message

    def _frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70:
            raise BadFrame(f"a frame has reserved bits set, got: {first:#x}")
        length, start = second & 0x7F, 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(buffer) < 2 + width:
                return None
            start += width
            length = int.from_bytes(buffer[2:start], "big")
        if length > MESSAGE_MAX:
            raise BadFrame(f"a frame is longer than {MESSAGE_MAX} bytes, got: {length}")
        mask = b""
        if second & 0x80:
            mask = bytes(buffer[start : start + 4])
            start += 4
        if len(buffer) < start + length:
            return None
        body = bytes(memoryview(buffer)[start : start + length])
        del buffer[: start + length]
        return bool(first & 0x80), first & 0x0F, _xor(body, mask) if mask else body
