"""The pump, and the cells of actors without a task.

An actor whose every method is a plain `def` cannot suspend, so it needs no task: whoever has the
event loop may run its handler to the end. Two do:

    tell ──▶ mailbox ──▶ ready queue ──▶ the pump, one task for the whole system
    call ──▶ idle? ──▶ the handler runs in place, on the caller's stack
               └─ no ──▶ mailbox, as a tell, and a future

A call in place is one of the schedules that the mailbox allows anyway: the actor is idle, nothing
waits before the call, and a plain handler can neither be re-entered nor be cancelled. It costs a
fourteenth of a round trip through the event loop. After `FAIRNESS` of them the next call takes the
way through the pump, so that a caller in a loop lets others run.

Handlers of plain actors share one `contextvars` context, the pump's, wherever they run.

What tells an idle cell is its inbox: None if it is idle, alive and not controlled; a list if it is
starting, at work, queued, suspended or down.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio.lowlevel
import msgspec

from actors.backend import Backend, Future
from actors.cell import FAIRNESS, IGNORE, NOBODY, Cell, Ignore, current_cell
from actors.control import Control, Entry
from actors.errors import ActorDown, Refused
from actors.messages import Handler, Reply
from actors.reasons import Normal, Reason, reason_of
from actors.spec import BRUTAL_KILL, ChildSpec, ShutdownTime

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.system import System


class InPlace:
    """Stands for the future of a caller whose handler runs on its own stack."""

    def done(self) -> bool:
        return True


IN_PLACE: Final[Any] = InPlace()
CONTINUE: Final = object()
"""The first entry of an actor that overrides `started` (R33)."""


def _without_handler(actor: Any, message: Any) -> None:
    if message is CONTINUE:
        actor.started()
    else:
        actor._cell.unheard(message)


NO_HANDLER: Final = Handler(_without_handler, awaits=False)


class Pending:
    """What a call in place leaves when the answer is not there yet: the handler has deferred it, or
    the actor is to end first and has more to end than itself.
    """

    __slots__ = ("ending", "error", "future", "result")

    def __init__(
        self,
        future: Future[Any] | None = None,
        ending: Cell | None = None,
        result: Any = None,
        error: BaseException | None = None,
    ) -> None:
        self.future = future
        self.ending = ending
        self.result = result
        self.error = error

    async def settle(self) -> Any:
        """Waits for the answer. Cancelling abandons it."""
        if self.future is not None:
            return await self.future
        assert self.ending is not None
        reason = await self.ending.stopped()
        if self.error is not None:
            raise ActorDown(self.ending.path, reason) from self.error
        return self.result


class PumpStatistics(msgspec.Struct, frozen=True):
    """What `Pump.statistics` found.

    ready
        Plain actors that have work and wait for their turn.
    messages
        How many messages wait in their mailboxes.
    in_place
        How many calls may still run in place before the pump lets others have the event loop.
    """

    ready: int
    messages: int
    in_place: int


class Pump:
    """The task that runs the handlers of plain actors, and what of them runs right now."""

    __slots__ = (
        "backend",
        "cell",
        "context",
        "credit",
        "inline",
        "message",
        "ready",
        "reply",
        "system",
        "turns",
        "waiter",
    )

    def __init__(self, system: System, backend: Backend, *, inline: bool) -> None:
        self.system = system
        self.backend = backend
        self.inline = inline
        self.credit = FAIRNESS if inline else 0
        self.ready: deque[PlainCell] = deque()
        self.waiter: Future[None] | None = None
        self.cell: PlainCell | None = None
        self.message: Any = None
        self.reply: Future[Any] | None = None
        self.turns = 0
        self.context = contextvars.copy_context()
        self.context.run(current_cell.set, None)

    def __repr__(self) -> str:
        return f"<Pump with {len(self.ready)} actors ready>"

    def statistics(self) -> PumpStatistics:
        """What waits for the pump right now."""
        return PumpStatistics(len(self.ready), sum(cell.depth for cell in self.ready), self.credit)

    def enqueue(self, cell: PlainCell) -> None:
        """Puts a cell on the ready queue; its inbox must be a list by now."""
        self.ready.append(cell)
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def run(self) -> None:
        """Runs until cancelled. Shielded by whoever starts it, as the cells' tasks are."""
        try:
            while True:
                if not self.ready:
                    self.waiter = self.backend.future()
                    await self.waiter
                if self.system.scheduler is not None:
                    await self.system.scheduler.turn(None)
                self.context.run(self._sweep)
                await self.breathe()
        finally:
            # It may name an actor of this system, and the garbage collector does not see into it.
            self.message = None

    async def breathe(self) -> None:
        """Lets others have the event loop, and calls in place go on after that."""
        await anyio.lowlevel.checkpoint()
        self.credit = FAIRNESS if self.inline else 0

    async def took_a_turn(self) -> None:
        """To be awaited after work in place that is not a call: breathes when it is time to."""
        self.turns += 1
        if self.turns % FAIRNESS == 0:
            await self.breathe()

    def _sweep(self) -> None:
        """Handles at most `FAIRNESS` messages, or one under a scheduler."""
        ready, scheduler = self.ready, self.system.scheduler
        left = FAIRNESS
        while ready and left > 0:
            if scheduler is None:
                cell = ready.popleft()
            else:
                cell = scheduler.pick(ready)
                left = 1
            left -= cell.drain(left)

    def begin(self, cell: PlainCell) -> Any:
        """Makes this cell the running one; returns who was, for `end`.

        Only a start can run inside of a handler, by `Context.spawn`.
        """
        outer = self.cell, self.message, self.reply
        self.cell, self.message, self.reply = cell, None, None
        return outer

    def end(self, outer: Any) -> None:
        """Undoes `begin`."""
        self.cell, self.message, self.reply = outer

    def enter(self, function: Any, *args: Any) -> Any:
        """Runs a function in the pump's context, which may be entered already."""
        if self.cell is not None:
            return function(*args)
        return self.context.run(function, *args)


