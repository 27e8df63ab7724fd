"""Output as lines, and the last of them: pure.

Raw bytes are the truth; lines are a view on them. A line is what stands before a newline, or
`LONGEST` bytes of a line that will not end, so that memory stays bounded whatever a service prints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 16 * 1024
"""Bytes after which an unfinished line is given out as it is."""


class LineSplitter:
    """Cuts a stream of chunks into lines, without their line ends. Bytes stay bytes."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def __repr__(self) -> str:
        return f"<LineSplitter with {len(self._rest)} bytes unfinished>"

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in whole]
        while len(rest) > LONGEST:
            lines.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._rest = rest
        return lines

    def close(self) -> list[bytes]:
        """What is left when the stream ends: the last line, if it had no newline."""
        rest, self._rest = self._rest, b""
        return [rest.removesuffix(b"\r")] if rest else []


class Tail:
    """The last bytes of a service's output, at most `size` of them (default 64 KiB)."""

    __slots__ = ("_chunks", "_held", "size")

    def __init__(self, size: int = 64 * 1024) -> None:
        self.size = size
        self._chunks: deque[bytes] = deque()
        self._held = 0

    def __repr__(self) -> str:
        return f"<Tail {self._held} of {self.size} bytes>"

    def append(self, data: bytes) -> None:
        """Adds a chunk and lets the oldest go."""
        data = data[-self.size :]
        self._chunks.append(data)
        self._held += len(data)
        while self._held > self.size:
            excess = self._held - self.size
            first = self._chunks.popleft()
            if len(first) > excess:
                self._chunks.appendleft(first[excess:])
                self._held -= excess
            else:
                self._held -= len(first)

    def lines(self, count: int) -> list[bytes]:
        """The last `count` lines, the oldest first; a last one without a newline counts."""
        text = b"".join(self._chunks)
        lines = text.split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        return [line.removesuffix(b"\r") for line in lines[-count:]]

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._chunks))
