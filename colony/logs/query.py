"""Which lines somebody wants to see: pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from colony.logs.lines import LogLine
from colony.logs.ring import Chunk, lines_of
from colony.patterns import compiled, found_in


class Filter(msgspec.Struct, frozen=True):
    """What is wanted.

    count
        The last so many lines; None for all that there are.
    since, until
        Only what was written in these seconds since 1970.
    grep
        Only lines in which this regular expression is found. Raises `WrongPattern` when
        used.
    stream
        Only what was written to "stdout" or "stderr"; "" for both.
    after
        Only what came after this position, which is the `next` of an earlier page.
    """

    count: int | None = None
    since: float | None = None
    until: float | None = None
    grep: str | None = None
    stream: str = ""
    after: int = 0


class LogPage(msgspec.Struct, frozen=True):
    """Lines of one or more services, in the order in which they were read.

    next
        The position to ask after for what follows.
    dropped
        By service, how many lines were dropped before the first that is still kept.
    last
        By service, the number of its last line, wanted or not.
    """

    lines: tuple[LogLine, ...]
    next: int
    dropped: dict[str, int]
    last: dict[str, int] = {}


def select(rings: Iterable[tuple[str, Sequence[Chunk]]], wanted: Filter) -> list[LogLine]:
    """The wanted lines of several services' chunks, merged."""
    pattern = None if wanted.grep is None else compiled(wanted.grep)
    lines = (
        line
        for chunk, service in _merged(rings)
        if _chosen(chunk, wanted)
        for line in lines_of(service, chunk)
        if pattern is None or found_in(pattern, line.data)
    )
    return list(lines) if wanted.count is None else list(deque(lines, wanted.count))


def _merged(rings: Iterable[tuple[str, Sequence[Chunk]]]) -> Iterator[tuple[Chunk, str]]:
    tagged = [[(chunk, service) for chunk in chunks] for service, chunks in rings]
    return heapq.merge(*tagged, key=lambda each: each[0].position)


def _chosen(chunk: Chunk, wanted: Filter) -> bool:
    if wanted.stream and chunk.stream != wanted.stream:
        return False
    if wanted.since is not None and chunk.at < wanted.since:
        return False
    return wanted.until is None or chunk.at <= wanted.until
