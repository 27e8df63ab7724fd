"""The terminal that somebody sits at: raw while attached, and as it was whatever happens.

Whatever happens includes SIGKILL, when nobody of us is left to do it. A guard does it then: a child
that does nothing but wait at the end of a pipe. It touches the settings only while they are still
ours, since a shell that has come back to its prompt has settings of its own.

    written to the guard        meaning
    what brings it back, NUL    write this if you have to restore
    q                           all is restored: end
    (end of the pipe)           we were killed: restore

Nor does it matter whether the terminal takes anything just then. What it has not taken is thrown
away then, and what brings it back takes its place: it reads that when it reads again.

The window's title is put on the terminal's own stack when a program first sets one, and taken from
there afterwards; terminals without such a stack keep the program's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import tty
from typing import Any, Final

from colony.terminals.modes import Modes
from colony.terminals.sink import Sink
from colony.terminals.sizes import Size, size_of

_KEEP_TITLE: Final = b"\x1b[22;2t"
_OLD_TITLE: Final = b"\x1b[23;2t"

_CANCEL: Final = b"\x18"
"""Ends any sequence that was cut."""

LEAVING: Final = 0.1
"""Seconds that a terminal has to take what is unsent, when it is left."""

_END: Final = b"q"


class Outer:
    """A terminal, raw for as long as the block."""

    def __init__(self, fd: int, output: int) -> None:
        self.fd = fd
        self.output = output
        self.modes = Modes()
        """What was written has switched."""
        self.sink: Sink | None = None
        """What is written to while it is raw."""
        self._back = b""
        """What brings the terminal back, as the guard knows it."""
        self._titled = False
        self._saved: list[Any] = []
        self._guard = -1
        self._guard_pid = 0

    def __repr__(self) -> str:
        return f"<Outer {self.fd}{'' if self.sink is None else ' raw'}>"

    def __enter__(self) -> Outer:
        self._saved = termios.tcgetattr(self.fd)
        self._raw = raw(self._saved)
        self._start_guard()
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._end_guard()

    def enter(self) -> None:
        """Makes it raw (again)."""
        if self.sink is None:
            self.sink = Sink(self.output)
        with contextlib.suppress(termios.error):  # a signal; or it has gone, which is read
            termios.tcsetattr(self.fd, termios.TCSANOW, self._raw)

    def leave(self) -> None:
        """Makes it as it was: the settings, and what the program has switched. Of what is unsent it
        has `LEAVING` seconds to take something, and loses the rest. Leaving twice is no error."""
        sink, self.sink = self.sink, None
        if sink is None:
            return
        # We may not be in its foreground, and stopped for touching it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            if not self._is_anothers():
                self._restore(sink)
            with contextlib.suppress(OSError):
                sink.close(LEAVING)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.modes, self._titled = Modes(), False
        self._prepare_guard()

    def _is_anothers(self) -> bool:
        """Whether who has the terminal now, say the shell that has put us into the background, has
        made it its own."""
        try:
            here = os.tcgetpgrp(self.fd) == os.getpgrp()
            return not here and not same_settings(termios.tcgetattr(self.fd), self._raw)
        except (OSError, termios.error):
            return False

    def _restore(self, sink: Sink) -> None:
        cut = _CANCEL if self.modes.string >= 0 else b""
        with contextlib.suppress(OSError):
            last_words(sink, cut + self._bringing_back())
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)

    def show(self, data: bytes) -> None:
        """Writes to it what a program wrote, as far as it takes that now; the rest is unsent."""
        assert self.sink is not None
        self.modes.feed(data)
        if self.modes.title and not self._titled:
            self._titled = True
            data = _KEEP_TITLE + data
        if b"\x1b" in data:
            self._prepare_guard()
        self.sink.put(data)

    def _bringing_back(self) -> bytes:
        return self.modes.leave() + (_OLD_TITLE if self._titled else b"")

    @property
    def size(self) -> Size | None:
        """How large it is now."""
        return window_size(self.output) or window_size(self.fd)

    # -- the guard -----------------------------------------------------------------------------

    def _start_guard(self) -> None:
        theirs, self._guard = os.pipe2(os.O_CLOEXEC)
        self._guard_pid = os.fork()
        if self._guard_pid == 0:
            try:
                os.close(self._guard)
                _guard(theirs, self.fd, self.output, self._saved, self._raw)
            finally:
                os._exit(0)
        os.close(theirs)
        self._prepare_guard()

    def _prepare_guard(self) -> None:
        """Tells it what to write, if that is something else now."""
        back = self._bringing_back()
        if back != self._back:
            self._back = back
            self._tell_guard(back + b"\0")

    def _tell_guard(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._guard, what)

    def _end_guard(self) -> None:
        self._tell_guard(_END)
        os.close(self._guard)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._guard_pid, 0)


def _guard(pipe: int, fd: int, output: int, saved: list[Any], ours: list[Any]) -> None:
    """The child. A session of its own: no key and no hang-up of the terminal reaches it, and it may
    set the terminal without being in its foreground."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    told = b""
    while data := os.read(pipe, 4096):
        *whole, rest = (told + data).split(b"\0")
        if rest == _END:
            return
        told = b"\0".join((*whole[-1:], rest))
    with contextlib.suppress(OSError, termios.error):
        if same_settings(termios.tcgetattr(fd), ours):
            termios.tcsetattr(fd, termios.TCSANOW, saved)
        sink = Sink(output)
        last_words(sink, _CANCEL + told.partition(b"\0")[0] + b"\r\n")
        sink.close(LEAVING)


def raw(saved: list[Any]) -> list[Any]:
    """Settings under which every key arrives as it is, and every byte is shown as it is."""
    made = [*saved[:6], list(saved[6])]
    made[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    made[1] &= ~termios.OPOST
    made[2] = made[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    made[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    made[tty.CC][termios.VMIN] = 1
    made[tty.CC][termios.VTIME] = 0
    return made


def same_settings(one: list[Any], other: list[Any]) -> bool:
    """Whether two settings are alike in what `raw` changes."""
    return one[:4] == other[:4]


def window_size(fd: int) -> Size | None:
    """How large the terminal at a descriptor is; None if it is none, or does not know."""
    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, _, _ = struct.unpack("HHHH", packed)
    return size_of(rows, columns)


def last_words(sink: Sink, data: bytes) -> None:
    """Writes this to a terminal, after what is unsent or in its place, and so that a line of up to
    256 bytes can follow. Raises `OSError`.

    That it has taken this does not mean that it takes more: a short piece goes into the rest of the
    kernel's last buffer, when there is no room for another one. Whoever then writes a line as
    anybody does waits for as long as nobody reads.
    """
    sink.flush()
    if not sink.finish(LEAVING):
        sink.drop()
        data = _CANCEL + data
    sink.put(data)
    if not (sink.finish(LEAVING) and takes(sink.fd)):
        sink.drop()
        sink.put(_CANCEL + data)


def takes(fd: int, seconds: float = LEAVING) -> bool:
    """Whether a little can be written there without waiting for longer."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(what & select.POLLOUT for _, what in poll.poll(seconds * 1000))
