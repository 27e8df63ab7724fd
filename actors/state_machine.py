"""State machines: actors that do different things in different states, in OTP's terms gen_statem.

    class Light(Enum):
        RED = "red"
        GREEN = "green"

    class Press(Cast["Crossing"], frozen=True):
        pass

    class Elapsed(Cast["Crossing"], frozen=True):
        pass

    class Ask(Call["Crossing", Light], frozen=True):
        pass

    class Crossing(StateMachine[Light]):
        initial = Light.RED

        @when(Press, Light.RED)
        def press(self, msg: Press) -> None:
            self.goto(Light.GREEN)

        @when(Press, Light.GREEN)
        def again(self, msg: Press) -> None:
            self.postpone()                         # handled once the light is red

        @enters(Light.GREEN)
        def green(self, old: Light) -> None:
            self.state_timeout(10.0, Elapsed())

        @when(Elapsed, Light.GREEN)
        def elapsed(self, msg: Elapsed) -> None:
            self.goto(Light.RED)

        @on(Ask)                                    # in every state
        def ask(self, msg: Ask) -> Light:
            return self.state

    async with System() as system:
        crossing = await system.start(Crossing.spec())
        crossing.tell(Press())
        crossing.tell(Press())
        assert await crossing.call(Ask()) is Light.GREEN
        await anyio.sleep(15)
        assert await crossing.call(Ask()) is Light.GREEN     # the second press
        await anyio.sleep(10)
        assert await crossing.call(Ask()) is Light.RED

What a handler asks for (`goto`, `postpone`, a timeout) is done when it has returned, in the order
of `statem.Engine`, which decides everything; an exception leaves nothing half done. The reply to a
call goes out before the next state is entered (R109).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Final, Generic, TypeVar, overload

from actors.actor import Actor
from actors.errors import Refused
from actors.messages import Call, Cast, Handler, Message, On, Reply, on
from actors.statem import (
    EVENT_TIMEOUT,
    STATE_TIMEOUT,
    Effect,
    Engine,
    Event,
    Key,
    Kind,
    SetTimeout,
    StartTimer,
    UpdateTimeout,
    Wishes,
)
from actors.timers import Timer

S = TypeVar("S", bound=Enum)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EVERY: Final = None
"""In the tables: the state of a handler that is good for all that have none of their own."""


class IllegalEvent(Refused):
    """A machine got a message that nothing handles in the state that it is in; nothing changed.

    Raised at the caller of a call. A cast ends the machine, as in Erlang.
    """

    def __init__(self, path: str, message: object, state: Enum, handled: tuple[str, ...]) -> None:
        self.path = path
        self.message = message
        self.state = state
        super().__init__(
            f"{path} handles no {type(message).__name__} in state {state.name}; "
            f"there it handles {', '.join(handled) or 'nothing'}"
        )


class TimeoutDue(Cast["StateMachine[Any]"], frozen=True):
    """A machine's note to itself: a timer has run out."""

    key: Key
    serial: int


class _When(On[T]):
    def __init__(self, kind: type[Message], states: tuple[Enum, ...]) -> None:
        super().__init__(kind)
        self.states = states

    def __call__(self, handler: Any) -> Any:
        marked: Any = super().__call__(handler)
        entries = [(state, self.kind) for state in self.states]
        marked.__when__ = (*getattr(marked, "__when__", ()), *entries)
        return marked


@overload
def when(kind: type[Call[Any, T]], *states: Enum) -> On[T]: ...
@overload
def when(kind: type[Cast[Any]], *states: Enum) -> On[None]: ...
def when(kind: Any, *states: Enum) -> Any:
    """Marks a method as the handler of a message in some states; `@on` marks it for all others."""
    on(kind)
    if not states or not all(isinstance(state, Enum) for state in states):
        raise TypeError(f"@when takes a class of messages and then states, got: {states!r}")
    return _When(kind, states)


def enters(*states: Enum) -> Callable[[F], F]:
    """Marks a method that is called with the old state when one of these is entered (R108).

    Also when the machine starts in it, with that state itself as the old one, and after
    `repeat_state`. It may set timeouts, but not change the state, postpone or insert.
    """

    def mark(method: F) -> F:
        method.__enters__ = states  # type: ignore[attr-defined]
        return method

    return mark


