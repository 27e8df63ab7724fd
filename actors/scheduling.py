"""The seeded scheduler: one actor's step at a time, the next one chosen by a seed.

A scheduler exists only in tests (`actors.testing.run(..., seed=7)`). Each actor with a message to
handle asks for a turn, and none is given before nothing else in the event loop can run. So
the choice is made among the same candidates in every run, on asyncio as on trio, and a seed stands
for one interleaving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from actors import backend
from actors.backend import Future

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.pump import PlainCell

C = TypeVar("C", bound="Cell")

seed_of_run: Final[ContextVar[int | None]] = ContextVar("actors_seed", default=None)
"""The seed of the run at hand; None without a scheduler."""

idle_of_run: Final[ContextVar[Callable[[], Awaitable[None]] | None]] = ContextVar(
    "actors_idle", default=None
)
"""Waits until nothing in the event loop can run; set together with the seed."""

schedulers_of_run: Final[ContextVar[list[Scheduler] | None]] = ContextVar(
    "actors_schedulers", default=None
)
"""The schedulers of the systems that were made in this run."""


class Scheduler:
    """Gives turns to the actors of one system."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._backend = backend.current()
        schedulers = schedulers_of_run.get()
        if schedulers is not None:
            schedulers.append(self)
        self._asking: list[tuple[str, Future[None]]] = []
        self._waiter: Future[None] | None = None
        self.given = 0
        """How many turns it has given."""
        self.chosen: list[str] = []
        """Who was given a turn, in order: the interleaving itself."""

    def __repr__(self) -> str:
        return f"<Scheduler with {len(self._asking)} asking for a turn>"

    @property
    def asked(self) -> bool:
        """Whether anybody waits for a turn."""
        return any(not mine.done() for _, mine in self._asking)

    async def turn(self, cell: Cell | None) -> None:
        """Waits for a turn; the pump asks for all of its actors at once, as None."""
        mine: Future[None] = self._backend.future()
        self._asking.append(("" if cell is None else cell.path, mine))
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        await mine

    def pick(self, ready: deque[PlainCell]) -> PlainCell:
        """Takes one of the pump's ready actors out of its queue."""
        names = sorted((cell.path, n) for n, cell in enumerate(ready))
        path, n = names[self._random.randrange(len(names))]
        cell = ready[n]
        del ready[n]
        self.chosen.append(path)
        return cell

    async def run(self) -> None:
        """Gives turns until cancelled."""
        idle = idle_of_run.get()
        assert idle is not None, "a seed without a way to wait for the event loop to be idle"
        while True:
            if not self._asking:
                self._waiter = self._backend.future()
                await self._waiter
            await idle()
            self._asking = [(path, mine) for path, mine in self._asking if not mine.done()]
            if not self._asking:
                continue
            self._asking.sort(key=lambda asking: asking[0])
            path, mine = self._asking.pop(self._random.randrange(len(self._asking)))
            if path:
                self.chosen.append(path)
            self.given += 1
            mine.set_result(None)
