"""The output of all services: read by a thread of its own, kept in rings, written to files.

Law: a service never waits for us longer than it takes to copy its bytes. What reads the pipes does
nothing else: it neither waits for a disk, nor for a viewer, nor for the event loop.

    pipe ──▶ reader thread ──▶ ring ──▶ who asks (`page`)
                  │              └────▶ writer thread ──▶ file
                  └── pending ────────▶ event loop ─────▶ `ServiceOutput` events

Each arrow after the ring has its own pace. The writer follows the ring by position, and leaves a
remark where the ring has overtaken it. The event loop is given at most `SHARE` bytes of a stream
every `PACE` seconds, since whoever shows them takes their time over each line, and with it the
interpreter's lock; and nothing before `SOON`, since many a line is a program's last, and what comes
after that in the event loop is its restart. What waits for it is bounded, and what is dropped there
is counted in the next event. The ring has it still.

Whoever shows a service's terminal wants every byte, and at once: a `Tap` is called on the reader
thread with all that is read, and may have the reading `hold` until it has caught up.

Why a thread of its own: awaiting a descriptor costs the event loop two system calls and a wake-up
for each chunk, and a service that floods its output would hold up every actor.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import select
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec

from actors import Event, backend
from colony.events import Notice, ServiceOutput
from colony.logs.files import SIZE
from colony.logs.lines import LogLine, Stream
from colony.logs.query import Filter, LogPage
from colony.logs.query import select as select_lines
from colony.logs.ring import BYTES, LINES, Ring
from colony.logs.writer import Writer

CHUNK: Final = 256 * 1024
"""Bytes read at once."""

PIPE: Final = 1024 * 1024
"""Bytes that a service's pipe is asked to hold: what it may write while we do something else."""

_INT: Final = struct.Struct("i")
_REST: Final = 64 * 1024
_RESTS: Final = 3
"""Bytes that are read at once, and how often, of what is left of a stream."""

GATHER: Final = 0.0004
FEW: Final = 32 * 1024
"""Seconds that are waited before what has just come is read, unless at least so many bytes came the
last time: who writes a line mostly has not written the last of it, nor done what the line is about,
and would share the processor with us for each."""

SOON: Final = 0.005
"""Seconds after which the event loop is told of the first of what waits for it."""

PENDING: Final = 4 * 1024 * 1024
"""Bytes of one stream that may wait for the event loop."""

SHARE: Final = 256 * 1024
PACE: Final = 0.02
"""Bytes of one stream that the event loop is given at once, and the seconds between two times."""

Key = tuple[str, str]
Source = tuple[Key, Stream]
Watch = Callable[[bytes], bool]
Tap = Callable[["Feed", bytes], None]


class Limits(msgspec.Struct, frozen=True):
    """How much is kept of each service: in memory, and in each of its two files."""

    ring_bytes: int = BYTES
    ring_lines: int = LINES
    file_bytes: int = SIZE


class Feed:
    """A descriptor that is being read, from `Logs.attach` to its end or `close`."""

    __slots__ = ("_tap", "_watch", "ended", "fd", "key", "lock", "ring", "stream")

    def __init__(
        self,
        key: Key,
        stream: Stream,
        fd: int,
        ring: Ring,
        watch: Watch | None,
        tap: Tap | None = None,
    ) -> None:
        self.key = key
        self.stream = stream
        self.fd = fd
        self.ring = ring
        self.ended = anyio.Event()
        """Set once everything is read, or it is closed."""
        self.lock = threading.Lock()
        self._watch = watch
        self._tap = tap

    def __repr__(self) -> str:
        return f"<Feed {'/'.join(self.key)} {self.stream} fd={self.fd}>"

    @property
    def source(self) -> Source:
        """What it is the output of."""
        return self.key, self.stream

    @property
    def watched(self) -> bool:
        """Whether anybody sees what is read on the thread that reads it."""
        return self._tap is not None or self._watch is not None

    def left(self) -> int:
        """How many bytes can be read now."""
        with self.lock:
            return 0 if self.fd < 0 else _waiting_in(self.fd)

    def read(self, size: int = CHUNK) -> bytes | None:
        """What there is; b"" at the end, None if there is nothing now. The lock is held."""
        if self.fd < 0:
            return None
        try:
            return os.read(self.fd, size)
        except BlockingIOError:
            return None
        except OSError:  # a terminal whose last process has ended says EIO
            return b""

    def show(self, data: bytes) -> None:
        """Lets the tap see it, and the watcher until that has seen what it looks for."""
        if self._tap is not None:
            self._tap(self, data)
        if self._watch is not None and self._watch(data):
            self._watch = None


