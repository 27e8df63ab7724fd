"""Typed messages and the handlers that take them.

A message is a frozen value that names its actor and, for a call, the type of the reply:

    class Add(Cast["Counter"], frozen=True):
        n: int

    class Get(Call["Counter", int], frozen=True):
        pass

    class Counter(Actor):
        def __init__(self) -> None:
            self.n = 0

        @on(Add)
        def add(self, msg: Add) -> None:
            self.n += msg.n

        @on(Get)
        def get(self, msg: Get) -> int:
            return self.n

    async with System() as system:
        counter = await system.start(Counter.spec())
        counter.tell(Add(4))
        assert await counter.call(Get()) == 4

So `await ref.call(Get())` is an `int` to mypy and pyright, `ref.tell(Add(1))` to another actor's
ref is a type error, and so is a handler of `Get` that returns a `str`. At run time dispatch is one
dict lookup, and a message that names an actor which does not handle it is an error when the
actor's class is made.

Rejected: reply-typed messages that do not name their actor (a call to the wrong actor passes the
type checkers), and methods as messages (they cannot be logged, compared, replayed or sent over a
wire).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ForwardRef, Generic, TypeVar, get_args, overload

import msgspec

T = TypeVar("T")
S = TypeVar("S")
M = TypeVar("M")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_declared: dict[tuple[str, str], list[type[Message]]] = {}


class Message(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The base of `Cast` and `Call`. Not tracked by the garbage collector: no cycles in it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for target in get_args(base)[:1]:
                if isinstance(target, ForwardRef):
                    name = target.__forward_arg__
                    _declared.setdefault((cls.__module__, name), []).append(cls)


class Cast(Message, Generic[A_contra], frozen=True):
    """A message to an actor of type `A` that expects no answer."""


class Call(Message, Generic[A_contra, R_co], frozen=True):
    """A message to an actor of type `A` that is answered with an `R`."""


class Reply(Generic[T]):
    """The handle of a deferred reply: a handler that returns one answers later (R28).

    Made by `Context.defer`. It may travel: to a list, another actor, a task. Dropping it unanswered
    fails the caller with `NoReply` at once; if the actor dies first the caller gets `ActorDown`.
    """

    __slots__ = ("__weakref__", "_answer", "_fail", "_open")

    def __init__(
        self, answer: Callable[[T], None], fail: Callable[[BaseException | None], None]
    ) -> None:
        self._answer = answer
        self._fail = fail
        self._open = True

    def __repr__(self) -> str:
        return f"<Reply {'open' if self._open else 'answered'}>"

    def send(self, value: T) -> None:
        """Answers the caller. A second answer, or one after the caller has left, does nothing."""
        if self._open:
            self._open = False
            self._answer(value)

    def fail(self, error: BaseException) -> None:
        """Raises `error` at the caller. Does nothing once answered."""
        if self._open:
            self._open = False
            self._fail(error)

    def __del__(self) -> None:
        if self._open:
            self._open = False
            self._fail(None)


class On(Generic[T]):
    """The decorator that `on` makes; its type carries the reply that the handler must give."""

    def __init__(self, kind: type[Message]) -> None:
        self.kind = kind

    @overload
    def __call__(
        self,
        handler: Callable[[S, M], Awaitable[T] | Awaitable[Reply[T]] | Awaitable[T | Reply[T]]],
    ) -> Callable[[S, M], Awaitable[T]]: ...
    @overload
    def __call__(self, handler: Callable[[S, M], T | Reply[T]]) -> Callable[[S, M], T]: ...
    def __call__(self, handler: Any) -> Any:
        handler.__handles__ = (*getattr(handler, "__handles__", ()), self.kind)
        return handler


@overload
def on(kind: type[Call[Any, T]]) -> On[T]: ...
@overload
def on(kind: type[Cast[Any]]) -> On[None]: ...
def on(kind: Any) -> Any:
    """Marks a method as the handler of `kind`, a `Call` or `Cast` class.

    A plain method runs without a suspension; an `async def` one may await, and the actor takes no
    other message meanwhile. A call's handler returns the reply, or a `Reply` to give it later.
    """
    if not (isinstance(kind, type) and issubclass(kind, Message)):
        raise TypeError(f"@on takes a class of messages (a Cast or a Call), got: {kind!r}")
    return On(kind)


@dataclass(frozen=True, slots=True)
class Handler:
    """One entry of an actor's dispatch table.

    No `msgspec.Struct`: reading a field of one takes as long as the lookup in the table.
    """

    function: Callable[[Any, Any], Any]
    awaits: bool


def handlers_of(cls: type) -> dict[type, Handler]:
    """The dispatch table of an actor class, its bases' handlers included.

    Raises `TypeError` when a message in the class's own module names the class and nothing
    handles it.
    """
    table: dict[type, Handler] = {}
    for base in reversed(cls.__mro__):
        for name, marked in vars(base).items():
            if not hasattr(marked, "__handles__"):
                continue
            method = getattr(cls, name)
            # An override needs no mark of its own; if it has one, that counts.
            for kind in getattr(method, "__handles__", marked.__handles__):
                table[kind] = Handler(method, inspect.iscoroutinefunction(method))
    missing = [m for m in _declared.get((cls.__module__, cls.__name__), ()) if m not in table]
    if missing:
        names = ", ".join(m.__name__ for m in missing)
        raise TypeError(
            f"{cls.__name__} has no handler for {names}: the message names {cls.__name__} as its "
            f"actor, so a method of it must be marked @on({missing[0].__name__})"
        )
    return table
