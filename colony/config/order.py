"""The order in which services start: each after those that it names, else in the file's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def in_order(after: Mapping[str, Iterable[str]]) -> list[str]:
    """The names, each behind those that it comes after, otherwise as they stand.

    Names that are not among the keys are left out; so is the way back of a cycle, which `cycle`
    is there to find first.
    """
    ordered: dict[str, None] = {}
    entered: set[str] = set()

    def place(name: str) -> None:
        if name in entered or name not in after:
            return
        entered.add(name)
        for other in after[name]:
            place(other)
        ordered[name] = None

    for name in after:
        place(name)
    return list(ordered)


def cycle(after: Mapping[str, Iterable[str]]) -> list[str]:
    """The first cycle, as [a, b, a]: a comes after b, and b after a. Empty if there is none."""
    cleared: set[str] = set()

    def search(trail: list[str]) -> list[str]:
        name = trail[-1]
        for other in after.get(name, ()):
            if other in trail:
                return [*trail[trail.index(other) :], other]
            if other not in cleared and (found := search([*trail, other])):
                return found
        cleared.add(name)
        return []

    for name in after:
        if name not in cleared and (found := search([name])):
            return found
    return []
