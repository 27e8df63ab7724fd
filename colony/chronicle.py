"""The event journal: what happened to services, supervisors and colonies, kept on disk.

    chronicle = Chronicle(EventFiles(home / "events"), encode, os.getpid())
    system.events.listen(chronicle.note)                  # from the first event on
    ChronicleOwner.spec(chronicle)                        # in the tree: owns the thread

    event ──▶ note ──▶ a bounded queue ──▶ writer thread ──▶ encode ──▶ events.jsonl

`colony.api.history` keeps what happened in memory, for those who listen now; this outlasts the
instance, for those who ask the next morning: `colony events --timeline`, `colony simulate
--from-journal`. `colony.records` says what a line looks like, and reads.

Law: nobody waits for the disk. `note` appends to a queue and returns; when the disk does not keep
up (it is full, or gone) the oldest events are given up, and a line says how many.

The chronicle is nobody's life's: a crash of its owner loses none of what waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from actors import Actor, Event, Ignore, Reason
from actors import events as kernel
from colony.chronicle_file import EventFiles
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceLingers,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceUnhealthy,
    ServiceWaiting,
)

CHRONICLE: Final = "chronicle"
"""The owner's name in its system."""

WAITING: Final = 10_000
"""Events that wait for the disk at most."""

FLUSH: Final = 0.1
"""Seconds that events are collected for one write."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function in so many seconds, as `Timers.after` does."""

Encode = Callable[[float, Event], bytes]
"""What an event, with the time since the epoch at which it was noted, is as a line."""

_SUPERVISORS: Final = frozenset({"Supervisor", "ServicesSupervisor"})

_ALWAYS: Final[frozenset[type[Event]]] = frozenset(
    (
        ServiceWaiting,
        ServiceStarted,
        ServiceReady,
        ServiceDetached,
        ServiceUnhealthy,
        ServiceFailed,
        ServiceExited,
        ServiceStopping,
        ServiceLingers,
        ServiceStopped,
        kernel.Restarting,
        kernel.ChildStartFailed,
        kernel.LimitReached,
        kernel.StopFailed,
        kernel.StartFailed,
    )
)


class InstanceStarted(Event, frozen=True, kw_only=True):
    """An instance of Colony has begun; what it had not told before, it never will."""

    pid: int


class InstanceStopped(Event, frozen=True, kw_only=True):
    """An instance has ended in good order. One without this was killed."""


class ColonyPolicy(Event, frozen=True, kw_only=True):
    """A colony is going to be started, from the file `path`, under this policy.

    services
        Its services in the order of starting; `exits` those with whose end it ends.
    """

    colony: str
    path: str
    services: tuple[str, ...]
    exits: tuple[str, ...]
    strategy: str
    intensity: int
    period: float


class EventsLost(Event, frozen=True, kw_only=True):
    """Here `lost` events are missing: they came faster than they could be kept."""

    lost: int


def is_kept(event: Event) -> bool:
    """Whether an event belongs into the journal: services' lives, supervisors' decisions, the
    beginning and end of colonies, and of all others what crashed. A service's actor tells nothing
    that the service's own events do not."""
    if type(event) in _ALWAYS:
        return True
    if isinstance(event, kernel.Started):
        return event.kind in _SUPERVISORS
    if isinstance(event, kernel.Exited):
        crashed = not event.reason.orderly and event.kind != "PortActor"
        return crashed or event.kind in _SUPERVISORS
    return False


class Chronicle:
    """What waits to be written, and the thread that writes it between `start` and `close`.

    files
        Where it goes.
    encode
        Makes a line of an event; on the thread.
    pid
        The instance's process, for the reader to know whether it runs yet.
    waiting
        Events that wait at most. Default 10 000.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        files: EventFiles,
        encode: Encode,
        pid: int,
        *,
        waiting: int = WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.files = files
        self.failed: OSError | None = None
        """Why the last write failed; None if it did not."""
        self.pid = pid
        self.begun = False
        """Whether the instance's beginning is written down."""
        self._encode = encode
        self._clock = clock
        self._waiting: deque[tuple[float, Event]] = deque()
        self._limit = waiting
        self._lost = 0
        self._lock = threading.Lock()
        self._more = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._later: Later | None = None
        self._due = False

    def __repr__(self) -> str:
        return f"<Chronicle {self.files.path}, {len(self._waiting)} waiting>"

    def note(self, event: Event) -> None:
        """Takes an event in. To be given to `EventStream.listen`: never blocks, never fails."""
        if is_kept(event):
            self.put(event)

    def put(self, event: Event) -> None:
        """Takes in an event of any kind."""
        with self._lock:
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append((self._clock(), event))
        if self._later is None:
            self._more.set()
        elif not self._due:
            # The thread is not woken before it has something to do: it would ask for the
            # interpreter in the midst of what the event is about, such as a service's restart.
            self._due = True
            self._later(FLUSH, self._wake)

    def _wake(self) -> None:
        self._due = False
        self._more.set()

    def start(self, later: Later | None = None) -> None:
        """Starts the thread. What came before waits for it.

        later
            By which events are collected, on the thread that notes them. Default: each is written
            as soon as may be.
        """
        self._later, self._due = later, False
        self._closing.clear()
        self._more.set()
        self._thread = threading.Thread(target=self._work, name="event writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is left and ends the thread. Blocks. Twice is no error."""
        thread, self._thread = self._thread, None
        self._later = None
        self._closing.set()
        self._more.set()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._more.wait()
            self._more.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            taken, lost = list(self._waiting), self._lost
            self._waiting.clear()
            self._lost = 0
        if lost:
            when, first = taken[0]
            taken.insert(0, (when, EventsLost(at=first.at, lost=lost)))
        try:
            self.files.append([self._encode(when, event) for when, event in taken])
            self.failed = None
        except OSError as error:
            self.failed = error
            with self._lock:
                self._lost += len(taken)


class ChronicleOwner(Actor):
    """Owns the chronicle's thread, and writes down that the instance has begun and ended."""

    def __init__(self, chronicle: Chronicle) -> None:
        self.chronicle = chronicle

    async def start(self) -> Ignore | None:
        chronicle = self.chronicle
        if not chronicle.begun:
            chronicle.begun = True
            chronicle.put(InstanceStarted(at=self.ctx.now, pid=chronicle.pid))
        chronicle.start(self.ctx.system.timers.after)
        self.ctx.run(self._hold)
        return None

    async def stopping(self, reason: Reason) -> None:
        if reason.orderly:
            self.chronicle.put(InstanceStopped(at=self.ctx.now))

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.chronicle.close)
