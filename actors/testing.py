"""Deterministic tests: virtual time on asyncio and trio, with one call.

    async def scenario() -> None:
        async with System() as system:
            ...
            await anyio.sleep(3600)         # returns at once, an hour later

    run(scenario, backend="trio")

Under the virtual clock time stands still while anything can run, and jumps to the next timer when
nothing can. So a policy of hours is tried in milliseconds, and always with the same outcome. Real
processes, sockets and threads need the real clock: to the virtual one, waiting for them looks like
having nothing to do.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import anyio
import anyio.lowlevel
import trio.testing

T = TypeVar("T")

BackendName = Literal["asyncio", "uvloop", "trio"]
BACKENDS: Final[tuple[BackendName, ...]] = ("asyncio", "trio")


class _Clock:
    now = 0.0


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits for a timer: it moves the clock to it instead."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            return super().select(None)
        self._clock.now += max(timeout, 0.0)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Clock()
        super().__init__(_JumpingSelector(self._virtual))

    def time(self) -> float:
        return self._virtual.now


def run(
    function: Callable[..., Awaitable[T]],
    *args: Any,
    backend: BackendName = "asyncio",
    virtual: bool = True,
) -> T:
    """Runs an async function to its end in a new event loop and returns its result.

    backend
        "asyncio" (default), "uvloop" (real time only) or "trio".
    virtual
        Whether time jumps over idle stretches (default) or is the machine's.
    """
    options: dict[str, Any] = {}
    if backend == "uvloop":
        if virtual:
            raise ValueError("uvloop has no virtual clock; use backend='asyncio' or virtual=False")
        options["use_uvloop"] = True
    elif virtual and backend == "trio":
        options["clock"] = trio.testing.MockClock(autojump_threshold=0)
    elif virtual:
        options["loop_factory"] = _VirtualLoop
    name = "trio" if backend == "trio" else "asyncio"
    return anyio.run(function, *args, backend=name, backend_options=options)


async def settle() -> None:
    """Waits, without letting time pass, until everything that can run has run."""
    for _ in range(_SETTLED):
        await anyio.lowlevel.checkpoint()


_SETTLED: Final = 50
"""Checkpoints in `settle`: each lets every ready task take a step."""
