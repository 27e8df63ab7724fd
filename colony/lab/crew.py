"""Work for all cores: processes that each do one job after the other, and end with their owner.

    with Crew(simulated, size=cores()) as crew:
        for number, outcome in crew.results(jobs):      # as they come; `number` is the job's
            ...

Law: whatever ends the block ends the processes: its end, an error, Ctrl-C; and if the owner is
killed, they see that their lifeline is closed. Which process does which job depends on chance, so
nothing that is returned may: a job is all that its result depends on.

Why not `concurrent.futures`: at Ctrl-C its workers each print a traceback, and the owner waits for
the jobs that they are at. These have the signal blocked from birth, and are ended by another.

They are spawned, not forked: the owner may have threads, whose locks a fork would copy locked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

J = TypeVar("J")
R = TypeVar("R")

PARTING: Final = 5.0
"""Seconds that a process which is told to end may take before it is killed."""


class JobFailed(Exception):
    """A job has raised an error; the text says which one."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Crew(Generic[J, R]):
    """Processes for one function, for as long as the block.

    work
        What is done with a job; a function of a module. Job and result have to be picklable.
    size
        How many processes. Each takes half a second to begin, and some 60 MB.
    """

    def __init__(self, work: Callable[[J], R], size: int) -> None:
        self._work = work
        self._size = size
        self._hands: dict[Connection, SpawnProcess] = {}
        self._lifelines: list[Connection] = []

    def __repr__(self) -> str:
        return f"<Crew of {len(self._hands)} for {self._work.__name__}>"

    def __enter__(self) -> Self:
        try:
            with _deaf():
                for _ in range(self._size):
                    self._hire()
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
            for hand in cast("list[Connection]", wait(list(busy))):
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

    def _hire(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        held, lifeline = context.Pipe(duplex=False)
        try:
            process = context.Process(
                target=_serve, args=(self._work, theirs, held), name="colony worker", daemon=True
            )
            process.start()
        except BaseException:
            ours.close()
            lifeline.close()
            raise
        finally:
            theirs.close()
            held.close()
        self._hands[ours] = process
        self._lifelines.append(lifeline)

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
        for lifeline in self._lifelines:
            lifeline.close()
        self._hands.clear()
        self._lifelines.clear()


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started in the block has Ctrl-C blocked for ever; for us it comes afterwards."""
    resource_tracker.ensure_running()  # what starts it, if it does not run, unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Any], Any], jobs: Connection, lifeline: Connection) -> None:
    """What a worker process does."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError):
        while True:
            job = jobs.recv()
            try:
                answer = True, work(job)
            except Exception as error:
                answer = False, f"{type(error).__name__}: {error}"
            jobs.send(answer)


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
