"""Calls as values: sent now, answered later, one by one or as they come (R37).

    class Square(Call["Worker", int], frozen=True):
        n: int

    class Worker(Actor):
        @on(Square)
        def square(self, msg: Square) -> int:
            return msg.n ** 2

    async with System() as system:
        workers = [await system.start(Worker.spec().options(id=f"w{n}")) for n in range(3)]

        request = workers[0].request(Square(7))
        assert await request.response() == 49

        async with requests() as rq:
            for n, worker in enumerate(workers):
                rq.send(worker, Square(n), label=n)
            assert {one.label: one.result() async for one in rq} == {0: 0, 1: 1, 2: 4}

        found = await call_all(workers, Square(3), timeout=1.0)
        assert found.answers == dict.fromkeys(workers, 9)
        assert found.failures == {}

A `Request` is what the actor sees as its caller: a future, but one of ours, for those of an event
loop can be waited for by one task only, and cannot say to a collection that they are done. So it
costs no task, and neither does a collection of a thousand.

In Erlang's terms `response` is `receive_response`, `wait` is `wait_response`, `done` is
`check_response`, and `call_all` is `multi_call`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import msgspec

from actors import backend, deadlock
from actors.backend import Future
from actors.cell import Cell, current_cell
from actors.errors import CallTimeout, Deadlock

if TYPE_CHECKING:
    from actors.messages import Call
    from actors.ref import Ref

T = TypeVar("T")
A = TypeVar("A")


class Request(Generic[T]):
    """A call that is on its way, or has been answered; made by `Ref.request` and `Requests.send`.

    `path` and `message` say what was asked of whom; `label` is for the one who asked.
    """

    __slots__ = (
        "_cell",
        "_collection",
        "_done",
        "_error",
        "_readers",
        "_value",
        "label",
        "message",
        "path",
    )

    def __init__(self, path: str, message: Call[Any, T], cell: Cell | None) -> None:
        self.path = path
        self.message = message
        self.label: Any = None
        self._cell = cell
        self._collection: Requests | None = None
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._readers: list[Future[None]] = []

    def __repr__(self) -> str:
        state = "pending" if not self._done else "failed" if self._error else "answered"
        return f"<Request {type(self.message).__name__} to {self.path} {state}>"

    # -- the actor's side: a `Future` ------------------------------------------------------------

    def set_result(self, result: T, /) -> None:
        self._value = result
        self._settle()

    def set_exception(self, exception: BaseException, /) -> None:
        self._error = exception
        self._settle()

    def _settle(self) -> None:
        self._done = True
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()
        if self._collection is not None:
            self._collection._has_come(self)

    # -- the caller's ----------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether there is an answer, be it an error, or the request was abandoned."""
        return self._done

    def result(self) -> T:
        """The answer, once there is one; raises what a call would have raised."""
        if not self._done:
            raise RuntimeError(f"{self!r} has no answer yet: await its response, or wait for it")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def abandon(self) -> None:
        """Gives the answer up: it will be dropped when it comes. The work is done all the same."""
        if not self._done:
            self.set_exception(RuntimeError(f"{type(self.message).__name__} was abandoned"))

    async def response(self, *, timeout: float | None = None) -> T:
        """Waits for the answer and returns it; raises what a call would have raised.

        After `timeout` seconds the request is abandoned, and this raises `CallTimeout`; default
        without limit. Raises `Deadlock` as a call does. Cancelling leaves the request alive.
        """
        if not await self.wait(timeout=timeout):
            assert timeout is not None
            late = CallTimeout(self.path, self.message, timeout)
            self.set_exception(late)
        return self.result()

    async def wait(self, *, timeout: float | None = None) -> bool:
        """Waits at most `timeout` seconds and says whether there is an answer.

        The request stays alive, and may be waited for again, by any number of tasks.
        """
        if self._done:
            return True
        with self._marked(), anyio.move_on_after(math.inf if timeout is None else timeout):
            await self._answered()
        return self._done

    def __await__(self) -> Generator[Any, None, T]:
        return self.response().__await__()

    async def _answered(self) -> None:
        reader: Future[None] = backend.current().future()
        self._readers.append(reader)
        await reader

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Lets the search for deadlocks see who waits for whom."""
        caller, cell = current_cell.get(), self._cell
        if caller is None or cell is None:
            yield
            return
        if not deadlock.is_deferred(cell, self) and (cell is caller or cell.calling):
            cell.refuse_deadlock(caller)
        mark = object() if self in caller.calling else self
        caller.calling[mark] = cell
        try:
            yield
        finally:
            del caller.calling[mark]


class Requests:
    """Any number of requests; iterating gives them as they are answered, until none is left.

    A request that came to nothing is given like any other: its `result` raises why.
    """

    def __init__(self) -> None:
        self._pending: dict[Request[Any], None] = {}
        self._come: deque[Request[Any]] = deque()
        self._reader: Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Requests {len(self._pending)} pending, {len(self._come)} answered>"

    def __len__(self) -> int:
        """How many have not been given yet."""
        return len(self._pending) + len(self._come)

    def send(self, ref: Ref[A], message: Call[A, T], *, label: Any = None) -> Request[T]:
        """Sends a call and keeps it here, under a label of your own. Raises `Unhandled`."""
        request = ref.request(message)
        self.add(request, label=label)
        return request

    def add(self, request: Request[Any], *, label: Any = None) -> None:
        """Takes in a request that is on its way already, and gives it its label."""
        if request._collection is not None:
            raise ValueError(f"{request!r} is in a collection already")
        request.label = label
        request._collection = self
        self._pending[request] = None
        if request.done():
            self._has_come(request)

    def abandon(self) -> None:
        """Gives up all that are not answered."""
        pending, self._pending = self._pending, {}
        for request in pending:
            request._collection = None
            request.abandon()

    def _has_come(self, request: Request[Any]) -> None:
        self._pending.pop(request, None)
        self._come.append(request)
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Request[Any]:
        """The next one that is answered. Cancelling loses none.

        Raises `Deadlock` in an actor's handler if all that are left wait, directly or not, for
        that actor.
        """
        while not self._come:
            if not self._pending:
                raise StopAsyncIteration
            with self._marked():
                self._reader = backend.current().future()
                await self._reader
        return self._come.popleft()

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Lets the search for deadlocks see who waits, and for any of whom."""
        caller = current_cell.get()
        if caller is None:
            yield
            return
        trail = deadlock.all_lead_to(self, caller)
        if trail:
            raise Deadlock((caller.path, *(cell.path for cell in trail)))
        mark = object()
        caller.calling[mark] = self
        try:
            yield
        finally:
            del caller.calling[mark]

    def awaited(self) -> Iterable[tuple[object, Cell | None]]:
        """For the search for deadlocks: see `deadlock.AnyOf`."""
        return [(request, request._cell) for request in self._pending]


