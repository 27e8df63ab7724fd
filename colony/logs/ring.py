"""The last output of one service, bounded in bytes and lines: pure.

The ring keeps chunks as they were read and counts their newlines, which costs a memchr; lines are
cut only when somebody asks for them. So a service that prints a million lines costs as many bytes
as the ring holds and no object a line.

    written   "GET /a\\nGET /b\\nGE"          "T /c\\n"
    kept      [1: "GET /a\\nGET /b\\n"]       [3: "GET /c\\n"]      ("GE" waits for its end)

A chunk ends with a newline, unless the line is overlong: then the chunk is *open*, and the next one
of the same stream *continues* it; or unless it is the stream's last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from colony.logs.lines import LONGEST, LogLine, Stream, pieces

BYTES: Final = 1024 * 1024
LINES: Final = 10_000
"""What a ring holds by default. Chunks go out whole, so that up to one chunk less may be there."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some output of one stream, as read.

    position
        Orders the chunks of all services; the number after which a reader goes on.
    first
        The number of the first line that begins in it.
    lines
        How many lines begin in it.
    continues, piece
        The number of the line that its first bytes belong to, if that began in an earlier chunk,
        and how many pieces of it went before.
    open
        Whether its last line goes on in a later one.
    """

    position: int
    first: int
    lines: int
    at: float
    stream: Stream
    data: bytes
    continues: int = 0
    open: bool = False
    piece: int = 0


class Ring:
    """The last output of a service.

    service
        Its name, for the lines.
    max_bytes, max_lines
        How much is kept; default 1 MiB and 10 000 lines.
    """

    __slots__ = (
        "_chunks",
        "_open",
        "_rest",
        "bytes",
        "dropped_bytes",
        "lines",
        "lost_position",
        "max_bytes",
        "max_lines",
        "saved_line",
        "saved_position",
        "service",
        "unsaved",
    )

    def __init__(self, service: str, max_bytes: int = BYTES, max_lines: int = LINES) -> None:
        self.service = service
        self.max_bytes = max_bytes
        self.max_lines = max_lines
        self.bytes = 0
        self.lines = 0
        """How many lines have begun, in all."""
        self.dropped_bytes = 0
        self.lost_position = 0
        """The position of the last chunk that is not there any more."""
        self.unsaved = 0
        """How many bytes came since the last `save`."""
        self.saved_position = 0
        self.saved_line = 0
        self._chunks: deque[Chunk] = deque()
        self._rest: dict[Stream, bytes] = {}
        self._open: dict[Stream, tuple[int, int]] = {}  # the line's number, and how many pieces

    def __repr__(self) -> str:
        return f"<Ring of {self.service}: {self.bytes} bytes, lines {self.first}-{self.lines}>"

    @property
    def first(self) -> int:
        """The number of the oldest line that is there; one more than `lines` if none is."""
        return self._chunks[0].first if self._chunks else self.lines + 1

    @property
    def dropped(self) -> int:
        """How many lines are not there any more."""
        return self.first - 1

    def append(self, position: int, at: float, stream: Stream, data: bytes) -> bool:
        """Adds what was read; whether there is anything new for readers."""
        rest = self._rest.pop(stream, b"")
        data = rest + data if rest else data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST:
            end = len(data)
        elif end < len(data):
            self._rest[stream] = data[end:]
        if not end:
            return False
        self._add(position, at, stream, data[:end])
        return True

    def close(self, position: int, at: float, stream: Stream) -> bool:
        """The stream has ended: what it left without a newline is a line; whether there was any."""
        rest = self._rest.pop(stream, b"")
        if rest:
            self._add(position, at, stream, rest, ends=True)
        self._open.pop(stream, None)
        return bool(rest)

    def _add(
        self, position: int, at: float, stream: Stream, data: bytes, *, ends: bool = False
    ) -> None:
        """`ends`: nothing follows, so that a line without a newline is a whole one."""
        continues, piece = self._open.pop(stream, (0, 0))
        unended = not data.endswith(b"\n")
        is_open = unended and not ends
        begun = data.count(b"\n") + unended - (1 if continues else 0)
        chunk = Chunk(position, self.lines + 1, begun, at, stream, data, continues, is_open, piece)
        self.lines += begun
        if is_open:
            number, before = (self.lines, 0) if begun else (continues, piece)
            parts = -(-(len(data) - data.rfind(b"\n") - 1) // LONGEST)
            self._open[stream] = number, before + parts
        self._chunks.append(chunk)
        self.bytes += len(data)
        self.unsaved += len(data)
        self._forget()

    def _forget(self) -> None:
        chunks = self._chunks
        while len(chunks) > 1 and (
            self.bytes > self.max_bytes or self.lines - chunks[1].first + 1 >= self.max_lines
        ):
            gone = chunks.popleft()
            self.bytes -= len(gone.data)
            self.dropped_bytes += len(gone.data)
            self.lost_position = gone.position

    # -- reading -------------------------------------------------------------------------------

    def chunks(self, after: int = 0) -> list[Chunk]:
        """The chunks behind a position, the oldest first."""
        found: list[Chunk] = []
        for chunk in reversed(self._chunks):
            if chunk.position <= after:
                break
            found.append(chunk)
        found.reverse()
        return found

    def save(self) -> tuple[list[Chunk], int]:
        """What came since the last `save`, and how many lines of that are not there any more."""
        chunks = self.chunks(self.saved_position)
        lost = chunks[0].first - self.saved_line - 1 if chunks else 0
        if chunks:
            self.saved_position = chunks[-1].position
        self.saved_line, self.unsaved = self.lines, 0
        return chunks, max(lost, 0)

    def unfinished(self, at: float) -> list[LogLine]:
        """What the streams have written of lines that have not ended yet."""
        return [
            LogLine(self.service, self.lines + index, at, stream, rest, more=True)
            for index, (stream, rest) in enumerate(self._rest.items(), 1)
        ]


def lines_of(service: str, chunk: Chunk) -> Iterator[LogLine]:
    """A chunk's lines; an overlong one in its pieces."""
    lines = chunk.data.split(b"\n")
    ended = not lines[-1]
    if ended:
        lines.pop()
    last = len(lines) - 1
    number = chunk.first - 1
    for index, line in enumerate(lines):
        continued = index == 0 and chunk.continues
        if not continued:
            number += 1
        whole = ended or index < last
        goes_on = chunk.open and not whole
        parts = list(pieces(line.removesuffix(b"\r") if whole else line))
        for piece, part in enumerate(parts, chunk.piece if continued else 0):
            more = goes_on or part is not parts[-1]
            yield LogLine(
                service,
                chunk.continues if continued else number,
                chunk.at,
                chunk.stream,
                part,
                piece,
                more,
            )
