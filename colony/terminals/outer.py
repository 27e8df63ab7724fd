"""The terminal that somebody sits at: raw while attached, and as it was whatever happens.

Whatever happens includes SIGKILL, when nobody of us is left to do it. A guard does it then: a child
that does nothing but wait at the end of a pipe. It touches the settings only while they are still
ours, since a shell that has come back to its prompt has settings of its own.

    written to the guard   meaning
    a, m                   the alternate screen, the main one is shown
    q                      all is restored: end
    (end of the pipe)      we were killed: restore
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
from colony.terminals.sizes import Size, size_of

_EVERYTHING: Final = (
    b"\x1b[?1;5;9;66;1000;1002;1003;1004;1005;1006;1007;1015;1016;2004l\x1b[?7;25h\x1b>\x1b[0 q"
    b"\x1b7\x1b[r\x1b8\x1b[m\x0f\r\n"
)


class Outer:
    """A terminal, raw for as long as the block."""

    def __init__(self, fd: int, output: int) -> None:
        self.fd = fd
        self.output = output
        self.modes = Modes()
        """What was written has switched."""
        self._saved: list[Any] = []
        self._guard = -1
        self._guard_pid = 0

    def __repr__(self) -> str:
        return f"<Outer {self.fd}>"

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
        termios.tcsetattr(self.fd, termios.TCSADRAIN, self._raw)

    def leave(self) -> None:
        """Makes it as it was: the settings, and what the program has switched."""
        with contextlib.suppress(OSError, termios.error):
            write_all(self.output, self.modes.leave())
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._saved)
        if self.modes.alternate:
            self._tell_guard(b"m")
        self.modes = Modes()

    def show(self, data: bytes) -> None:
        """Writes to it what a program wrote."""
        alternate = self.modes.alternate
        self.modes.feed(data)
        if alternate != self.modes.alternate:
            self._tell_guard(b"a" if self.modes.alternate else b"m")
        write_all(self.output, data)

    @property
    def size(self) -> Size | None:
        """How large it is now."""
        return window_size(self.output) or window_size(self.fd)

    def stop_here(self) -> None:
        """Does what SIGTSTP asks for: restores, stops, and goes on raw after SIGCONT."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()

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

    def _tell_guard(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._guard, what)

    def _end_guard(self) -> None:
        self._tell_guard(b"q")
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
    alternate = False
    while data := os.read(pipe, 64):
        if b"q" in data:
            return
        alternate = data[-1:] == b"a"
    with contextlib.suppress(OSError, termios.error):
        if same_settings(termios.tcgetattr(fd), ours):
            termios.tcsetattr(fd, termios.TCSANOW, saved)
        os.set_blocking(output, False)
        os.write(output, (b"\x1b[?1049l" if alternate else b"") + _EVERYTHING)


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


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, waiting as long as that takes."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody else who has this terminal made it so
            select.select([], [fd], [])