@asynccontextmanager
async def requests() -> AsyncIterator[Requests]:
    """A collection for the length of a block; what is not answered at its end is abandoned."""
    collection = Requests()
    try:
        yield collection
    finally:
        collection.abandon()


class Answers(msgspec.Struct, Generic[T], frozen=True):
    """What `call_all` found: the answers by ref, and why there is none of the others."""

    answers: dict[Ref[Any], T]
    failures: dict[Ref[Any], Exception]


async def call_all(
    refs: Iterable[Ref[A]], message: Call[A, T], *, timeout: float | None = None
) -> Answers[T]:
    """Calls many at once with the same message, and waits until each has answered or failed.

    timeout
        Seconds for all of them together; who has not answered by then fails with `CallTimeout`.
        Default without limit.

    Raises `Unhandled`, before anything is sent; all else that a call may raise is a failure in the
    result. Cancelling abandons the answers, not the work.
    """
    everybody = tuple(dict.fromkeys(refs))
    for ref in everybody:
        ref.check(message)
    found: Answers[T] = Answers({}, {})
    async with requests() as rq:
        sent = {ref: rq.send(ref, message, label=ref) for ref in everybody}
        stuck: Deadlock | None = None
        try:
            with anyio.move_on_after(math.inf if timeout is None else timeout):
                async for _ in rq:
                    pass
        except Deadlock as deadlock:
            stuck = deadlock
        for ref, request in sent.items():
            if not request.done():
                found.failures[ref] = stuck or CallTimeout(ref.path, message, timeout or 0.0)
                continue
            try:
                found.answers[ref] = request.result()
            except Exception as error:
                found.failures[ref] = error
    return found
