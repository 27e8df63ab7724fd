"""Refs: how everybody else sees an actor.

    class Crash(Cast["Fragile"], frozen=True):
        pass

    class Fragile(Actor):
        @on(Crash)
        def crash(self, msg: Crash) -> None:
            raise RuntimeError("as asked")

    async with System() as system:
        top = await system.start(Supervisor.spec([Fragile.spec()]))
        [child] = await top.call(WhichChildren())
        ref = child.ref
        assert (ref.path, ref.alive, ref.incarnation) == ("supervisor/fragile", True, 1)
        ref.tell(Crash())
        await settle()
        assert (ref.alive, ref.incarnation) == (True, 2)    # the same ref, the next life

A ref names a *slot*, a place in the tree such as "app/hits", and not one life of the actor in it:
it stays valid across restarts, also when a supervisor further up restarts, and equals every other
ref to the same place. `incarnation` tells one life from the next.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from actors.cell import Cell, current_cell
from actors.errors import ActorDown, Unhandled
from actors.messages import Call, Cast, Handler
from actors.pump import Pending
from actors.reasons import NoProc, Reason
from actors.request import Request
from actors.task_cell import TaskCell

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
        actor has no handler for it, `MailboxFull` if its mailbox is bounded and full.
        """
        slot = self._slot
        if type(message) not in slot.handlers:
            raise self._unhandled(message)
        cell = slot.cell
        if cell is None:
            return
        inbox = cell.inbox
        if inbox is None or cell.control is not None:
            cell.put(message, None)
            return
        # `put`, spelled out: a method call here is an eighth of a tell.
        inbox.append(message)
        waiter = cell.waiter
        if waiter is not None:
            cell.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def send(self, message: Cast[A_co]) -> None:
        """`tell` that waits for room where the mailbox is bounded and its policy is "block".

        Raises `ActorDown` if the actor dies before there is room. Cancelling sends nothing.
        """
        cell = self._slot.cell
        if cell is not None and cell.control is not None:
            await cell.control.wait_for_room(cell)
        self.tell(message)

    async def call(self, message: Call[A_co, T], *, timeout: float | None = None) -> T:
        """Sends a message and waits for its reply.

        timeout
            Seconds to wait, kept to a twentieth of a second; default without limit. After it the
            reply is dropped, though the actor may still do the work (R26).

        Raises `ActorDown` if the actor is not alive or dies before it replies, at once and with
        its exit reason; `Deadlock` if the callee waits, directly or not, for the caller;
        `CallTimeout`; `Unhandled`; `MailboxFull`; and whatever `Refused` the handler raises.
        Cancelling abandons the reply, not the work (R27).
        """
        slot = self._slot
        try:
            handler = slot.handlers[type(message)]
        except KeyError:
            raise self._unhandled(message) from None
        cell = slot.cell
        if cell is None:
            raise ActorDown(slot.path, NoProc())
        system = cell.system
        future: Any
        if type(cell) is TaskCell and cell.control is None:
            caller = current_cell.get()
            if caller is not None and (cell is caller or cell.calling):
                cell.refuse_deadlock(caller)
            future = system.future()
            # `TaskCell.put`, spelled out: a method call here is a hundredth of a round trip.
            cell.inbox.append((message, future))
            waiter = cell.waiter
            if waiter is not None:
                cell.waiter = None
                if not waiter.done():
                    waiter.set_result(None)
            if caller is None and timeout is None:
                return await future  # type: ignore[no-any-return]
        elif cell.inbox is None and system.pump.credit > 0:
            system.pump.credit -= 1
            result = cell.call_in_place(handler, message)  # type: ignore[attr-defined]
            if type(result) is not Pending:
                return result  # type: ignore[no-any-return]
            if timeout is None or result.future is None:
                return await result.settle()  # type: ignore[no-any-return]
            future, caller = result.future, None
        else:
            caller = current_cell.get()
            if caller is not None and (cell is caller or cell.calling):
                cell.refuse_deadlock(caller)
            if cell.control is not None:
                await cell.control.wait_for_room(cell)
            future = system.future()
            cell.put(message, future)
        bucket = None
        if caller is not None:
            caller.calling[future] = cell
        if timeout is not None:
            bucket = system.deadlines.add(timeout, future, slot.path, message)
        try:
            return await future  # type: ignore[no-any-return]
        finally:
            if caller is not None:
                del caller.calling[future]
            if bucket is not None:
                bucket.pop(future, None)

    def request(self, message: Call[A_co, T]) -> Request[T]:
        """Sends a call and returns at once; the request is the handle of its answer (R37).

        Raises `Unhandled`; whatever else a call may raise is the request's answer. Where a bounded
        mailbox is full that is `MailboxFull`, for there is nobody to wait for room.
        """
        self.check(message)
        slot = self._slot
        cell = slot.cell
        request = Request(slot.path, message, cell)
        if cell is None:
            request.set_exception(ActorDown(slot.path, NoProc()))
        else:
            cell.put(message, request)
        return request

    async def stopped(self) -> Reason:
        """Waits until the current life has ended and returns its reason.

        At once if it has ended already; may be awaited any number of times.
        """
        cell = self._slot.cell
        return NoProc() if cell is None else await cell.stopped()

    def check(self, message: Any) -> None:
        """Raises `Unhandled` if the actor has no handler for the message."""
        if type(message) not in self._slot.handlers:
            raise self._unhandled(message)

    def _unhandled(self, message: Any) -> Unhandled:
        slot = self._slot
        known = tuple(sorted(kind.__name__ for kind in slot.handlers))
        return Unhandled(slot.path, message, slot.kind, known)


def slot_of(ref: Ref[Any]) -> Slot:
    """The slot behind a ref: for the kernel's own use."""
    return ref._slot
