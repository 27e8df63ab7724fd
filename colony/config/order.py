"""The orders in which services start and stop. Pure.

They start each after those that it names, else as the file has them, and stop each after those that
name it, else at the same time.
"""

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


def dependents(after: Mapping[str, Iterable[str]], among: Iterable[str]) -> dict[str, list[str]]:
    """For each of `among`, which others of them come after it: directly, or by way of any others.

    So whoever comes after one that has done its work and ended is still a dependent of those which
    that one came after.
    """
    found: dict[str, list[str]] = {name: [] for name in among}
    for name in found:
        for other in _sought_by(name, after):
            if other in found:
                found[other].append(name)
    return found


def _sought_by(name: str, after: Mapping[str, Iterable[str]]) -> list[str]:
    """All others that one comes after, at any remove."""
    sought = {name: None}
    left = [name]
    while left:
        for other in after.get(left.pop(), ()):
            if other not in sought:
                sought[other] = None
                left.append(other)
    return list(sought)[1:]


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
