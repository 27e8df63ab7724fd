"""What one reader of a stream has yet to be sent: bounded, the oldest given up first."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SIZE: Final = 1000
"""Items that wait for a reader at most."""


class Feed(Generic[T]):
    """A queue for one reader, in the server's loop."""

    __slots__ = ("_closed", "_items", "_waiter", "dropped")

    def __init__(self, size: int = SIZE) -> None:
        self._items: deque[T] = deque(maxlen=size)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.dropped = 0
        """Items given up since `take` last said so."""

    def __repr__(self) -> str:
        return f"<Feed {len(self._items)} waiting, {self.dropped} dropped>"

    def put(self, item: T) -> None:
        """Adds an item."""
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._wake()

    def put_all(self, items: list[T]) -> None:
        """Adds several."""
        for item in items:
            self.put(item)

    def close(self) -> None:
        """Nothing more will come; what waits is still given out."""
        self._closed = True
        self._wake()

    async def take(self, timeout: float) -> tuple[int, list[T]] | None:
        """How many were dropped before these, and all that wait; none after `timeout` seconds.

        None once it is closed and empty.
        """
        if not self._items and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiter
            except TimeoutError:
                return 0, []
            finally:
                self._waiter = None
        if not self._items and self._closed:
            return None
        dropped, self.dropped = self.dropped, 0
        items = list(self._items)
        self._items.clear()
        return dropped, items

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
