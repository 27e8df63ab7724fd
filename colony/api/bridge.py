"""From the server's event loop to the instance's, which may be another one.

    instance on asyncio     one loop: a call is a call
    instance on trio        the server has an asyncio loop in a thread; calls go through a portal,
                            news come back with `call_soon_threadsafe`

aiohttp is asyncio's alone. Nothing but this file knows which of the two it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from anyio.from_thread import BlockingPortal

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Bridge(Protocol):
    """The way between the two loops. Made in the server's."""

    async def run(self, function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
        """Runs `function(*args)` in the instance's loop. Cancelling cancels it there."""
        ...

    def post(self, function: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """From the instance's loop: has the server's loop call `function(*args)`."""
        ...


class SameLoop:
    """The instance is on asyncio, and so in the server's own loop."""

    def __repr__(self) -> str:
        return "<SameLoop>"

    async def run(self, function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
        return await function(*args)

    def post(self, function: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        function(*args)


class OtherLoop:
    """The instance is elsewhere, behind a portal of its loop."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<OtherLoop {self._loop!r}>"

    async def run(self, function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
        async def call() -> Any:
            return await function(*args)

        return await asyncio.wrap_future(self._portal.start_task_soon(call))

    def post(self, function: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the server has ended: nobody reads any more
