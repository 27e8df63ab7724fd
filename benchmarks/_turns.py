"""Colony with its event loop watched: `python benchmarks/_turns.py FILE ARGUMENTS-OF-COLONY...`.

A turn of the loop is the time from when it has found something to do until it waits again. For so
long nobody else is answered. The long ones are written to FILE when Colony ends.

    turns = read(file)          # a `Turn` each

On a machine with other work a turn's wall time is partly that of others: of the kernel's own count
of how long the thread was ready and had no processor, there is `waited`.
"""

from __future__ import annotations

import atexit
import os
import selectors
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import _ratio  # noqa: F401 - it puts the clone into the path

LONG: Final = 0.002
"""Seconds; shorter turns are not noted: notes are memory of the one whose memory is measured."""


class Turn(NamedTuple):
    """When it began, on the machine's monotonic clock, how long it took, and for how much of that
    it waited for a processor; all in seconds."""

    began: float
    took: float
    waited: float


def read(file: Path) -> list[Turn]:
    """What was written to `file`."""
    return [Turn(*map(float, line.split())) for line in file.read_text().splitlines()]


def watch(file: Path) -> None:
    """From now on, in this thread; written at the end of this process."""
    wait, turns, thread = selectors.EpollSelector.select, list[Turn](), threading.get_ident()
    counts = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def queued() -> float:
        return int(os.pread(counts, 100, 0).split()[1]) / 1e9

    def select(self: Any, timeout: float | None = None) -> Any:
        if threading.get_ident() != thread:
            return wait(self, timeout)
        now = time.monotonic()
        began, before = getattr(self, "began", (now, 0.0))
        if now - began >= LONG:
            turns.append(Turn(began, now - began, queued() - before))
        found = wait(self, timeout)
        self.began = (time.monotonic(), queued())
        return found

    def write() -> None:
        file.write_text("".join(" ".join(map(str, turn)) + "\n" for turn in turns))

    selectors.EpollSelector.select = select  # type: ignore[method-assign]
    atexit.register(write)


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    from colony.__main__ import main

    main()
