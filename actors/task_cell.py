"""The cell of an actor that may await: one task, a mailbox, and one parked future.

Two plain lists take turns: senders append to `inbox`; the loop swaps it with the empty `taken`,
turns that around, and pops from its end. A deque takes 760 bytes when empty, a new list and its
iterator cost a fiftieth of a call, and a condition or event twice the round trip. The loop is one
long function on purpose: each coroutine between it and the handler costs a tenth of a call.

Kills go through cancel scopes, which repeat themselves until the task has left; a native
`task.cancel()` is said once and can be swallowed. The task is shielded from the host's
cancellation, so that a tree is always stopped in order.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from actors.backend import Future
from actors.cell import FAIRNESS, IGNORE, Cell, Ignore, current_cell
from actors.control import Control, Entry, parts
from actors.errors import Refused
from actors.messages import Reply
from actors.reasons import Crashed, Killed, Normal, Reason, reason_of
from actors.spec import ChildSpec

if TYPE_CHECKING:
    from actors.ref import Slot
    from actors.system import System


NOTHING: Final[Entry] = None
"""What is at hand between messages."""


class TaskCell(Cell):
    """An actor with a task of its own."""

    __slots__ = (
        "ack",
        "alert",
        "calling",
        "entry",
        "life",
        "scope",
        "since",
        "started",
        "taken",
        "work",
    )

    inbox: list[Entry]

    def __init__(
        self, system: System, slot: Slot, spec: ChildSpec[Any], parent: Cell | None
    ) -> None:
        super().__init__(system, slot, spec, parent)
        self.taken: list[Entry] = []  # what the loop has taken out of the inbox, the next one last
        self.entry: Entry = NOTHING
        self.alert = False
        self.life: Any = None
        self.since = 0.0
        self.started = False
        self.calling: dict[object, Cell] = {}
        self.scope = anyio.CancelScope(shield=True)
        self.work = anyio.CancelScope()
        self.ack: Future[Reason | Ignore | None] = system.backend.future()
        if spec.mailbox is not None:
            self.control = Control(spec.mailbox)

    @property
    def acked(self) -> bool:
        return self.started

    def handling(self) -> tuple[Any, float | None]:
        message = parts(self.entry)[0]
        return message, None if message is None else self.since

    def current_reply(self) -> Future[Any] | None:
        return parts(self.entry)[1]

    def unread(self) -> Iterable[Entry]:
        return (*reversed(self.taken), *self.inbox)

    @property
    def depth(self) -> int:
        return len(self.taken) + len(self.inbox)

    def queues(self) -> tuple[list[Entry], ...]:
        return self.taken, self.inbox

    def between_messages(self) -> bool:
        return self.waiter is not None or self.down is not None

    def take_control(self) -> None:
        self.alert = True

    # -- sending and ending ----------------------------------------------------------------------

    def put(self, message: Any, reply: Future[Any] | None) -> None:
        if self.control is not None and not self.control.admits(self, message, reply):
            return
        self.inbox.append(message if reply is None else (message, reply))
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def wake(self) -> None:
        self.alert = True
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def die(self, reason: Reason) -> None:
        ties = self.tie()
        if self.down is None and ties.doomed is None and not ties.ending:
            ties.doomed = reason
            self.alert = True
            self.scope.cancel()
            self.system.condemned.add(self)

    def fail(self, reason: Reason) -> None:
        if self.acked:
            self.request_stop(reason)
            self.work.cancel()
        else:
            self.die(reason)

    # -- living ----------------------------------------------------------------------------------

    def described(self) -> tuple[str, str | None, Any]:
        return self.path, None, self.handling()[0]

    def begin(self) -> Coroutine[Any, Any, None]:
        """What the task runs, kept to be looked at."""
        self.life = life = self._run()
        return life

    async def _run(self) -> None:
        """The whole life. Returns normally, unless what ended it belongs to the host's own code
        (`KeyboardInterrupt`), which passes on after the cell is finished.
        """
        current_cell.set(self)
        reason: Reason = Killed()
        try:
            if self.tie().doomed is None:
                with self.scope:
                    reason = await self._start()
                    if self.started:
                        # Here and not in a method: its coroutine would be on the way of each wake.
                        try:
                            with self.work:
                                await self._loop(self.actor)
                            reason = self.signal or reason
                        except Exception as error:
                            reason = reason_of(error)
                        except anyio.get_cancelled_exc_class() as error:
                            reason = self._cancelled(error)
                        reason = await self._terminate(self.actor, reason)
            doomed = self.tie().doomed
            self.tie().ending = True
            self.system.condemned.discard(self)
            if doomed is not None and not isinstance(reason, Crashed):
                reason = doomed
            await self._release(reason)
        except BaseException as error:
            reason = reason_of(error)
            raise
        finally:
            self.finish(reason)

    async def _start(self) -> Reason:
        """The exit reason if the start fails or is ignored, and else that of an end in peace."""
        try:
            self.actor = actor = self.spec.factory(*self.spec.args, **self.spec.kwargs)
            actor._cell = self
            if await _resolved(actor.start()) is IGNORE:
                self.tie().ignored = True
                return Normal()
        except Exception as error:
            return reason_of(error)
        except anyio.get_cancelled_exc_class() as error:
            return self._cancelled(error)
        self.started = True
        self.announce_start()
        if not self.ack.done():
            self.ack.set_result(None)
        return Normal()

    def _cancelled(self, cancellation: BaseException) -> Reason:
        """What a cancellation makes of the actor; if it is our own kill it goes on instead.

        Any other one is a native `task.cancel()` from the host's code. It ends this actor, and
        must not reach the task group, which would take all the others along.
        """
        if self.tie().doomed is not None or self.system.backend.name == "trio":
            raise cancellation
        return Killed()

    async def _release(self, reason: Reason) -> None:
        while True:
            try:
                await self.release(reason)
            except anyio.get_cancelled_exc_class():
                if self.system.backend.name == "trio":
                    raise
            else:
                return

    async def _loop(self, actor: Any) -> None:
        """Handles messages until a signal to stop; a handler's exception passes through."""
        await _resolved(actor.started())
        handlers, system, taken = self.slot.handlers, self.system, self.taken
        future, now, scheduler = system.backend.future, system.backend.now, system.scheduler
        left = FAIRNESS
        while self.signal is None:
            control = self.control
            if control is not None:
                control.run_requests(actor)
            if not self.inbox or (control is not None and control.suspended):
                self.waiter = waiter = future()
                await waiter
                left = FAIRNESS
                if self.alert or control is not None:
                    continue
            if control is None and scheduler is None:
                self.inbox, taken = taken, self.inbox
                self.taken = taken
                if len(taken) > 1:
                    taken.reverse()
            elif not await self._take_one():
                continue
            while taken:
                self.entry = message = taken.pop()
                if type(message) is tuple:
                    message, reply = message
                else:
                    reply = None
                if control is not None:
                    control.before(self, message)
                try:
                    handler = handlers[type(message)]
                except KeyError:
                    self.unheard(message)
                    continue
                try:
                    result = handler.function(actor, message)
                    if handler.awaits:
                        self.since = now()
                        result = await result
                    if reply is not None and type(result) is not Reply:
                        if self.signal is not None and self.tie().last_reply:
                            self.tie().farewell = reply, result
                        elif not reply.done():
                            reply.set_result(result)
                except Refused as error:
                    if reply is None:
                        raise
                    if not reply.done():
                        reply.set_exception(error)
                result = None
                if control is not None:
                    control.after(self, actor, message, replied=reply is not None)
                if self.alert:
                    break
                left -= 1
                if not left:
                    left = FAIRNESS
                    await anyio.lowlevel.checkpoint()
            message = reply = None
            self.entry = NOTHING
            if self.alert and self.signal is None:
                await self._put_back()

    async def _take_one(self) -> bool:
        """Takes the next message alone, once it is this actor's turn; false if there is none by
        then, or nothing is to be handled any more."""
        if self.system.scheduler is not None:
            await self.system.scheduler.turn(self)
            if self.signal is not None or not self.inbox:
                return False
        self.taken.append(self.inbox.pop(0))
        return True

    async def _put_back(self) -> None:
        """After an alert that was no signal to stop: what was taken and not handled waits again."""
        self.alert = False
        self.inbox[:0] = reversed(self.taken)
        self.taken.clear()
        if self.tie().doomed is not None:
            await anyio.lowlevel.checkpoint()  # dies here, before the next message

    async def _terminate(self, actor: Any, reason: Reason) -> Reason:
        """Runs `stopping`; an exception in it is the new reason (R31, R32).

        Its deadline is the spec's, kept here when the actor ends by itself, and by the kill in
        `shut_down` when it was told to: a deadline of our own would let an actor that ignores the
        request pass for one that obeyed (R96).

        At a deadline of its own it is cancelled, and one who does not obey is condemned: reported,
        and killed.
        """
        grace = self.spec.shutdown
        late = None
        try:
            with anyio.CancelScope() as scope:
                if not self.tie().told and not isinstance(grace, str):
                    late = self.system.timers.after(grace, partial(self._is_late, scope))
                await _resolved(actor.stopping(reason))
        except Exception as error:
            return reason_of(error)
        except anyio.get_cancelled_exc_class() as error:
            return self._cancelled(error)
        finally:
            if late is not None:
                late.cancel()
        return reason

    def _is_late(self, scope: anyio.CancelScope) -> None:
        scope.cancel()
        self.system.condemned.add(self)

    def insist(self) -> None:
        if self.tie().doomed is None:
            self.die(Killed())

    def finish(self, reason: Reason) -> None:
        super().finish(reason)
        if not self.ack.done():
            ignored = self.ties is not None and self.ties.ignored
            self.ack.set_result(IGNORE if ignored else reason)


async def _resolved(value: Any) -> Any:
    """What a method gave that may be plain or not."""
    return await value if inspect.isawaitable(value) else value
