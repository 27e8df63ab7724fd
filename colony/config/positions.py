"""Where each key and each value of a TOML document stands in its text.

The law: for every key path of the parsed document, `Positions` knows the span of the key and the
span of the value, and the text under a span, parsed by itself, is that key or that value.

    1 | [services.web]            key  ("services", "web")            -> `web`
    2 | command = "npm run dev"   value ("services", "web")           -> `[services.web]`
    3 | env = { A = "1" }         key  ("services", "web", "env", "A") -> `A`

Neither tomllib nor tomlkit keeps positions, hence this scanner. It is a scanner and not a parser:
it runs on a text that a real parser has accepted, so it only finds the bounds of things and leaves
their meaning alone. On a text that is not TOML it skips what it does not know, line by line, and
never raises. It goes `DEEPEST` levels deep and notes where there are more, which is to be asked
before the parser runs: tomllib takes minutes and gigabytes for one key of 100 000 dots.

A path is a tuple of table keys and array indices, as one would subscript the parsed document.
A table made by a header has the header as its value; a table that is only implied (`a` in
`a.b = 1`) has its key as its value.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

import msgspec

Path = tuple[str | int, ...]

DEEPEST: Final = 64
"""Levels of tables and arrays, one in another, that are looked at."""

_SPACE: Final = re.compile(r"[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_LINE: Final = re.compile(r"[^\n]*\n?")
_NUMBER_OR_WORD: Final = re.compile(r"[^\s,\[\]{}#=\"']+")
_DATE_AND_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:[\d:.]+(?:[Zz]|[+-]\d\d:\d\d)?")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED_KEY: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'")
# Three quotes never begin an empty string and a quote. A multi-line string may end in up to two
# quotes of its own before the three that close it.
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|(?!""")"(?:[^"\\\n]|\\.)*"'
    r"|(?!''')'[^'\n]*'",
    re.DOTALL,
)


class Span(msgspec.Struct, frozen=True):
    """A stretch of the text: its first character's line and column, and its length.

    Lines and columns count from 1, columns and length in characters (not bytes, not screen
    cells). A span over several lines counts its line ends in `length`.
    """

    line: int
    column: int
    length: int


class Duplicate(msgspec.Struct, frozen=True):
    """A key or a table that the text defines twice, which TOML forbids."""

    path: Path
    first: Span
    second: Span


