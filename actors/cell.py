"""The cell: one life of one actor, from its start to its last word.

    launched ──start()──▶ acked ──started()──▶ messages ──▶ stopping() ──▶ finished
         │                                        │            ▲
         └── start fails ────────────────────────▶│── kill ────┼─────▶ (no stopping)

Laws:

1. An exception never leaves a cell: it becomes the exit reason.
2. A cell is finished only when everything that it owns is gone: its tasks, and every actor that
   it started. So whoever replaces it never meets the remains of its predecessor. (Here we are
   stricter than Erlang, where the children of a killed supervisor die some time later.)
3. `_finish` runs in one go, without a suspension, in an order that others rely on: the name is
   free before anybody hears of the death (R12, R17), waiting callers before watchers.
4. Signals (stop, kill, suspend) pass user messages by; deaths (`Exit`, `Down`) queue with them
   (R10).

This file is what both kinds of cell share. `TaskCell` (task_cell.py) gives the actor a task of its
own; `PlainCell` (pump.py) needs none, because no method of its actor ever awaits. What only a few
actors need (links, monitors, children, tasks) is in `Ties`, made when the first of it comes: an
idle plain actor is to cost less than an asyncio task's name.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import anyio

from actors import crashes, deadlock
from actors.backend import Future
from actors.control import CLOSED, Control, Entry, parts
from actors.errors import ActorDown, Deadlock, NoReply
from actors.events import (
    CrashReport,
    DeadLetter,
    Event,
    Exited,
    Started,
    StartFailed,
    StartIgnored,
    Undelivered,
)
from actors.messages import Message, Reply
from actors.reasons import Killed, NoProc, Normal, Reason, reason_of
from actors.spec import BRUTAL_KILL, INFINITY, ChildSpec, ShutdownTime
from actors.watching import Down, Exit, Monitor

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.ref import Slot
    from actors.system import System

FAIRNESS: Final = 256
"""Messages that an actor may handle before others get the event loop."""

_serial = itertools.count(1)
current_cell: ContextVar[Cell | None] = ContextVar("actors_current", default=None)
"""The cell whose handler runs; None in owned tasks, in plain handlers and outside of actors."""

"""A message in a mailbox, and the future of the one who waits for the reply."""


class Ignore:
    """What an actor's `start` returns to say that it need not run (R15, R53)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "IGNORE"


IGNORE: Final = Ignore()

WITHDRAWN: Final = object()
"""What stands in a mailbox in the place of a message that was taken back."""


