"""A trace as a picture: a lane for each service, or a line for each change. Pure, by `rich`.

         0 s            10 s            20 s            30 s            40 s
         ├───────────────┼───────────────┼───────────────┼───────────────┤
    db   ░━━━━━━━━━━━━━━━✗~~~░━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
    api  ··░━━━━━━━━━━━━━▼    ··░━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

Law: the shapes carry the meaning and colours repeat it. A cell of a lane shows the gravest thing
that happened in its stretch of time; where nothing did, the state that lasted longest. So a crash
is never lost, however long the time that is shown; several in one cell are counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from rich.style import Style
from rich.text import Text

from colony.lab.spans import Span, State, spans
from colony.lab.trace import Ending, Entry, Kind, Trace


class Shape(NamedTuple):
    """What a state or a happening looks like, and what a legend says of it."""

    mark: str
    style: str
    words: str


STATES: Final[dict[State, Shape]] = {
    "up": Shape("━", "green", "ready"),
    "starting": Shape("░", "yellow", "starts"),
    "waiting": Shape("·", "yellow", "waits for others"),
    "backoff": Shape("~", "yellow", "waits for its restart"),
    "hung": Shape("╍", "red", "hangs, unnoticed"),
    "down": Shape(" ", "", ""),
    "off": Shape(" ", "", ""),
}

GAVE_UP: Final = Shape("‡", "bold red", "restart limit reached: all are stopped")
FAILED: Final = Shape("!", "bold red", "cannot start, stays down")
CRASHED: Final = Shape("✗", "red", "crash")
SEVERAL: Final = Shape("2", "red", "so many crashes (+ ten or more)")
TAKEN_FROM_ABOVE: Final = Shape("▼", "cyan", "taken down by one above it")
TAKEN_FROM_BELOW: Final = Shape("▲", "cyan", "taken down by one below it")
UNHEALTHY: Final = Shape("?", "yellow", "health check failed")
EXITED: Final = Shape("✓", "green", "ended in good order")
STOPPED: Final = Shape("■", "cyan", "stopped by an operator")
FAULT: Final = Shape("◆", "magenta", "something begins to go wrong")

_LEGEND: Final = (
    *(shape for shape in STATES.values() if shape.words),
    *(GAVE_UP, FAILED, CRASHED, SEVERAL, TAKEN_FROM_ABOVE, TAKEN_FROM_BELOW),
    *(UNHEALTHY, EXITED, STOPPED, FAULT),
)

_GRAVITY: Final = (
    *(GAVE_UP, FAILED, CRASHED, TAKEN_FROM_ABOVE, TAKEN_FROM_BELOW, UNHEALTHY),
    *(STOPPED, EXITED, FAULT),
)
"""Which of several things in one cell is shown: the first."""

_TICKS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400),
)
_TICK_CELLS: Final = 10
_QUIET: Final = 1.15
"""Where nothing happens any more, the picture ends this factor after the last thing that did."""


# -- lanes -----------------------------------------------------------------------------------------


class View(NamedTuple):
    """The stretch of time that is shown, in seconds, and in how many cells."""

    start: float
    end: float
    cells: int

    def cell(self, at: float) -> int:
        """The cell of a time; what is outside falls into the first or last one."""
        part = (at - self.start) / (self.end - self.start)
        return min(max(int(part * self.cells), 0), self.cells - 1)

    def holds(self, at: float) -> bool:
        """Whether a time is shown."""
        return self.start <= at <= self.end


def lanes(
    trace: Trace, width: int, *, start: float | None = None, end: float | None = None
) -> list[Text]:
    """The axis, a lane for each service, and the legend, in lines of at most `width` cells.

    start, end
        The stretch that is shown, in seconds. Default: from 0 to a little after the last thing that
        happened, at most the horizon.
    """
    margin = max((len(name) for name in trace.services), default=0) + 2
    view = View(start or 0.0, _end(trace, start or 0.0, end), max(width - margin, 10))
    used: set[Shape] = set()
    lines = _axis(view, margin)
    for name in trace.services:
        shapes = _lane(trace, name, view)
        used.update(shapes)
        lines.append(_painted(f"{name:<{margin}}", shapes))
    return [*lines, Text(), *_legend(used, width), *_rest(trace, view)]


def _end(trace: Trace, start: float, end: float | None) -> float:
    if end is None:
        last = max([each.at for each in trace.entries if each.kind != "missed"], default=0.0)
        last = max([last, *(each.due or 0.0 for each in trace.entries[-1:])])
        end = min(trace.horizon, max(last * _QUIET, 1.0))
    return max(end, start + 1e-6)


def _axis(view: View, margin: int) -> list[Text]:
    """The times, and the line with a mark for each."""
    cell = (view.end - view.start) / view.cells
    fine = (tick for tick in _TICKS if tick >= cell * _TICK_CELLS)
    tick = next(fine, _TICKS[-1] * max(1, round(cell * _TICK_CELLS / _TICKS[-1])))
    marks, labels = ["─"] * view.cells, ""
    number = -(-view.start // tick)
    while (at := number * tick) <= view.end:
        place = view.cell(at)
        marks[place] = "┼"
        label = moment(at)
        if place >= len(labels) + bool(labels) and place + len(label) <= view.cells:
            labels = f"{labels:<{place}}{label}"
        number += 1
    marks[0], marks[-1] = "├", "┤"
    space = " " * margin
    return [Text(space + labels, "dim"), Text(space + "".join(marks), "dim")]


def _lane(trace: Trace, service: str, view: View) -> list[Shape]:
    """A shape for each cell."""
    shapes = _states(spans(trace, service), view)
    happened: dict[int, list[Shape]] = {}
    last: Entry | None = None
    for entry in trace.of(service):
        # A stop is shown where it begins; one of something that does not run has only an end.
        told = entry.kind == "stopped" and last is not None and last.kind == "stopping"
        shape = None if told or not view.holds(entry.at) else _happening(trace, entry)
        if shape is not None:
            happened.setdefault(view.cell(entry.at), []).append(shape)
        last = entry
    for cell, found in happened.items():
        shapes[cell] = _gravest(found)
    return shapes


def _states(of: list[Span], view: View) -> list[Shape]:
    """For each cell the state that lasts longest in it."""
    length = (view.end - view.start) / view.cells
    ends = [span.end for span in of]
    found = []
    for cell in range(view.cells):
        left = view.start + cell * length
        right = left + length
        parts: dict[State, float] = {}
        for span in of[bisect_left(ends, left) :]:
            if span.start >= right:
                break
            part = min(span.end, right) - max(span.start, left)
            parts[span.state] = parts.get(span.state, 0.0) + part
        state = max(parts, key=lambda state: parts[state]) if parts else "off"
        found.append(STATES[state])
    return found


def _happening(trace: Trace, entry: Entry) -> Shape | None:
    match entry.kind:
        case "gave_up":
            return GAVE_UP
        case "failed":
            return FAILED
        case "crashed":
            return CRASHED
        case "exited":
            return EXITED
        case "unhealthy":
            return UNHEALTHY
        case "fault" | "hung":
            return FAULT
        case "stopping" | "stopped" if not entry.by:
            return STOPPED
        case "stopping" | "stopped":
            return _taken(trace, entry)
        case _:
            return None


def _taken(trace: Trace, entry: Entry) -> Shape:
    order = trace.services
    above = entry.by in order and order.index(entry.by) < order.index(entry.service)
    return TAKEN_FROM_ABOVE if above else TAKEN_FROM_BELOW


def _gravest(found: list[Shape]) -> Shape:
    shape = min(found, key=_GRAVITY.index)
    crashes = found.count(CRASHED)
    if shape is not CRASHED or crashes == 1:
        return shape
    return SEVERAL._replace(mark=str(crashes) if crashes < 10 else "+")


def _painted(name: str, shapes: Sequence[Shape]) -> Text:
    line = Text(name, "bold")
    for shape in shapes:
        line.append(shape.mark, Style.parse(f"not bold {shape.style}".strip()))
    line.rstrip()
    return line


def _legend(used: set[Shape], width: int) -> Iterator[Text]:
    """What the marks mean that are there, in as few lines as they need."""
    words = {shape.words for shape in used}
    line = Text()
    for shape in _LEGEND:
        if shape.words not in words:
            continue
        note = Text.assemble((shape.mark, shape.style), f" {shape.words}")
        if line and len(line) + 3 + len(note) > width:
            yield line
            line = Text()
        line.append("   " if line else "").append_text(note)
    if line:
        yield line


def _rest(trace: Trace, view: View) -> Iterator[Text]:
    """What is not in the picture."""
    if view.end < trace.horizon:
        kind = trace.ending.kind
        what = "nothing more happens" if kind == "horizon" else "all is down"
        if any(view.end < entry.at for entry in trace.entries):
            what = "more happens"
        yield Text(f"until {length(trace.horizon)} {what}", "dim")


# -- lines -----------------------------------------------------------------------------------------


def changes(trace: Trace) -> Iterator[Text]:
    """A line for each thing that happened."""
    names = max((len(name) for name in trace.services), default=0)
    last = max([trace.ending.at, *(entry.at for entry in trace.entries[-1:])])
    times = len(clock(last))
    for entry, following in zip_longest(trace.entries, trace.entries[1:]):
        if _says_the_same(entry, following):
            continue
        mark, style, words = _told(trace, entry)
        yield Text.assemble(
            (f"{clock(entry.at):>{times}}", "dim"),
            "  ",
            (mark, style),
            f" {entry.service:<{names}}  {words}",
        )
    yield Text.assemble(
        (f"{clock(last):>{times}}", "dim"), "  ", ending(trace.ending, trace.colony)
    )


def _says_the_same(entry: Entry, following: Entry | None) -> bool:
    """Whether one of an entry and the next one is a fault, and the other what it came to."""
    if following is None or (following.service, following.at) != (entry.service, entry.at):
        return False
    return (entry.kind, following.kind) in _THE_SAME


_THE_SAME: Final[frozenset[tuple[Kind, Kind]]] = frozenset(
    {("fault", "crashed"), ("fault", "exited"), ("hung", "fault")}
)


_PLAIN: Final[dict[Kind, Shape]] = {
    "waiting": Shape("·", "yellow", "waits"),
    "started": Shape("◌", "yellow", "started"),
    "ready": Shape("●", "green", "ready"),
    "detached": Shape("◐", "green", "left a server behind:"),
    "hung": Shape("◆", "magenta", "hangs"),
    "answering": Shape("●", "green", "answers again"),
    "unhealthy": Shape("?", "yellow", "health check failed"),
    "crashed": Shape("✗", "red", ""),
    "exited": Shape("✓", "green", ""),
    "restarting": Shape("↻", "yellow", "restart"),
    "backoff": Shape("~", "yellow", "restart"),
    "stopping": Shape("■", "cyan", "stopping"),
    "stopped": Shape("■", "cyan", "stopped"),
    "failed": Shape("!", "bold red", "cannot start:"),
    "gave_up": Shape("‡", "bold red", "gave up:"),
    "fault": Shape("◆", "magenta", ""),
    "missed": Shape("◇", "dim", ""),
}


def _told(trace: Trace, entry: Entry) -> Shape:
    """The mark and the words for one entry."""
    shape = _PLAIN[entry.kind]
    match entry.kind:
        case "started":
            words = f"started, life {entry.life}" + (f", after {entry.by}" if entry.by else "")
        case "ready":
            words = f"ready by {entry.detail}" if entry.detail else "ready"
        case "unhealthy":
            words = f"health check failed, {entry.count} of {entry.limit}: {entry.detail}"
        case "restarting":
            words = f"restart {entry.count} of {entry.limit}, at once"
        case "backoff":
            later = (entry.due or entry.at) - entry.at
            words = f"restart {entry.count} of {entry.limit}, in {length(later)}"
        case "failed" if entry.detail.startswith("cannot start"):
            words = entry.detail
        case "stopping" | "stopped" if entry.by:
            shape = _taken(trace, entry)
            words = f"taken down by {entry.by}" if entry.kind == "stopping" else "is down"
            words += ", killed" if entry.killed else ""
        case "stopped":
            words = "stopped, killed" if entry.killed else "stopped"
        case _:
            words = f"{shape.words} {entry.detail}".strip()
    return shape._replace(words=words)


def ending(of: Ending, colony: str, *, when: bool = False) -> Text:
    """How it all ends, in a line; with `when`, also after how long."""
    after = f" after {length(of.at)}" if when else ""
    match of.kind:
        case "horizon":
            return Text.assemble(("·", "dim"), f" {colony} runs on{after}")
        case "gave_up":
            words = f"{colony} gave up{after} because of {of.service}: {of.detail}"
            return Text.assemble(("‡", "bold red"), f" {words}")
        case "start_failed":
            return Text.assemble(("!", "bold red"), f" {colony} cannot start: {of.detail}")
        case "shut_down":
            words = f"{colony} ended{after} with {of.service}: {of.detail}"
            return Text.assemble(("✓", "green"), f" {words}")
        case _:
            return Text.assemble(("■", "cyan"), f" {colony} was stopped{after}")


# -- times -----------------------------------------------------------------------------------------


def clock(seconds: float) -> str:
    """A time since the start, to the millisecond: `0:05.000`, `1:02:05.250`."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{front}:{rest:02}.{thousandths:03}"


def moment(seconds: float) -> str:
    """A time since the start: `0 s`, `90 s`, `1.5 min`, `2 h`, as an axis has it; where that would
    take more than two decimals, as `length`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size or unit == "s":
            part = seconds / size
            short = part == round(part, 2) or (unit == "s" and seconds < 1)
            return f"{part:.4g} {unit}" if short else length(seconds)
    raise AssertionError  # seconds are the last unit


def length(seconds: float) -> str:
    """A length of time: `50 ms`, `1.25 s`, `2 min 5 s`, `1 h 2 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for big, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {big} {rest} {small}" if rest else f"{whole // size} {big}"
    return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
