"""`Actor`: the base class, in Erlang's terms a gen_server.

    class Get(Call["Counter", int], frozen=True):
        pass

    class Counter(Actor):
        def __init__(self, start: int = 0) -> None:
            self.n = start

        @on(Get)
        def get(self, msg: Get) -> int:
            return self.n

    async with System() as system:
        counter = await system.start(Counter.spec(3))
        assert await counter.call(Get()) == 3

One instance is one life. Its methods run one after the other, never two at a time, so its state
needs no lock. A handler's exception ends the actor, and its supervisor decides what comes next;
`raise Refused(...)` fails only the caller.

An actor with an `async` method has a task. One whose methods are all plain `def`, `start`,
`started` and `stopping` included, needs none: it costs a few hundred bytes, and a call to it a
fourteenth of a round trip through the event loop (pump.py). Nothing else about it differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, ParamSpec, Self, TypeVar
from weakref import WeakSet

from actors.cell import Cell, Ignore
from actors.context import Context
from actors.errors import InvalidSpec
from actors.messages import Handler, handlers_of
from actors.reasons import Reason
from actors.spec import (
    DEFAULT_SHUTDOWN,
    ChildSpec,
    ChildType,
    Options,
    ShutdownTime,
    default_id,
)
from actors.strict import is_trial, made, near_miss

P = ParamSpec("P")
A = TypeVar("A", bound="Actor")


_without_arguments: Final[WeakSet[type]] = WeakSet()
"""Classes that are known to need none: specs are made by the hundred thousand."""


def _check_arguments(kind: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    signature = inspect.signature(kind)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        known = signature.parameters
        wrong = next((name for name in kwargs if name not in known), "")
        hint = f"{near_miss(wrong, known)} its options are {', '.join(map(repr, known)) or 'none'}"
        if wrong in Options.__annotations__:
            hint += f"; {wrong!r} is the spec's: {kind.__name__}.spec(...).options({wrong}=...)"
        raise InvalidSpec(
            "bad_arguments", f"{kind.__name__} cannot be made so: {error}{hint}"
        ) from None
    if not (args or kwargs):
        _without_arguments.add(kind)
    elif is_trial(kind):
        kind(*args, **kwargs)


class Actor:
    """Derive from it, mark handlers with `@on`, start it under a supervisor or a system."""

    __slots__ = ("_cell",)

    __handlers__: ClassVar[dict[type, Handler]] = {}
    __type__: ClassVar[ChildType] = "worker"
    __shutdown__: ClassVar[ShutdownTime] = DEFAULT_SHUTDOWN

    __plain__: ClassVar[bool] = True
    """Whether no method of it ever awaits."""
    __continues__: ClassVar[bool] = False
    """Whether it has a `started` of its own."""

    _cell: Cell

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__handlers__ = handlers_of(cls)
        life = (cls.start, cls.started, cls.stopping)
        cls.__plain__ = not any(map(inspect.iscoroutinefunction, life)) and not any(
            handler.awaits for handler in cls.__handlers__.values()
        )
        cls.__continues__ = cls.started is not Actor.started

    @property
    def ctx(self) -> Context[Self]:
        """What the actor may do; from `start` on, not yet in `__init__`."""
        return Context(self._cell)

    @classmethod
    def spec(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> ChildSpec[A]:
        """The child spec that makes this actor with these arguments: permanent, id from the name.

        The arguments are checked against `__init__`, by the type checkers and here, and so are a
        supervisor's values; `ChildSpec.options` changes the rest. Raises `InvalidSpec` if they do
        not fit.
        """
        kind: Any = cls
        if args or kwargs or kind not in _without_arguments:
            _check_arguments(kind, args, kwargs)
        spec: ChildSpec[A] = made(
            ChildSpec,
            default_id(cls),
            cls,
            args,
            kwargs,
            type=kind.__type__,
            shutdown=kind.__shutdown__,
        )
        return spec

    def start(self) -> Awaitable[Ignore | None] | Ignore | None:
        """Gets the actor ready; whoever starts it waits for it (R14). May be `async`, as the next.

        An exception is a failed start, `return IGNORE` one that is not needed (R15).
        """
        return None

    def started(self) -> Awaitable[None] | None:
        """Runs after the starter has its ref and before the first message (R33)."""
        return None

    def stopping(self, reason: Reason) -> Awaitable[None] | None:
        """The last word, after a stop, a crash or a supervisor's request, not after a kill (R32).

        It has as many seconds as the spec's `shutdown` and is cancelled then; if it goes on after
        that it is reported by `KillIgnored` and killed. Its exception replaces the exit reason.
        """
        return None
