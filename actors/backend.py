"""The one file that knows asyncio and trio.

The kernel needs four things of an event loop: a one-shot future that one task may await, the
time, a way to be called from another thread, and its name; its tests need a fifth, a clock that
jumps. All else goes through anyio.

Why not anyio's own primitives here: an `anyio.Event` costs 1.7–3 times a bare future in a call's
round trip, on either loop, and a call is two of them.
"""

from __future__ import annotations

import asyncio
import math
import os
import selectors
import time
from collections.abc import Callable, Generator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, TypeVarTuple, Unpack

import sniffio

if TYPE_CHECKING:
    import trio
    from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

_PENDING: Final = 0
_VALUE: Final = 1
_ERROR: Final = 2
_CANCELLED: Final = 3


class Future(Protocol[T]):
    """A one-shot result: set once, awaited by one task. `asyncio.Future` is one."""

    def done(self) -> bool: ...
    def set_result(self, result: T, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...
    def __await__(self) -> Generator[Any, None, T]: ...


def _load_trio() -> None:
    """Brings the names from trio in, once a program runs on it.

    At the top of the file they would cost one that runs on asyncio 40 ms and 5 MiB.
    """
    import trio
    from trio import lowlevel

    globals().update(
        trio=trio,
        Abort=lowlevel.Abort,
        current_task=lowlevel.current_task,
        reschedule=lowlevel.reschedule,
        wait_task_rescheduled=lowlevel.wait_task_rescheduled,
    )


class TrioFuture(Generic[T]):
    """The same on trio: the awaiting task parks itself and is rescheduled by the setter.

    If the awaiting task is cancelled the future counts as done, so that a late setter that asks
    `done()` first leaves it alone, as with `asyncio.Future`.
    """

    __slots__ = ("_state", "_task", "_value")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._state = _PENDING
        self._value: Any = None

    def __repr__(self) -> str:
        return f"<TrioFuture {('pending', 'value', 'error', 'cancelled')[self._state]}>"

    def done(self) -> bool:
        return self._state != _PENDING

    def set_result(self, result: T, /) -> None:
        self._settle(_VALUE, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self._settle(_ERROR, exception)

    def _settle(self, state: int, value: Any) -> None:
        if self._state != _PENDING:
            raise RuntimeError("this future has been settled already")
        self._state = state
        self._value = value
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._task = None
        self._state = _CANCELLED
        return Abort.SUCCEEDED

    def __await__(self) -> Generator[Any, None, T]:
        if self._state == _PENDING:
            self._task = current_task()
            yield from wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105
        if self._state == _ERROR:
            raise self._value
        return self._value  # type: ignore[no-any-return]


class Backend:
    """The event loop that runs the caller, seen through the kernel's four needs.

    future
        Makes a `Future`.
    now
        The loop's monotonic time in float seconds; virtual under a virtual clock.
    call_soon_threadsafe
        Runs a function in the loop's thread, from any thread. Raises `RuntimeError` when the
        loop is gone.
    name
        "asyncio" or "trio" (uvloop is asyncio's).
    """

    __slots__ = ("call_soon_threadsafe", "future", "name", "now")

    def __init__(
        self,
        name: str,
        future: Callable[[], Future[Any]],
        now: Callable[[], float],
        call_soon_threadsafe: Callable[[Callable[[], object]], object],
    ) -> None:
        self.name = name
        self.future = future
        self.now = now
        self.call_soon_threadsafe = call_soon_threadsafe

    def __repr__(self) -> str:
        return f"<Backend {self.name}>"


def current() -> Backend:
    """The backend of the running event loop.

    Raises `sniffio.AsyncLibraryNotFoundError` outside one.
    """
    if sniffio.current_async_library() == "trio":
        _load_trio()
        token = trio.lowlevel.current_trio_token()

        def soon(function: Callable[[], object]) -> None:
            try:
                token.run_sync_soon(function)
            except trio.RunFinishedError as gone:
                raise RuntimeError("the event loop is gone") from gone

        return Backend("trio", TrioFuture, trio.current_time, soon)
    loop = asyncio.get_running_loop()
    return Backend("asyncio", _future_of(loop), _clock_of(loop), loop.call_soon_threadsafe)


def is_running() -> bool:
    """Whether this thread is in an event loop."""
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return True


def _future_of(loop: asyncio.AbstractEventLoop) -> Callable[[], Future[Any]]:
    # The standard loop's `create_future` is a Python method around this, at twice the price.
    if type(loop).create_future is asyncio.BaseEventLoop.create_future:
        return partial(asyncio.Future, loop=loop)
    return loop.create_future


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    # The same for `time`, which is asked once a message.
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def is_waiting(frame: FrameType | None) -> bool:
    """Whether a thread whose innermost frame this is stands still because its loop has nothing to
    run. False if that cannot be seen, as in uvloop, whose loop has no frames.
    """
    if frame is None or frame.f_back is None:
        return False
    names = tuple(
        f"{os.path.basename(code.co_filename)}:{code.co_name}"
        for code in (frame.f_code, frame.f_back.f_code)
    )
    return names in _WAITING


_WAITING: Final = frozenset(
    {
        ("selectors.py:select", "base_events.py:_run_once"),
        ("_io_epoll.py:get_events", "_run.py:run"),
    }
)
"""The innermost frame and its caller's: a handler, too, may wait in a selector."""


async def in_thread(
    submit: Callable[[Callable[[], None]], object],
    function: Callable[[Unpack[Ts]], T],
    *args: *Ts,
) -> T:
    """Runs `function(*args)` on a thread of the caller's own and awaits its result.

    `submit` hands a job to that thread (a queue's `put`, an executor's `submit`). The function's
    exception is raised here. Cancelling the caller abandons the result; the job still runs, for
    nothing can stop a thread in the midst of a system call.
    """
    backend = current()
    future: Future[T] = backend.future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def job() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function(*args)
        except BaseException as error:
            failure = error
        try:
            backend.call_soon_threadsafe(lambda: settle(result, failure))
        except RuntimeError:
            return  # the loop ended while we worked: nobody waits any more

    submit(job)
    return await future


# -- virtual time ----------------------------------------------------------------------------------


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits for a timer: it moves the clock to it instead.

    The loop asks it with a timeout other than 0 exactly when nothing can run: that is the moment
    for whoever waits for it, and only if nobody does the clock moves.

    To the timer's own time, not by the timeout: that is a difference, cut to a day besides, and
    what is added up of those would be off by a rounding error, another one on each backend.
    """

    def __init__(self, loop: _VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self.now = 0.0
        self.waiting_for_idle: list[asyncio.Future[None]] = []

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.waiting_for_idle:
            for waiter in self.waiting_for_idle:
                if not waiter.done():
                    waiter.set_result(None)
            self.waiting_for_idle.clear()
            return ready
        if timeout is None:
            return super().select(None)
        self.now = max(self.now, self._loop.next_due())
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    _scheduled: list[asyncio.TimerHandle]  # the loop's own heap, the next one first

    def __init__(self) -> None:
        self.selector = _JumpingSelector(self)
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def next_due(self) -> float:
        return self._scheduled[0].when()

    @property
    def _clock_resolution(self) -> float:
        """A timer is run if it is due before now plus this. With the machine's nanosecond one
        would run early, and after half a year, when a nanosecond is less than the last bit of the
        time, none would ever be run."""
        return math.ulp(self.selector.now)

    @_clock_resolution.setter
    def _clock_resolution(self, _seconds: float) -> None:
        pass  # the base class wants to say


def _exact_trio_clock() -> Any:
    """Trio's clock for tests, which jumps to the next deadline and not past it.

    It goes by `deadline - now`, and `now + (deadline - now)` may be off by a rounding error.
    """
    import trio.testing

    clock = trio.testing.MockClock(autojump_threshold=0)
    to_sleep, jump = clock.deadline_to_sleep_time, clock.jump
    due = 0.0

    def noting(deadline: float) -> float:
        nonlocal due
        due = deadline
        return to_sleep(deadline)

    def exactly(seconds: float) -> None:
        # No number at all may lead from here to there in one step. From half the way on the
        # difference of the two is exact, and so is their sum.
        jump(seconds / 2)
        jump(due - clock.current_time())

    vars(clock).update(deadline_to_sleep_time=noting, jump=exactly)
    return clock


def virtual_clock(name: str) -> dict[str, Any]:
    """The options with which anyio runs a loop ("asyncio" or "trio") in virtual time."""
    return {"clock": _exact_trio_clock()} if name == "trio" else {"loop_factory": _VirtualLoop}


def is_virtual() -> bool:
    """Whether the running event loop's clock jumps over idle stretches."""
    if sniffio.current_async_library() == "trio":
        _load_trio()
        import trio.testing

        return isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    return isinstance(asyncio.get_running_loop(), _VirtualLoop)


async def until_idle() -> None:
    """Waits until the event loop has nothing to run, and lets no time pass.

    Exact in virtual time and on trio; on asyncio in real time every task gets some steps.
    """
    if sniffio.current_async_library() == "trio":
        import trio.testing

        await trio.testing.wait_all_tasks_blocked()
        return
    loop = asyncio.get_running_loop()
    if isinstance(loop, _VirtualLoop):
        idle: asyncio.Future[None] = loop.create_future()
        loop.selector.waiting_for_idle.append(idle)
        await idle
        return
    for _ in range(_STEPS):
        await asyncio.sleep(0)


_STEPS: Final = 50
