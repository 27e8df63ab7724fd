"""The threads that touch terminals' masters, for all terminals of an event loop.

Law: the event loop neither reads a master nor has it in its selector. The kernel hands a terminal's
output over by a worker of its own, and whoever reads a master, polls it (`epoll_wait` does, for all
that it watches) or begins to watch it waits for that worker if it has been called and has not come
yet, whatever the descriptor says of not blocking. On a busy machine those are milliseconds, in
which nobody would be answered.

    program ─▶ worker ─▶ master ─▶ the watch ──────────▶ Watched ─▶ take, in the event loop
                                    ▲      └▶ gatherer ──▶   │
                                    └───────── jobs ─────────┘  begin, go on, ask for room, close

Theory of operation. One thread, the watch, waits for all of them and reads a piece of each that has
something. When that is a flood it is lent to a second thread, the gatherer, which reads a share of
each in turn until there is nothing for a moment: that may wait for the worker 16 times, and who
types elsewhere is not to wait for it. More threads than these would take the processors from the
loop, which is the one that hands on what they read.

What is read is handed over at once, with one wake of the loop for all that comes until it has taken
it. A flood's next share is read when the loop asks for more, and nothing is read of one that has
`SHARE` bytes waiting. What the watch is not to read, and what is hung up, `epoll` says but once
(it can be told not to speak of data, but not of hang-ups); so an idle terminal costs nothing.

To write to a master and to set its size wait for nobody, and stay in the loop. To close it is the
watch's: that, too, waits for the worker; and only once it is no longer watched its number may
become another's.

The watch begins with the first terminal, the gatherer with the first flood; both end with the last
terminal.
"""

from __future__ import annotations

import enum
import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel
from anyio.lowlevel import RunVar

from actors import backend
from colony.terminals.gather import SHARE, Source, room_for_a_share

AHEAD: Final = -10
"""How much nicer others are to these threads than to us: where the kernel lets us, they come before
all that floods. Otherwise they are put off by it when they have read and are to have the
interpreter, and with them the loop."""


_watches: Final[RunVar[Watch | None]] = RunVar("colony.terminals.watch", None)
"""An event loop's."""


def watched(fd: int) -> Watched:
    """A terminal's master, which does not block, in the hands of this event loop's watch. It is
    taken over: `aclose` closes it."""
    watch = _watches.get()
    if watch is None:
        _watches.set(watch := Watch())
    return watch.take_over(fd)


class Found(enum.Enum):
    """How it stands with a terminal after a share was read."""

    MORE = enum.auto()
    NOTHING = enum.auto()
    FULL = enum.auto()
    """Nothing is to be read before the loop has taken what there is."""


