"""A configuration under inspection: its text, and the problems found in it so far."""

from __future__ import annotations

from collections.abc import Iterable

from colony.config.positions import Path, Positions, Span
from colony.config.problems import ConfigError, Place, Problem, Severity
from colony.config.values import plain


class Sheet:
    """Turns key paths into places and collects problems about them."""

    __slots__ = ("fallback", "filename", "partial", "positions", "problems")

    def __init__(self, filename: str, positions: Positions) -> None:
        self.filename = filename
        self.positions = positions
        self.problems: list[Problem] = []
        self.partial = False
        """Whether the rest may stand in another file: then nothing is missing."""
        self.fallback: Path = ()
        """What is shown for something that this text does not hold, being from a template."""

    def __repr__(self) -> str:
        return f"<Sheet {self.filename}: {len(self.problems)} problem(s)>"

    def report(
        self,
        message: str,
        path: Path = (),
        *,
        place: Place | None = None,
        help: str = "",
        related: Iterable[Place] = (),
        severity: Severity = "error",
    ) -> None:
        """Adds a problem; its place is the value of `path`, or of the nearest parent there is."""
        self.problems.append(
            Problem(
                message=message,
                path=self.filename,
                place=place or (self.value(path) if path else None),
                key=dotted(path),
                help=help,
                related=tuple(related),
                severity=severity,
            )
        )

    def key(self, path: Path, label: str = "") -> Place | None:
        """The place of a key's own text."""
        span = self.positions.key(path) or self._nearest(path)
        return None if span is None else self.place(span, label)

    def value(self, path: Path, label: str = "") -> Place | None:
        """The place of a value, or of the nearest parent that is written down."""
        span = self._nearest(path)
        return None if span is None else self.place(span, label)

    def _nearest(self, path: Path) -> Span | None:
        if self.fallback and self.positions.value(path) is None:
            path = self.fallback
        return self.positions.nearest(path)

    def places(self, path: Path, label: str) -> tuple[Place, ...]:
        """The place of a value as a problem's `related`."""
        place = self.value(path, label)
        return () if place is None else (place,)

    def place(self, span: Span, label: str = "") -> Place:
        """A span cut to its first line, so that line, column and length lie inside the text."""
        source = self.positions.line(span.line)
        column = min(span.column, max(len(source), 1))
        length = max(1, min(span.length, len(source) - column + 1))
        return Place(span.line, column, length, source, label)

    def finish(self) -> tuple[Problem, ...]:
        """The warnings and notes, in file order. Raises `ConfigError` if there is any error."""
        found = tuple(sorted(self.problems, key=_file_order))
        errors = [problem for problem in found if problem.severity == "error"]
        if errors:
            raise ConfigError(errors)
        return found


def _file_order(problem: Problem) -> tuple[int, int]:
    return (problem.line or 0, problem.column or 0)


def dotted(path: Path) -> str:
    """A key path as text: `services.web.port`."""
    return ".".join(plain(str(part)) for part in path)


def table_name(path: Path) -> str:
    """A table as a message calls it: `[services.web]`."""
    return f"[{dotted(path)}]" if path else "the file's top level"
