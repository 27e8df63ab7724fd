"""What is written to without ever waiting for it: the terminal that somebody sits at, a pipe.

    sink = Sink(1)
    sink.put(data)              # what is taken at once is written, the rest is kept
    poll.register(sink.fd, select.POLLOUT), then sink.flush()

Law: no call but `finish` and `close` waits, and they no longer than they are told to. A terminal
may take nothing for as long as it likes, and whoever waits for it in `write` hears no signal, no
key and no end of the session meanwhile.

A descriptor cannot just be made non-blocking: that holds for everybody who has the same open file,
and so for the shell that we were started from. So the file is opened once more, for us alone. One
that may not be opened (another user's terminal, after `su`; a socket) gets a thread that waits in
our place, behind a pipe. A file on a disk makes nobody wait.
"""

from __future__ import annotations

import os
import select
import stat
import termios
import threading
import time
from contextlib import suppress
from typing import Final

_PIECE: Final = 4096
"""Bytes that the thread writes at once."""


class Sink:
    """One such file, until `close`. Raises `OSError` as `write` does."""

    def __init__(self, fd: int) -> None:
        self.moved = time.monotonic()
        """When something was taken last, or there was nothing to take."""
        self._kept = bytearray()
        self._thread: _Writer | None = None
        self._own = -1
        self.fd = fd
        """What to poll while there is something `unsent`."""
        if not _may_make_wait(fd):
            return
        self._own = opened_anew(fd)
        if self._own < 0:
            self._thread = _Writer(fd)
            self._own = self._thread.pipe
        self.fd = self._own

    def __repr__(self) -> str:
        return f"<Sink {self.fd} {self.unsent} unsent>"

    @property
    def unsent(self) -> int:
        """Bytes that it has not taken yet."""
        return len(self._kept)

    def put(self, data: bytes) -> None:
        """Writes this, after what is unsent."""
        if not self._kept:
            self.moved = time.monotonic()
            data = data[self._write(data) :]
        self._kept += data

    def flush(self) -> None:
        """Writes of what is unsent what it takes now."""
        if self._kept:
            count = self._write(self._kept)
            if count:
                self.moved = time.monotonic()
                del self._kept[:count]

    def finish(self, seconds: float | None = None) -> bool:
        """Waits until all is taken, at most so long; whether it was. None: any time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        if self._kept:
            poll.register(self.fd, select.POLLOUT)
        while self._kept:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            poll.poll(None if left is None else left * 1000 + 1)
            self.flush()
        return True

    def drop(self) -> None:
        """Throws away what is unsent, and what a terminal has, and has not shown."""
        self._kept.clear()
        if self._thread is not None:
            self._thread.drop()
        with suppress(termios.error):
            termios.tcflush(self.fd if self._thread is None else self._thread.fd, termios.TCOFLUSH)

    def close(self, seconds: float | None = 0.0) -> None:
        """Writes no more. What a thread has still to write may take so long; None: any time.
        Closing twice is no error."""
        self._kept.clear()
        thread, self._thread, own, self._own = self._thread, None, self._own, -1
        self.fd = -1
        if thread is not None:
            thread.close(seconds)
        elif own >= 0:
            os.close(own)

    def _write(self, data: bytes | bytearray) -> int:
        count = 0
        view = memoryview(data)
        try:
            while count < len(view):
                count += os.write(self.fd, view[count:])
        except BlockingIOError:
            pass
        except OSError:
            if self._thread is not None and self._thread.error is not None:
                raise self._thread.error from None
            raise
        finally:
            view.release()
        return count


class _Writer:
    """A thread that writes to a file what is written to `pipe`, and may wait for it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.error: OSError | None = None
        self._reading, self.pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.pipe, False)
        self._thread = threading.Thread(target=self._run, daemon=True, name="terminal output")
        self._thread.start()

    def _run(self) -> None:
        try:
            while data := os.read(self._reading, _PIECE):
                write_all(self.fd, data)
        except OSError as error:
            self.error = error
        finally:
            os.close(self._reading)  # so that whoever writes to the pipe hears of it

    def drop(self) -> None:
        """Takes out of the pipe what it has not come to."""
        with suppress(OSError):
            mine = os.open(f"/proc/self/fd/{self._reading}", os.O_RDONLY | os.O_NONBLOCK)
            try:
                while os.read(mine, 64 * 1024):
                    pass
            finally:
                os.close(mine)

    def close(self, seconds: float | None) -> None:
        """Waits for its end, at most so long. Raises what it could not write for."""
        os.close(self.pipe)
        self._thread.join(seconds)
        if self.error is not None:
            raise self.error


def opened_anew(fd: int) -> int:
    """The same file, opened for writing for us alone, that does not block; -1 if it may not be."""
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return -1


def _may_make_wait(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, waiting as long as that takes."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody else who has this file made it so
            select.select([], [fd], [])
