"""What is to happen in a simulation, one thing at a time.

    agenda = Agenda(system.now)
    item = agenda.at(5.0, "web", lambda: web.end(KILLED))
    agenda.at(5.0, "api", lambda: api.end(KILLED))      # before web: at one instant by name
    item.cancel()

Law: an action is done when its time has come, nothing else can run, and all that the one before it
led to has been done. So what two actions at one instant lead to never interleaves, and a simulation
takes the same course on every event loop, whichever task that would have run first.

Nothing is looked at again and again: the agenda sleeps until the next action's time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final

import anyio

from actors.backend import until_idle

LAST: Final = "\U0010ffff"
"""Sorts behind every service's name: for what is to be done when an instant is over."""


class Item:
    """One action, until it is done or cancelled."""

    __slots__ = ("action", "due")

    def __init__(self, due: float, action: Callable[[], None]) -> None:
        self.due = due
        self.action: Callable[[], None] | None = action

    def __repr__(self) -> str:
        return f"<Item {'over' if self.action is None else 'pending'} due={self.due:g}>"

    def cancel(self) -> None:
        """Takes it out. Cancelling what is done is no error."""
        self.action = None


class Agenda:
    """The actions of one simulation; `run` is the task that does them. `now` tells the time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.done = 0
        """How many actions it has done."""
        self._heap: list[tuple[float, str, int, Item]] = []
        self._order = itertools.count()
        self._nap: anyio.CancelScope | None = None
        # Shielded, as the system is that lives by it: a tree is stopped in order, in its own time.
        self._life = anyio.CancelScope(shield=True)

    def __repr__(self) -> str:
        return f"<Agenda of {len(self._heap)}>"

    def at(self, due: float, name: str, action: Callable[[], None]) -> Item:
        """Does an action at a time; those of one instant in the order of their names."""
        item = Item(due, action)
        heapq.heappush(self._heap, (due, name, next(self._order), item))
        if self._nap is not None and due < self._nap.deadline:
            self._nap.deadline = due
        return item

    async def until(self, due: float, name: str) -> None:
        """Waits for a time, and then for its turn. Cancelling takes it out."""
        come = anyio.Event()
        item = self.at(due, name, come.set)
        try:
            await come.wait()
        finally:
            item.cancel()

    @property
    def busy(self) -> bool:
        """Whether something is to be done now."""
        return self._next_due() <= self.now()

    async def settle(self) -> None:
        """Waits until this instant is over: nothing is left to do, and nothing can run."""
        done = -1
        while self.busy or done != self.done:
            done = self.done
            await until_idle()

    def stop(self) -> None:
        """Ends `run`."""
        self._life.cancel()

    async def run(self) -> None:
        """Does what is due until `stop`. Is not cancelled by anything else."""
        with self._life:
            await self._run()

    async def _run(self) -> None:
        while True:
            due = self._next_due()
            if due > self.now():
                with anyio.CancelScope(deadline=due) as self._nap:
                    await anyio.sleep_forever()
                self._nap = None
                continue
            await until_idle()
            if self.busy:  # still: what ran meanwhile may have cancelled it
                item = heapq.heappop(self._heap)[3]
                action, item.action = item.action, None
                if action is not None:
                    self.done += 1
                    action()

    def _next_due(self) -> float:
        heap = self._heap
        while heap and heap[0][3].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf
