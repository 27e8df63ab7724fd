"""One task for all timers of a system.

    fired: list[str] = []
    async with System() as system:
        timer = system.timers.after(5.0, lambda: fired.append("late"))
        system.timers.after(1.0, lambda: fired.append("soon"))
        await anyio.sleep(2.0)
        assert (fired, timer.cancel()) == (["soon"], True)

Actors have `Context.send_after`, which tells them a message instead.

A heap of due times and one sleeping task whose deadline is moved when an earlier timer comes. A
cancel scope for each timer instead costs ten times a call.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import anyio
import msgspec

from actors.backend import Backend, Future
from actors.errors import CallTimeout


class TimerStatistics(msgspec.Struct, frozen=True):
    """What `Timers.statistics` found.

    pending
        Timers that have neither fired nor been cancelled.
    cancelled
        Those that have been cancelled and lie in the heap until they would have been due.
    next_due
        The system's time of the first pending one; None without any.
    """

    pending: int
    cancelled: int
    next_due: float | None


class Timer:
    """A function that will be called at time `due`, unless it is cancelled before.

    Once, or every `interval` seconds from then on.
    """

    __slots__ = ("callback", "due", "interval")

    def __init__(
        self, due: float, callback: Callable[[], None], interval: float | None = None
    ) -> None:
        self.due = due
        self.interval = interval
        self.callback: Callable[[], None] | None = callback

    def __repr__(self) -> str:
        return f"<Timer {'pending' if self.pending else 'over'} due={self.due:.3f}>"

    @property
    def pending(self) -> bool:
        """Whether it will still fire."""
        return self.callback is not None

    def cancel(self) -> bool:
        """Stops it; true if it would still have fired."""
        was, self.callback = self.callback, None
        return was is not None


class Deadlines:
    """The deadlines of calls, in buckets of `WIDTH` seconds: never early, late by at most that.

    A call with a deadline costs a dict entry, which leaves with the call; a timer each would cost
    ten times that, and a heap keeps what was cancelled until it is due.
    """

    WIDTH: Final = 0.05

    __slots__ = ("_buckets", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._buckets: dict[int, dict[Future[Any], tuple[str, Any, float]]] = {}

    def __repr__(self) -> str:
        return f"<Deadlines of {self.waiting} calls>"

    @property
    def waiting(self) -> int:
        """How many calls with a deadline wait for their answer."""
        return sum(map(len, self._buckets.values()))

    def add(
        self, timeout: float, future: Future[Any], path: str, message: Any
    ) -> dict[Future[Any], tuple[str, Any, float]]:
        """Fails `future` with `CallTimeout` in `timeout` seconds, unless it is done by then.

        Returns the bucket, for the caller to take its future out of.
        """
        now = self._timers.now()
        tick = math.ceil((now + timeout) / self.WIDTH)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            self._timers.after(tick * self.WIDTH - now, lambda: self._expire(tick))
        bucket[future] = (path, message, timeout)
        return bucket

    def _expire(self, tick: int) -> None:
        for future, (path, message, timeout) in self._buckets.pop(tick).items():
            if not future.done():
                future.set_exception(CallTimeout(path, message, timeout))


class Timers:
    """The timers of one system; `run` is the task that fires them."""

    def __init__(self, backend: Backend) -> None:
        self.now = backend.now
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._nap: anyio.CancelScope | None = None

    def __repr__(self) -> str:
        return f"<Timers {len(self._heap)}>"

    def after(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` in `delay` seconds. It must not block nor fail."""
        return self._push(Timer(self.now() + delay, callback))

    def every(self, interval: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` every `interval` seconds, for the first time after the first of them.

        The times do not drift. Those that a blocked event loop has missed are made up for by one
        call, not by a burst. Raises `ValueError` for an interval that is not above 0.
        """
        if not interval > 0:
            raise ValueError(f"an interval must be a number of seconds above 0, got: {interval!r}")
        return self._push(Timer(self.now() + interval, callback, interval))

    def _push(self, timer: Timer) -> Timer:
        heapq.heappush(self._heap, (timer.due, next(self._order), timer))
        if self._nap is not None and timer.due < self._nap.deadline:
            self._nap.deadline = timer.due
        return timer

    def statistics(self) -> TimerStatistics:
        """How many timers there are, counted now: takes as long as there are many."""
        due = [when for when, _, timer in self._heap if timer.pending]
        return TimerStatistics(len(due), len(self._heap) - len(due), min(due, default=None))

    async def run(self) -> None:
        """Fires timers until cancelled."""
        while True:
            due = self._fire_due()
            with anyio.CancelScope(deadline=due) as self._nap:
                await anyio.sleep_forever()
            self._nap = None

    def _fire_due(self) -> float:
        now, heap = self.now(), self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            callback = timer.callback
            if callback is None:
                continue
            if timer.interval is None:
                timer.callback = None
            else:
                missed = (now - timer.due) // timer.interval
                timer.due += (missed + 1) * timer.interval
                heapq.heappush(heap, (timer.due, next(self._order), timer))
            callback()
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf
