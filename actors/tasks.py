"""Tasks under supervision: work that may fail without taking along whoever asked for it.

    async def fetch(n: int) -> int:
        await anyio.sleep(n)
        return n * n

    async with System() as system:
        tasks = await system.start(TaskSupervisor.spec())
        task = await start_task(tasks, fetch, 3)
        assert await task.result() == 9
        async with stream(tasks, fetch, [1, 2, 3], limit=2) as outcomes:
            assert [outcome.value async for outcome in outcomes] == [1, 4, 9]

In Elixir's terms `Task.Supervisor.async_nolink` and `async_stream_nolink`. A task is a temporary
child of its supervisor: it ends with it, is listed by it, and is never restarted. Its exception
becomes its exit reason, seen by `result`; as in Elixir it is reported as a crash all the same.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.lowlevel
import msgspec

from actors.actor import Actor
from actors.errors import ActorDown, ActorError
from actors.messages import Call, Cast, on
from actors.reasons import Crashed, Reason
from actors.ref import Ref
from actors.spec import DEFAULT_SHUTDOWN, ShutdownTime, check_shutdown
from actors.strict import trial
from actors.supervisor import ChildRefused, DynamicSupervisor, StartChild, TerminateChild
from actors.watching import Exit

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
Ts = TypeVarTuple("Ts")

Function = Callable[..., Awaitable[Any]]


class TaskFailed(ActorError):
    """A task ended without a result; `reason` says why, and its exception is the cause."""

    def __init__(self, path: str, reason: Reason) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} has no result: {reason}")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """How one piece of work turned out: `value`, unless `failure` says why there is none."""

    value: T | None = None
    failure: Reason | None = None


class TaskEnded(Cast[Any], frozen=True):
    """To whom `start_task` was asked to notify: the task `id` has ended, well or not."""

    id: str
    outcome: Outcome[Any]


class _Finished(Cast["_Work"], frozen=True):
    pass


class _Work(Actor):
    """The actor around one task."""

    def __init__(self, function: Function, args: tuple[Any, ...], results: list[Any]) -> None:
        self.function = function
        self.args = args
        self.results = results

    async def started(self) -> None:
        self.ctx.run(self._work, name="task")

    async def _work(self) -> None:
        self.results.append(await self.function(*self.args))
        self.ctx.ref.tell(_Finished())

    @on(_Finished)
    def _finished(self, _msg: _Finished) -> None:
        self.ctx.stop()


class Task(Generic[T]):
    """A task that runs, or has run. `ref` is the actor around it."""

    def __init__(self, id: str, ref: Ref[Any], results: list[T]) -> None:
        self.id = id
        self.ref = ref
        self._results = results

    def __repr__(self) -> str:
        state = "running" if self.ref.alive else "done" if self._results else "failed"
        return f"<Task {self.ref.path} {state}>"

    async def outcome(self) -> Outcome[T]:
        """Waits for the end. May be awaited any number of times; cancelling leaves the task be."""
        reason = await self.ref.stopped()
        return Outcome(value=self._results[0]) if self._results else Outcome(failure=reason)

    async def result(self) -> T:
        """The same, for the result alone. Raises `TaskFailed` from the task's exception."""
        outcome = await self.outcome()
        if outcome.failure is not None:
            failed = TaskFailed(self.ref.path, outcome.failure)
            cause = outcome.failure
            raise failed from (cause.error if isinstance(cause, Crashed) else None)
        return self._results[0]


class RunTask(Call["TaskSupervisor", Task[Any]], frozen=True):
    """Starts a task; `start_task` says it with types."""

    function: Function
    args: tuple[Any, ...] = ()
    notify: Ref[Any] | None = None
    shutdown: ShutdownTime = DEFAULT_SHUTDOWN

    def __post_init__(self) -> None:
        check_shutdown(self.shutdown)