class Watched:
    """A terminal in the watch's hands, until `aclose`. Used in the event loop; `take` and
    `writable` by one task each."""

    def __init__(self, watch: Watch, fd: int) -> None:
        self._watch = watch
        self._source = Source(fd, watch.space)
        self._lock = threading.Lock()  # from here to `_rung`
        self._pending: list[bytes] = []
        self._size = 0
        self._full = False
        self._hung = False
        self._last = False
        self._failure: OSError | None = None
        self._rung = False
        self._bell = anyio.Event()
        self._room = anyio.Event()
        self._reading = threading.Lock()  # who reads, or closes
        self._wants_room = False  # the watch's, as are those after it
        self._lent = False
        self._told = 0

    def __repr__(self) -> str:
        return f"<Watched {self._source!r}, {self._size} bytes waiting>"

    # -- in the event loop ---------------------------------------------------------------------

    @property
    def floods(self) -> int:
        """How many terminals flood, if this one does: much comes, without a pause. Else 0."""
        return max(self._watch.floods, 1) if self._source.floods else 0

    @property
    def waiting(self) -> int:
        """The bytes that wait for `take`."""
        return self._size

    async def take(self) -> bytes:
        """What has come, `SHARE` bytes at most; waits for it. b"" at the end: nobody has the
        program's end open, and it is the `last` time; or it is closed. Raises what reading has
        raised.

        By asking for more the caller says that it is done with what it was given before: until
        then a flood is not read on. Cancelled, it has taken nothing.
        """
        await anyio.lowlevel.checkpoint()  # of a flood there is always more
        if self._full and not self._pending:
            self._full = False
            if self._lent:  # as it is for as long as it was full
                self._watch.gather(self)
            else:
                self._watch.ask(self._go_on)
        while (data := self._taken()) is None:
            await self._bell.wait()
        return data

    def _taken(self) -> bytes | None:
        with self._lock:
            data, over = b"".join(self._pending), self._hung and self._last
            self._pending.clear()
            self._size, self._rung = 0, False
            self._bell = anyio.Event()
        if data or over:
            return data
        if self._failure is not None:
            raise self._failure
        return None

    def rest(self) -> bytes:
        """What has come and was not taken."""
        return self._taken() or b""

    def last(self) -> None:
        """Nobody opens the program's end any more: when it is hung up, that is the end. Before
        this, somebody may, and more may come."""
        with self._lock:
            self._last, self._hung = True, False
        self._watch.ask(self._go_on)  # what was written until now is read before that is found

    async def writable(self) -> None:
        """Waits until the master takes something, or nothing any more."""
        self._room = anyio.Event()
        self._watch.ask(self._want_room)
        await self._room.wait()

    async def aclose(self) -> None:
        """Hangs up, and has whoever waits here wait no more.

        Cancelling does not hurry it.
        """
        with anyio.CancelScope(shield=True):
            await backend.in_thread(self._watch.ask, self.close)
            self._room.set()
            await self._watch.left()

    # -- on the watch's thread -----------------------------------------------------------------

    def begin(self) -> None:
        """Has it watched."""
        try:
            self._told = self._wanted
            self._watch.add(self._source.fd, self._told, self)
        except OSError as error:
            self._hand_over(b"", error)

    @property
    def _wanted(self) -> int:
        """What the kernel is to say. What does not change by our reading, it is to say but once:
        that nobody has the program's end open, above all."""
        read = not self._lent and not self._full
        once = not read or self._hung
        return read * select.EPOLLIN | self._wants_room * select.EPOLLOUT | once * select.EPOLLET

    def _tell(self) -> None:
        """Tells the kernel if that is something else now."""
        if self._told != self._wanted and self._source.is_open:
            self._told = self._wanted
            self._watch.epoll.modify(self._source.fd, self._told)

    def happened(self, events: int) -> None:
        """Sees to what the kernel says: there is something to read, or room, or nobody any more."""
        if events & ~select.EPOLLIN and self._wants_room:
            self._wants_room = False
            self._watch.soon(lambda: self._room.set())
        if events & ~select.EPOLLOUT:
            self._read_on()
        self._tell()

    def _read_on(self) -> None:
        """Reads a piece if the gatherer does not read; and has it read on if that is a flood."""
        if self._lent or self._full:
            return
        if self._serve(self._source.piece) is Found.MORE and self._source.floods:
            self._lent = True
            self._watch.floods += 1
            self._watch.gather(self)

    def _go_on(self) -> None:
        self._read_on()
        self._tell()

    def _want_room(self) -> None:
        self._wants_room = True
        self._tell()

    def give_back(self) -> None:
        """The gatherer has found nothing more; if there is something now, the kernel says so."""
        if self._lent:
            self._lent = False
            self._watch.floods -= 1
        self._tell()

    def close(self) -> None:
        """Watches it no more, and closes it."""
        if self._source.is_open:
            self._watch.forget(self._source.fd)
            with self._reading:
                self._source.close()
            self.give_back()
            self._last = True
            self._hand_over(b"")

    # -- on the gatherer's ---------------------------------------------------------------------

    def gather(self) -> Found:
        """Reads a share."""
        return self._serve(self._source.share)

    # -- on either -----------------------------------------------------------------------------

    def _serve(self, read: Callable[[int], bytes | None]) -> Found:
        with self._reading:
            if not self._source.is_open:
                return Found.NOTHING
            try:
                data = read(SHARE - self._size)
            except OSError as error:
                return self._hand_over(b"", error)
            return Found.NOTHING if data is None else self._hand_over(data)

    def _hand_over(self, data: bytes, failure: OSError | None = None) -> Found:
        """Leaves it for `take`."""
        with self._lock:
            self._hung = failure is None and not data
            self._failure = self._failure or failure
            found = Found.MORE if data else Found.NOTHING
            if data:
                self._pending.append(data)
                self._size += len(data)
                if self._lent or self._size >= SHARE:
                    self._full, found = True, Found.FULL
            rung, self._rung = self._rung, True
        if not rung:
            self._watch.soon(lambda: self._bell.set())
        return found


