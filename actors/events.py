"""What happens in a system, as typed values on one stream.

    class Hello(Cast["Echo"], frozen=True):
        pass

    class Echo(Actor):
        @on(Hello)
        def hello(self, msg: Hello) -> None:
            pass

    async with System() as system:
        with system.events.subscribe() as stream:
            echo = await system.start(Echo.spec())
            await system.stop_actor(echo)
            echo.tell(Hello())
        seen = [event async for event in stream]
    assert [type(event).__name__ for event in seen] == ["Started", "Exited", "DeadLetter"]
    assert seen[1].reason == Shutdown()

Events are data; formatting is elsewhere. `EventStream.listen` calls a function in the midst of the
kernel's own work, so the order of events is the order of what happened, and the function must
neither block nor fail. `EventStream.subscribe` is for everybody else: a bounded queue that drops
the oldest and counts what it dropped, since a slow reader must not hold up the system.

Who listens takes time, though, and takes it from whatever the event is about. An actor that ends
and is to be replaced at once may have what is told of that held for so long (`EventStream.hold`):
nobody misses an event, and the order stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from actors.backend import Backend, Future
from actors.reasons import Crashed, Reason


class Event(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The base of all events. Other packages derive their own.

    `at` is the system's monotonic time in seconds; virtual under a virtual clock.
    """

    at: float


class Started(Event, frozen=True, kw_only=True):
    """An actor's `start` has returned: its life number `incarnation` begins."""

    actor: str
    kind: str
    incarnation: int


class StartIgnored(Event, frozen=True, kw_only=True):
    """An actor's `start` returned `IGNORE`: it does not run, and that is no error."""

    actor: str
    kind: str


class StartFailed(Event, frozen=True, kw_only=True):
    """An actor's `start` failed with `reason`."""

    actor: str
    kind: str
    reason: Reason


class Exited(Event, frozen=True, kw_only=True):
    """An actor ended. `message` is the one that it was handling, if any."""

    actor: str
    kind: str
    incarnation: int
    reason: Reason
    message: Any = None


class ChildTerminated(Event, frozen=True, kw_only=True):
    """A supervisor reports a death that was abnormal, or of a permanent child (R69)."""

    supervisor: str
    child: str
    reason: Reason


class Restarting(Event, frozen=True, kw_only=True):
    """A supervisor decided to restart `child`, as the `count`-th restart in its window."""

    supervisor: str
    child: str
    reason: Reason
    count: int
    intensity: int
    delay: float = 0.0


class ChildStartFailed(Event, frozen=True, kw_only=True):
    """A supervisor's attempt to start `child` failed (R54, R71)."""

    supervisor: str
    child: str
    reason: Reason


class LimitReached(Event, frozen=True, kw_only=True):
    """`child` would need one restart more than the intensity allows: all is stopped (R85)."""

    supervisor: str
    child: str
    reason: Reason
    intensity: int
    period: float


class StopFailed(Event, frozen=True, kw_only=True):
    """A child that was told to stop ended with another reason, or had to be killed (R96)."""

    supervisor: str
    child: str
    reason: Reason


Decision = Literal[
    "restarted",
    "delayed",
    "group",
    "temporary",
    "stopped",
    "gave_up",
    "escalated",
    "refused",
    "abandoned",
    "unsupervised",
]
"""What comes of a crash: restarted at once, in some seconds, or with its group; not restarted, as
it is temporary, as it was being stopped anyway, as its supervisor gave up or ends with it, as
whoever started it has been told, as its supervisor has ended, too, or as it has none.
"""


class CrashReport(Event, frozen=True, kw_only=True):
    """An actor ended abnormally: published once for each such end, when its decision is known.

    incarnation
        Which of its lives it was.
    reason, traceback
        Why. The traceback is text, and has no frames of the kernel; empty without an exception.
    message
        What it was handling, if anything.
    task
        The name of its task (`Context.run`) that failed, if it was one.
    cause
        The actor whose end took it along by a link, if it was one: that one's report says more.
    starting
        Whether it is a failed start: it has not lived yet.
    supervisor, decision
        Who decided, None if nobody is there to do so, and what: see `Decision`.
    delay
        Seconds until the restart, if it is "delayed".
    count, intensity, period
        Which restart it is, of how many in how many seconds, if it is one or one too many.

    `crashes.line` and `crashes.text` put it into words.
    """

    actor: str
    kind: str
    incarnation: int
    reason: Reason
    decision: Decision
    message: Any = None
    task: str | None = None
    cause: str | None = None
    starting: bool = False
    supervisor: str | None = None
    delay: float = 0.0
    count: int = 0
    intensity: int = 0
    period: float = 0.0

    @property
    def traceback(self) -> str:
        """Made when it is asked for: it takes some tenths of a millisecond."""
        from actors.crashes import traceback_of

        return traceback_of(self.reason.error) if isinstance(self.reason, Crashed) else ""


class DeadLetter(Event, frozen=True, kw_only=True):
    """A message that nobody will handle: its actor is not alive, or died before its turn."""

    actor: str
    message: Any
    reason: Reason


class MailboxHigh(Event, frozen=True, kw_only=True):
    """A bounded mailbox has reached its high water; said again only after it has fallen to half."""

    actor: str
    depth: int
    limit: int


class HandlerBlocked(Event, frozen=True, kw_only=True):
    """The event loop has stood still for `seconds`.

    `actor` and `message` say whose handler it is in, if it is one; `stack` is where, as text.
    """

    actor: str | None
    message: Any
    seconds: float
    stack: str


