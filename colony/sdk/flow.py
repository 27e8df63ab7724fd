"""Values that come one after the other: logs and events, on both event loops.

    async with c.events() as events:            # begins here; ends with the block
        async for event in events: ...

    async for line in c.logs(follow=True, until="compiled"): ...     # ends with its last value

A class and not an async generator: a generator that a loop has left with `break` is ended by the
garbage collector, which trio rightly complains of. A flow that is left that way gives its source
back at once, without a word; the source's owner, which is the connection or the instance, ends it
at the latest when it ends itself.

Nothing runs beside it: a flow reads when it is asked for the next value. A reader that is slow
loses the oldest values at the sender's, and is told how many.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Where a flow's values come from."""

    async def take(self) -> T_co | None:
        """The next value; None at the end. Cancelled, it has taken nothing."""
        ...

    async def aclose(self) -> None:
        """Ends it, at once."""
        ...

    def abandon(self) -> None:
        """Its flow is gone without a word; from any thread, at any moment."""
        ...


class Flow(Generic[T]):
    """An async iterator, and a context that ends it. For one task at a time."""

    def __init__(
        self, begin: Callable[[], Awaitable[Source[T]]], last: Callable[[T], bool] | None = None
    ) -> None:
        self._begin = begin
        self._last = last
        self._source: Source[T] | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._source is None else "open"
        return f"<Flow {state}>"

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next value. Cancelled, nothing is lost, and it can be asked again.

        Raises `InstanceLost` if the instance goes away.
        """
        if self._over:
            raise StopAsyncIteration
        source = await self._opened()
        try:
            item = await source.take()
        except Exception:
            await self.aclose()
            raise
        if item is None:
            await self.aclose()
            raise StopAsyncIteration
        if self._last is not None and self._last(item):
            await self.aclose()
        return item

    async def aclose(self) -> None:
        """Ends it. Ending twice is no error."""
        self._over = True
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()

    async def _opened(self) -> Source[T]:
        if self._source is None:
            self._source = await self._begin()
        return self._source

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None:
            source.abandon()
