"""What a client does while it is attached: keys one way, output the other, until an end of either.

Signals come through a pipe, so that nothing happens in the middle of something else:

    SIGWINCH    the new size is passed on
    SIGTSTP     the terminal is restored, we stop; after SIGCONT it is raw and painted again
    SIGTERM,    the terminal is restored, the session lives on
    SIGHUP
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from colony.client import ClientError, Gone
from colony.terminals.chord import Chord
from colony.terminals.connection import Connection
from colony.terminals.frames import BINARY
from colony.terminals.modes import RESET_HERE
from colony.terminals.outer import Outer, write_all

END_OF_INPUT: Final = b"\x04"
_PIECE: Final = 64 * 1024
_FOLLOWED: Final = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)


class Detached(Exception):
    """The viewer has left; the session lives on. `by` is 0 for the keys, else the signal."""

    def __init__(self, by: int = 0) -> None:
        self.by = by
        super().__init__("detached")


class Refused(Exception):
    """The command was not started. `code` is the exit status that a shell gives."""

    def __init__(self, code: int, detail: str) -> None:
        self.code = code
        super().__init__(detail)


class Unwritable(ClientError):
    """What was written cannot be passed on: a full disk, say."""


@contextmanager
def followed_signals(numbers: tuple[signal.Signals, ...] | tuple[()]) -> Iterator[int]:
    """A descriptor from which the numbers of these signals are read, for as long as the block."""
    theirs, ours = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    if threading.current_thread() is not threading.main_thread():
        numbers = ()  # signals are the main thread's
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old = signal.set_wakeup_fd(ours, warn_on_full_buffer=False) if numbers else -1
    try:
        yield theirs
    finally:
        if numbers:
            signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(theirs)
        os.close(ours)


class View:
    """One attachment at a terminal."""

    def __init__(self, connection: Connection, outer: Outer, chord: Chord | None) -> None:
        self.connection = connection
        self.outer = outer
        self.chord = chord
        self.exit: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<View of {self.connection!r}>"

    def run(self, signals: int) -> dict[str, Any]:
        """Until the program has ended; how it did. Raises `Detached`, `Refused` and `Gone`."""
        stdin, connection = self.outer.fd, self.connection
        while self.exit is None:
            due = None if self.chord is None else self.chord.due
            files = (signals,) if connection.full else (signals, stdin)
            ready = connection.ready(*files, seconds=due and due - time.monotonic())
            if signals in ready:
                self._signals(os.read(signals, 64))
            if stdin in ready:
                self._keys(os.read(stdin, _PIECE))
            elif due is not None and self.chord is not None:
                self._type(self.chord.expire(time.monotonic()))
            if connection.fileno() in ready:
                self._output()
        return self.exit

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGHUP):
                self.connection.tell("detach")
                raise Detached(number)
            if number == signal.SIGTSTP:
                self.outer.stop_here()
                self.connection.tell("refresh")  # who had the terminal meanwhile wrote over it
            elif number == signal.SIGCONT:
                self.outer.enter()
        size = self.outer.size
        if size is not None:
            self.connection.tell("resize", rows=size.rows, columns=size.columns)

    def _keys(self, data: bytes) -> None:
        if not data:  # the terminal has gone
            raise Detached(signal.SIGHUP)
        if self.chord is None:
            self._type(data)
            return
        self._type(self.chord.feed(data, time.monotonic()))
        if self.chord.detached:
            self.connection.tell("detach")
            raise Detached

    def _type(self, data: bytes) -> None:
        if data:
            self.connection.send(data)

    def _output(self) -> None:
        for kind, data in self.connection.receive():
            if kind == BINARY:
                self.outer.show(data)
            else:
                self._hear(json.loads(data))
        if self.connection.over and self.exit is None:
            raise Gone("the instance has ended the connection")

    def _hear(self, told: dict[str, Any]) -> None:
        if told["t"] == "exit":
            self.exit = told
        elif told["t"] == "refused":
            raise Refused(told["code"], told["detail"])


def view(connection: Connection, keys: bytes | None) -> dict[str, Any]:
    """Attaches the terminal at stdin and stdout. `keys` detach; None: nothing does."""
    chord = None if keys is None else Chord(keys)
    with followed_signals(_FOLLOWED) as signals, Outer(0, 1) as outer:
        return View(connection, outer, chord).run(signals)


def pipe_through(connection: Connection, end: bytes = END_OF_INPUT) -> dict[str, Any]:
    """Attaches without a terminal: what is read is typed, what the session writes is written.

    The end of the input is typed as `end`; an input that had nothing at all is none, and detaches.
    """
    typed = begun = False
    files: tuple[int, ...] = (0,)
    while True:
        ready = connection.ready(*(() if connection.full else files))
        if 0 in ready:
            data = os.read(0, _PIECE)
            typed = typed or bool(data)
            if not typed:
                connection.tell("detach")
                raise Detached
            if data or end:
                connection.send(data or end)
            files = files if data else ()
        if connection.fileno() in ready:
            for kind, data in connection.receive():
                if kind == BINARY:
                    # What resets a terminal is for one.
                    _write(1, data if begun else data.removeprefix(RESET_HERE))
                    begun = True
                    continue
                told = json.loads(data)
                if told["t"] == "exit":
                    return dict(told)
                if told["t"] == "refused":
                    raise Refused(told["code"], told["detail"])
            if connection.over:
                raise Gone("the instance has ended the connection")


def run_on_pipes(connection: Connection) -> dict[str, Any]:
    """A command without a terminal: our streams are its own, and so are our signals."""
    passed = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    more = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
    with followed_signals(passed + more) as signals:
        files: tuple[int, ...] = (0,)
        while True:
            ready = connection.ready(signals, *(() if connection.full else files))
            if signals in ready:
                for number in os.read(signals, 64):
                    connection.tell("signal", signal=signal.Signals(number).name[3:])
            if 0 in ready:
                data = os.read(0, _PIECE)
                if data:
                    connection.send(data)
                else:
                    connection.tell("eof")
                    files = ()
            if connection.fileno() in ready:
                found = _pieces(connection)
                if found is not None:
                    return found


def _pieces(connection: Connection) -> dict[str, Any] | None:
    for kind, data in connection.receive():
        if kind == BINARY:
            _write(data[0], data[1:])
            continue
        told = json.loads(data)
        if told["t"] == "exit":
            return dict(told)
        if told["t"] == "refused":
            raise Refused(told["code"], told["detail"])
    if connection.over:
        raise Gone("the instance has ended the connection")
    return None


def _write(fd: int, data: bytes) -> None:
    try:
        write_all(fd, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = {1: "standard output", 2: "standard error"}[fd]
        raise Unwritable(f"cannot write to {name}: {error.strerror}") from None


def code_of(told: dict[str, Any]) -> int:
    """An exit as a shell gives it: the code, or 128 and the signal; 0 if a colony has ended, and
    with it the terminal of its service."""
    code, number = told.get("code"), told.get("signal")
    return 128 + int(number) if number is not None else int(code or 0)


def at_a_terminal() -> bool:
    """Whether somebody sits at both ends of us."""
    return os.isatty(0) and os.isatty(1)