class KillIgnored(Event, frozen=True, kw_only=True):
    """An actor, or its task of that name, was killed `seconds` ago and still runs; or that long ago
    the deadline of its `stopping` was over.

    It swallows its cancellation, or shields itself from it: `stack` is where, as text. `message` is
    the one at hand. Said again each time that it has lasted twice as long.
    """

    actor: str
    task: str | None
    message: Any
    seconds: float
    stack: str


class Undelivered(Event, frozen=True, kw_only=True):
    """A kernel message (`Down`, `Exit`) arrived at an actor without a handler for it (R36)."""

    actor: str
    message: Any


class SubscriptionStatistics(msgspec.Struct, frozen=True):
    """What `Subscription.statistics` found.

    waiting, size
        Events that have not been read, and how many of them may wait.
    dropped
        Events that were lost because the reader was slow.
    """

    waiting: int
    size: int
    dropped: int


class Subscription:
    """A reader's bounded queue of events; an async iterator that ends when it is closed."""

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend = backend
        self._size = size
        self._queue: deque[Event] = deque(maxlen=size)
        self._waiter: Future[None] | None = None
        self._closed = False
        self.dropped = 0
        """How many events were lost because the reader was slow."""

    def __repr__(self) -> str:
        return f"<Subscription {len(self._queue)} waiting, {self.dropped} dropped>"

    def statistics(self) -> SubscriptionStatistics:
        """How full the queue is."""
        return SubscriptionStatistics(len(self._queue), self._size, self.dropped)

    def put(self, event: Event) -> None:
        """Adds an event; drops the oldest when the queue is full."""
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1
        self._queue.append(event)
        self._wake()

    def close(self) -> None:
        """Ends the iteration once the queued events are read."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """The next event. Cancelling loses none."""
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = self._backend.future()
            await self._waiter
        return self._queue.popleft()


class _Listener:
    """One who listens, and to what: to everything if `kinds` is empty."""

    __slots__ = ("kinds", "listener")

    def __init__(self, listener: Callable[[Event], None], kinds: tuple[type[Event], ...]) -> None:
        self.listener = listener
        self.kinds = kinds

    def hears(self, kind: type[Event]) -> bool:
        """Whether it is told of events of this kind."""
        return not self.kinds or issubclass(kind, self.kinds)


class EventStream:
    """The stream of a system. Publishing costs nothing while nobody listens."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._listeners: list[_Listener] = []
        self._by_kind: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}
        self._held: deque[Event] | None = None
        self._first: list[Callable[[], None]] = []
        self._releasing = False

    def __repr__(self) -> str:
        held = "" if self._held is None else f", {len(self._held)} events held"
        return f"<EventStream with {len(self._listeners)} listeners{held}>"

    @property
    def heard(self) -> bool:
        """Whether anybody listens, so that there is a point in making an event."""
        return bool(self._listeners)

    @property
    def held(self) -> bool:
        """Whether what is published waits for `release`."""
        return self._held is not None

    def publish(self, event: Event) -> None:
        """Hands an event to every listener for its kind, in the order in which they came; later,
        while events are held."""
        if self._held is None:
            self._tell(event)
        else:
            self._held.append(event)

    def hold(self, first: Callable[[], None] | None = None) -> None:
        """Holds what is published from now on until `release`, whoever calls that.

        The caller sees to it that somebody does soon, by a timer of some milliseconds. A supervisor
        releases before it stops anybody, which may take long, and the system before it ends. So
        does whoever answers by what he has heard, so as not to answer with what is over.

        first
            Is called before anybody is told, and must neither block nor fail: what the listeners
            expect to be done by then. What it publishes comes before all that was held.
        """
        if self._held is None:
            self._held = deque()
        if first is not None:
            self._first.append(first)

    def release(self) -> None:
        """Hands over what was held, in its order. Without any, or called by a listener in the midst
        of it, does nothing."""
        held = self._held
        if held is None or self._releasing:
            return
        self._releasing = True
        try:
            self._prepare(held)
            while held:
                self._tell(held.popleft())
            self._held = None
        finally:
            self._releasing = False

    def _prepare(self, held: deque[Event]) -> None:
        """Has done what comes first, and puts what that publishes before the rest."""
        early = self._held = deque()
        try:
            while self._first:
                self._first.pop(0)()
        finally:
            held.extendleft(reversed(early))
            self._held = held

    def _tell(self, event: Event) -> None:
        kind = type(event)
        hearing = self._by_kind.get(kind)
        if hearing is None:
            found = [each.listener for each in self._listeners if each.hears(kind)]
            hearing = self._by_kind[kind] = tuple(found)
        for listener in hearing:
            listener(event)

    def listen(self, listener: Callable[[Event], None], *kinds: type[Event]) -> Callable[[], None]:
        """Calls `listener` with every event from now on; returns the function that ends that.

        kinds
            Only with events of these; default all.
        """
        entry = _Listener(listener, kinds)
        self._listeners.append(entry)
        self._by_kind.clear()

        def leave() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)
                self._by_kind.clear()

        return leave

    @contextmanager
    def subscribe(self, size: int = 1024) -> Iterator[Subscription]:
        """A queue of at most `size` events for one reader, closed at the end of the block."""
        subscription = Subscription(self._backend, size)
        leave = self.listen(subscription.put)
        try:
            yield subscription
        finally:
            leave()
            subscription.close()
