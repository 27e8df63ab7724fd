"""A descriptor that one task waits for and another closes.

    with closing.waiting():                      another task, or thread
        await anyio.wait_readable(sock)   ◄───── closing.close()
    ClosedResourceError                          the last one to leave closes the descriptor

Law: a descriptor is closed once nobody waits for it. Whoever does is sent away first.

An event loop knows who waits by the descriptor's number alone, and the kernel gives a closed one's
number to the next file. On asyncio whoever waits for that file is told that somebody waits for it
already; or the first one, when it leaves at last, takes the other's entry with it, who then never
wakes. `anyio.notify_closing` does not help: whom it wakes leaves a turn of the loop later, and
takes the entry that stands there by then. It is for the loop's own thread besides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import anyio

from actors import backend

Wake = Callable[[], object]


class Closing:
    """The end of one descriptor, which `close` closes once nobody is in a block of these.

    For several tasks, event loops and threads.
    """

    __slots__ = ("_close", "_inside", "_lock", "closed")

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._inside: list[Wake] = []
        self.closed = False
        """Whether `close` was called."""

    def __repr__(self) -> str:
        return f"<Closing {'closed' if self.closed else 'open'} {len(self._inside)} inside>"

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For a task: the descriptor is open within the block, and `close` ends what waits there.
        Raises `anyio.ClosedResourceError` then, or at once."""
        with anyio.CancelScope() as scope:
            with self._held(partial(backend.current().call_soon_threadsafe, scope.cancel)):
                yield
        if scope.cancelled_caught:
            raise anyio.ClosedResourceError

    @contextmanager
    def held(self) -> Iterator[None]:
        """For a moment, in which nothing waits: the descriptor is open within the block. Raises
        `anyio.ClosedResourceError`."""
        with self._held(lambda: None):
            yield

    @contextmanager
    def _held(self, wake: Wake) -> Iterator[None]:
        with self._lock:
            if self.closed:
                raise anyio.ClosedResourceError
            self._inside.append(wake)
        try:
            yield
        finally:
            self._leave(wake)

    def _leave(self, wake: Wake) -> None:
        with self._lock:
            if wake not in self._inside:
                return
            self._inside.remove(wake)
            last = self.closed and not self._inside
        if last:
            self._close()

    def close(self) -> None:
        """Closes the descriptor: here and now, or as soon as those inside have left, whom this ends
        the waiting of. From any thread; twice is no error."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            inside = tuple(self._inside)
        for wake in inside:
            try:
                wake()
            except RuntimeError:  # its loop has ended: it does not leave by itself
                self._leave(wake)
        if not inside:
            self._close()
