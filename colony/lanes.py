"""The live table of `colony run` and `colony up` on a terminal: a lane for each service, below the
lines that go by. Pure: lanes in, bytes out.

    ✓ web        ready on port 4001                               71 ms
    web | GET / 200                               ▲ lines go by, and stay
    ──────────────────────────────────────────────────────────────────────
    ● web  ready    4001  http://hello-4001.colony.localhost/  12 s
    ↻ api  backoff  3000  http://hello-3000.colony.localhost/  1 s   ↻ 2

Law: the table is always what stands lowest. Whatever is written goes through `Table.around`, which
takes the table away, writes, and draws it anew in the same piece: nobody ever sees half of it, and
a terminal's history has the lines alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TextIO

from colony.cli import output as out

RULE: Final = "─"
SHARE: Final = 2
"""The table takes at most one part in so many of a terminal's rows."""
BAR: Final = 20
"""Columns of a bar that shows how far a step has come."""
NARROW: Final = 20
"""Columns of a terminal below which there is no table."""

_DIM: Final = 2
_PLAIN: Final = b"\x1b[0m"  # what a service has coloured and left so
_NO_WRAP, _WRAP = b"\x1b[?7l", b"\x1b[?7h"


class Lane(NamedTuple):
    """A service as it is now. `seconds` is how long it has been so; None before it began. `alone`
    says that it stands in no column, being no service."""

    name: str
    state: str
    port: int | None
    url: str | None
    restarts: int
    seconds: float | None
    detail: str = ""
    alone: bool = False


def providing(
    name: str, step: str, detail: str, percent: int | None, seconds: float | None
) -> Lane:
    """The lane of a step that provides what a colony needs, while it is done."""
    done = "" if percent is None else bar(percent)
    return Lane(name, step, None, None, 0, seconds, f"{done}{detail}", alone=True)


def bar(percent: int) -> str:
    """A bar of so many percent."""
    full = percent * BAR // 100
    return f"▕{'█' * full}{' ' * (BAR - full)}▏ {percent:>3} %  "


Look = Callable[[], Sequence[Lane]]
Size = Callable[[], os.terminal_size]


def wanted(stream: TextIO | None = None) -> bool:
    """Whether there is to be a table: on a terminal that can move its cursor, with someone who
    watches."""
    return out.someone_watches(stream) and os.environ.get("TERM", "dumb") != "dumb"


def drawn(lanes: Sequence[Lane], size: os.terminal_size, *, colour: bool) -> list[str]:
    """The table's lines, none wider than the terminal; none at all where it is too small."""
    room = size.lines // SHARE - 1
    if not lanes or room < 1 or size.columns < NARROW:
        return []
    shown = lanes if len(lanes) <= room else lanes[: room - 1]
    lines = ["  ".join(filter(None, _cells(lane, colour))) for lane in shown if lane.alone]
    lines += out.table(None, [_cells(lane, colour) for lane in shown if not lane.alone])
    if len(shown) < len(lanes):
        lines.append(_more(lanes[len(shown) :]))
    rule = out.paint(RULE * size.columns, _DIM, colour)
    return [rule, *(out.clipped(line, size.columns) for line in lines)]


def _cells(lane: Lane, colour: bool) -> tuple[str, ...]:
    shape = out.SHAPES.get(lane.state, "◌")
    return (
        f"{out.paint(shape, out.COLOURS.get(shape), colour)} {lane.name}",
        lane.state,
        "" if lane.port is None else str(lane.port),
        lane.url or "",
        "" if lane.seconds is None else out.span(lane.seconds),
        f"↻ {lane.restarts}" if lane.restarts else "",
        lane.detail,
    )


def _more(lanes: Sequence[Lane]) -> str:
    """Who found no room, by state."""
    states = [lane.state for lane in lanes]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"  … and {counted}"


class Table:
    """The table on one terminal.

    look
        Gives the lanes as they are now.
    size
        Gives the terminal's size.
    """

    def __init__(self, look: Look, *, colour: bool, size: Size | None = None) -> None:
        self.colour = colour
        self._look = look
        self._size = size or _terminal
        self._standing: list[str] = []
        self._columns = 0
        self._over = False

    def __repr__(self) -> str:
        return f"<Table of {len(self._standing)} lines>"

    def around(self, data: bytes) -> bytes:
        """Whole lines to write, and the table below them; b"" if nothing is new."""
        if self._over:
            return data
        size = self._size()
        lines = drawn(self._look(), size, colour=self.colour)
        if not data and lines == self._standing:
            return b""
        taken = self._taken_away(size.columns)
        self._standing, self._columns = lines, size.columns
        text = "".join(f"{line}\n" for line in lines).encode()
        return taken + data + (_PLAIN + _NO_WRAP + text + _WRAP if lines else b"")

    def hide(self) -> bytes:
        """Takes the table away, until `around` is asked again."""
        taken, self._standing = self._taken_away(self._size().columns), []
        return taken

    def end(self) -> bytes:
        """Takes the table away for good; what is written from then on is written alone."""
        self._over = True
        return self.hide()

    def _taken_away(self, columns: int) -> bytes:
        """To the table's first line, and away with all below. A terminal that has become narrower
        has broken its lines."""
        columns = columns if 0 < columns < self._columns else self._columns
        rows = sum(max(1, -(-out.width(line) // columns)) for line in self._standing)
        return b"\x1b[%dA\r\x1b[J" % rows if rows else b""


def _terminal() -> os.terminal_size:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return os.terminal_size((0, 0))
    # A terminal that nobody has told its size has none.
    return size if size.columns else os.terminal_size((80, 24))


def same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether two streams are one terminal, so that what goes to either disturbs the table."""
    try:
        return other.isatty() and os.ttyname(one.fileno()) == os.ttyname(other.fileno())
    except (OSError, ValueError):
        return False
