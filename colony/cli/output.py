"""What commands show: data on stdout, messages on stderr, shapes that say what colours repeat."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO

SHAPES: Final = {
    "running": "●",
    "ready": "●",
    "detached": "◐",
    "starting": "◌",
    "waiting": "◌",
    "backoff": "↻",
    "restarting": "↻",
    "busy": "◌",
    "stopping": "■",
    "stopped": "■",
    "completed": "✓",
    "undefined": "■",
    "failed": "✗",
}
"""By state. The shape carries the meaning; whoever sees no colours loses none."""

COLOURS: Final = {"●": 32, "◐": 32, "✓": 32, "◌": 33, "↻": 33, "■": 36, "✗": 31}

AGENTS: Final = (
    "CLAUDECODE",
    "CODEX_SANDBOX",
    "OPENCODE",
    "CURSOR_AGENT",
    "GEMINI_CLI",
    "AI_AGENT",
)
"""Variables that coding agents set. One of them runs us: nobody looks at a live view."""


def under_an_agent(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a coding agent runs us; $COLONY_AGENT=0 or 1 says so against all signs."""
    environ = os.environ if environ is None else environ
    told = environ.get("COLONY_AGENT")
    if told:
        return told != "0"
    return any(environ.get(name) for name in AGENTS)


def someone_watches(stream: TextIO | None = None) -> bool:
    """Whether a person sees what goes to stdout: only then a view may stay, page or ask."""
    return (stream or sys.stdout).isatty() and not under_an_agent()


def coloured(stream: TextIO, wish: str = "auto") -> bool:
    """Whether to colour what goes to a stream (no-color.org; FORCE_COLOR wins)."""
    if wish != "auto":
        return wish == "always"
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def as_json(value: Any) -> None:
    """One document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=None if isinstance(value, str) else 2))


def as_line(value: Any) -> None:
    """One document on one line, for output that goes on."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def to_nobody() -> None:
    """Once the reader of stdout has left: what is still buffered goes nowhere.

    Python flushes it at its end, and a pipe that is broken then makes the exit status 120.
    """
    with suppress(OSError):  # a test's stdout has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def message(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def state(word: str, colour: bool) -> str:
    """`● ready`."""
    shape = SHAPES.get(word, "·")
    return f"{paint(shape, COLOURS.get(shape), colour)} {word}"


def paint(text: str, code: int | None, colour: bool) -> str:
    """The text in a colour, if colours are wanted."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code is not None else text


def table(headers: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns. Escape sequences take no room; the last column is as long as it is, and one
    that is empty throughout is left out."""
    lines = [*([list(headers)] if headers else []), *(list(row) for row in rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(c + " " * (w - width(c)) for c, w in zip(line, widths, strict=True) if w).rstrip()
        for line in lines
    ]


def width(text: str) -> int:
    """Cells of a text on a terminal, as far as names and our own shapes go."""
    return len(text) if "\x1b" not in text else len(_without_escapes(text))


def _without_escapes(text: str) -> str:
    parts = text.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])


def ago(iso: str | None) -> str:
    """How long ago a time was: `12 s`, `3 min`, `2 h`, `5 d`."""
    if iso is None:
        return "-"
    then = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    return span((datetime.now(UTC) - then).total_seconds())


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit != "min"):
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def size(count: int | None) -> str:
    """Bytes: `12 MiB`."""
    if count is None:
        return "-"
    return f"{count / 1048576:.0f} MiB" if count >= 10485760 else f"{count / 1048576:.1f} MiB"


def home_relative(path: str) -> str:
    """A path with `~` for the home directory."""
    home = os.path.expanduser("~")
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path


class Live:
    """Lines that are drawn over themselves on a terminal."""

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Shows these in place of the last ones. None of them may be wider than the terminal."""
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        up = f"\x1b[{self._drawn}A\r\x1b[J" if self._drawn else ""
        text = "\n".join(clipped(line, columns) for line in lines)
        sys.stdout.write(f"{up}{text}\n")
        sys.stdout.flush()
        self._drawn = len(lines)

    def keep(self) -> None:
        """What is drawn stays; the next lines come below it."""
        self._drawn = 0


def clipped(line: str, columns: int) -> str:
    """A line cut to a terminal's width. Colours of a line that is cut are lost: so is its end."""
    if width(line) <= columns:
        return line
    return _without_escapes(line)[: max(0, columns - 1)] + "…"
