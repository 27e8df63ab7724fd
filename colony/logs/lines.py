"""Lines out of bytes: pure.

Raw bytes are the truth; lines are a view on them. A line is what stands before a newline, or
`LONGEST` bytes of a line that will not end, so that memory stays bounded whatever a service prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Stream = Literal["stdout", "stderr"]

LONGEST: Final = 16 * 1024
"""Bytes of a line that are given out at once; a longer line comes in pieces, each marked so."""


class LogLine(msgspec.Struct, frozen=True):
    """A line that a service wrote, without its line end.

    number
        1 for the service's first line, 2 for the next, over both streams and all its lives.
    at
        When it was read: seconds since 1970.
    piece
        0; of an overlong line 0 for the first piece, 1 for the next …
    more
        Whether the line goes on: in another piece, or not written yet.
    """

    service: str
    number: int
    at: float
    stream: Stream
    data: bytes
    piece: int = 0
    more: bool = False

    @property
    def text(self) -> str:
        """The line as text; bytes that are not UTF-8 appear as U+FFFD."""
        return self.data.decode("utf-8", "replace")


class LineSplitter:
    """Cuts a stream of chunks into lines, without their line ends. Bytes stay bytes.

    mark
        What a piece of a line that will not end is given at its end. Default nothing.
    """

    __slots__ = ("_mark", "_rest")

    def __init__(self, mark: bytes = b"") -> None:
        self._mark = mark
        self._rest = b""

    def __repr__(self) -> str:
        return f"<LineSplitter with {len(self._rest)} bytes unfinished>"

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in whole]
        while len(rest) > LONGEST:
            lines.append(rest[:LONGEST] + self._mark)
            rest = rest[LONGEST:]
        self._rest = rest
        return lines

    def close(self) -> list[bytes]:
        """What is left when the stream ends: the last line, if it had no newline."""
        rest, self._rest = self._rest, b""
        return [rest.removesuffix(b"\r")] if rest else []


def pieces(line: bytes) -> Iterator[bytes]:
    """A line as it is, or an overlong one in pieces of at most `LONGEST` bytes."""
    yield line[:LONGEST]
    for start in range(LONGEST, len(line), LONGEST):
        yield line[start : start + LONGEST]