class StateMachine(Actor, Generic[S]):
    """Derive from it with an enum of states.

    initial
        The state to start in. May be set in `__init__` or `start` instead of in the class.
    transitions
        A table (state, message class) → next state: for messages that need no handler, or whose
        handler does not say where to go.
    """

    initial: S
    transitions: ClassVar[Mapping[Any, Any]] = {}

    __table__: ClassVar[dict[tuple[Enum | None, type], Handler]] = {}
    __entries__: ClassVar[dict[Enum, Handler]] = {}

    _engine: Engine[S] | None = None
    _wishes: Wishes[S] | None = None
    _event: Event | None = None
    _clocks: dict[Key, Timer]

    def __init_subclass__(cls, **options: Any) -> None:
        cls._by_table = _by_table(cls)  # type: ignore[attr-defined]
        super().__init_subclass__(**options)
        cls.__table__ = dict(_table(cls))
        cls.__entries__ = {
            state: Handler(method, inspect.iscoroutinefunction(method))
            for method, marked in _methods(cls, "__enters__")
            for state in marked.__enters__
        }
        _check_states(cls)
        receive = Handler(StateMachine._receive, True)
        cls.__handlers__ = {
            kind: handler if kind is TimeoutDue else receive
            for kind, handler in cls.__handlers__.items()
        }

    @property
    def state(self) -> S:
        """The state that the machine is in."""
        return self.initial if self._engine is None else self._engine.state

    # -- what a handler may ask for ------------------------------------------------------------

    def goto(self, state: S) -> None:
        """Goes to a state. To the present one: stays, and nothing is entered or retried (R107)."""
        wishes = self._asking("goto")
        wishes.goto, wishes.repeat = state, False

    def repeat_state(self) -> None:
        """Enters the present state again; what was postponed stays so (R107)."""
        wishes = self._asking("repeat_state")
        wishes.goto, wishes.repeat = None, True

    def postpone(self) -> None:
        """Keeps the message until the state has changed, in the order of arrival (R107).

        The caller of a postponed call goes on waiting.
        """
        self._asking("postpone").postpone = True

    def insert(self, message: Message) -> None:
        """Handles a message of one's own next, before all that waits (R109)."""
        self._asking("insert").inserted.append(message)

    def state_timeout(self, seconds: float, message: Cast[Any]) -> None:
        """Handles `message` unless the state has changed within so many seconds (R110)."""
        self._time(STATE_TIMEOUT, seconds, message)

    def event_timeout(self, seconds: float, message: Cast[Any]) -> None:
        """Handles `message` unless anything is handled within so many seconds (R110)."""
        self._time(EVENT_TIMEOUT, seconds, message)

    def timeout(self, name: Hashable, seconds: float, message: Cast[Any]) -> None:
        """Handles `message` in so many seconds, whatever happens; `name` is to set it anew (R110).

        For all timeouts: 0 seconds come before any message that has not been read yet.
        """
        self._time(Key(Kind.TIMEOUT, name), seconds, message)

    def update_timeout(self, name: Hashable, message: Cast[Any]) -> None:
        """Changes what a named timeout brings, not when; at once if it does not run (R110)."""
        self._wishing("update_timeout").wish(UpdateTimeout(Key(Kind.TIMEOUT, name), message))

    def cancel_timeout(self, name: Hashable) -> None:
        """Ends a named timeout, if it runs."""
        self._time(Key(Kind.TIMEOUT, name), math.inf, None)

    def defer(self) -> Reply[Any]:
        """As `Context.defer`; also where the call has been postponed."""
        event = self._event
        return self.ctx.defer() if event is None or event.reply is None else event.reply

    def _time(self, key: Key, seconds: float, message: Cast[Any] | None) -> None:
        if not seconds >= 0:
            raise ValueError(f"a timeout must be seconds from 0 up, got: {seconds!r}")
        self._wishing("a timeout").wish(SetTimeout(key, float(seconds), message))

    def _wishing(self, what: str) -> Wishes[S]:
        if self._wishes is None:
            raise RuntimeError(f"{what} belongs in a handler of {type(self).__name__}")
        return self._wishes

    def _asking(self, what: str) -> Wishes[S]:
        wishes = self._wishing(what)
        if self._event is None:
            raise RuntimeError(f"{what} is not possible in a method marked @enters (R108)")
        return wishes

    # -- life ------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Enters the initial state. Whoever overrides it has to await this one."""
        self._engine = Engine(self.initial)
        self._clocks = {}
        wishes: Wishes[S] = Wishes()
        await self._enter(self._engine, wishes)
        self._settle(self._engine.settled(wishes))
        await self._drain()

    async def _receive(self, msg: Message) -> Any:
        """Handles a message, and then all that can be handled before the next one."""
        engine = self._running()
        engine.arrive(Event(Kind.MESSAGE, msg))
        event = engine.next()
        assert event is not None
        wishes, result = await self._handle(event)
        if isinstance(msg, Call):
            if wishes.postpone:
                result = result if isinstance(result, Reply) else self.ctx.defer()
                event = Event(event.kind, msg, result)
            elif not isinstance(result, Reply) and self._goes_on(engine, wishes):
                reply: Reply[Any] = self.ctx.defer()
                reply.send(result)
                result = reply
        await self._follow(engine, event, wishes)
        await self._drain()
        return result

    @on(TimeoutDue)
    async def _timeout_due(self, msg: TimeoutDue) -> None:
        self._running().due(msg.key, msg.serial)
        await self._drain()

    async def _drain(self) -> None:
        engine = self._running()
        while self.ctx.cell.signal is None and (event := engine.next()) is not None:
            try:
                wishes, result = await self._handle(event)
            except Refused as error:
                if event.reply is None:
                    raise
                event.reply.fail(error)
                continue
            if event.reply is not None and not wishes.postpone and not isinstance(result, Reply):
                event.reply.send(result)
            await self._follow(engine, event, wishes)

    async def _handle(self, event: Event) -> tuple[Wishes[S], Any]:
        """Calls the handler of an event in the present state."""
        state, kind = self.state, type(event.content)
        handler = self.__table__.get((state, kind)) or self.__table__.get((EVERY, kind))
        target = self.transitions.get((state, kind))
        if handler is None and target is None:
            raise IllegalEvent(self.ctx.path, event.content, state, self._handled_in(state))
        wishes: Wishes[S] = Wishes()
        self._wishes, self._event = wishes, event
        try:
            result: Any = None if handler is None else handler.function(self, event.content)
            if handler is not None and handler.awaits:
                result = await result
        finally:
            self._wishes = self._event = None
        if target is not None and wishes.goto is None and not wishes.repeat | wishes.postpone:
            wishes.goto = target
        return wishes, result

    async def _follow(self, engine: Engine[S], event: Event, wishes: Wishes[S]) -> None:
        if engine.handled(event, wishes):
            await self._enter(engine, wishes)
        self._settle(engine.settled(wishes))

    async def _enter(self, engine: Engine[S], wishes: Wishes[S]) -> None:
        handler = self.__entries__.get(engine.state)
        if handler is None:
            return
        self._wishes = wishes
        try:
            result = handler.function(self, engine.previous)
            if handler.awaits:
                await result
        finally:
            self._wishes = None

    def _settle(self, effects: list[Effect]) -> None:
        for effect in effects:
            old = self._clocks.pop(effect.key, None)
            if old is not None:
                old.cancel()
            if isinstance(effect, StartTimer):
                note = TimeoutDue(effect.key, effect.serial)
                self._clocks[effect.key] = self.ctx.send_after(effect.seconds, note)

    def _running(self) -> Engine[S]:
        assert self._engine is not None, (
            "`started` of a StateMachine was overridden and not awaited"
        )
        return self._engine

    def _goes_on(self, engine: Engine[S], wishes: Wishes[S]) -> bool:
        """Whether code of ours runs after this handler, for which no caller should have to wait."""
        moves = wishes.goto is not None or wishes.repeat
        return bool(moves or wishes.inserted or wishes.timeouts or engine.busy)

    def _handled_in(self, state: S) -> tuple[str, ...]:
        tables = (*self.__table__, *self.transitions)
        return tuple(sorted({kind.__name__ for at, kind in tables if at in (state, EVERY)}))


