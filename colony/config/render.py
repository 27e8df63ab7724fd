"""Problems as text for a person and as data for a program.

    error: unknown key `comand` in [services.web]
     --> colony.toml:4:1
      |
    4 | comand = "python3 -m http.server 4001"
      | ^^^^^^
      = help: did you mean `command`?

The caret stays under its character whatever stands before it: a tab is shown as four spaces, a
wide character takes two cells and a combining one none. A control character from the file never
reaches the terminal. Of a long line the part around the caret is shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from colony.config.problems import Place, Problem

_TAB: Final = " " * 4
_WIDEST: Final = 160
_BEFORE: Final = 60
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_BLUE: Final = "\x1b[1;34m"
_SEVERITIES: Final = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "note": "\x1b[1;36m"}


def render(problems: Iterable[Problem], *, color: bool = False) -> str:
    """All problems, an empty line between two, no line end at the end; "" for none."""
    return "\n\n".join(render_one(problem, color=color) for problem in problems)


def render_one(problem: Problem, *, color: bool = False) -> str:
    """One problem with the lines it is about."""
    paint = _paint if color else _plain
    severity = _SEVERITIES[problem.severity]
    lines = [f"{paint(severity, problem.severity)}{paint(_BOLD, ': ' + _visible(problem.message))}"]
    places = _in_order(problem)
    digits = len(str(places[-1][0].line)) if places else 1
    where = (
        problem.path if problem.place is None else f"{problem.path}:{problem.line}:{problem.column}"
    )
    margin = " " * digits
    bar = paint(_BLUE, f"{margin} |")
    lines.append(f"{margin}{paint(_BLUE, '-->')} {_visible(where)}")
    if places:
        lines.append(bar)
    previous: int | None = None
    for place, primary in places:
        if previous is not None and place.line > previous + 1:
            lines.append(paint(_BLUE, "..."))
        text, carets = _shown(place, "^" if primary else "-")
        if place.line != previous:
            lines.append(f"{paint(_BLUE, f'{place.line:>{digits}} |')} {text}".rstrip())
        lines.append(f"{bar} {paint(severity if primary else _BLUE, carets)}")
        previous = place.line
    lines.extend(_advice(problem, margin, paint))
    return "\n".join(lines)


def as_data(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems as values that any JSON encoder takes.

    Each has `severity`, `message`, `help`, `key`, `path`, `line`, `column`, `length` (None where
    the whole file is meant), `source` and `related`, a list of places.
    """
    return [
        {
            "severity": problem.severity,
            "message": problem.message,
            "help": problem.help,
            "key": problem.key,
            "path": problem.path,
            **_place_data(problem.place),
            "related": [{**_place_data(place), "label": place.label} for place in problem.related],
        }
        for problem in problems
    ]


def _place_data(place: Place | None) -> dict[str, Any]:
    if place is None:
        return dict.fromkeys(("line", "column", "length", "source"))
    return {
        "line": place.line,
        "column": place.column,
        "length": place.length,
        "source": place.source,
    }


def _in_order(problem: Problem) -> list[tuple[Place, bool]]:
    """The places to show, by line; True marks the problem's own."""
    places = [(place, False) for place in problem.related]
    if problem.place is not None:
        places.append((problem.place, True))
    return sorted(places, key=lambda entry: (entry[0].line, entry[0].column))


def _advice(problem: Problem, margin: str, paint: Any) -> list[str]:
    if not problem.help:
        return []
    first, *rest = problem.help.splitlines()
    head = f"{margin} {paint(_BLUE, '=')} {paint(_BOLD, 'help')}: {_visible(first)}"
    return [head, *(f"{margin}     {_visible(line)}" for line in rest)]


def _shown(place: Place, mark: str) -> tuple[str, str]:
    """A line's visible text, and the marks to stand below it with their label."""
    start = place.column - 1
    stop = start + place.length
    source = place.source
    first, last, lead, tail = 0, len(source), "", ""
    if _width(source) > _WIDEST:
        first = max(0, start - _BEFORE)
        last = min(len(source), first + _WIDEST)
        lead = "…" if first else ""
        tail = "…" if last < len(source) else ""
    indent = " " * _width(lead + source[first:start])
    marks = mark * max(1, _width(source[start : min(stop, last)]))
    text = lead + _visible(source[first:last]) + tail
    return text, f"{indent}{marks} {_visible(place.label)}".rstrip()


def _visible(text: str) -> str:
    return _HIDDEN.sub("\ufffd", text.replace("\t", _TAB))


def _width(text: str) -> int:
    """Terminal cells of a text as `_visible` shows it."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if character == "\t":
        return len(_TAB)
    if _HIDDEN.match(character):
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _paint(style: str, text: str) -> str:
    return f"{style}{text}{_RESET}"


def _plain(style: str, text: str) -> str:
    return text
