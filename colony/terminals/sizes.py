"""How large a terminal is, seen by several viewers: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

MOST: Final = 4096
"""Rows and columns at most: programs allocate by them."""


class Size(NamedTuple):
    """Rows and columns, both from 1 to `MOST`."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.columns}×{self.rows}"


DEFAULT: Final = Size(24, 80)
"""Before anybody has looked."""


def size_of(rows: int, columns: int) -> Size | None:
    """A size as a viewer tells it; None for one that says nothing (0×0, out of a pipe)."""
    if rows < 1 or columns < 1:
        return None
    return Size(min(rows, MOST), min(columns, MOST))


def smallest(sizes: Iterable[Size | None]) -> Size | None:
    """What all of them can show, each side by itself; None if nobody says."""
    known = [size for size in sizes if size is not None]
    if not known:
        return None
    return Size(min(size.rows for size in known), min(size.columns for size in known))


def agreed(writers: Iterable[Size | None], readers: Iterable[Size | None]) -> Size | None:
    """The size for these viewers: the smallest of those who type, else of those who only read, for
    a dashboard's small window is no reason to make somebody's shell small."""
    return smallest(writers) or smallest(readers)