def _methods(cls: type, mark: str) -> Iterator[tuple[Any, Any]]:
    """The methods with a mark, a class's own after its bases', and who bears it.

    An override needs no mark of its own; if it has one, that counts.
    """
    for base in reversed(cls.__mro__):
        for name, marked in vars(base).items():
            if hasattr(marked, mark):
                method = getattr(cls, name)
                yield method, method if hasattr(method, mark) else marked


def _table(cls: type) -> Iterator[tuple[tuple[Enum | None, type], Handler]]:
    for method, marked in _methods(cls, "__handles__"):
        if method.__name__ in ("_by_table", "_timeout_due"):
            continue
        handler = Handler(method, inspect.iscoroutinefunction(method))
        for key in getattr(marked, "__when__", [(EVERY, kind) for kind in marked.__handles__]):
            yield key, handler


def _by_table(cls: Any) -> Callable[..., None]:
    """Stands, in the kernel's dispatch table, for messages that only `transitions` mentions."""

    def _by_table(self: Any, msg: Any) -> None: ...

    _by_table.__handles__ = tuple(kind for _, kind in cls.transitions)  # type: ignore[attr-defined]
    return _by_table


def _check_states(cls: Any) -> None:
    """Raises `TypeError` when a handler is for a state of another enum than `initial`'s."""
    initial = getattr(cls, "initial", None)
    if initial is None:
        return
    tables = (*cls.__table__, *cls.transitions)
    used = {*(at for at, _ in tables if at is not EVERY), *cls.__entries__}
    for state in (*used, *cls.transitions.values()):
        if not isinstance(state, type(initial)):
            raise TypeError(
                f"{cls.__name__} has a rule for {state!r}, which is no {type(initial).__name__}"
            )
