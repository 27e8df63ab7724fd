"""The cell: one life of one actor, from its start to its last word.

    launched ──start()──▶ acked ──started()──▶ loop ──▶ stopping() ──▶ finished
         │                                      │            ▲
         └── start fails ──────────────────────▶│── kill ────┼─────▶ (no stopping)

Laws:

1. An exception never leaves a cell: it becomes the exit reason.
2. A cell is finished only when everything that it owns is gone: its tasks, and every actor that
   it started. So whoever replaces it never meets the remains of its predecessor. (Here we are
   stricter than Erlang, where the children of a killed supervisor die some time later.)
3. `_finish` runs in one go, without a suspension, in an order that others rely on: the name is
   free before anybody hears of the death (R12, R17), waiting callers before watchers.
4. Signals (stop) pass user messages by; deaths (`Exit`, `Down`) queue with them (R10).

The inbox is a plain list that the loop swaps out whole, and one parked future: a deque takes 760
bytes when empty, and a condition or event costs twice the round trip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from actors.backend import Future
from actors.context import Context
from actors.errors import ActorDown, CallTimeout, Deadlock, NoReply, Refused
from actors.events import DeadLetter, Event, Exited, Started, StartFailed, StartIgnored, Undelivered
from actors.messages import Message, Reply
from actors.reasons import Crashed, Killed, Normal, Reason, reason_of
from actors.spec import BRUTAL_KILL, INFINITY, ChildSpec, ShutdownTime
from actors.watching import Down, Exit, Monitor

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.ref import Slot
    from actors.system import System

FAIRNESS: Final = 128
"""Messages that an actor may handle before others get the event loop."""

_serial = itertools.count(1)
_current: ContextVar[Cell | None] = ContextVar("actors_current", default=None)


class Ignore:
    """What an actor's `start` returns to say that it need not run (R15, R53)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "IGNORE"


IGNORE: Final = Ignore()


@contextmanager
def _waiting_for(waiter: Cell, awaited: Cell) -> Iterator[None]:
    waiter.calling.append(awaited)
    try:
        yield
    finally:
        waiter.calling.remove(awaited)


