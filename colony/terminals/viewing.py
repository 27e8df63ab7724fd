"""What a client does while it is attached: keys one way, output the other, until an end of either.

Signals come through a pipe, so that nothing happens in the middle of something else:

    SIGWINCH    the new size is passed on
    SIGTSTP     the terminal is restored, we stop; after SIGCONT it is raw and painted again
    SIGTERM,    the terminal is restored, the session lives on
    SIGHUP

Nor does anything wait for the terminal. While it has not taken all that was written to it, no more
is received, so that what comes waits with the instance. Once it has taken nothing for `STALLED`
seconds we receive on all the same, `MOST` bytes, to hear of the session's end: then it has `LAST`
seconds more.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from colony.client import ClientError, Gone
from colony.terminals.chord import Chord
from colony.terminals.connection import Connection
from colony.terminals.frames import BINARY
from colony.terminals.modes import RESET_HERE
from colony.terminals.outer import Outer
from colony.terminals.sink import Sink, write_all

END_OF_INPUT: Final = b"\x04"

STALLED: Final = 0.5
LAST: Final = 3.0
"""Seconds in which a terminal takes nothing at all, until it counts as one that has stopped, and
until it is given up once the session has ended."""

MOST: Final = 1024 * 1024
"""Bytes that are kept for a terminal that has stopped, before no more are received."""

_PIECE: Final = 64 * 1024
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PASSED_ON: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
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


def noted(signals: int) -> bytes:
    """The numbers of the signals that have come since, of `followed_signals`."""
    try:
        return os.read(signals, 4096)
    except BlockingIOError:
        return b""


class View:
    """One attachment at a terminal, which is raw."""

    def __init__(self, connection: Connection, outer: Outer, chord: Chord | None) -> None:
        self.connection = connection
        self.outer = outer
        self.chord = chord
        self.exit: dict[str, Any] | None = None
        self._over = False

    def __repr__(self) -> str:
        return f"<View of {self.connection!r}>"

    def run(self, signals: int) -> dict[str, Any]:
        """Until the program has ended; how it did. Raises `Detached`, `Refused` and `Gone`."""
        try:
            while self.exit is None:
                self._turn(signals)
        except Gone:
            self._show_the_rest(signals)
            raise
        self._show_the_rest(signals)
        return self.exit

    def _turn(self, signals: int) -> None:
        stdin, connection, sink = self.outer.fd, self.connection, self._sink
        listening, due = self._pace(sink, time.monotonic())
        ready = connection.ready(
            *((signals,) if connection.full else (signals, stdin)),
            seconds=due and due - time.monotonic(),
            writing=(sink.fd,) if sink.unsent else (),
            listening=listening,
        )
        if sink.fd in ready:
            self._written(sink.flush)
        if signals in ready:
            self._signals(signals)
        if stdin in ready:
            self._keys(self._typed())
        elif self.chord is not None:
            self._type(self.chord.expire(time.monotonic()))
        if connection.fileno() in ready:
            self._output()

    def _pace(self, sink: Sink, now: float) -> tuple[bool, float | None]:
        """Whether more is received now; and when something is to be done though nothing happens."""
        due = None if self.chord is None else self.chord.due
        if not sink.unsent:
            return True, due
        stalled = sink.moved + STALLED
        if now >= stalled or sink.unsent >= MOST:
            return sink.unsent < MOST, due
        return False, stalled if due is None else min(due, stalled)

    def _show_the_rest(self, signals: int) -> None:
        """The session is over, or the connection: the terminal may take what it has not."""
        self._over = True
        while (sink := self._sink).unsent and (left := sink.moved + LAST - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(signals, select.POLLIN)
            poll.register(self.outer.fd, select.POLLIN)
            poll.register(sink.fd, select.POLLOUT)
            ready = {fd for fd, _ in poll.poll(left * 1000 + 1)}
            if signals in ready:
                self._signals(signals)
            if self.outer.fd in ready:
                self._keys(self._typed())
            if sink.fd in ready:
                self._written(sink.flush)

    @property
    def _sink(self) -> Sink:
        assert self.outer.sink is not None
        return self.outer.sink

    def _written(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError:  # the terminal has gone
            raise Detached(signal.SIGHUP) from None

    def _signals(self, signals: int) -> None:
        numbers = set(noted(signals))
        ends = {signal.SIGTERM, signal.SIGHUP}
        if signal.SIGTSTP in numbers and not ends & numbers:
            self.outer.leave()
            os.kill(os.getpid(), signal.SIGSTOP)
            numbers |= set(noted(signals))
        for number in sorted(ends & numbers):
            self._tell("detach")
            raise Detached(number)
        if numbers & {signal.SIGTSTP, signal.SIGCONT}:
            self.outer.enter()
            self._tell("refresh")  # who had the terminal meanwhile wrote over it
        size = self.outer.size
        if size is not None:
            self._tell("resize", rows=size.rows, columns=size.columns)

    def _typed(self) -> bytes:
        try:
            return os.read(self.outer.fd, _PIECE)
        except OSError:  # the terminal has gone
            return b""

    def _keys(self, data: bytes) -> None:
        if not data:  # the terminal has gone
            raise Detached(signal.SIGHUP)
        if self.chord is None:
            self._type(data)
            return
        self._type(self.chord.feed(data, time.monotonic()))
        if self.chord.detached:
            self._tell("detach")
            raise Detached

    def _type(self, data: bytes) -> None:
        if data and not self._over:
            self.connection.send(data)

    def _tell(self, t: str, **more: Any) -> None:
        if not self._over:
            self.connection.tell(t, **more)

    def _output(self) -> None:
        for kind, data in self.connection.receive():
            if kind == BINARY:
                self._written(partial(self.outer.show, data))
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
                    shown = data if begun else data.removeprefix(RESET_HERE)
                    _written(1, partial(write_all, 1, shown))
                    begun = True
                    continue
                if (told := _outcome(data)) is not None:
                    return told
            if connection.over:
                raise Gone("the instance has ended the connection")


def run_on_pipes(connection: Connection) -> dict[str, Any]:
    """A command without a terminal: our streams are its own, and so are our signals, whether or not
    anybody takes what it writes. Once it has ended after one, that has `LAST` seconds to be taken.
    """
    with followed_signals((*_ENDING, *_PASSED_ON)) as signals:
        streams = Streams(connection)
        try:
            told = streams.run(signals)
        except Gone:
            streams.close(LAST)
            raise
        except BaseException:
            streams.close(0.0)
            raise
    # From here on a signal ends us: there is nobody to pass it on to.
    streams.close(LAST if streams.ending else None)
    return told


class Streams:
    """The three streams of a command, which are ours."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ending = False
        """Whether it was sent a signal that is to end it."""
        self._input: tuple[int, ...] = (0,)
        self._sinks = {1: Sink(1)}
        self._sinks[2] = self._sinks[1] if _are_one(1, 2) else Sink(2)

    def __repr__(self) -> str:
        return f"<Streams of {self.connection!r}>"

    def run(self, signals: int) -> dict[str, Any]:
        """Until the command has ended; how it did."""
        while True:
            full = {sink.fd: fd for fd, sink in self._sinks.items() if sink.unsent}
            kept = sum(self._sinks[fd].unsent for fd in full.values())
            ready = self.connection.ready(
                signals,
                *(() if self.connection.full else self._input),
                writing=full,
                listening=not kept or (self.ending and kept < MOST),
            )
            for fd in [full[each] for each in full if each in ready]:
                _written(fd, self._sinks[fd].flush)
            if signals in ready:
                self._signal(noted(signals))
            if 0 in ready:
                self._read_input()
            if self.connection.fileno() in ready and (found := self._receive()) is not None:
                return found

    def close(self, patience: float | None) -> None:
        """Writes the rest, unless nothing of it is taken for so long; None: however long."""
        for fd, sink in self._sinks.items():
            while sink.unsent and (patience is None or time.monotonic() < sink.moved + patience):
                _written(fd, partial(sink.finish, patience))
            _written(fd, partial(sink.close, patience))

    def _signal(self, numbers: bytes) -> None:
        self.ending = self.ending or not {*_ENDING}.isdisjoint(numbers)
        for number in numbers:
            self.connection.tell("signal", signal=signal.Signals(number).name[3:])

    def _read_input(self) -> None:
        data = os.read(0, _PIECE)
        if data:
            self.connection.send(data)
        else:
            self.connection.tell("eof")
            self._input = ()

    def _receive(self) -> dict[str, Any] | None:
        for kind, data in self.connection.receive():
            if kind == BINARY:
                _written(data[0], partial(self._sinks[data[0]].put, data[1:]))
                continue
            if (told := _outcome(data)) is not None:
                return told
        if self.connection.over:
            raise Gone("the instance has ended the connection")
        return None


def _outcome(data: bytes) -> dict[str, Any] | None:
    """How the program ended, if this control frame says so. Raises `Refused`."""
    told = json.loads(data)
    if told["t"] == "refused":
        raise Refused(told["code"], told["detail"])
    return dict(told) if told["t"] == "exit" else None


def _are_one(one: int, other: int) -> bool:
    """Whether both are the same file, in which order matters."""
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def _written(fd: int, write: Callable[[], object]) -> None:
    try:
        write()
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
