"""Steps as they go: off a terminal one line for each, on one the step that runs is drawn over.

    ✓ source           git clone https://example.org/app.git  1.20 s
    ◌ node packages    ▕█████████           ▏  45 %  3.1 s  npm ci

How far a command has come is what it says itself in its last line, if it says so in percent.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

import anyio

from colony.cli import output as out
from colony.lanes import bar

if TYPE_CHECKING:
    from colony.provision import Progress

MARKS: Final = {"begun": "◌", "done": "✓", "skipped": "·", "failed": "✗", "undone": "■"}
COLOURS: Final = {"begun": 33, "done": 32, "skipped": 34, "failed": 31, "undone": 36}
PAUSE: Final = 0.1


class Steps:
    """Shows what is reported to it on stderr."""

    def __init__(self, *, colour: bool, terminal: bool) -> None:
        self.colour = colour
        self.terminal = terminal
        self.running: Progress | None = None
        self.percent: int | None = None
        self.began = 0.0

    def __repr__(self) -> str:
        return f"<Steps {self.running}>"

    def report(self, progress: Progress) -> None:
        """Shows a step's news."""
        self.percent = progress.percent
        if progress.state == "running":
            return
        self.running = progress if progress.state == "begun" else None
        self.began = time.monotonic()
        if self.running is not None and not self.terminal:
            return
        took = "" if progress.seconds is None else f"  {progress.seconds:.2f} s"
        self._draw(progress, took)

    async def follow(self) -> None:
        """Draws how far the step that runs has come; never ends."""
        while True:
            await anyio.sleep(PAUSE)
            if self.running is not None and self.terminal:
                passed = time.monotonic() - self.began
                done = "" if self.percent is None else bar(self.percent)
                self._draw(self.running, before=f"{done}{passed:.1f} s  ")

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