class OwnedTask:
    """A background task of a cell: ends with it; its crash is the cell's."""

    __slots__ = ("_cell", "done", "name", "scope")

    def __init__(self, cell: Cell, name: str) -> None:
        self._cell = cell
        self.name = name
        self.scope = anyio.CancelScope(shield=True)
        self.done: Future[None] = cell.system.backend.future()

    def __repr__(self) -> str:
        return f"<OwnedTask {self.name} of {self._cell.path}>"

    def cancel(self) -> None:
        """Cancels the task, which is not a crash."""
        self.scope.cancel()

    async def run(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        _current.set(None)
        try:
            with self.scope:
                await function(*args)
        except Exception as error:
            self._cell.fail(reason_of(error))
        finally:
            self._cell.tasks.pop(self, None)
            if not self.done.done():
                self.done.set_result(None)


class Cell:
    """The kernel's side of a living actor. Everything here runs in the event loop's thread."""

    __slots__ = (
        "__weakref__",
        "ack",
        "actor",
        "batch",
        "calling",
        "children",
        "deferred",
        "doomed",
        "down",
        "farewell",
        "ignored",
        "inbox",
        "incarnation",
        "links",
        "message",
        "parent",
        "reply",
        "scope",
        "serial",
        "signal",
        "slot",
        "spec",
        "system",
        "tasks",
        "told",
        "trap_exit",
        "waiter",
        "waiting",
        "watchers",
        "watching",
        "work",
    )

    def __init__(
        self, system: System, slot: Slot, spec: ChildSpec[Any], parent: Cell | None
    ) -> None:
        self.system = system
        self.slot = slot
        self.spec = spec
        self.parent = parent
        self.serial = next(_serial)
        self.incarnation = slot.incarnation
        self.actor: Actor | None = None
        self.inbox: list[tuple[Any, Future[Any] | None]] = []
        self.batch: Iterator[tuple[Any, Future[Any] | None]] = iter(())
        self.waiter: Future[None] | None = None
        self.signal: Reason | None = None
        self.doomed: Reason | None = None
        self.down: Reason | None = None
        self.message: Any = None
        self.reply: Future[Any] | None = None
        self.calling: list[Cell] = []
        self.farewell: tuple[Future[Any], Any] | None = None
        self.ignored = False
        self.told = False
        self.trap_exit = False
        self.links: dict[Cell, None] = {}
        self.children: dict[Cell, None] = {}
        self.watchers: dict[Monitor, None] = {}
        self.watching: dict[Monitor, None] = {}
        self.tasks: dict[OwnedTask, None] = {}
        self.deferred: dict[Future[Any], None] = {}
        self.waiting: list[Future[Reason]] = []
        self.scope = anyio.CancelScope(shield=True)
        self.work = anyio.CancelScope()
        self.ack: Future[Reason | Ignore | None] = system.backend.future()
        if parent is not None:
            parent.children[self] = None
            self.link(parent)

    def __repr__(self) -> str:
        state = "alive" if self.down is None else f"down: {self.down}"
        return f"<Cell {self.path} #{self.incarnation} {state}>"

    @property
    def path(self) -> str:
        return self.slot.path

    # -- sending ---------------------------------------------------------------------------

    def put(self, message: Any, reply: Future[Any] | None) -> None:
        """Queues a message; a dead letter if nobody will ever read it."""
        if self.down is not None:
            self._bounce(message, reply, self.down)
            return
        self.inbox.append((message, reply))
        self._wake()

    async def call(self, message: Any, timeout: float | None) -> Any:
        """See `Ref.call`."""
        if self.down is not None:
            raise ActorDown(self.path, self.down)
        future = self.system.backend.future()
        caller = _current.get()
        if caller is None:
            self.put(message, future)
            return await self._answer(future, message, timeout)
        if self is caller or self.calling:
            self._refuse_deadlock(caller)
        self.put(message, future)
        caller.calling.append(self)
        try:
            return await self._answer(future, message, timeout)
        finally:
            caller.calling.remove(self)

    async def _answer(self, future: Future[Any], message: Any, timeout: float | None) -> Any:
        if timeout is None:
            return await future

        def expire() -> None:
            if not future.done():
                future.set_exception(CallTimeout(self.path, message, timeout))

        timer = self.system.timers.after(timeout, expire)
        try:
            return await future
        finally:
            timer.cancel()

    def _refuse_deadlock(self, caller: Cell) -> None:
        """Raises `Deadlock` if this cell waits, over any number of calls, for `caller`."""
        trails: list[tuple[Cell, ...]] = [(caller, self)]
        while trails:
            trail = trails.pop()
            if trail[-1] is caller:
                raise Deadlock(tuple(cell.path for cell in trail))
            trails.extend((*trail, callee) for callee in trail[-1].calling)

    def _bounce(self, message: Any, reply: Future[Any] | None, reason: Reason) -> None:
        if reply is not None:
            if not reply.done():
                reply.set_exception(ActorDown(self.path, reason))
        elif isinstance(message, Message) and not isinstance(message, Exit | Down):
            self.system.publish(
                DeadLetter(at=self.system.now(), actor=self.path, message=message, reason=reason)
            )

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # -- ending ----------------------------------------------------------------------------

    def request_stop(self, reason: Reason) -> None:
        """Asks the actor to end after the message at hand, before any queued one."""
        if self.signal is None:
            self.signal = reason
            self._wake()

    def fail(self, reason: Reason) -> None:
        """A part of the actor has failed: it ends with `reason` as if the handler at hand had
        raised it, `stopping` included.
        """
        if self.ack.done():
            self.request_stop(reason)
            self.work.cancel()
        else:
            self.die(reason)

    def die(self, reason: Reason) -> None:
        """Ends the actor at once, in the midst of a handler if need be; no `stopping` (R4, R6)."""
        if self.down is None and self.doomed is None:
            self.doomed = reason
            self.scope.cancel()

    def kill(self) -> None:
        """`die` with the reason that says so."""
        self.die(Killed())

    def exit_signal(self, sender: Cell, reason: Reason) -> None:
        """An actor that this one is linked to has died (R4)."""
        if self.down is not None:
            return
        if sender is self.parent:
            self.request_stop(reason)
        elif self.trap_exit:
            self.deliver(Exit(sender.system.ref(sender.slot), sender.serial, reason))
        elif reason != Normal():
            self.die(reason)

    def deliver(self, message: Exit | Down) -> None:
        """Queues a message of the kernel's own."""
        if self.down is None:
            self.put(message, None)

    async def stopped(self) -> Reason:
        """Waits for the end of this life."""
        if self.down is None:
            future: Future[Reason] = self.system.backend.future()
            self.waiting.append(future)
            return await future
        return self.down

    async def shut_down(self, reason: Reason, grace: ShutdownTime) -> Reason:
        """Stops the cell as a supervisor does and waits until it is gone (R94).

        Cancelling leaves the request standing, without the kill at the deadline.
        """
        if grace == BRUTAL_KILL:
            self.kill()
        elif self.down is None:
            self.told = True
            self.request_stop(reason)
            if grace != INFINITY:
                with anyio.move_on_after(float(grace)):
                    await self.stopped()
                self.kill()
        return await self.stopped()

    def awaited_by(self, waiter: Cell | None) -> AbstractContextManager[None]:
        """Marks, for the search for deadlocks, that `waiter` handles nothing until we answer."""
        return nullcontext() if waiter is None else _waiting_for(waiter, self)

    # -- living ----------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole life. Returns normally, unless what ended it belongs to the host's own code
        (a native cancellation, `KeyboardInterrupt`), which passes on after the cell is finished.
        """
        _current.set(self)
        reason: Reason = Killed()
        try:
            if self.doomed is None:
                with self.scope:
                    reason = await self._live()
            if self.doomed is not None and not isinstance(reason, Crashed):
                reason = self.doomed
            await self._release(reason)
        except BaseException as error:
            reason = reason_of(error)
            raise
        finally:
            self._finish(reason)

    async def _live(self) -> Reason:
        try:
            self.actor = actor = self.spec.factory(*self.spec.args, **self.spec.kwargs)
            actor.ctx = Context(self)
            if await actor.start() is IGNORE:
                self.ignored = True
                return Normal()
        except Exception as error:
            return reason_of(error)
        self._acknowledge()
        reason: Reason = Normal()
        try:
            with self.work:
                await actor.started()
                await self._loop(actor)
            if self.signal is not None:
                reason = self.signal
        except Exception as error:
            reason = reason_of(error)
        return await self._terminate(actor, reason)

    def _acknowledge(self) -> None:
        self.system.publish(
            Started(
                at=self.system.now(),
                actor=self.path,
                kind=self.slot.kind.__name__,
                incarnation=self.incarnation,
            )
        )
        self.ack.set_result(None)

    async def _loop(self, actor: Actor) -> None:
        """Handles messages until a signal to stop; a handler's exception passes through."""
        handled = 0
        while self.signal is None:
            if not self.inbox:
                self.waiter = self.system.backend.future()
                await self.waiter
                handled = 0
            self.batch, self.inbox = iter(self.inbox), []
            for message, reply in self.batch:
                self.message, self.reply = message, reply
                await self._handle(actor, message, reply)
                self.message = self.reply = None
                if self.signal is not None:
                    break
                handled += 1
                if handled >= FAIRNESS:
                    handled = 0
                    await anyio.lowlevel.checkpoint()

    async def _handle(self, actor: Actor, message: Any, reply: Future[Any] | None) -> None:
        handler = self.slot.handlers.get(type(message))
        if handler is None:
            self._unheard(message)
            return
        try:
            result = handler.function(actor, message)
            if handler.awaits:
                result = await result
        except Refused as error:
            if reply is None:
                raise
            if not reply.done():
                reply.set_exception(error)
            return
        if reply is None or isinstance(result, Reply):
            return
        if self.signal is not None:
            self.farewell = (reply, result)
        elif not reply.done():
            reply.set_result(result)

    def _unheard(self, message: Any) -> None:
        self.system.publish(Undelivered(at=self.system.now(), actor=self.path, message=message))

    async def _terminate(self, actor: Actor, reason: Reason) -> Reason:
        """Runs `stopping`; an exception in it is the new reason (R31, R32).

        Its deadline is the spec's, kept here when the actor ends by itself, and by the kill in
        `shut_down` when it was told to: a deadline of our own would let an actor that ignores the
        request pass for one that obeyed (R96).
        """
        grace = self.spec.shutdown
        limit = math.inf if self.told or isinstance(grace, str) else grace
        try:
            with anyio.move_on_after(limit):
                await actor.stopping(reason)
        except Exception as error:
            return reason_of(error)
        return reason

    async def _release(self, reason: Reason) -> None:
        """Ends everything that the cell owns: its tasks, then its children, newest first."""
        if not self.tasks and not self.children:
            return
        with anyio.CancelScope(shield=True):
            for task in tuple(self.tasks):
                task.cancel()
            for task in tuple(self.tasks):
                await task.done
            for child in reversed(tuple(self.children)):
                await child.shut_down(reason, child.spec.shutdown)

    def _finish(self, reason: Reason) -> None:
        """Tells the world. Law 3: one go, in this order."""
        self.down = reason
        self.system.forget(self)
        if self.parent is not None:
            self.parent.children.pop(self, None)
        self._settle_callers(reason)
        self._publish_end(reason)
        if self.ack.done():
            for linked in tuple(self.links):
                self.unlink(linked)
                linked.exit_signal(self, reason)
        else:
            self.links.clear()
            self.ack.set_result(IGNORE if self.ignored else reason)
        for monitor in tuple(self.watchers):
            monitor.fire(reason)
        for monitor in tuple(self.watching):
            monitor.cancel()
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(reason)
        self.waiting.clear()

    def _settle_callers(self, reason: Reason) -> None:
        if self.farewell is not None and not self.farewell[0].done():
            self.farewell[0].set_result(self.farewell[1])
        for future in self.deferred:
            if not future.done():
                future.set_exception(ActorDown(self.path, reason))
        self.deferred.clear()
        if self.reply is not None:
            self._bounce(self.message, self.reply, reason)
        for message, reply in (*self.batch, *self.inbox):
            self._bounce(message, reply, reason)
        self.inbox = []

    def _publish_end(self, reason: Reason) -> None:
        system, kind = self.system, self.slot.kind.__name__
        at = system.now()
        event: Event
        if self.ack.done():
            event = Exited(
                at=at,
                actor=self.path,
                kind=kind,
                incarnation=self.incarnation,
                reason=reason,
                message=self.message,
            )
        elif self.ignored:
            event = StartIgnored(at=at, actor=self.path, kind=kind)
        else:
            event = StartFailed(at=at, actor=self.path, kind=kind, reason=reason)
        system.publish(event)

    # -- what `Context` offers ---------------------------------------------------------------

    def defer(self) -> Reply[Any]:
        """The handle for the reply that the current caller waits for."""
        future = self.reply
        if future is None:
            raise RuntimeError("there is no caller to answer: defer() belongs in a call's handler")
        self.deferred[future] = None

        def settle(set_it: Callable[[Any], None], value: Any) -> None:
            self.deferred.pop(future, None)
            if not future.done():
                set_it(value)

        return Reply(
            lambda value: settle(future.set_result, value),
            lambda error: settle(future.set_exception, error or NoReply(self.path)),
        )

    def link(self, other: Cell) -> None:
        """Makes each hear of the other's death (R3, R8)."""
        if other.down is not None:
            self.exit_signal(other, other.down)
        elif other is not self:
            self.links[other] = None
            other.links[self] = None

    def unlink(self, other: Cell) -> None:
        """Undoes `link`: no exit signal comes afterwards (R3)."""
        self.links.pop(other, None)
        other.links.pop(self, None)