class Watch:
    """An event loop's two threads, from the first terminal to the last."""

    def __init__(self) -> None:
        self.space = room_for_a_share()
        self.epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll.register(self._wake, select.EPOLLIN)
        self._call = backend.current().call_soon_threadsafe
        self._count = 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._all: dict[int, Watched] = {}
        self.floods = 0
        """How many of them the gatherer reads."""
        self._queue: queue.SimpleQueue[Watched | None] = queue.SimpleQueue()
        self._gatherer: threading.Thread | None = None
        self._over = False
        # daemon: an owner that died without closing must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._work, name="terminals", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Watch of {self._count} terminals>"

    # -- in the event loop ---------------------------------------------------------------------

    def take_over(self, fd: int) -> Watched:
        """A terminal more."""
        made = Watched(self, fd)
        self._count += 1
        self.ask(made.begin)
        return made

    def ask(self, job: Callable[[], None]) -> None:
        """Has the thread do something. Of no effect once that has ended."""
        if self._wake >= 0:
            self._jobs.append(job)
            os.eventfd_write(self._wake, 1)

    async def left(self) -> None:
        """A terminal less; with the last one the thread ends."""
        self._count -= 1
        if self._count:
            return
        _watches.set(None)
        await backend.in_thread(self.ask, self._end)
        self._thread.join()  # it has nothing left to do: microseconds
        self._close()

    def _close(self) -> None:
        self.epoll.close()
        wake, self._wake = self._wake, -1
        os.close(wake)

    # -- on the watch's thread -----------------------------------------------------------------

    def soon(self, function: Callable[[], object]) -> None:
        """Has the loop do something. If that is gone, nobody is left to be read for."""
        try:
            self._call(function)
        except RuntimeError:
            self._over = True

    def add(self, fd: int, wanted: int, one: Watched) -> None:
        """Watches it."""
        self.epoll.register(fd, wanted)
        self._all[fd] = one

    def forget(self, fd: int) -> None:
        """Watches it no more."""
        if self._all.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def _end(self) -> None:
        if self._gatherer is not None:
            self._queue.put(None)
            self._gatherer.join()
        self._over = True

    def _work(self) -> None:
        _go_ahead()
        try:
            while not self._over:
                for fd, events in self.epoll.poll():
                    if fd == self._wake:
                        self._do_jobs()
                    elif fd in self._all:
                        self._all[fd].happened(events)
        finally:
            for one in tuple(self._all.values()):
                one.close()

    def _do_jobs(self) -> None:
        os.eventfd_read(self._wake)
        while self._jobs:
            self._jobs.popleft()()

    # -- on the gatherer's ---------------------------------------------------------------------

    def gather(self, one: Watched) -> None:
        """Has a share of a flood read, after those of others. Any thread's to call."""
        self._queue.put(one)
        if self._gatherer is None:
            self._gatherer = threading.Thread(target=self._gather, name="floods", daemon=True)
            self._gatherer.start()

    def _gather(self) -> None:
        _go_ahead()
        while (one := self._queue.get()) is not None:
            if one.gather() is Found.NOTHING:
                self.ask(one.give_back)


def _go_ahead() -> None:
    """Has this thread come before others."""
    with suppress(PermissionError):
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), usual + AHEAD)
