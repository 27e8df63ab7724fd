"""The watchdog: says whose handler the event loop is stuck in.

A handler that blocks holds up every actor of its loop, and asyncio and trio are silent about it.
The watchdog is a thread that sends the loop a heartbeat; when one is not answered within
`patience` it looks at the stack of the loop's thread, finds the cell in it, and publishes one
`HandlerBlocked` as soon as the loop runs again. It costs the actors nothing: what they are doing
is read off the stack, not noted down by them. Nor does it wake a loop that has nothing to do: it
sees that by the stack, too, and looks at one that never has less and less often. So what blocks
after a long quiet is sure to be found out if it does for `LONGEST` times its patience and once
more.

The clock is the machine's, for a loop that stands still has no other.
"""

from __future__ import annotations

import sys
import threading
import time
from itertools import islice
from traceback import FrameSummary, StackSummary, walk_stack
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from actors.backend import is_waiting
from actors.cell import Cell
from actors.events import HandlerBlocked

if TYPE_CHECKING:
    from actors.system import System


LONGEST: Final = 4.0
"""How many times its patience it pauses at most between two looks at a loop that has nothing to do;
otherwise half its patience."""

_SLACKENS: Final = 1.25


class Watchdog:
    """One thread that watches one system's event loop, from `start` to `stop`."""

    def __init__(self, system: System, patience: float) -> None:
        self._system = system
        self._patience = patience
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()
        self._beat = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="actors watchdog", daemon=True)

    def __repr__(self) -> str:
        return f"<Watchdog with a patience of {self._patience:g} s>"

    def start(self) -> None:
        """Starts the thread; to be called in the event loop's."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it: at most as long as it takes to wake up."""
        self._over.set()
        self._beat.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = shortest = self._patience / 2
        while not self._over.wait(pause):
            if is_waiting(self._frame()):
                pause = min(pause * _SLACKENS, self._patience * LONGEST)
                continue
            pause = shortest
            self._beat.clear()
            if self._over.is_set():  # the beat that is cleared may have been the last one
                return
            began = time.monotonic()
            if not self._post(self._beat.set):
                return
            if self._beat.wait(self._patience):
                continue
            found = self._look()
            self._beat.wait()
            if not self._over.is_set():
                self._report(found, time.monotonic() - began)

    def _post(self, function: Any) -> bool:
        try:
            self._system.backend.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._loop_thread)

    def _look(self) -> tuple[str | None, Any, str]:
        frame = self._frame()
        stack = _text(frame)
        cell = _cell_in(frame)
        if cell is None:
            return None, None, stack
        return cell.path, cell.handling()[0], stack

    def _report(self, found: tuple[str | None, Any, str], seconds: float) -> None:
        actor, message, stack = found

        def publish() -> None:
            self._system.publish(
                HandlerBlocked(
                    at=self._system.now(),
                    actor=actor,
                    message=message,
                    seconds=seconds,
                    stack=stack,
                )
            )

        self._post(publish)


def _text(frame: FrameType | None) -> str:
    """A stack as `traceback` writes it, which would keep every file that it quotes a line of, whole
    and for good: half a megabyte and more."""
    if frame is None:
        return ""
    called = [_summary(each.f_code, number or 1) for each, number in walk_stack(frame)]
    return "".join(StackSummary.from_list(reversed(called)).format())


def _summary(code: CodeType, number: int) -> FrameSummary:
    quoted = _quoted(code.co_filename, number)
    return FrameSummary(code.co_filename, number, code.co_name, line=quoted)


def _quoted(path: str, number: int) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return next(islice(file, number - 1, None), "")
    except OSError:
        return ""


def _cell_in(frame: FrameType | None) -> Cell | None:
    """The innermost cell whose code is on a stack."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Cell):
            return owner
        frame = frame.f_back
    return None