class Positions:
    """The spans of one text: `key(path)` and `value(path)`, None for a path it does not hold."""

    __slots__ = ("_keys", "_line_starts", "_values", "duplicates", "stuck", "text", "too_deep")

    def __init__(self, text: str) -> None:
        self.text = text
        self.duplicates: list[Duplicate] = []
        self.stuck: int | None = None
        """The offset at which the scan first met what it does not know; None in valid TOML."""
        self.too_deep: int | None = None
        """The offset of the first key or value below `DEEPEST`."""
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._keys: dict[Path, tuple[int, int]] = {}
        self._values: dict[Path, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Positions of {len(self._values)} values in {len(self._line_starts)} lines>"

    def __iter__(self) -> Iterator[Path]:
        """Every path, in the order of its first appearance."""
        return iter(self._values)

    def key(self, path: Path) -> Span | None:
        """Where the last part of `path` is written; None for an array's element."""
        bounds = self._keys.get(path)
        return None if bounds is None else self.span(*bounds)

    def value(self, path: Path) -> Span | None:
        """Where the value of `path` is written; a table's header for a table that has one."""
        bounds = self._values.get(path)
        return None if bounds is None else self.span(*bounds)

    def nearest(self, path: Path) -> Span | None:
        """The value of `path` or of its closest parent that the text holds."""
        for size in range(len(path), 0, -1):
            found = self.value(path[:size])
            if found is not None:
                return found
        return None

    def span(self, start: int, end: int) -> Span:
        """Character offsets as a span."""
        line = bisect_right(self._line_starts, start)
        return Span(line, start - self._line_starts[line - 1] + 1, end - start)

    def offset(self, line: int, column: int) -> int:
        """The character offset of a line and column, kept within the text and the line."""
        line = min(max(line, 1), len(self._line_starts))
        start = self._line_starts[line - 1]
        return start + min(max(column - 1, 0), len(self.line(line)))

    def line(self, number: int) -> str:
        """The text of a line (from 1) without its end; "" outside the text."""
        if not 1 <= number <= len(self._line_starts):
            return ""
        start = self._line_starts[number - 1]
        stop = self._line_starts[number] if number < len(self._line_starts) else len(self.text)
        return self.text[start:stop].rstrip("\r\n")

    def at(self, span: Span) -> str:
        """The text under a span."""
        start = self._line_starts[span.line - 1] + span.column - 1
        return self.text[start : start + span.length]

    def _imply(self, path: Path, bounds: tuple[int, int]) -> None:
        self._keys.setdefault(path, bounds)
        self._values.setdefault(path, bounds)

    def _define(self, path: Path, key: tuple[int, int], value: tuple[int, int]) -> None:
        """Records a definition; the first one stays, a second is noted as a duplicate.

        A table that so far was only implied, by a longer header or a dotted key, is defined now.
        """
        known = self._values.get(path)
        if known is not None and known != self._keys.get(path):
            first = self._keys.get(path, known)
            self.duplicates.append(Duplicate(path, self.span(*first), self.span(*key)))
            return
        self._keys[path] = key
        self._values[path] = value


def scan(text: str) -> Positions:
    """Finds every key and value of a TOML text. Never raises on bad TOML, it only finds less."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


_Key = list[tuple[str, int, int]]
"""The parts of a dotted key, each with its bounds."""


class _Scanner:
    """One pass over the text. `at` is the place reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.table: Path = ()
        self.lengths: dict[Path, int] = {}  # of the arrays of tables
        self.found = Positions(text)

    def document(self) -> None:
        while self.at < len(self.text):
            self._skip(_SPACE)
            if self._peek() not in ("", "#", "\n", "\r"):
                known = self._header() if self._peek() == "[" else self._pair(self.table)
                if not known and self.found.stuck is None:
                    self.found.stuck = self.at
            self._skip(_LINE)

    def _header(self) -> bool:
        start = self.at
        array = self.text.startswith("[[", self.at)
        closing = "]]" if array else "]"
        self.at += len(closing)
        key = self._key()
        if not key or not self.text.startswith(closing, self.at):
            return False
        self.at += len(closing)
        path: Path = ()
        for name, first, last in key[:-1]:
            self.found._imply((*path, name), (first, last))
            path = self._last_element((*path, name))
        name, first, last = key[-1]
        path = (*path, name)
        if array:
            index = self.lengths.get(path, 0)
            self.lengths[path] = index + 1
            self.found._imply(path, (first, last))
            path = (*path, index)
            self.found._values[path] = (start, self.at)
        else:
            self.found._define(path, (first, last), (start, self.at))
        self.table = path
        return True

    def _last_element(self, path: Path) -> Path:
        """`a` names the last element of `a` once that is an array of tables."""
        length = self.lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _pair(self, table: Path) -> bool:
        """`dotted.key = value`, in a table, at the top or in braces; False if it is none."""
        key = self._key()
        if not key or self._peek() != "=":
            return False
        self.at += 1
        self._skip(_SPACE)
        path = table
        for name, first, last in key[:-1]:
            path = (*path, name)
            self.found._imply(path, (first, last))
        name, first, last = key[-1]
        path = (*path, name)
        start = self.at
        # The parent is recorded ahead of what it holds, and its end is set right afterwards.
        fresh = path not in self.found._values
        self.found._define(path, (first, last), (start, start))
        complete = self._value(path)
        if fresh:
            self.found._values[path] = (start, self.at)
        return complete

    def _value(self, path: Path) -> bool:
        """Steps over one value and records what is inside it."""
        if len(path) > DEEPEST:
            return self._too_deep()
        opening = self._peek()
        if opening == "[":
            return self._array(path)
        if opening == "{":
            return self._inline_table(path)
        return any(map(self._skip, (_STRING, _DATE_AND_TIME, _NUMBER_OR_WORD)))

    def _array(self, path: Path) -> bool:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._take("]"):
                return True
            element = (*path, index)
            start = self.at
            self.found._values.setdefault(element, (start, start))
            if not self._value(element):
                return False
            self.found._values[element] = (start, self.at)
            index += 1
            self._skip(_BLANK)
            if not self._take(",") and self._peek() != "]":
                return False

    def _inline_table(self, path: Path) -> bool:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self._take("}"):
                return True
            if not self._pair(path):
                return False
            self._skip(_BLANK)
            if not self._take(",") and self._peek() != "}":
                return False

    def _key(self) -> _Key:
        """A dotted key and the space after it; [] where there is none."""
        parts: _Key = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if self._skip(_BARE_KEY):
                name = self.text[start : self.at]
            elif self._skip(_QUOTED_KEY):
                name = _unquoted(self.text[start : self.at])
            else:
                return []
            parts.append((name, start, self.at))
            if len(self.table) + len(parts) > DEEPEST:
                self._too_deep()
                return []
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _too_deep(self) -> bool:
        if self.found.too_deep is None:
            self.found.too_deep = self.at
        return False

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self.at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True


def _unquoted(key: str) -> str:
    if "\\" not in key:
        return key[1:-1]
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except tomllib.TOMLDecodeError:
        return key[1:-1]
