"""Work for all cores: processes that each do one job after the other, and end with their owner.

    with Crew(simulated, size=cores()) as crew:
        for number, outcome in crew.results(jobs):      # as they come; `number` is the job's
            ...

Law: whatever ends the block ends the processes: its end, an error, Ctrl-C; and if the owner is
killed, they see that it is gone. Which process does which job depends on chance, so nothing that is
returned may: a job is all that its result depends on.

Why not `concurrent.futures`: at Ctrl-C its workers each print a traceback, and the owner waits for
the jobs that they are at. These have the signal blocked from birth, and are ended by another.

They are forked where that is safe, which takes 5 ms; else spawned, which takes 0.4 s of each core
to import again what the owner has imported: as much as 20 runs of a simulation. A fork copies other
threads' locks as they are, and a running event loop, so an owner that has either does not fork.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

from actors import backend

J = TypeVar("J")
R = TypeVar("R")

PARTING: Final = 5.0
"""Seconds that a process which is told to end may take before it is killed."""


HEED: Final = 0.5
"""Seconds after which Ctrl-C is looked for in any case. Python hears a signal between two steps of
its own: of one that comes just before it begins to wait, or to another thread, not before the end
of that."""


class JobFailed(Exception):
    """A job has raised an error; the text says which one."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


Way = Literal["fork", "spawn"]
"""How processes begin."""


def way() -> Way:
    """How this process may begin others, as it is now."""
    alone = len(os.listdir("/proc/self/task")) == 1 and not backend.is_running()
    return "fork" if alone else "spawn"


class Crew(Generic[J, R]):
    """Processes for one function, for as long as the block.

    work
        What is done with a job; a function of a module. Job and result have to be picklable.
    size
        How many processes. One that is spawned has some 60 MB of its own.
    """

    def __init__(self, work: Callable[[J], R], size: int) -> None:
        self._work = work
        self._size = size
        self._hands: dict[Connection, BaseProcess] = {}

    def __repr__(self) -> str:
        return f"<Crew of {len(self._hands)} for {self._work.__name__}>"

    def __enter__(self) -> Self:
        try:
            how = way()
            with _deaf(how):
                for _ in range(self._size):
                    self._hire(how)
        except BaseException:
            self._dismiss()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._dismiss()

    def results(self, jobs: Sequence[J]) -> Iterator[tuple[int, R]]:
        """Each job's number and its result, in the order in which they are done.

        Raises `JobFailed` as soon as one fails, or its process is gone.
        """
        numbers = iter(range(len(jobs)))
        busy: dict[Connection, int] = {}

        def give(hand: Connection) -> None:
            number = next(numbers, None)
            if number is not None:
                hand.send(jobs[number])
                busy[hand] = number

        for hand in self._hands:
            give(hand)
        while busy:
            for hand in cast("list[Connection]", wait(list(busy), HEED)):
                number = busy.pop(hand)
                result = self._received(hand)
                give(hand)
                yield number, result

    def _received(self, hand: Connection) -> R:
        try:
            done, result = hand.recv()
        except EOFError:
            self._hands[hand].join(PARTING)
            status = self._hands[hand].exitcode
            raise JobFailed(f"a worker process has ended, with status {status}") from None
        if not done:
            raise JobFailed(result)
        found: R = result
        return found

    def _hire(self, how: Way) -> None:
        context: ForkContext | SpawnContext = multiprocessing.get_context(how)  # type: ignore[assignment]
        ours, theirs = context.Pipe()
        arguments = self._work, theirs, os.getpid()
        process = context.Process(target=_serve, args=arguments, name="colony worker", daemon=True)
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._hands[ours] = process

    def _dismiss(self) -> None:
        for process in self._hands.values():
            process.terminate()
        for hand, process in self._hands.items():
            process.join(PARTING)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
            hand.close()
        self._hands.clear()


@contextmanager
def _deaf(how: Way) -> Iterator[None]:
    """What is started in the block has Ctrl-C blocked for ever; for us it comes afterwards."""
    if how == "spawn":
        resource_tracker.ensure_running()  # what starts it, if it does not run, unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Any], Any], jobs: Connection, owner: int) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has its owner's handler
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError):
        while True:
            job = jobs.recv()
            try:
                answer = True, work(job)
            except Exception as error:
                answer = False, f"{type(error).__name__}: {error}"
            jobs.send(answer)


def _end_with(owner: int) -> None:
    """Ends this process when its owner is gone, however that ended.

    Not by a pipe that closes: a later fork would hold the owner's end of it.
    """
    with suppress(ProcessLookupError):
        gone = os.pidfd_open(owner)
        if os.getppid() == owner:  # else its number may be another's by now
            select.select([gone], [], [])
    os._exit(1)