class TaskSupervisor(DynamicSupervisor):
    """The supervisor of tasks.

    max_children
        How many tasks may run at once; one more is refused with "max_children". Default without
        limit.
    """

    @trial
    def __init__(self, *, max_children: int | None = None) -> None:
        super().__init__(max_children=max_children)
        self._numbers = itertools.count(1)
        self._notify: dict[str, tuple[Ref[Any], list[Any]]] = {}

    @on(RunTask)
    async def _run_task(self, msg: RunTask) -> Task[Any]:
        results: list[Any] = []
        id = f"task-{next(self._numbers)}"
        spec = _Work.spec(msg.function, msg.args, results).options(
            id=id, restart="temporary", shutdown=msg.shutdown
        )
        ref = await self._start_child(StartChild(spec))
        assert ref is not None
        if msg.notify is not None:
            self._notify[id] = (msg.notify, results)
        return Task(id, ref, results)

    async def _child_exit(self, msg: Exit) -> None:
        await super()._child_exit(msg)
        self._ended(msg.ref.path.rpartition("/")[2], msg.reason)

    def _ended(self, id: str, reason: Reason) -> None:
        ref, results = self._notify.pop(id, (None, []))
        if ref is not None:
            outcome = Outcome(results[0]) if results else Outcome(failure=reason)
            ref.tell(TaskEnded(id, outcome))


async def start_task(
    tasks: Ref[TaskSupervisor],
    function: Callable[[Unpack[Ts]], Awaitable[T]],
    *args: *Ts,
    notify: Ref[Any] | None = None,
    shutdown: ShutdownTime = DEFAULT_SHUTDOWN,
) -> Task[T]:
    """Starts `function(*args)` as a task of a supervisor, and does not wait for its end.

    notify
        An actor that is told `TaskEnded`, for those who do not want to wait. Default nobody.
    shutdown
        Seconds that the function has to clean up in, once it is cancelled. Default 5.

    Raises `ChildRefused` if no more tasks may run. Cancelling the caller leaves the task be.
    """
    return await tasks.call(RunTask(function, args, notify, shutdown))


async def stop_task(tasks: Ref[TaskSupervisor], task: Task[Any]) -> None:
    """Cancels a task and waits until it is gone; nothing happens if it is."""
    with suppress(ChildRefused):
        await tasks.call(TerminateChild(task.id))


@asynccontextmanager
async def stream(
    tasks: Ref[TaskSupervisor],
    function: Callable[[I], Awaitable[T]],
    items: Iterable[I],
    *,
    limit: int,
    ordered: bool = True,
    timeout: float | None = None,
) -> AsyncIterator[AsyncIterator[Outcome[T]]]:
    """Does a piece of work for each item, so many at once, and gives how each turned out.

    limit
        How many tasks run at once, at most. The next item is taken when one has been given to the
        reader: a slow reader slows the work down.
    ordered
        Whether the outcomes come in the items' order (default) or as they are done.
    timeout
        Seconds for one item, after which its outcome is a failure with `TimeoutError`. Default
        without limit.

    What still runs when the block is left is stopped, also when it is left by an exception.
    """
    if limit < 1:
        raise ValueError(f"limit must be a whole number from 1 up, got: {limit!r}")
    flow = _Flow(tasks, function, iter(items), limit, ordered, timeout)
    try:
        yield flow
    finally:
        with anyio.CancelScope(shield=True):
            await flow.stop()


class _Flow(Generic[I, T]):
    """The iterator behind `stream`."""

    def __init__(
        self,
        tasks: Ref[TaskSupervisor],
        function: Callable[[I], Awaitable[T]],
        items: Iterator[I],
        limit: int,
        ordered: bool,
        timeout: float | None,
    ) -> None:
        self._tasks = tasks
        self._function = function
        self._items = items
        self._limit = limit
        self._ordered = ordered
        self._timeout = timeout
        self._running: deque[Task[T]] = deque()
        self._done = anyio.Event()

    def __aiter__(self) -> _Flow[I, T]:
        return self

    async def __anext__(self) -> Outcome[T]:
        await self._fill()
        if not self._running:
            raise StopAsyncIteration
        task = self._running[0] if self._ordered else await self._any_done()
        outcome = await task.outcome()
        self._running.remove(task)
        return outcome

    async def stop(self) -> None:
        while self._running:
            with suppress(ActorDown):
                await stop_task(self._tasks, self._running.popleft())

    async def _fill(self) -> None:
        while len(self._running) < self._limit:
            try:
                item = next(self._items)
            except StopIteration:
                return
            self._running.append(await start_task(self._tasks, self._work, item))

    async def _work(self, item: I) -> T:
        try:
            with anyio.fail_after(self._timeout):
                return await self._function(item)
        finally:
            self._done.set()

    async def _any_done(self) -> Task[T]:
        """The first that is no longer alive; a task that has set `_done` is not long from it."""
        while True:
            for task in self._running:
                if not task.ref.alive:
                    return task
            if self._done.is_set():
                self._done = anyio.Event()
                await anyio.lowlevel.checkpoint()
            else:
                await self._done.wait()
