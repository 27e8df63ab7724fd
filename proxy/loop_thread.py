"""An asyncio loop in a thread of its own, for what must run the same under asyncio and trio.

    host loop (asyncio or trio)          the thread
        start() ───────────────────────► asyncio.Runner
        run(function, *args) ──────────► a task there; its result comes back
        close() ───────────────────────► every task cancelled, the loop closed, the thread joined

What runs there has a context of its own, never the caller's: a context says which async library it
belongs to, and under trio the caller's would have every anyio call in the thread look for trio.

The embedded front door and the DNS responder live here: one code path, sockets that never wait for
what else the host loop is doing, and asyncio's transports, which trio has nothing like.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from actors import backend

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class LoopThread:
    """Owner of the thread. Started once, closed once; `close` before `start` is no error.

    `new_loop` makes its loop. Default: what asyncio makes by default.
    """

    def __init__(
        self, name: str, new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        self.name = name
        self._new_loop = new_loop
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closing = False
        self._context = contextvars.Context()

    def __repr__(self) -> str:
        return f"<LoopThread {self.name} {'running' if self._loop else 'not running'}>"

    @property
    def running(self) -> bool:
        return self._loop is not None

    async def start(self) -> None:
        """Returns when the loop runs. Cancelled, it may be running: `close` ends it either way."""
        if self._thread is not None:
            raise RuntimeError(f"the thread {self.name!r} was started before")

        def submit(job: Callable[[], None]) -> None:
            self._thread = threading.Thread(
                target=self._context.run,
                args=(self._run, job),
                name=self.name,
                daemon=True,
            )
            self._thread.start()

        await backend.in_thread(submit, _nothing)

    def _run(self, ready: Callable[[], None]) -> None:
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._main(ready))

    async def _main(self, ready: Callable[[], None]) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready()
        try:
            if not self._closing:
                await self._stop.wait()
        finally:
            self._loop = None

    async def run(self, function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Runs `function(*args)` as a task in the thread's loop; its result or exception is ours.

        Cancelling the caller cancels that task, without waiting for it.
        """
        host = backend.current()
        result: backend.Future[None] = host.future()
        if self._loop is None:
            raise RuntimeError(f"the thread {self.name!r} is not running")
        task = contextvars.Context().run(
            asyncio.run_coroutine_threadsafe, function(*args), self._loop
        )
        task.add_done_callback(lambda _: _wake(host, result))
        try:
            await result
        finally:
            task.cancel()
        try:
            return task.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError(f"the thread {self.name!r} ended before its work was done") from None

    def call(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Has the loop call `function(*args)` soon. From any thread; nothing once it has ended."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed since we looked
                loop.call_soon_threadsafe(function, *args, context=contextvars.Context())

    async def close(self) -> None:
        """Cancels what runs in the loop, ends it and joins the thread. Not cut short by cancel."""
        if self._thread is None:
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._end)

    def _end(self) -> None:
        self._closing = True  # before the loop is looked at: it may be just about to start
        if self._stop is not None:
            self.call(self._stop.set)
        assert self._thread is not None
        self._thread.join()


def _nothing() -> None:
    return None


def _wake(host: backend.Backend, result: backend.Future[None]) -> None:
    def settle() -> None:
        if not result.done():
            result.set_result(None)

    try:
        host.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the host loop ended while we worked: nobody waits any more
