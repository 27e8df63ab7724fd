"""The journal: what has happened, kept for those who ask later.

So far it keeps the last output of every service, so that a colony that gives up can show what its
failing service had to say. It outlives the port actors whose output it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors import Actor, Call, Event, Ignore, Reason, on
from colony.events import ServiceOutput
from colony.logs import Tail

JOURNAL: Final = "journal"
"""The journal's name in its system."""


class LastLines(Call["Journal", tuple[bytes, ...]], frozen=True):
    """The last `count` lines that a service wrote, on either stream, over all its lives."""

    colony: str
    service: str
    count: int = 10


class Journal(Actor):
    """Listens to the system's events."""

    def __init__(self) -> None:
        self._tails: dict[tuple[str, str], Tail] = {}
        self._leave: Callable[[], None] = lambda: None

    async def start(self) -> Ignore | None:
        self._leave = self.ctx.system.events.listen(self._note)
        return None

    async def stopping(self, reason: Reason) -> None:
        self._leave()

    def _note(self, event: Event) -> None:
        if isinstance(event, ServiceOutput):
            key = (event.colony, event.service)
            tail = self._tails.get(key)
            if tail is None:
                tail = self._tails[key] = Tail()
            tail.append(event.data)

    @on(LastLines)
    def _last_lines(self, msg: LastLines) -> tuple[bytes, ...]:
        tail = self._tails.get((msg.colony, msg.service))
        return () if tail is None else tuple(tail.lines(msg.count))
