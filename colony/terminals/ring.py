"""The last bytes of a stream, addressed by their offset from its beginning. Pure.

    ring = Ring(4)
    ring.append(b"abcdef")      # b"ab" is lost
    ring.start, ring.end        # 2, 6
    ring.read(3, 10)            # b"def"

One buffer that is allocated once and written round and round: the memory of a session is known
from its first byte, and a viewer is an offset, whatever the distance between two of them.
"""

from __future__ import annotations

from typing import Final

CAPACITY: Final = 1024 * 1024
"""Bytes that a session keeps."""


class Ring:
    """Keeps the last `capacity` bytes."""

    __slots__ = ("_buffer", "_view", "capacity", "end")

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"a ring's capacity is a positive number of bytes, got: {capacity}")
        self.capacity = capacity
        self.end = 0
        """The offset after the last byte: how many there have been."""
        self._buffer = bytearray(capacity)
        self._view = memoryview(self._buffer)  # into which is written without a copy between

    def __repr__(self) -> str:
        return f"<Ring {self.start}..{self.end}>"

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is kept."""
        return max(0, self.end - self.capacity)

    def append(self, data: bytes) -> bytes:
        """Adds bytes and returns those that they push out, the oldest first."""
        lost_until = self.end + len(data) - self.capacity
        lost = b""
        if lost_until > self.start:
            lost = self.read(self.start, lost_until - self.start)
            if lost_until > self.end:  # more came than fits: its beginning is lost as well
                lost += data[: lost_until - self.end]
        self._write(data[-self.capacity :], self.end + max(0, len(data) - self.capacity))
        self.end += len(data)
        return lost

    def _write(self, data: bytes, offset: int) -> None:
        place = offset % self.capacity
        first = min(len(data), self.capacity - place)
        view = memoryview(data)
        self._view[place : place + first] = view[:first]
        if first < len(data):
            self._view[: len(data) - first] = view[first:]

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset` on; b"" at the end.

        Raises `ValueError` for an offset whose byte is not kept, or has never been.
        """
        if not self.start <= offset <= self.end:
            raise ValueError(f"offset {offset} is not within {self.start}..{self.end}")
        count = min(limit, self.end - offset)
        place = offset % self.capacity
        piece = bytes(self._view[place : place + count])
        return piece if len(piece) == count else piece + bytes(self._view[: count - len(piece)])

    def find(self, byte: bytes, start: int, end: int) -> int:
        """The offset of the first such byte from `start` on and before `end`, both of which are
        kept; -1 if there is none."""
        while start < end:
            place = start % self.capacity
            last = min(place + end - start, self.capacity)
            found = self._buffer.find(byte, place, last)
            if found >= 0:
                return start + found - place
            start += last - place
        return -1
