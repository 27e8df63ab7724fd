"""`colony validate --fix`: rewrites what is deprecated. Pure.

The law: the fixed text means the same as the one before, which is checked by reading both, and
every character of it that is not about the deprecated thing stays where it is: comments, order,
indentation, line ends. That is why lines are cut and pasted at their positions here, and no
document is written anew: a TOML library counts a comment above `[services.web]` to the table
before it, and would remove the one with the other.
"""

from __future__ import annotations

from typing import Final

import msgspec

from colony.config.load import parse
from colony.config.positions import Path, Positions, scan
from colony.config.problems import ConfigError
from colony.config.schema import Config

PORTS: Final = ("colony", "ports")


class Fixed(msgspec.Struct, frozen=True):
    """A text, what was done to it, and what could not be done and why; a line each."""

    text: str
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def fix(text: str, filename: str = "colony.toml") -> Fixed:
    """Moves each port of `[colony.ports]` to its service.

    Raises `ConfigError` for a text that is not valid to begin with.
    """
    if text.startswith("\ufeff"):
        fixed = fix(text[1:], filename)
        return msgspec.structs.replace(fixed, text="\ufeff" + fixed.text)
    before = parse(text, filename)
    moved: list[tuple[str, int, bool]] = []
    left: list[str] = []
    positions = scan(text)
    for name, port in before.colony.ports.items():
        if name not in before.services:
            left.append(f"{name} = {port}: there is no [services.{name}]; write one with a command")
            continue
        has_one = positions.value(("services", name, "port")) is not None
        moved.append((name, port, has_one))
    empty = positions.value(PORTS) is not None and not before.colony.ports
    if not moved and not empty:
        return Fixed(text, (), tuple(left))
    changed = _Cuts(positions)
    for name, port, has_one in moved:
        if not has_one:
            changed.add_port(name, port)
    changed.remove([name for name, _, _ in moved], every=not left)
    after = changed.applied()
    if not _same(before, after, filename):
        return Fixed(text, (), (*left, "[colony.ports]: move these by hand; the file is as it was"))
    done = [
        f"{name} = {port}: {'its service has it already' if has_one else f'to [services.{name}]'}"
        for name, port, has_one in moved
    ]
    return Fixed(after, tuple(done or ["the empty [colony.ports] is removed"]), tuple(left))


def _same(before: Config, text: str, filename: str) -> bool:
    """Whether a text reads as the same colony. The deprecated table itself does not count."""
    try:
        after = parse(text, filename)
    except ConfigError:
        return False

    def plain(config: Config) -> Config:
        colony = msgspec.structs.replace(config.colony, ports={})
        return msgspec.structs.replace(config, colony=colony, warnings=())

    return plain(before) == plain(after)


class _Cuts:
    """Pieces of a text to take out and put in, by offset."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.text = positions.text
        self.pieces: list[tuple[int, int, str]] = []

    def __repr__(self) -> str:
        return f"<Cuts {self.pieces!r}>"

    def applied(self) -> str:
        text = self.text
        for start, end, new in sorted(self.pieces, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def add_port(self, name: str, port: int) -> None:
        """`port = N` after the service's command, in the form that the command is written in."""
        command: Path = ("services", name, "command")
        key_start, _ = self._bounds(command, key=True)
        _, end = self._bounds(command)
        if self._inline(command[:-1]):
            self.pieces.append((end, end, f", port = {port}"))
            return
        line_start = self.text.rfind("\n", 0, key_start) + 1
        before_key = self.text[line_start:key_start]
        line_end = self._line_end(end)
        comment = self._comment((*PORTS, name))
        newline = "\r\n" if self.text[line_end - 2 : line_end] == "\r\n" else "\n"
        lead = "" if self.text[:line_end].endswith("\n") else newline
        new = f"{lead}{before_key}port = {port}{'  ' + comment if comment else ''}{newline}"
        self.pieces.append((line_end, line_end, new))

    def remove(self, names: list[str], *, every: bool) -> None:
        """Takes entries out of `[colony.ports]`, and with the last one the table."""
        if self._inline(PORTS):
            if every:
                self._cut_line(self._bounds(PORTS, key=True)[0])
            return
        for name in names:
            self._cut_line(self._bounds((*PORTS, name), key=True)[0])
        start, end = self._bounds(PORTS)
        if every and self.text[start:end].startswith("["):
            self._cut_line(start)

    def _cut_line(self, offset: int) -> None:
        start = self.text.rfind("\n", 0, offset) + 1
        self.pieces.append((start, self._line_end(offset), ""))

    def _line_end(self, offset: int) -> int:
        """Where the next line begins."""
        found = self.text.find("\n", offset)
        return len(self.text) if found < 0 else found + 1

    def _comment(self, path: Path) -> str:
        """The comment behind a value on its line."""
        if self._inline(path[:-1]):
            return ""
        _, end = self._bounds(path)
        rest = self.text[end : self._line_end(end)].strip()
        return rest if rest.startswith("#") else ""

    def _inline(self, path: Path) -> bool:
        """Whether a table, or one that it is in, is written in braces."""
        for size in range(1, len(path) + 1):
            span = self.positions.value(path[:size])
            if span is not None and self.positions.at(span).startswith("{"):
                return True
        return False

    def _bounds(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        span = self.positions.key(path) if key else self.positions.value(path)
        assert span is not None, path
        start = self.positions.offset(span.line, span.column)
        return start, start + span.length
