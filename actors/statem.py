"""What a state machine decides: the whole of OTP's gen_statem, as a pure engine (R106–R111).

An engine holds a state, the events that wait, and the timeouts that run. Its user, the actor in
`state_machine.py` or a test, goes round:

        ┌─────────────────────────────────────────────────────────────────────────┐
        ▼                                                                         │
    next() ──▶ an event ──▶ the user's handler, which makes wishes ──▶ handled() ──▶ settled()
        │                                               a new state? its enter handler,
        │                                               with the same wishes, between the two
        └──▶ None: wait for a message, arrive(); or for a timeout, due()

The law of the order (R109), after each event: the state changes; what was postponed comes before
what is queued, and what was inserted before that; the new state is entered; timeouts start and
stop. Only an empty queue lets the timeouts of zero seconds in, and only an empty list of those the
next message.

Timeouts come in three kinds, and differ in what ends them unheard (R110): any event, a change of
state, nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import msgspec

S = TypeVar("S", bound=Enum)


class Kind(Enum):
    """What an event is (R106)."""

    MESSAGE = "message"
    INSERTED = "inserted"
    STATE_TIMEOUT = "state timeout"
    EVENT_TIMEOUT = "event timeout"
    TIMEOUT = "timeout"


class Key(msgspec.Struct, frozen=True):
    """Which timeout: of the state, of the event, or the one with a name."""

    kind: Kind
    name: Hashable = None


STATE_TIMEOUT: Final = Key(Kind.STATE_TIMEOUT)
EVENT_TIMEOUT: Final = Key(Kind.EVENT_TIMEOUT)


class Event(msgspec.Struct, frozen=True):
    """Something to be handled in whatever state the machine is by then.

    `reply` is the user's: whom to answer when a message was postponed.
    """

    kind: Kind
    content: Any
    reply: Any = None


# -- effects: what the user is to do with its clock ------------------------------------------------


class StartTimer(msgspec.Struct, frozen=True):
    """Call `due(key, serial)` in so many seconds; a timer that runs under that key is void."""

    key: Key
    serial: int
    seconds: float


class StopTimer(msgspec.Struct, frozen=True):
    """The timer under this key is void."""

    key: Key


Effect = StartTimer | StopTimer


# -- wishes: what a handler wants to come of an event ----------------------------------------------


class SetTimeout(msgspec.Struct, frozen=True):
    """Starts a timeout, or starts it anew; infinity stops it."""

    key: Key
    seconds: float
    content: Any


class UpdateTimeout(msgspec.Struct, frozen=True):
    """Changes what a running timeout brings; one that does not run comes at once."""

    key: Key
    content: Any


@dataclass(slots=True)
class Wishes(Generic[S]):
    """What a handler asked for; the last of each kind, and of each timeout, counts (R111)."""

    goto: S | None = None
    repeat: bool = False
    postpone: bool = False
    inserted: list[Any] = field(default_factory=list)
    timeouts: dict[Key, SetTimeout | UpdateTimeout] = field(default_factory=dict)

    def wish(self, timeout: SetTimeout | UpdateTimeout) -> None:
        """Asks for a timeout, instead of what was asked for it before."""
        self.timeouts.pop(timeout.key, None)
        self.timeouts[timeout.key] = timeout


# -- the engine ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Timeout:
    serial: int
    content: Any


class Engine(Generic[S]):
    """One machine. `state` is the current state, `previous` the one that it came from."""

    def __init__(self, state: S) -> None:
        self.state = state
        self.previous = state
        self.queue: deque[Event] = deque()
        self.postponed: list[Event] = []
        self._timeouts: dict[Key, _Timeout] = {}
        self._at_once: list[Key] = []
        self._serial = 0
        self._effects: list[Effect] = []

    def __repr__(self) -> str:
        return (
            f"<Engine in {self.state.name}: {len(self.queue)} queued, "
            f"{len(self.postponed)} postponed, {len(self._timeouts)} timeouts>"
        )

    @property
    def busy(self) -> bool:
        """Whether `next` has an event."""
        return bool(self.queue or self._at_once)

    def arrive(self, event: Event) -> None:
        """Takes in a message, after everything that waits."""
        self.queue.append(event)

    def due(self, key: Key, serial: int) -> None:
        """The timer of this serial number has run out; nothing happens if it is void."""
        timeout = self._timeouts.get(key)
        if timeout is not None and timeout.serial == serial:
            del self._timeouts[key]
            self.queue.append(Event(key.kind, timeout.content))

    def next(self) -> Event | None:
        """The event to be handled now; None if there is none."""
        if self.queue:
            event = self.queue.popleft()
        elif self._at_once:
            key = self._at_once[0]
            event = Event(key.kind, self._timeouts[key].content)
            self._forget(key)
        else:
            return None
        self._forget(EVENT_TIMEOUT)
        return event

    def handled(self, event: Event, wishes: Wishes[S]) -> bool:
        """Makes the wishes of the handler of `event` come true, but for those of timeouts.

        Returns whether the state is entered, so that its enter handler is to be called.
        """
        if wishes.postpone:
            self.postponed.append(event)
        target = self.state if wishes.goto is None else wishes.goto
        changed = target is not self.state
        if changed:
            self.previous, self.state = self.state, target
            self._forget(STATE_TIMEOUT)
            self.queue.extendleft(reversed(self.postponed))
            self.postponed.clear()
        elif wishes.repeat:
            self.previous = self.state
        self.queue.extendleft(Event(Kind.INSERTED, one) for one in reversed(wishes.inserted))
        return changed or wishes.repeat

    # -- timeouts --------------------------------------------------------------------------------

    def settled(self, wishes: Wishes[S]) -> list[Effect]:
        """Starts and stops timeouts as a handler, and the enter handler after it, wished.

        Returns what to do with the clock.
        """
        for wish in wishes.timeouts.values():
            running = self._timeouts.get(wish.key)
            if isinstance(wish, UpdateTimeout) and running is not None:
                running.content = wish.content
                continue
            self._forget(wish.key)
            self._start(wish.key, getattr(wish, "seconds", 0.0), wish.content)
        effects, self._effects = self._effects, []
        return effects

    def _start(self, key: Key, seconds: float, content: Any) -> None:
        if seconds == math.inf:
            return
        self._serial += 1
        self._timeouts[key] = _Timeout(self._serial, content)
        if seconds == 0:
            self._at_once.append(key)
        else:
            self._effects.append(StartTimer(key, self._serial, seconds))

    def _forget(self, key: Key) -> None:
        """Ends a timeout unheard."""
        if self._timeouts.pop(key, None) is None:
            return
        if key in self._at_once:
            self._at_once.remove(key)
        else:
            self._effects.append(StopTimer(key))
