"""Refs: how everybody else sees an actor.

A ref names a *slot*, a place in the tree such as "app/hits", and not one life of the actor in it:
it stays valid across restarts, also when a supervisor further up restarts, and equals every other
ref to the same place. `incarnation` tells one life from the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actors.errors import ActorDown, Unhandled
from actors.messages import Call, Cast, Handler
from actors.reasons import NoProc, Reason

if TYPE_CHECKING:
    from actors.cell import Cell

A_co = TypeVar("A_co", covariant=True)
T = TypeVar("T")


class Slot:
    """A place in the tree: its path, and the cell that lives there now."""

    __slots__ = ("__weakref__", "cell", "handlers", "incarnation", "kind", "path")

    def __init__(self, path: str, kind: type, handlers: dict[type, Handler]) -> None:
        self.path = path
        self.kind = kind
        self.handlers = handlers
        self.cell: Cell | None = None
        self.incarnation = 0

    def __repr__(self) -> str:
        return f"<Slot {self.path} #{self.incarnation}>"

    @property
    def down(self) -> Reason | None:
        """Why nobody lives here now; None while somebody does."""
        return NoProc() if self.cell is None else self.cell.down


class Ref(Generic[A_co]):
    """A handle on an actor of type `A`. Hashable; equal to every ref of the same place."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def __repr__(self) -> str:
        state = "alive" if self.alive else "down"
        return f"<Ref {self.path} {self._slot.kind.__name__} #{self.incarnation} {state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self._slot is other._slot

    def __hash__(self) -> int:
        return hash(id(self._slot))

    @property
    def path(self) -> str:
        """Where the actor stands in the tree, such as "app/hits"."""
        return self._slot.path

    @property
    def kind(self) -> type:
        """The actor's class."""
        return self._slot.kind

    @property
    def incarnation(self) -> int:
        """The number of the current, or else the last, life: 1 for the first."""
        return self._slot.incarnation

    @property
    def alive(self) -> bool:
        """Whether an actor lives here now."""
        return self._slot.down is None

    def tell(self, message: Cast[A_co]) -> None:
        """Puts a message into the actor's mailbox and returns at once (R36).

        To an actor that is not alive it becomes a `DeadLetter` event. Raises `Unhandled` if the
        actor has no handler for it.
        """
        slot = self._slot
        if type(message) not in slot.handlers:
            raise self._unhandled(message)
        if slot.cell is not None:
            slot.cell.put(message, None)

    async def call(self, message: Call[A_co, T], *, timeout: float | None = None) -> T:
        """Sends a message and waits for its reply.

        timeout
            Seconds to wait; default without limit. After it the reply is dropped, though the
            actor may still do the work (R26).

        Raises `ActorDown` if the actor is not alive or dies before it replies, at once and with
        its exit reason; `Deadlock` if the callee waits, directly or not, for the caller;
        `CallTimeout`; `Unhandled`; and whatever `Refused` the handler raises. Cancelling abandons
        the reply, not the work (R27).
        """
        slot = self._slot
        if type(message) not in slot.handlers:
            raise self._unhandled(message)
        cell = slot.cell
        if cell is None:
            raise ActorDown(slot.path, NoProc())
        return await cell.call(message, timeout)  # type: ignore[no-any-return]

    async def stopped(self) -> Reason:
        """Waits until the current life has ended and returns its reason.

        At once if it has ended already; may be awaited any number of times.
        """
        cell = self._slot.cell
        return NoProc() if cell is None else await cell.stopped()

    def _unhandled(self, message: Any) -> Unhandled:
        slot = self._slot
        known = tuple(sorted(kind.__name__ for kind in slot.handlers))
        return Unhandled(slot.path, message, slot.kind, known)


def slot_of(ref: Ref[Any]) -> Slot:
    """The slot behind a ref: for the kernel's own use."""
    return ref._slot
