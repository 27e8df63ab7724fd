"""What the names in `allow` lists mean, gathered from a resolver's answers. Pure.

Many a name has more addresses than one answer holds, and each answer holds others: a program in a
colony is given one, and Colony, asking a moment later, another. So an address stays for some
minutes after it was heard last. And a name without any answer keeps what it had, for a name
server's hiccup must not cut a database off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

KEPT: Final = 600.0
"""Seconds that an address is a name's after the last answer that had it."""


class Answers:
    """The addresses of names, and when each was heard last."""

    __slots__ = ("_heard",)

    def __init__(self) -> None:
        self._heard: dict[str, dict[IPv4Address, float]] = {}

    def __repr__(self) -> str:
        return f"<Answers {self.addresses}>"

    def __contains__(self, name: object) -> bool:
        return name in self._heard

    @property
    def addresses(self) -> dict[str, tuple[IPv4Address, ...]]:
        """What each name means now; () for one that nobody knows."""
        return {name: tuple(sorted(heard)) for name, heard in self._heard.items()}

    def take(self, answers: Mapping[str, Iterable[IPv4Address]], now: float) -> bool:
        """Takes answers that were heard at `now`, in seconds; whether any name means anything
        else than before."""
        before = self.addresses
        for name, found in answers.items():
            known, fresh = self._heard.get(name, {}), dict.fromkeys(found, now)
            if fresh:
                known = {each: at for each, at in known.items() if now - at <= KEPT}
            self._heard[name] = known | fresh
        return self.addresses != before
