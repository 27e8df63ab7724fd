"""`Actor`: the base class, in Erlang's terms a gen_server.

    class Counter(Actor):
        def __init__(self, start: int = 0) -> None:
            self.n = start

        @on(Get)
        def get(self, msg: Get) -> int:
            return self.n

One instance is one life. Its methods run one after the other, never two at a time, so its state
needs no lock. A handler's exception ends the actor, and its supervisor decides what comes next;
`raise Refused(...)` fails only the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from actors.cell import Ignore
from actors.context import Context
from actors.messages import Handler, handlers_of
from actors.reasons import Reason
from actors.spec import DEFAULT_SHUTDOWN, ChildSpec, ChildType, ShutdownTime, default_id

P = ParamSpec("P")
A = TypeVar("A", bound="Actor")


class Actor:
    """Derive from it, mark handlers with `@on`, start it under a supervisor or a system."""

    __handlers__: ClassVar[dict[type, Handler]] = {}
    __type__: ClassVar[ChildType] = "worker"
    __shutdown__: ClassVar[ShutdownTime] = DEFAULT_SHUTDOWN

    ctx: Context[Self]
    """What the actor may do; set before `start`, absent in `__init__`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__handlers__ = handlers_of(cls)

    @classmethod
    def spec(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> ChildSpec[A]:
        """The child spec that makes this actor with these arguments: permanent, id from the name.

        The arguments are checked against `__init__` by the type checkers; `ChildSpec.options`
        changes the rest.
        """
        kind: Any = cls
        return ChildSpec(
            default_id(cls), cls, args, kwargs, type=kind.__type__, shutdown=kind.__shutdown__
        )

    async def start(self) -> Ignore | None:
        """Gets the actor ready; whoever starts it waits for it (R14).

        An exception is a failed start, `return IGNORE` one that is not needed (R15).
        """
        return None

    async def started(self) -> None:
        """Runs after the starter has its ref and before the first message (R33)."""

    async def stopping(self, reason: Reason) -> None:
        """The last word, after a stop, a crash or a supervisor's request, not after a kill (R32).

        It has as many seconds as the spec's `shutdown`, is cancelled then, and an exception in it
        replaces the exit reason.
        """
