"""What connects a service's process with us: standard input and output, as pipes or a terminal.

Standard input is an open pipe that nobody writes to unless asked, and not /dev/null: many tools
that watch files (esbuild, Tailwind, Vite) take the end of their input for the end of the session.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Final

from colony.logs import Feed, LineSplitter, Logs, Stream
from colony.logs.store import Watch
from colony.patterns import Pattern, found_in
from colony.terminals.pty import opened
from colony.terminals.service import SIZE, ServiceTerminal

_OUTPUT: Final[tuple[Stream, ...]] = ("stdout", "stderr")


class Channels:
    """Both ends, from `open` to `close`; what is the service's alone is closed by `started`.

    pty
        Whether it is a terminal: then there is one stream, shown as stdout.
    shown
        Where a terminal's output is shown, and whence it is typed into. Default nowhere.
    ends
        The terminal's, from `opened`, if that was called in a thread; it may wait. They are taken
        over.
    """

    def __init__(
        self,
        *,
        pty: bool,
        shown: ServiceTerminal | None = None,
        ends: tuple[int, int] | None = None,
    ) -> None:
        self.pty = pty
        self.shown = shown
        self.terminal: str | None = None
        self.theirs: dict[str, int] = {}
        self._ours: dict[str, int] = {}
        self._input = -1
        self.feeds: list[Feed] = []
        try:
            self._open_terminal(ends or opened()) if pty else self._open_pipes()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Channels {self.terminal or 'pipes'}>"

    def _open_pipes(self) -> None:
        for stream in _OUTPUT:
            self._ours[stream], self.theirs[stream] = os.pipe2(os.O_CLOEXEC)
        self.theirs["stdin"], self._input = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._input, False)

    def _open_terminal(self, ends: tuple[int, int]) -> None:
        master, slave = self._ours["stdout"], self.theirs["terminal"] = ends
        self.terminal = os.ttyname(slave)
        self._input = os.dup(master)
        os.set_blocking(self._input, False)
        self.resize(*(SIZE if self.shown is None else self.shown.hub.size))

    def attach(
        self, logs: Logs, colony: str, service: str, watch: Callable[[], Watch] | None
    ) -> None:
        """Has the output read from now on, each stream with a watch of its own."""
        tap = None
        if self.shown is not None:
            self.shown.begin(self, logs)
            tap = self.shown.tap
        # Standard output first: of what a short life has written to both before we look, that is
        # read first whose reading began first.
        for stream in tuple(self._ours):
            fd = self._ours.pop(stream)
            name: Stream = "stderr" if stream == "stderr" else "stdout"
            self.feeds.append(logs.attach(colony, service, name, fd, watch and watch(), tap))

    def started(self) -> None:
        """The process has its ends. Of ours those of its output's pipes stay open until `finish`:
        so what ends with it is told by its own descriptor alone, and the thread that reads is not
        woken in the midst of a restart."""
        for name in tuple(self.theirs):
            if name not in _OUTPUT:
                os.close(self.theirs.pop(name))

    def put_off(self, logs: Logs) -> bool:
        """Leaves what is left to read to a `finish` some milliseconds from now, and has nothing of
        it published until then; whether it can be left, which takes that `finish` can read it all.
        """
        if not all(feed.stream in self.theirs and logs.is_brief(feed) for feed in self.feeds):
            return False
        for feed in self.feeds:
            logs.set_aside(feed)
        return True

    def finish(self, logs: Logs) -> None:
        """The process has ended: reads what it left, unless others write there still."""
        if self.theirs:
            ends = [(feed, self.theirs.pop(feed.stream)) for feed in self.feeds]
            logs.finish(ends)

    def write(self, data: bytes) -> int:
        """Writes to its input what that takes without waiting; how many bytes. Raises `OSError`."""
        if self._input < 0:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0

    def resize(self, rows: int, columns: int) -> None:
        """Gives a terminal a size; the service is told by SIGWINCH if it is another one."""
        if self._input >= 0:
            packed = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self._input, termios.TIOCSWINSZ, packed)

    @property
    def empty(self) -> bool:
        """Whether everything is read."""
        return all(feed.ended.is_set() for feed in self.feeds)

    def unread(self, logs: Logs) -> bool:
        """Whether there is something that is going to be read."""
        return any(map(logs.is_behind, self.feeds))

    async def drained(self) -> None:
        """Waits until everything is read."""
        for feed in self.feeds:
            await feed.ended.wait()

    def close(self, logs: Logs | None = None) -> None:
        """Closes what is open. Closing twice is no error."""
        for feed in self.feeds:
            if logs is not None:
                logs.close_feed(feed)
        for ends in (self._ours, self.theirs):
            for fd in ends.values():
                os.close(fd)
            ends.clear()
        with contextlib.suppress(OSError):
            os.close(self._input)
        self._input = -1


class LineWatch:
    """Looks for the first line of one stream that matches, in whatever thread reads; calls `found`
    then. Two streams are two: what one writes in the middle of the other's line is no part of it.
    """

    def __init__(self, pattern: Pattern, found: Callable[[], None]) -> None:
        self._pattern = pattern
        self._found = found
        self._splitter = LineSplitter()

    def __call__(self, data: bytes) -> bool:
        """Takes what was read; whether the line has come."""
        for line in self._splitter.feed(data):
            if found_in(self._pattern, line):
                self._found()
                return True
        return False