def _waiting_in(pipe: int) -> int:
    """ioctl_pipe(2): FIONREAD."""
    found = fcntl.ioctl(pipe, termios.FIONREAD, bytes(_INT.size))
    return int(_INT.unpack(found)[0])


class _Pending:
    """What waits for the event loop, of one stream."""

    __slots__ = ("chunks", "dropped", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0

    def add(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)
        while self.size > PENDING:
            gone = self.chunks.popleft()
            self.size -= len(gone)
            self.dropped += len(gone)

    def take(self, limit: int | None) -> tuple[bytes, int]:
        """The oldest bytes up to a limit, and how many were dropped before them."""
        taken: list[bytes] = []
        size = 0
        while self.chunks and (limit is None or size < limit):
            taken.append(self.chunks.popleft())
            size += len(taken[-1])
        self.size -= size
        dropped, self.dropped = self.dropped, 0
        return b"".join(taken), dropped


class Logs:
    """The output of all services of an instance.

    directory
        Where the files go, `{colony}/{service}.log`; None for none.
    limits
        How much is kept.

    Used from one event loop, between `start` and `close`; what it has kept outlives both.
    """

    def __init__(self, directory: Path | None = None, limits: Limits = Limits()) -> None:  # noqa: B008
        self.directory = directory
        self.limits = limits
        self._lock = threading.Lock()
        self._rings: dict[Key, Ring] = {}
        self._feeds: dict[int, Feed] = {}
        self._positions = itertools.count(1)
        self._position = 0
        self._pending: dict[Source, _Pending] = {}
        self._aside: dict[Source, _Pending] = {}
        self._ended: list[Feed] = []
        self._scheduled = False
        self._due = 0.0
        self._closing = False
        self._loop: backend.Backend | None = None
        self._publish: Callable[[Event], None] = lambda event: None
        self._epoll: select.epoll | None = None
        self._wake = -1
        self._reader: threading.Thread | None = None
        self._writer: Writer | None = None

    def __repr__(self) -> str:
        return f"<Logs of {len(self._rings)} services, reading {len(self._feeds)} streams>"

    # -- life ----------------------------------------------------------------------------------

    async def start(self, publish: Callable[[Event], None]) -> None:
        """Starts the threads; output is published as `ServiceOutput` events from now on."""
        self._loop = backend.current()
        self._publish = publish
        self._closing = False
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        for fd in self._feeds:
            self._epoll.register(fd, select.EPOLLIN)
        self._reader = threading.Thread(target=self._read, name="log reader", daemon=True)
        self._reader.start()
        if self.directory is not None:
            size = self.limits.file_bytes
            self._writer = Writer(self.directory, self._lock, size, self._writing_failed)

    async def close(self) -> None:
        """Ends the threads, what is unwritten written first. Cancelling does not hurry it."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader is None:
            return
        with anyio.CancelScope(shield=True):
            self._closing = True
            os.eventfd_write(self._wake, 1)
            await anyio.to_thread.run_sync(reader.join)
            if writer is not None:
                await anyio.to_thread.run_sync(writer.close)
        for source in tuple(self._aside):
            self._put_back(source)
        self._deliver()
        assert self._epoll is not None
        self._epoll.close()
        os.close(self._wake)
        self._epoll = None

    def _writing_failed(self, error: OSError) -> None:
        text = (
            f"what services write is not saved in {self.directory}: {error.strerror or error}; "
            "colony logs has the last of it, as long as this instance runs"
        )
        loop = self._loop
        assert loop is not None

        def tell() -> None:
            self._publish(Notice(at=loop.now(), colony="", text=text))

        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(tell)

    # -- feeding -------------------------------------------------------------------------------

    def attach(
        self,
        colony: str,
        service: str,
        stream: Stream,
        fd: int,
        watch: Watch | None = None,
        tap: Tap | None = None,
    ) -> Feed:
        """Reads a descriptor until its end, and closes it then: it is ours from here on.

        watch
            Called on the reader thread with everything that is read and kept, until it says True.
        tap
            The same, with the feed, for as long as it is read.
        """
        os.set_blocking(fd, False)
        with contextlib.suppress(OSError):  # no pipe, or more than this user may have
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE)
        feed = Feed((colony, service), stream, fd, self._ring(colony, service), watch, tap)
        with self._lock:
            self._feeds[fd] = feed
            if self._epoll is not None:
                self._epoll.register(fd, select.EPOLLIN)
        return feed

    def hold(self, feed: Feed) -> None:
        """Reads no more of it until `go_on`: what writes there waits once its pipe is full. Any
        thread's to call."""
        with self._lock:
            if self._feeds.pop(feed.fd, None) is not None and self._epoll is not None:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(feed.fd)

    def go_on(self, feed: Feed) -> None:
        """Ends a `hold`, unless the feed has ended meanwhile."""
        with feed.lock, self._lock:
            if feed.fd >= 0 and feed.fd not in self._feeds:
                self._feeds[feed.fd] = feed
                if self._epoll is not None:
                    self._epoll.register(feed.fd, select.EPOLLIN)

    def close_feed(self, feed: Feed) -> None:
        """Stops reading it. Closing twice, or after its end, is no error."""
        with feed.lock:
            self._drop(feed)
        feed.ended.set()

    def finish(self, feeds: Iterable[tuple[Feed, int]]) -> None:
        """Reads the rest of streams whose writer has ended, in the event loop and at once: to have
        the reader thread hand over so little takes a restart longer than all else that it does.

        feeds
            Each with its other end, held until now, so that it did not end with its writer and
            wake that thread. That is closed.

        A stream goes on if somebody else writes to it still, if much is left, or if somebody has to
        see it on that thread.
        """
        for feed, kept in feeds:
            self._put_back(feed.source)
            self._finish(feed, kept)
        if self._ended:
            self._hand_over()
        self._rouse()

    def flush(self) -> None:
        """Publishes at once what has been read, before something is said that followed from it. In
        the event loop. What still lies in a pipe, of the last `GATHER`, is not read for it."""
        if self._pending:
            self._hand_over()

    def is_brief(self, feed: Feed) -> bool:
        """Whether `finish` can read all that has been written, and nobody is to see it before."""
        return not feed.watched and self._reads(feed) and feed.left() <= FEW

    def set_aside(self, feed: Feed) -> None:
        """Publishes nothing more of a feed until `finish`, which comes soon, and publishes it all
        at once. What is read until then waits as well. Without a `finish`, `close` does."""
        with self._lock:
            waiting = self._pending.pop(feed.source, None)
            self._aside[feed.source] = waiting or _Pending()

    def _put_back(self, source: Source) -> None:
        with self._lock:
            waiting = self._aside.pop(source, None)
            if waiting is not None and waiting.chunks:
                self._pending[source] = waiting

    def is_behind(self, feed: Feed) -> bool:
        """Whether it has something that is going to be read, or published."""
        with self._lock:
            if feed.source in self._pending:
                return True
        return self._reads(feed) and feed.left() > 0

    def _reads(self, feed: Feed) -> bool:
        return self._reader is not None and self._feeds.get(feed.fd) is feed

    def _finish(self, feed: Feed, kept: int) -> None:
        with feed.lock:
            mine = self._reader is not None and not feed.watched and self._heed(feed, False)
            os.close(kept)
            if not mine:
                return
            for _ in range(_RESTS):
                data = feed.read(_REST)
                if data is None:
                    break
                self._keep(feed, data)
            self._heed(feed, True)  # unless that was all

    def _heed(self, feed: Feed, heeded: bool) -> bool:
        """Whether the reader thread is to look after a feed; False if it does not at all."""
        with self._lock:
            if self._epoll is None or self._feeds.get(feed.fd) is not feed:
                return False
            if heeded:
                self._epoll.register(feed.fd, select.EPOLLIN)
            else:
                self._epoll.unregister(feed.fd)
            return True

    def _drop(self, feed: Feed) -> None:
        """Closes the descriptor; what it left unfinished is a line. The feed's lock is held."""
        fd, feed.fd = feed.fd, -1
        if fd < 0:
            return
        with self._lock:
            self._feeds.pop(fd, None)
            if self._epoll is not None:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(fd)
            self._position = position = next(self._positions)
            if feed.ring.close(position, time.time(), feed.stream):
                self._dirty(feed)
        os.close(fd)

    def _ring(self, colony: str, service: str) -> Ring:
        with self._lock:
            key = (colony, service)
            ring = self._rings.get(key)
            if ring is None:
                limits = self.limits
                ring = self._rings[key] = Ring(service, limits.ring_bytes, limits.ring_lines)
            return ring

    def forget(self, colony: str) -> None:
        """Drops what is kept in memory of a colony. Its files stay."""
        with self._lock:
            for key in [key for key in self._rings if key[0] == colony]:
                del self._rings[key]

    # -- the reader thread ---------------------------------------------------------------------

    def _read(self) -> None:
        epoll, wake = self._epoll, self._wake
        assert epoll is not None
        taken = 0
        while True:
            ready = [fd for fd, _ in epoll.poll(self._until_due())]
            if taken < FEW and all(map(self._may_wait, ready)):
                time.sleep(GATHER)
            taken = 0
            for fd in ready:
                if fd == wake:
                    os.eventfd_read(wake)
                    if self._closing:
                        return
                    continue
                feed = self._feeds.get(fd)
                if feed is not None:
                    taken += self._take(feed)

    def _may_wait(self, fd: int) -> bool:
        """Whether nobody is to see what is there at once."""
        feed = self._feeds.get(fd)
        return feed is not None and not feed.watched

    def _until_due(self) -> float:
        """Hands over what is due; the seconds until there is more to hand over, -1 for never."""
        with self._lock:
            if self._scheduled or not (self._pending or self._ended):
                return -1
            left = self._due - time.monotonic()
            if left > 0 and not self._ended:
                return left
            self._schedule()
            return -1

    def _take(self, feed: Feed) -> int:
        """Reads what there is; how many bytes."""
        with feed.lock:
            data = feed.read()
            if data is not None:
                self._keep(feed, data)
        if data:
            feed.show(data)  # once it is kept: whoever sees it may ask for it here at once
        return len(data or b"")

    def _keep(self, feed: Feed, data: bytes) -> None:
        """Takes in what was read, or the end. The feed's lock is held since, so that nobody comes
        in between."""
        if not data:
            self._drop(feed)
            with self._lock:
                self._ended.append(feed)
            return
        with self._lock:
            self._position = position = next(self._positions)
            if feed.ring.append(position, time.time(), feed.stream, data):
                self._dirty(feed)
            self._waiting(feed.source).add(data)

    def _waiting(self, source: Source) -> _Pending:
        """Where it waits what is read of this. The lock is held."""
        aside = self._aside.get(source)
        if aside is not None:
            return aside
        if not self._pending:
            self._due = max(self._due, time.monotonic() + SOON)
        return self._pending.setdefault(source, _Pending())

    def _dirty(self, feed: Feed) -> None:
        if self._writer is not None:
            self._writer.note(feed.key, feed.ring)

    def _schedule(self) -> None:
        """Has the event loop fetch what waits for it. The lock is held."""
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._deliver)

    # -- in the event loop ---------------------------------------------------------------------

    def _deliver(self) -> None:
        self._hand_over()
        self._scheduled = False
        self._rouse()

    def _rouse(self) -> None:
        """Has the reader thread see to what waits, and nobody has been told to fetch."""
        if (self._pending or self._ended) and not self._scheduled and self._reader is not None:
            os.eventfd_write(self._wake, 1)

    def _hand_over(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
            over = {feed.source for feed in ended}
            shares = {
                source: waiting.take(None if source in over or self._reader is None else SHARE)
                for source, waiting in self._pending.items()
            }
            self._pending = {source: each for source, each in self._pending.items() if each.chunks}
            position = self._position
        for ((colony, service), stream), (data, dropped) in shares.items():
            self._publish(
                ServiceOutput(
                    at=self._loop.now() if self._loop is not None else 0.0,
                    colony=colony,
                    service=service,
                    stream=stream,
                    data=data,
                    position=position,
                    dropped=dropped,
                )
            )
        for feed in ended:
            feed.ended.set()
        # From now on: what the listeners took over it is no part of the pause.
        self._due = time.monotonic() + PACE

    # -- asking --------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """That of what was read last: a page asked for now goes at least as far."""
        return self._position

    def services(self, colony: str) -> list[str]:
        """The services of a colony of which there is output."""
        with self._lock:
            return [service for owner, service in self._rings if owner == colony]

    def page(self, colony: str, services: Sequence[str], wanted: Filter) -> LogPage:
        """The wanted lines; of all the colony's services if none is named. Any thread's to call.

        Raises `WrongPattern`.
        """
        names = services or self.services(colony)
        with self._lock:
            rings = [ring for name in names if (ring := self._rings.get((colony, name)))]
            chunks = [(ring.service, ring.chunks(wanted.after)) for ring in rings]
            dropped = {ring.service: ring.dropped for ring in rings if ring.dropped}
            last = {ring.service: ring.lines for ring in rings}
            position = self._position
        return LogPage(tuple(select_lines(chunks, wanted)), position, dropped, last)

    def last_lines(self, colony: str, service: str, count: int) -> list[LogLine]:
        """The last lines of one service, one that is not finished included."""
        page = self.page(colony, (service,), Filter(count=count))
        with self._lock:
            ring = self._rings.get((colony, service))
            unfinished = [] if ring is None else ring.unfinished(time.time())
        return [*page.lines, *unfinished][-count:]
