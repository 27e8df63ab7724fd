"""What is wrong with a configuration, as data.

A problem is a value: rendering it for a person or for a program is `render`'s work. It carries the
line of text that it is about, so that it can be shown after the file has changed or is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]


class Place(msgspec.Struct, frozen=True):
    """A stretch of one line: line and column from 1, length in characters, and the whole line.

    `label` says what is to be seen there; "" where the problem's message has said it.
    """

    line: int
    column: int
    length: int
    source: str
    label: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or that the reader of the file should know.

    message
        What is wrong, with the offending value and what is allowed; one line.
    path
        The file, as the caller named it.
    place
        Where in the file; None when the file as a whole is meant, or cannot be read.
    key
        The dotted key that it is about, as `services.web.port`; "" for none.
    help
        What to do; "" for none. May have several lines when it shows a block to write.
    related
        Other places that belong to it, such as the first of two equal ports.
    """

    message: str
    path: str
    place: Place | None = None
    key: str = ""
    help: str = ""
    related: tuple[Place, ...] = ()
    severity: Severity = "error"

    @property
    def line(self) -> int | None:
        """The line, from 1; None without a place."""
        return None if self.place is None else self.place.line

    @property
    def column(self) -> int | None:
        """The column in characters, from 1; None without a place."""
        return None if self.place is None else self.place.column

    @property
    def length(self) -> int | None:
        """How many characters of the line are meant; None without a place."""
        return None if self.place is None else self.place.length

    def __str__(self) -> str:
        where = f"{self.path}:" if self.place is None else f"{self.path}:{self.line}:{self.column}:"
        advice = self.help.splitlines()[0] if self.help else ""
        return f"{where} {self.message}" + (f" ({advice})" if advice else "")


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything found, in file order.

    `str()` gives one line a problem; `render.render` shows them with the text and carets.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    def __repr__(self) -> str:
        return f"<ConfigError: {len(self.problems)} problem(s): {self}>"