class OwnedTask:
    """A background task of a cell: ends with it; its crash is the cell's."""

    __slots__ = ("_cell", "done", "life", "name", "scope")

    def __init__(self, cell: Cell, name: str) -> None:
        self._cell = cell
        self.name = name
        self.scope = anyio.CancelScope(shield=True)
        self.done: Future[None] = cell.system.backend.future()
        self.life: Any = None

    def __repr__(self) -> str:
        return f"<OwnedTask {self.name} of {self._cell.path}>"

    def cancel(self) -> None:
        """Cancels the task, which is not a crash."""
        self.scope.cancel()
        if not self.done.done():
            self._cell.system.condemned.add(self)

    def described(self) -> tuple[str, str | None, Any]:
        return self._cell.path, self.name, None

    def insist(self) -> None:
        """It is cancelled as much as can be."""

    def begin(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> Coroutine[Any, Any, None]:
        """What the task runs, kept to be looked at."""
        self.life = life = self._run(function, args)
        return life

    async def _run(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        current_cell.set(None)
        try:
            with self.scope:
                await function(*args)
        except Exception as error:
            self._fail(reason_of(error))
        except anyio.get_cancelled_exc_class():
            if self._cell.system.backend.name == "trio":
                raise
            self._fail(Killed())
        finally:
            self._cell.system.condemned.discard(self)
            self._cell.tie().tasks.pop(self, None)
            if not self.done.done():
                self.done.set_result(None)

    def _fail(self, reason: Reason) -> None:
        self._cell.tie().failed_task = self.name, reason
        self._cell.fail(reason)


class Ties:
    """What binds a cell to others, and what it says at its end."""

    __slots__ = (
        "cause",
        "children",
        "deferred",
        "doomed",
        "ending",
        "expected",
        "failed_task",
        "farewell",
        "ignored",
        "last_reply",
        "ledger",
        "links",
        "message",
        "orphaned",
        "reply",
        "tasks",
        "told",
        "trap_exit",
        "waiting",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.children: dict[Cell, None] = {}
        self.tasks: dict[OwnedTask, None] = {}
        self.links: dict[Cell, None] = {}
        self.watchers: dict[Monitor, None] = {}
        self.watching: dict[Monitor, None] = {}
        self.deferred: dict[Future[Any], None] = {}
        self.waiting: list[Future[Reason]] = []
        self.ledger: dict[int, CrashReport] | None = None  # a supervisor's: see crashes.py
        self.cause: tuple[str, Reason] | None = None  # whose death ends it
        self.failed_task: tuple[str, Reason] | None = None
        self.trap_exit = False
        self.orphaned = False  # unlinked from its parent
        self.doomed: Reason | None = None  # killed, with this reason
        self.expected = False  # to be killed, by its owner
        self.told = False  # to stop, by whoever keeps the deadline
        self.ending = False  # only the release of what it owns is left
        self.ignored = False  # its start said IGNORE
        self.last_reply = False  # the handler at hand has asked to stop: its reply goes out last
        self.farewell: tuple[Future[Any], Any] | None = None
        self.message: Any = None  # what a plain actor was handling when it crashed
        self.reply: Future[Any] | None = None


@contextmanager
def waiting_for(waiter: Cell, awaited: Iterable[Cell]) -> Iterator[None]:
    """Marks, for the search for deadlocks, that `waiter` handles nothing until these answer."""
    marks: dict[object, Cell] = {object(): cell for cell in awaited}
    waiter.calling.update(marks)
    try:
        yield
    finally:
        for mark in marks:
            del waiter.calling[mark]


class Cell:
    """The kernel's side of a living actor. Everything here runs in the event loop's thread."""

    __slots__ = (
        "_serial",
        "actor",
        "control",
        "down",
        "inbox",
        "parent",
        "signal",
        "slot",
        "spec",
        "system",
        "ties",
        "waiter",
    )

    waiter: Future[None] | None
    """What its task awaits while it has nothing to do; None for an actor without a task."""

    calling: Any
    """Whom the actor waits for in the handler at hand, by the futures that it awaits: cells, and
    `deadlock.AnyOf`.
    """

    def __init__(
        self, system: System, slot: Slot, spec: ChildSpec[Any], parent: Cell | None
    ) -> None:
        self.system = system
        self.slot = slot
        self.spec = spec
        self.parent = parent
        self.actor: Actor | None = None
        self.inbox: list[Entry] | None = []
        self.signal: Reason | None = None
        self.down: Reason | None = None
        self.ties: Ties | None = None
        self.control: Control | None = None
        self.waiter = None
        self._serial = 0
        if parent is not None:
            parent.tie().children[self] = None

    def __repr__(self) -> str:
        state = "alive" if self.down is None else f"down: {self.down}"
        return f"<{type(self).__name__} {self.path} #{self.slot.incarnation} {state}>"

    @property
    def path(self) -> str:
        """Where it is in the tree, as "shop/services/web"."""
        return self.slot.path

    @property
    def incarnation(self) -> int:
        """Which life of its slot it is, 1 for the first."""
        return self.slot.incarnation

    @property
    def serial(self) -> int:
        """Tells this life from every other one in the process."""
        if not self._serial:
            self._serial = next(_serial)
        return self._serial

    def tie(self) -> Ties:
        """The ties, made if there are none yet."""
        ties = self.ties
        if ties is None:
            ties = self.ties = Ties()
        return ties

    # -- what differs between the two kinds ------------------------------------------------------

    @property
    def acked(self) -> bool:
        """Whether `start` has returned in good order."""
        raise NotImplementedError

    def handling(self) -> tuple[Any, float | None]:
        """The message at hand, None if there is none, and since when (None if unknown)."""
        raise NotImplementedError

    def current_reply(self) -> Future[Any] | None:
        """The future of the caller whose call is being handled."""
        raise NotImplementedError

    def unread(self) -> Iterable[Entry]:
        """Takes out the messages that nobody has handled, the oldest first."""
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """How many messages wait."""
        raise NotImplementedError

    def queues(self) -> tuple[list[Entry], ...]:
        """The lists in which messages wait, for changes in place."""
        raise NotImplementedError

    def put(self, message: Any, reply: Future[Any] | None) -> None:
        """Queues a message; a dead letter if nobody will ever read it."""
        raise NotImplementedError

    def wake(self) -> None:
        """Lets the actor look at its mailbox and its signals."""
        raise NotImplementedError

    def die(self, reason: Reason) -> None:
        """Ends the actor at once, in the midst of a handler if need be; no `stopping` (R4, R6)."""
        raise NotImplementedError

    def fail(self, reason: Reason) -> None:
        """A part of the actor has failed: it ends with `reason` as if the handler at hand had
        raised it, `stopping` included.
        """
        raise NotImplementedError

    def between_messages(self) -> bool:
        """Whether no handler is in the midst of its work, so that the state is whole (R39)."""
        raise NotImplementedError

    def take_control(self) -> None:
        """A `Control` has been put in: it counts from the next message on."""
        raise NotImplementedError

    # -- sending ---------------------------------------------------------------------------------

    def refuse_deadlock(self, caller: Cell) -> None:
        """Raises `Deadlock` if this cell waits, over any number of calls, for `caller`."""
        trail = deadlock.trail_to(self, caller)
        if trail:
            raise Deadlock((caller.path, *(cell.path for cell in trail)))

    def bounce(self, message: Any, reply: Future[Any] | None, reason: Reason) -> None:
        """Gives a message up: its caller hears why, a tell becomes a dead letter."""
        if reply is not None:
            if not reply.done():
                reply.set_exception(ActorDown(self.path, reason))
        elif isinstance(message, Message) and not isinstance(message, Exit | Down):
            self.system.publish(
                DeadLetter(at=self.system.now(), actor=self.path, message=message, reason=reason)
            )

    def withdraw(self, monitor: Monitor) -> None:
        """Takes back a monitor's `Down` that waits in the mailbox (R9)."""
        for queue in self.queues():
            for n, message in enumerate(queue):
                if isinstance(message, Down) and message.monitor is monitor:
                    queue[n] = WITHDRAWN

    def unheard(self, message: Any) -> None:
        """A kernel message has come that the actor has no handler for (R36)."""
        if message is WITHDRAWN:
            return
        self.system.publish(Undelivered(at=self.system.now(), actor=self.path, message=message))

    # -- ending ----------------------------------------------------------------------------------

    def request_stop(self, reason: Reason) -> None:
        """Asks the actor to end after the message at hand, before any queued one."""
        if self.signal is None and self.down is None:
            self.signal = reason
            self.wake()

    def stop_after_reply(self, reason: Reason) -> None:
        """`request_stop` by the handler at hand, whose reply goes out last (R29)."""
        if self.signal is None:
            self.tie().last_reply = True
            self.request_stop(reason)

    def kill(self) -> None:
        """`die` with the reason that says so."""
        self.die(Killed())

    def put_down(self) -> None:
        """`kill` by its owner, to whom that end is no news: no crash is reported."""
        self.tie().expected = True
        self.kill()

    def exit_signal(self, sender: Cell, reason: Reason) -> None:
        """An actor that this one is linked to has died (R4)."""
        if self.down is not None or (self.ties is not None and self.ties.ending):
            return
        if not reason.orderly:
            self.tie().cause = sender.path, reason
        if sender is self.parent:
            self.request_stop(reason)
        elif self.ties is not None and self.ties.trap_exit:
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
            self.tie().waiting.append(future)
            return await future
        return self.down

    def tell_to_stop(self, reason: Reason) -> None:
        """`request_stop` by one who keeps the deadline himself."""
        self.tie().told = True
        self.request_stop(reason)

    async def shut_down(self, reason: Reason, grace: ShutdownTime) -> Reason:
        """Stops the cell as a supervisor does and waits until it is gone (R94).

        Cancelling leaves the request standing, without the kill at the deadline.
        """
        if grace == BRUTAL_KILL:
            self.put_down()
        elif self.down is None:
            self.tell_to_stop(reason)
            if grace != INFINITY:
                with anyio.move_on_after(float(grace)):
                    await self.stopped()
                self.kill()
        return await self.stopped()

    def awaited_by(self, waiter: Cell | None) -> AbstractContextManager[None]:
        """`waiting_for`, if it is an actor that waits."""
        return nullcontext() if waiter is None else waiting_for(waiter, (self,))

    async def release(self, reason: Reason) -> None:
        """Ends everything that the cell owns: its tasks, then its children, newest first."""
        ties = self.ties
        if ties is None or not (ties.tasks or ties.children):
            return
        with anyio.CancelScope(shield=True):
            for task in tuple(ties.tasks):
                task.cancel()
            for task in tuple(ties.tasks):
                await task.done
            for child in reversed(tuple(ties.children)):
                if not reason.orderly:
                    child.tie().cause = self.path, reason
                await child.shut_down(reason, child.spec.shutdown)

    def announce_start(self) -> None:
        """Publishes `Started`."""
        system = self.system
        if system.events.heard:
            slot = self.slot
            system.publish(
                Started(
                    at=system.now(),
                    actor=slot.path,
                    kind=slot.kind.__name__,
                    incarnation=slot.incarnation,
                )
            )

    def finish(self, reason: Reason) -> None:
        """Tells the world. Law 3: one go, in this order."""
        acked = self.acked
        crashes.abandon(self)
        self.down = reason
        self.system.forget(self)
        parent, ties = self.parent, self.ties
        if parent is not None and parent.ties is not None:
            parent.ties.children.pop(self, None)
        self._settle_callers(reason)
        if self.system.events.heard:
            self.system.publish(self._end_event(reason, acked))
        if not reason.orderly:
            crashes.note(self, reason, starting=not acked)
        if acked and parent is not None and not (ties is not None and ties.orphaned):
            parent.exit_signal(self, reason)
        if ties is not None:
            self._cut(ties, reason, acked)
        if self.control is None:
            self.control = CLOSED
        else:
            self.control.close(self.path, reason)

    def _cut(self, ties: Ties, reason: Reason, acked: bool) -> None:
        for linked in tuple(ties.links):
            self.unlink(linked)
            if acked:
                linked.exit_signal(self, reason)
        for monitor in tuple(ties.watchers):
            monitor.fire(reason)
        for monitor in tuple(ties.watching):
            monitor.cancel()
        for waiter in ties.waiting:
            if not waiter.done():
                waiter.set_result(reason)
        ties.waiting.clear()

    def _settle_callers(self, reason: Reason) -> None:
        ties = self.ties
        if ties is not None:
            if ties.farewell is not None and not ties.farewell[0].done():
                ties.farewell[0].set_result(ties.farewell[1])
            for future in ties.deferred:
                if not future.done():
                    future.set_exception(ActorDown(self.path, reason))
            ties.deferred.clear()
        reply = self.current_reply()
        if reply is not None:
            self.bounce(None, reply, reason)
        for entry in self.unread():
            self.bounce(*parts(entry), reason)
        self.inbox = []

    def _end_event(self, reason: Reason, acked: bool) -> Event:
        slot = self.slot
        at, path, kind = self.system.now(), slot.path, slot.kind.__name__
        if acked:
            return Exited(
                at=at,
                actor=path,
                kind=kind,
                incarnation=slot.incarnation,
                reason=reason,
                message=self.handling()[0],
            )
        if self.ties is not None and self.ties.ignored:
            return StartIgnored(at=at, actor=path, kind=kind)
        return StartFailed(at=at, actor=path, kind=kind, reason=reason)

    # -- what `Context` offers -------------------------------------------------------------------

    def defer(self) -> Reply[Any]:
        """The handle for the reply that the current caller waits for."""
        future = self.current_reply()
        if future is None:
            raise RuntimeError("there is no caller to answer: defer() belongs in a call's handler")
        deferred = self.tie().deferred
        deferred[future] = None

        def settle(set_it: Callable[[Any], None], value: Any) -> None:
            deferred.pop(future, None)
            if not future.done():
                set_it(value)

        def fail(error: BaseException | None) -> None:
            if error is None and self._is_ending():
                return  # dropped as a handler or a task is unwound: `finish` says why (R28)
            settle(future.set_exception, error or NoReply(self.path))

        return Reply(lambda value: settle(future.set_result, value), fail)

    def _is_ending(self) -> bool:
        ties = self.ties
        doomed = ties is not None and (ties.doomed is not None or ties.ending)
        return self.down is None and (doomed or self.signal is not None)

    def link(self, other: Cell) -> None:
        """Makes each hear of the other's death (R3, R8)."""
        if other.down is not None:
            self.exit_signal(other, NoProc())
        elif other is self.parent:
            self.tie().orphaned = False
        elif other.parent is self:
            other.tie().orphaned = False
        elif other is not self:
            self.tie().links[other] = None
            other.tie().links[self] = None

    def unlink(self, other: Cell) -> None:
        """Undoes `link`: no exit signal comes afterwards (R3)."""
        if other is self.parent:
            self.tie().orphaned = True
        elif other.parent is self:
            other.tie().orphaned = True
        if self.ties is not None:
            self.ties.links.pop(other, None)
        if other.ties is not None:
            other.ties.links.pop(self, None)


NOBODY: Final[Mapping[object, Cell]] = {}
"""Whom a cell waits for that never waits."""
