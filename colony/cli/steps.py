"""Steps as they go: off a terminal one line for each, on one the step that runs is drawn over.

    ✓ source           git clone https://example.org/app.git  1.20 s
    ◌ node packages    ▕█████████           ▏  45 %  3.1 s  npm ci

How far a command has come is what it says itself in its last line, if it says so in percent.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from colony.cli import output as out

if TYPE_CHECKING:
    from colony.provision import Progress

MARKS: Final = {"begun": "◌", "done": "✓", "skipped": "·", "failed": "✗", "undone": "■"}
COLOURS: Final = {"begun": 33, "done": 32, "skipped": 34, "failed": 31, "undone": 36}
WIDTH: Final = 20
PAUSE: Final = 0.1
TAIL: Final = 400

_PERCENT: Final = re.compile(rb"(\d{1,3})%")


class Steps:
    """Shows what is reported to it on stderr."""

    def __init__(self, *, colour: bool, terminal: bool) -> None:
        self.colour = colour
        self.terminal = terminal
        self.running: Progress | None = None
        self.began = 0.0

    def __repr__(self) -> str:
        return f"<Steps {self.running}>"

    def report(self, progress: Progress) -> None:
        """Shows a step's news."""
        self.running = progress if progress.state == "begun" else None
        self.began = time.monotonic()
        if self.running is not None and not self.terminal:
            return
        took = "" if progress.seconds is None else f"  {progress.seconds:.2f} s"
        self._draw(progress, took)

    async def follow(self, log: Path) -> None:
        """Draws how far the step that runs has come, by what its command writes; never ends."""
        while True:
            await anyio.sleep(PAUSE)
            if self.running is not None and self.terminal:
                done = percentage(await anyio.to_thread.run_sync(tail, log))
                passed = time.monotonic() - self.began
                self._draw(self.running, before=f"{bar(done)}{passed:.1f} s  ")

    def _draw(self, progress: Progress, after: str = "", *, before: str = "") -> None:
        mark = out.paint(MARKS[progress.state], COLOURS[progress.state], self.colour)
        line = f"{mark} {progress.step:<16} {before}{progress.detail}{after}"
        if not self.terminal:
            out.message(line)
            return
        # A terminal that nobody has told its size has none.
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        end = "" if progress.state == "begun" else "\n"
        sys.stderr.write(f"\r\x1b[K{out.clipped(line, columns)}{end}")
        sys.stderr.flush()


def tail(log: Path) -> bytes:
    """The end of a log: what a command has written last. Blocks."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read()
    except OSError:
        return b""


def percentage(written: bytes) -> int | None:
    """How far a command says that it is, in its last line (git draws it anew after `\\r`)."""
    last = written.rstrip(b"\r\n").rpartition(b"\n")[2]
    found = _PERCENT.findall(last)
    return min(100, int(found[-1])) if found else None


def bar(done: int | None) -> str:
    """A bar of so many percent; "" if that is not known."""
    if done is None:
        return ""
    full = done * WIDTH // 100
    return f"▕{'█' * full}{' ' * (WIDTH - full)}▏ {done:>3} %  "