class PlainCell(Cell):
    """An actor without a task."""

    __slots__ = ("started", "taken")

    taken: list[Entry] | None
    """What is left of a batch that was taken out of the inbox, the next one last."""

    @property
    def calling(self) -> Mapping[object, Cell]:
        """Nobody: a plain handler cannot await."""
        return NOBODY

    @property
    def acked(self) -> bool:
        return self.started

    def handling(self) -> tuple[Any, float | None]:
        if self.system.pump.cell is self:
            message = self.system.pump.message
            return None if message is CONTINUE else message, None
        return None if self.ties is None else self.ties.message, None

    def current_reply(self) -> Future[Any] | None:
        pump = self.system.pump
        if pump.cell is not self:
            return None if self.ties is None else self.ties.reply
        if pump.reply is IN_PLACE and self.down is None:
            pump.reply = pump.backend.future()
        return pump.reply

    def unread(self) -> Iterable[Entry]:
        taken, self.taken = self.taken, None
        return (*reversed(taken or ()), *(self.inbox or ()))

    @property
    def depth(self) -> int:
        if self.inbox is None:
            return 0
        return len(self.taken or ()) + len(self.inbox) - self._is_to_continue()

    def queues(self) -> tuple[list[Entry], ...]:
        return self.taken or [], self.inbox or []

    def between_messages(self) -> bool:
        return self.system.pump.cell is not self and not self._is_to_continue()

    def _is_to_continue(self) -> bool:
        return bool(self.inbox) and self.inbox[0] is CONTINUE  # type: ignore[index]

    def take_control(self) -> None:
        if self.inbox is None:
            self.inbox = []
            assert self.control is not None
            self.control.parked = True

    # -- starting --------------------------------------------------------------------------------

    def launch(self) -> None:
        """The whole start, here and now (R14)."""
        self.launch_with(self.spec.args, self.spec.kwargs)

    def launch_with(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The same with arguments that are not the spec's."""
        self.started = False
        self.taken = None
        ties = self.ties
        if ties is not None and ties.doomed is not None:
            self.finish(ties.doomed)
            return
        if self.spec.mailbox is not None:
            self.control = Control(self.spec.mailbox)
        pump = self.system.pump
        try:
            outcome = pump.enter(self._start, pump, args, kwargs)
        except Exception as error:
            outcome = reason_of(error)
        except BaseException as error:
            self.finish(reason_of(error))
            raise
        if outcome is not None:
            if outcome is IGNORE:
                self.tie().ignored = True
                outcome = Normal()
            self._end(outcome, terminate=False)
        elif self.inbox or self.signal is not None:
            pump.enqueue(self)
        elif self.control is None:
            self.inbox = None
        else:
            self.control.parked = True

    def _start(self, pump: Pump, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outer = pump.begin(self)
        try:
            self.actor = actor = self.spec.factory(*args, **kwargs)
            actor._cell = self
            if actor.start() is IGNORE:
                return IGNORE
        finally:
            pump.end(outer)
        self.started = True
        self.announce_start()
        if type(actor).__continues__:
            assert self.inbox is not None
            self.inbox.insert(0, CONTINUE)
        return None

    def outcome(self) -> Reason | Ignore | None:
        """How the start went: None if well."""
        if self.started:
            return None
        ignored = self.ties is not None and self.ties.ignored
        return IGNORE if ignored else self.down

    # -- sending and signals ---------------------------------------------------------------------

    def put(self, message: Any, reply: Future[Any] | None) -> None:
        inbox = self.inbox
        entry: Entry = message if reply is None else (message, reply)
        if inbox is None:
            self.inbox = [entry]
            self.system.pump.enqueue(self)
        elif self.control is None:
            inbox.append(entry)
        elif self.control.admits(self, message, reply):
            inbox.append(entry)
            if not self.control.suspended:
                self.wake()

    def wake(self) -> None:
        if self.inbox is None:
            self.inbox = []
            self.system.pump.enqueue(self)
        elif self.control is not None and self.control.parked:
            self.control.parked = False
            self.system.pump.enqueue(self)

    def die(self, reason: Reason) -> None:
        ties = self.tie()
        if self.down is None and ties.doomed is None and not ties.ending:
            ties.doomed = reason
            self.signal = self.signal or reason
            self.wake()

    def fail(self, reason: Reason) -> None:
        self.request_stop(reason)

    def tell_to_stop(self, reason: Reason) -> None:
        self.request_stop(reason)
        self._end_if_idle()

    async def shut_down(self, reason: Reason, grace: ShutdownTime) -> Reason:
        if self.down is None:
            if grace == BRUTAL_KILL:
                self.put_down()
                self._end_if_idle()
            else:
                self.tell_to_stop(reason)
            if self.down is not None:
                await self.system.pump.took_a_turn()
        return await self.stopped()

    def _end_if_idle(self) -> None:
        """Saves the turn of the pump where it would find nothing else to do."""
        pump = self.system.pump
        if pump.cell is None and pump.ready and pump.ready[-1] is self and self.signal is not None:
            pump.ready.pop()
            pump.context.run(self._end, self.signal)

    # -- handling --------------------------------------------------------------------------------

    def drain(self, left: int) -> int:
        """Handles at most `left` messages and returns how many; or ends the actor."""
        inbox, pump, control = self.inbox, self.system.pump, self.control
        assert inbox is not None
        if self.down is not None or (self.ties is not None and self.ties.ending):
            return 1
        if self.signal is None and not (control is not None and control.suspended):
            if control is None and self.system.scheduler is None:
                taken = self.taken
                if taken is None and len(inbox) == 1:  # a batch of one is made for nothing
                    done = self._handle_next(pump, inbox)
                else:
                    if taken is None:
                        taken, self.inbox = inbox, []
                        taken.reverse()
                        self.taken = taken
                    done = self._handle_batch(pump, taken, min(left, len(taken)))
            else:
                if self.taken is not None:
                    inbox[:0] = reversed(self.taken)
                self.taken = taken = inbox[:1]
                del inbox[:1]
                done = self._handle_next(pump, taken)
            if not taken:
                self.taken = None
        else:
            done = 1
        self._settle_down()
        return done

    def _settle_down(self) -> None:
        """After some messages: ends, goes to the back of the queue, or is idle."""
        control = self.control
        if self.signal is not None:
            self._end(self.signal)
        elif control is not None:
            if (self.inbox or self.taken) and not control.suspended:
                self.system.pump.enqueue(self)
            else:
                control.parked = True
        elif self.inbox or self.taken:
            self.system.pump.enqueue(self)
        else:
            self.inbox = None

    def _handle_batch(self, pump: Pump, taken: list[Entry], most: int) -> int:
        """Handles up to `most` messages of an actor without a control; long for a tell's sake."""
        actor, handlers = self.actor, self.slot.handlers
        outer = pump.begin(self)
        done, kind, function = 0, None, NO_HANDLER.function
        for done in range(1, most + 1):  # noqa: B007
            entry = taken.pop()
            if type(entry) is not kind:  # a row of one kind is looked up once
                kind = type(entry)
                if kind is not tuple:
                    function = handlers.get(kind, NO_HANDLER).function
            if kind is tuple:
                self._handle(pump, handlers, *entry)
            else:
                pump.message = entry
                try:
                    function(actor, entry)
                except Exception as error:
                    self._crash(entry, None, error)
            if self.signal is not None or self.control is not None:
                break
        entry = None
        if self.control is not None:
            self.control.run_requests(actor)
        pump.end(outer)
        return done

    def _handle_next(self, pump: Pump, taken: list[Entry]) -> int:
        """Handles the next message, if there is one, as the control wants it."""
        if not taken:
            return 0
        control = self.control
        message, reply = taken.pop(), None
        if type(message) is tuple:
            message, reply = message
        outer = pump.begin(self)
        if control is None or message is CONTINUE:
            self._handle(pump, self.slot.handlers, message, reply)
            if self.control is not None:
                self.control.run_requests(self.actor)
        else:
            control.before(self, message)
            self._handle(pump, self.slot.handlers, message, reply)
            control.after(self, self.actor, message, replied=reply is not None)
        pump.end(outer)
        return 1

    def _handle(
        self, pump: Pump, handlers: dict[type, Handler], message: Any, reply: Future[Any] | None
    ) -> None:
        pump.message = message
        pump.reply = reply
        handler = handlers.get(type(message), NO_HANDLER)
        try:
            result = handler.function(self.actor, message)
            if reply is not None:
                self._answer(reply, result)
        except Refused as error:
            if reply is None:
                self._crash(message, None, error)
            elif not reply.done():
                reply.set_exception(error)
        except Exception as error:
            self._crash(message, reply, error)
        pump.reply = None

    def _answer(self, reply: Future[Any], result: Any) -> None:
        if type(result) is Reply:
            return
        if self.signal is not None and self.tie().last_reply:
            self.tie().farewell = reply, result
        elif not reply.done():
            reply.set_result(result)

    def _crash(self, message: Any, reply: Future[Any] | None, error: BaseException) -> None:
        ties = self.tie()
        ties.message = None if message is CONTINUE else message
        ties.reply = reply
        self.signal = reason_of(error)

    # -- handling in place -----------------------------------------------------------------------

    def call_in_place(self, handler: Handler, message: Any) -> Any:
        """Runs a call's handler on the caller's stack and returns its reply, or a `Pending`.

        The actor must be idle: its inbox is None.
        """
        pump = self.system.pump
        self.inbox = []
        pump.cell = self
        pump.message = message
        pump.reply = IN_PLACE
        try:
            result = pump.context.run(handler.function, self.actor, message)
        except Exception as error:
            return self._failed_in_place(pump, message, error)
        except BaseException:
            self._left_in_place(pump)
            raise
        pump.cell = None
        if (
            self.inbox
            or self.signal is not None
            or type(result) is Reply
            or self.control is not None
        ):
            return self._answered_later(pump, result)
        self.inbox = None
        return result

    def _answered_later(self, pump: Pump, result: Any) -> Any:
        future = pump.reply
        pump.reply = pump.message = None
        stopping = self.signal is not None
        pump.context.run(self._settle_down)
        if type(result) is Reply:
            assert future is not None
            return Pending(future=future)
        if stopping and self.down is None and self.tie().last_reply:
            return Pending(ending=self, result=result)
        return result

    def _failed_in_place(self, pump: Pump, message: Any, error: Exception) -> Any:
        pump.cell = pump.message = pump.reply = None
        if isinstance(error, Refused):
            pump.context.run(self._settle_down)
            raise error
        self._crash(message, None, error)
        pump.context.run(self._settle_down)
        if self.down is None:
            return Pending(ending=self, error=error)
        raise ActorDown(self.path, self.down) from error

    def _left_in_place(self, pump: Pump) -> None:
        pump.cell = pump.message = pump.reply = None
        self._settle_down()

    # -- ending ----------------------------------------------------------------------------------

    def _end(self, reason: Reason, *, terminate: bool = True) -> None:
        """The actor's last turn: `stopping`, the release of what it owns, the news."""
        ties = self.ties
        if self.down is not None or (ties is not None and ties.ending):
            return
        if self.inbox is None:
            self.inbox = []
        if ties is not None and ties.doomed is not None:
            reason = ties.doomed
        elif terminate and self.actor is not None:
            reason = self._terminate(self.actor, reason)
        ties = self.ties
        if ties is None or not (ties.tasks or ties.children):
            self.finish(reason)
            return
        ties.ending = True
        self.system.spawn_task(self._release, reason, name=f"{self.path}: end")

    def _terminate(self, actor: Actor, reason: Reason) -> Reason:
        outer = self.system.pump.begin(self)
        try:
            actor.stopping(reason)
        except Exception as error:
            return reason_of(error)
        finally:
            self.system.pump.end(outer)
        return reason

    async def _release(self, reason: Reason) -> None:
        try:
            await self.release(reason)
        finally:
            self.finish(reason)


class SpawnedCell(PlainCell):
    """A plain actor that was spawned without a spec: its own slot, with one life and no name.

    Saves the slot, its entry in the system's table, and the path until somebody asks for it.
    """

    __slots__ = ("handlers",)

    def __init__(self, system: System, parent: Cell | None, spec: ChildSpec[Any]) -> None:
        own_slot: Any = self
        super().__init__(system, own_slot, spec, parent)
        kind: Any = spec.factory
        self.handlers: dict[type, Handler] = kind.__handlers__

    @property
    def slot(self) -> Any:
        return self

    @slot.setter
    def slot(self, _slot: Any) -> None:
        """It is its own slot, and knows it."""

    @property
    def cell(self) -> Cell:
        return self

    @property
    def kind(self) -> Any:
        return self.spec.factory

    @property
    def path(self) -> str:
        own = f"{self.spec.id}-{self.serial}"
        return own if self.parent is None else f"{self.parent.path}/{own}"

    @property
    def incarnation(self) -> int:
        return 1
