"""The search for deadlocks: does this actor, over any number of calls, wait for that one?

Each cell notes down whom it waits for in the handler at hand, only while it does so:

  call, request, start, stop ──▶ a cell: the handler needs this answer
  a collection of requests   ──▶ `AnyOf`: any one of the answers lets it go on

A call is refused if the callee waits for the caller. Several calls of one handler side by side are
all needed, so one of them that leads to the caller is enough; of a collection all that it waits for
must lead there. What is refused can never be answered, and what can never be answered is refused
when the last link of the cycle is made: whoever closes it hears of it.

A reply that was deferred does not count: whoever holds its handle can give it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from actors.cell import Cell

Trail = tuple["Cell", ...]


class AnyOf(Protocol):
    """What waits for the first of several answers."""

    def awaited(self) -> Iterable[tuple[object, Cell | None]]:
        """The answers that have not come: the keys by which they are deferred, and whose they are;
        without a cell for one that comes by itself.
        """


def trail_to(start: Cell, goal: Cell, visiting: frozenset[int] = frozenset()) -> Trail | None:
    """How `start` waits for `goal`, both included; None if it does not.

    The empty trail if it only waits, in the end, for a collection in `visiting`.
    """
    trails: list[Trail] = [(start,)]
    seen: set[Cell] = set()
    found: Trail | None = None
    while trails:
        trail = trails.pop()
        cell = trail[-1]
        if cell is goal:
            return trail
        if cell in seen:
            continue
        seen.add(cell)
        for key, awaited in cell.calling.items():
            if hasattr(awaited, "awaited"):
                onward = all_lead_to(awaited, goal, visiting)
                if onward:
                    return (*trail, *onward)
                if onward is not None:
                    found = ()
            elif not is_deferred(awaited, key):
                trails.append((*trail, awaited))
    return found


def all_lead_to(several: AnyOf, goal: Cell, visiting: frozenset[int] = frozenset()) -> Trail | None:
    """How the first of them does if all of them wait for `goal`; None if one does not.

    `visiting` are the collections on the way here. Whoever waits for one of them is no help to it,
    and is left out; the empty trail if that is all of them.
    """
    if id(several) in visiting:
        return ()
    within = visiting | {id(several)}
    found: Trail = ()
    for key, cell in several.awaited():
        if cell is None or is_deferred(cell, key):
            return None
        trail = trail_to(cell, goal, within)
        if trail is None:
            return None
        found = found or trail
    return found


def is_deferred(callee: Any, key: object) -> bool:
    """Whether the answer that stands under `key` was deferred by the callee."""
    return callee.ties is not None and key in callee.ties.deferred


def waits_for(cell: Cell) -> Iterator[Cell]:
    """Everybody whom a cell waits for, be it for all of them or for any."""
    for awaited in cell.calling.values():
        if hasattr(awaited, "awaited"):
            yield from (one for _, one in awaited.awaited() if one is not None)
        else:
            yield awaited
