"""What an actor may do from inside: its `ctx`.

    class Beat(Cast["Heart"], frozen=True):
        pass

    class Count(Call["Heart", int], frozen=True):
        pass

    class Heart(Actor):
        def __init__(self) -> None:
            self.beats = 0

        def started(self) -> None:
            self.ctx.ref.tell(Beat())

        @on(Beat)
        def beat(self, msg: Beat) -> None:
            self.beats += 1
            self.ctx.send_after(1.0, Beat())

        @on(Count)
        def count(self, msg: Count) -> int:
            if self.beats > 2:
                self.ctx.stop()                     # once the reply is out
            return self.beats

    async with System() as system:
        heart = await system.start(Heart.spec())
        await anyio.sleep(2.5)
        assert await heart.call(Count()) == 3
        assert await heart.stopped() == Normal()

It belongs to one life, and is reached through `self.ctx` from `start` on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, TypeVarTuple, Unpack

from actors.control import Overflow
from actors.errors import MailboxFull
from actors.events import DeadLetter
from actors.messages import Cast, Reply
from actors.reasons import Killed, Normal, Reason
from actors.timers import Timer
from actors.watching import Monitor

if TYPE_CHECKING:
    from actors.cell import Cell, OwnedTask
    from actors.ref import Ref
    from actors.spec import ChildSpec
    from actors.system import System

A = TypeVar("A")
C = TypeVar("C", bound=Any)
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class Context(Generic[A]):
    """An actor's own view of itself; `self.ctx` from `start` on.

    It belongs to one life: after the actor's end its methods have no effect.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __repr__(self) -> str:
        return f"<Context of {self._cell.path}>"

    @property
    def cell(self) -> Cell:
        """The kernel's side of the actor: for the kernel's own use."""
        return self._cell

    @property
    def ref(self) -> Ref[A]:
        """The actor's own ref."""
        return self._cell.system.ref(self._cell.slot)

    @property
    def path(self) -> str:
        """The actor's place in the tree."""
        return self._cell.path

    @property
    def incarnation(self) -> int:
        """1 in the first life of this place, 2 after one restart, and so on."""
        return self._cell.incarnation

    @property
    def system(self) -> System:
        """The system that the actor lives in."""
        return self._cell.system

    @property
    def now(self) -> float:
        """The system's monotonic time in seconds."""
        return self._cell.system.now()

    @property
    def trap_exit(self) -> bool:
        """Whether a linked actor's death arrives as an `Exit` message instead of killing this one.

        Default false (R4, R13). A parent's death is always a request to stop, trapped or not.
        """
        return self._cell.ties is not None and self._cell.ties.trap_exit

    @trap_exit.setter
    def trap_exit(self, value: bool) -> None:
        self._cell.tie().trap_exit = value

    # -- ending ----------------------------------------------------------------------------

    def stop(self, reason: Reason | None = None) -> None:
        """Ends the actor once the handler has returned; the reply goes out last (R29)."""
        self._cell.stop_after_reply(Normal() if reason is None else reason)

    def exit(self, other: Ref[Any], reason: Reason) -> None:
        """Sends an actor an exit signal, as if a linked actor had died with `reason` (R5).

        `Killed()` kills it and cannot be trapped (R6). To itself even `Normal()` is the end, unless
        it traps exits.
        """
        target = _cell_of(other)
        if target is None:
            return
        if reason == Killed():
            target.kill()
        elif target is self._cell and not self.trap_exit:
            target.die(reason)
        else:
            target.exit_signal(self._cell, reason)

    # -- other actors ------------------------------------------------------------------------

    async def start_child(self, spec: ChildSpec[C]) -> Ref[C] | None:
        """Starts an actor linked to this one, which it will not outlive (R14).

        Returns None if its `start` said `IGNORE`; raises `StartFailed` (R15).
        """
        return await self._cell.system.start_under(self._cell, spec)

    def spawn(self, kind: Callable[P, C], *args: P.args, **kwargs: P.kwargs) -> Ref[C]:
        """Starts an actor without a task, linked to this one, here and now (Erlang's spawn_link).

        For actors by the thousand: no spec, no name, no restart; this one does not end before they
        do. Raises `StartFailed` if its start fails or says `IGNORE`, and `TypeError` if it has an
        `async` method; such a one is for `start_child`.
        """
        return self._cell.system.spawn(self._cell, kind, args, kwargs)

    def link(self, other: Ref[Any]) -> None:
        """Ties the two lives together (R3). To a dead actor: as if it died now (R8)."""
        target = _cell_of(other)
        if target is not None:
            self._cell.link(target)

    def unlink(self, other: Ref[Any]) -> None:
        """Unties them; no exit signal of it arrives afterwards (R3)."""
        target = _cell_of(other)
        if target is not None:
            self._cell.unlink(target)

    def monitor(self, other: Ref[Any]) -> Monitor:
        """Asks for one `Down` message when the other's current life ends (R9)."""
        return Monitor(self._cell, _cell_of(other), other)

    def demonitor(self, monitor: Monitor) -> None:
        """Ends a watch, and takes back a `Down` that is still in the mailbox (R9)."""
        monitor.cancel()
        monitor.flush()

    # -- later -------------------------------------------------------------------------------

    def defer(self) -> Reply[Any]:
        """The handle for answering the call at hand later; return it from the handler (R28)."""
        return self._cell.defer()

    def send_after(self, delay: float, message: Cast[Any], to: Ref[Any] | None = None) -> Timer:
        """Tells `message` to the actor itself, or to another, in `delay` seconds.

        Not sent if this actor's life has ended by then; a dead letter if a bounded mailbox is full
        then. `Timer.cancel` takes it back. Raises `Unhandled`, now.
        """
        send = self._later(message, to)
        return self._cell.system.timers.after(delay, send)

    def send_every(self, interval: float, message: Cast[Any], to: Ref[Any] | None = None) -> Timer:
        """Tells `message` every `interval` seconds, until the timer is cancelled or this life ends.

        The first time is after the first interval, and the times do not drift. Raises `Unhandled`,
        and `ValueError` for an interval that is not above 0; otherwise as `send_after`.
        """
        send = self._later(message, to)

        def fire() -> None:
            send()
            if self._cell.down is not None:
                timer.cancel()

        timer = self._cell.system.timers.every(interval, fire)
        return timer

    def _later(self, message: Cast[Any], to: Ref[Any] | None) -> Callable[[], None]:
        """What a timer calls, and what must not fail there."""
        cell = self._cell
        target = self.ref if to is None else to
        target.check(message)

        def send() -> None:
            if cell.down is not None:
                return
            try:
                target.tell(message)
            except MailboxFull as full:
                system, reason = cell.system, Overflow(full.limit)
                system.publish(
                    DeadLetter(at=system.now(), actor=target.path, message=message, reason=reason)
                )

        return send

    def run(
        self,
        function: Callable[[Unpack[Ts]], Awaitable[object]],
        *args: *Ts,
        name: str | None = None,
    ) -> OwnedTask:
        """Runs an async function beside the actor, as its own.

        The task ends with the actor: it is cancelled after `stopping`, and the actor is not gone
        before it is. Its exception ends the actor as a handler's would. What it has to say to the
        actor it tells like anybody else; it must not touch the actor's state between two awaits of
        a handler.
        """
        return self._cell.system.run_owned(self._cell, function, args, name)


def _cell_of(ref: Ref[Any]) -> Cell | None:
    return ref._slot.cell
