"""Supervisors: actors that start, watch, restart and stop other actors.

    class Store(Actor): ...

    class Web(Actor):
        def __init__(self, port: int) -> None:
            self.port = port

    async with System() as system:
        top = await system.start(
            Supervisor.spec(
                [Store.spec(), Web.spec(port=80).options(restart="transient")],
                strategy="rest_for_one",
                intensity=3,
                period=5.0,
            ).options(id="app")
        )
        await top.call(StartChild(Web.spec(port=81).options(id="spare")))
        await top.call(TerminateChild("web"))
        children = await top.call(WhichChildren())
        assert [(child.id, child.status.value) for child in children] == [
            ("store", "running"), ("web", "undefined"), ("spare", "running")
        ]

All decisions are `supervision.step`'s; this file carries them out, one after the other, in the
supervisor's own task. `DynamicSupervisor` starts empty and holds any number of children that know
nothing of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import anyio
import msgspec

from actors import crashes, dialogue, events, supervision
from actors.actor import Actor
from actors.cell import Cell, Ignore, waiting_for
from actors.errors import InvalidSpec, Refused, rejected
from actors.leaving import StopOrder, leave
from actors.messages import Call, Cast, on
from actors.reasons import Crashed, Reason, Shutdown, Stop
from actors.ref import Ref, Slot
from actors.spec import BRUTAL_KILL, INFINITY, ChildSpec, ChildType, ShutdownTime
from actors.strict import trial
from actors.supervision import AutoShutdown, Flags, Status, Strategy
from actors.watching import Exit

if TYPE_CHECKING:
    from actors.system import System

A = TypeVar("A", bound=Actor)


class ChildRefused(Refused):
    """A supervisor did not do what a command asked; nothing was changed.

    `code` is OTP's word: "already_started", "already_present", "running", "restarting",
    "not_found", "start_failed" (then `reason` says why), "max_children", or an `InvalidSpec`'s.
    """

    def __init__(self, code: str, id: str, reason: Reason | None = None) -> None:
        self.code = code
        self.id = id
        self.reason = reason
        super().__init__(f"child {id!r}: {code}" + (f": {reason}" if reason is not None else ""))


class ChildInfo(msgspec.Struct, frozen=True):
    """One child as `WhichChildren` lists it (R56).

    For a child with a backoff: while it waits for its restart, `due` is the system's time of that;
    `attempts` is how many restarts there have been since it was last healthy, that one included.
    """

    id: str
    ref: Ref[Any] | None
    status: Status
    type: ChildType
    due: float | None = None
    attempts: int = 0


class Counts(msgspec.Struct, frozen=True):
    """How many child specs, living children, and specs of either type there are (R57)."""

    specs: int
    active: int
    supervisors: int
    workers: int


class StartChild(Call["Supervisor", Ref[Any] | None], frozen=True):
    """Adds a child as the last one and starts it; None if its start said `IGNORE` (R58, R59).

    Raises `InvalidSpec` when it is made with anything but a spec.
    """

    spec: ChildSpec[Any]

    def __post_init__(self) -> None:
        supervision.check_is_spec(self.spec)


class TerminateChild(Call["Supervisor", None], frozen=True):
    """Stops a child and keeps its spec, unless it is temporary (R60, R61)."""

    id: str


class RestartChild(Call["Supervisor", Ref[Any] | None], frozen=True):
    """Starts a stopped child again; not counted as a restart (R62)."""

    id: str


class DeleteChild(Call["Supervisor", None], frozen=True):
    """Forgets a stopped child (R63)."""

    id: str


class WhichChildren(Call["Supervisor", tuple[ChildInfo, ...]], frozen=True):
    """All children in start order."""


class CountChildren(Call["Supervisor", Counts], frozen=True):
    """How many there are of what."""


class GetChildSpec(Call["Supervisor", ChildSpec[Any]], frozen=True):
    """A child's spec with every default filled in (R46)."""

    id: str


class Changes(msgspec.Struct, frozen=True):
    """What a `Reconfigure` found different, by id.

    added
        New ones, not started: `RestartChild` does that.
    changed
        Whose specs are different now; those that run go on as they were until they are restarted.
    vanished
        Those that are not in the new list. They go on: `TerminateChild`, then `DeleteChild`.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    vanished: tuple[str, ...]


class Reconfigure(Call["Supervisor", Changes], frozen=True):
    """Gives a running supervisor another list of children, and other flags unless None (R104).

    Nobody is started or stopped for it, and known children keep running under their new specs. A
    supervisor that is restarted starts from its own spec, the old one unless its parent has been
    given another.
    Raises `ConfigRefused`, and changes nothing, if these are not valid (R105).
    """

    children: tuple[ChildSpec[Any], ...]
    flags: Flags | None = None

    def __post_init__(self) -> None:
        if self.flags is not None and not isinstance(self.flags, Flags):
            raise rejected("invalid_flags", "flags", self.flags, "Flags(...) or None")


class ConfigRefused(Refused):
    """A supervisor did not take new specs or flags; `code` is the `InvalidSpec`'s."""

    def __init__(self, error: InvalidSpec) -> None:
        self.code = error.code
        super().__init__(str(error))


class RetryDue(Cast["Supervisor"], frozen=True):
    """A supervisor's note to itself: a restart is to be made, or to be tried again (R71)."""

    retry: dialogue.Retry


class Supervisor(Actor):
    """A supervisor with a fixed list of children, in Erlang's terms.

    children
        Specs in start order; they are stopped in reverse (R51, R93).
    strategy, intensity, period, auto_shutdown, keep_stopped, limit_is_failure
        See `supervision.Flags`.
    seed
        Makes the jitter of its children's backoffs the same in every run. Default None.

    `Supervisor.spec` raises `InvalidSpec` for children and flags that are wrong: before anything
    runs. In a `ChildSpec` that is made otherwise they are a failed start.
    It ends with `Shutdown()` when its limit is reached (`RestartLimit` if that is a failure) or a
    significant child has ended, and with its parent's reason when that stops it.
    """

    __type__: ClassVar[ChildType] = "supervisor"
    __shutdown__: ClassVar[ShutdownTime] = INFINITY

    @trial
    def __init__(
        self,
        children: Sequence[ChildSpec[Any]] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        keep_stopped: bool = False,
        limit_is_failure: bool = False,
        seed: int | None = None,
    ) -> None:
        flags = Flags(
            strategy,
            intensity,
            period,
            auto_shutdown,
            keep_stopped=keep_stopped,
            limit_is_failure=limit_is_failure,
        )
        self._init(flags, children, seed)

    def _init(self, flags: Flags, children: Sequence[ChildSpec[Any]], seed: int | None) -> None:
        if seed is not None and not isinstance(seed, int):
            raise rejected("invalid_seed", "seed", seed, "a whole number or None")
        self.state = supervision.new(flags, children, Random(seed).random)
        self._cells: dict[str, Cell] = {}
        self._slots: dict[str, Slot] = {}
        self._left: dict[str, Reason] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.state.children) or 'nobody'}>"

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> Ignore | None:
        """Starts the children in order; ends with the first failure, the others stopped (R54)."""
        self.ctx.trap_exit = True
        self.ctx.cell.tie().ledger = {}
        self.state.path = self.ctx.path
        await self._drive(dialogue.Boot())
        return None

    async def stopping(self, reason: Reason) -> None:
        """Stops the children, the newest first, each awaited (R93)."""
        with suppress(Stop):
            await self._drive(dialogue.Terminate(reason))

    async def stop_order(self, ids: tuple[str, ...]) -> StopOrder | None:
        """For a subclass: who has to have ended before each of these is told to.

        Asked whenever several running children are to be stopped in a row: at the end, or with the
        group that a strategy restarts. `ids` are in reverse start order. Whoever waits for nobody
        is told at once, the others when their turn has come, each with the time of its spec. None
        (default): one after the other, as in Erlang (R93).
        """
        return None

    @on(Exit)
    async def _child_exit(self, msg: Exit) -> None:
        id = msg.ref.path.rpartition("/")[2]
        cell = self._cells.get(id)
        if cell is not None and cell.serial == msg.serial:
            del self._cells[id]
        await self._drive(dialogue.Exited(id, msg.serial, msg.reason))

    @on(RetryDue)
    async def _retry(self, msg: RetryDue) -> None:
        await self._drive(msg.retry)

    # -- commands ----------------------------------------------------------------------------

    @on(StartChild)
    async def _start_child(self, msg: StartChild) -> Ref[Any] | None:
        try:
            supervision.check(self.state.flags, msg.spec)
        except InvalidSpec as error:
            raise ChildRefused(error.code, msg.spec.id) from error
        return await self._command(dialogue.StartChild(msg.spec))

    @on(TerminateChild)
    async def _terminate_child(self, msg: TerminateChild) -> None:
        await self._command(dialogue.TerminateChild(msg.id))

    @on(RestartChild)
    async def _restart_child(self, msg: RestartChild) -> Ref[Any] | None:
        return await self._command(dialogue.RestartChild(msg.id))

    @on(DeleteChild)
    async def _delete_child(self, msg: DeleteChild) -> None:
        await self._command(dialogue.DeleteChild(msg.id))

    @on(Reconfigure)
    async def _reconfigure(self, msg: Reconfigure) -> Changes:
        flags = self.state.flags if msg.flags is None else msg.flags
        old = {id: child.spec for id, child in self.state.children.items()}
        try:
            _check_change(self.state.flags, flags, msg.children)
            await self._drive(dialogue.Change(flags, msg.children))
        except InvalidSpec as error:
            raise ConfigRefused(error) from error
        fresh = {spec.id: spec for spec in msg.children}
        return Changes(
            added=tuple(id for id in fresh if id not in old),
            changed=tuple(id for id, spec in fresh.items() if id in old and old[id] != spec),
            vanished=tuple(id for id in old if id not in fresh),
        )

    @on(WhichChildren)
    def _which_children(self, _msg: WhichChildren) -> tuple[ChildInfo, ...]:
        return tuple(
            ChildInfo(id, self._ref(id), child.status, child.spec.type, child.due, child.attempts)
            for id, child in self.state.children.items()
        )

    @on(CountChildren)
    def _count_children(self, _msg: CountChildren) -> Counts:
        children = self.state.children.values()
        supervisors = sum(child.spec.type == "supervisor" for child in children)
        active = sum(child.status is Status.RUNNING for child in children)
        return Counts(len(children), active, supervisors, len(children) - supervisors)

    @on(GetChildSpec)
    def _get_child_spec(self, msg: GetChildSpec) -> ChildSpec[Any]:
        child = self.state.children.get(msg.id)
        if child is None:
            raise ChildRefused("not_found", msg.id)
        return child.spec

    async def _command(self, command: Any) -> Ref[Any] | None:
        outcome = await self._drive(command)
        if isinstance(outcome, dialogue.Refuse):
            error = ChildRefused(outcome.code, outcome.id, outcome.reason)
            raise error from (outcome.reason.error if isinstance(outcome.reason, Crashed) else None)
        assert outcome is not None
        return None if outcome.id is None else self._ref(outcome.id)

    def _ref(self, id: str) -> Ref[Any] | None:
        cell = self._cells.get(id)
        return None if cell is None or cell.down is not None else Ref(cell.slot)

    # -- the shell ---------------------------------------------------------------------------

    async def _drive(self, event: Any) -> dialogue.Reply | dialogue.Refuse | None:
        """Steps with an event, and with the outcome of each blocking effect, until none is left."""
        answer: dialogue.Reply | dialogue.Refuse | None = None
        effects = self._step(event)
        while effects:
            following: list[dialogue.Effect] = []
            for effect in effects:
                match effect:
                    case dialogue.Start(id):
                        following = self._step(await self._start(id))
                    case dialogue.Stop(id):
                        following = self._step(await self._stop(id))
                    case dialogue.StopAll(ids):
                        following = self._step(await self._stop_all(ids))
                    case dialogue.Reply() | dialogue.Refuse():
                        answer = effect
                    case dialogue.QueueRetry(retry, delay):
                        self._queue(RetryDue(retry), delay)
                    case dialogue.Exit(reason):
                        raise Stop(reason)
                    case events.CrashReport():
                        self.ctx.system.report_crash(effect)
                    case events.Event():
                        self.ctx.system.publish(effect)
            effects = following
        return answer

    def _step(self, event: Any) -> list[dialogue.Effect]:
        effects = supervision.step(self.state, event, self.ctx.now)
        ledger = self.ctx.cell.tie().ledger
        if ledger:
            reports = crashes.decided(ledger, self.state, event, effects, self.ctx.now)
            # Once what the decision is made of has been said, and before it is carried out.
            said = [n for n, effect in enumerate(effects, 1) if isinstance(effect, events.Event)]
            at = said[-1] if said else 0
            effects[at:at] = reports
        return effects

    def _queue(self, note: RetryDue, delay: float) -> None:
        if delay > 0:
            self.ctx.send_after(delay, note)
        else:
            self.ctx.ref.tell(note)

    async def _start(self, id: str) -> Any:
        system = self.ctx.system
        me = self.ctx.cell
        cell = system.launch(me, self.state.children[id].spec)
        self._keep(id, cell.slot)
        outcome = await system.started(cell, me)
        if outcome is None:
            self._cells[id] = cell
            return dialogue.Started(id, cell.serial)
        if isinstance(outcome, Ignore):
            return dialogue.Ignored(id)
        return dialogue.StartFailed(id, outcome)

    def _keep(self, id: str, place: Slot) -> None:
        """Holds on to a place while its child is down and is to come back: the system forgets one
        that nobody refers to, and how many lives it has seen."""
        children = self.state.children
        if children[id].spec.restart == "temporary":
            return
        self._slots[id] = place
        if len(self._slots) > 2 * len(children) + 8:  # some of them were deleted
            self._slots = {id: place for id, place in self._slots.items() if id in children}

    async def _stop(self, id: str) -> dialogue.Stopped:
        self.ctx.system.events.release()
        if type(self).stop_order is not Supervisor.stop_order and id not in self._left:
            await self._stop_in_order(id)
        if id in self._left:
            return dialogue.Stopped(id, self._left.pop(id))
        cell = self._cells.pop(id)
        with cell.awaited_by(self.ctx.cell):
            reason = await cell.shut_down(Shutdown(), self.state.children[id].spec.shutdown)
        return dialogue.Stopped(id, reason)

    async def _stop_in_order(self, id: str) -> None:
        """Stops all those who are next, ahead of the steps that ask for it: they find it done."""
        ids = (id, *supervision.stopped_next(self.state))
        order = await self.stop_order(ids) if len(ids) > 1 else None
        if order is None:
            return
        cells = {id: self._cells.pop(id) for id in ids}
        times = {id: self.state.children[id].spec.shutdown for id in ids}
        with waiting_for(self.ctx.cell, cells.values()):
            await leave(self.ctx.system, cells, times, order)
        self._left = {id: await cell.stopped() for id, cell in cells.items()}

    async def _stop_all(self, ids: tuple[str, ...]) -> dialogue.AllStopped:
        """Stops many side by side, under one timer for all that have as much time (R98).

        A task and a timer for each would cost more than all the rest of a hundred thousand ends.
        """
        self.ctx.system.events.release()
        cells = {id: self._cells.pop(id) for id in ids}
        by_time: dict[ShutdownTime, list[Cell]] = {}
        for id, cell in cells.items():
            by_time.setdefault(self.state.children[id].spec.shutdown, []).append(cell)
        with waiting_for(self.ctx.cell, cells.values()):
            async with anyio.create_task_group() as group:
                for grace, leaving in by_time.items():
                    group.start_soon(_shut_down_all, self.ctx.system, leaving, grace)
        return dialogue.AllStopped(
            tuple([(id, await cell.stopped()) for id, cell in cells.items()])
        )


async def _shut_down_all(system: System, cells: Sequence[Cell], grace: ShutdownTime) -> None:
    """`Cell.shut_down` for many: all are told first, and one deadline is for all of them."""
    if grace != BRUTAL_KILL:
        for cell in cells:
            cell.tell_to_stop(Shutdown())
            await system.pump.took_a_turn()
        with anyio.move_on_after(math.inf if grace == INFINITY else float(grace)):
            await _all_gone(cells)
    for cell in cells:
        if cell.down is None:
            cell.put_down() if grace == BRUTAL_KILL else cell.kill()
    await _all_gone(cells)


async def _all_gone(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if cell.down is None:
            await cell.stopped()


def _check_change(old: Flags, new: Flags, children: Sequence[ChildSpec[Any]]) -> None:
    if old.dynamic != new.dynamic:
        raise InvalidSpec("invalid_dynamic", "a supervisor cannot become dynamic, nor cease to be")
    if new.dynamic and children:
        raise InvalidSpec("bad_start_spec", "a dynamic supervisor has no list of children (R50)")


class DynamicSupervisor(Supervisor):
    """A supervisor that starts empty and is given its children one by one (R100–R103).

    Its children are independent (one_for_one), a child that is not to be restarted is forgotten
    at once, and at the end all are stopped side by side, each within its own `shutdown`.

    intensity, period, limit_is_failure, seed
        As a supervisor's.
    max_children
        How many it holds at most; `StartChild` beyond that is refused with "max_children".
        Default without limit.
    """

    @trial
    def __init__(
        self,
        *,
        intensity: int = 1,
        period: float = 5.0,
        max_children: int | None = None,
        limit_is_failure: bool = False,
        seed: int | None = None,
    ) -> None:
        flags = Flags(
            intensity=intensity,
            period=period,
            dynamic=True,
            max_children=max_children,
            limit_is_failure=limit_is_failure,
        )
        self._init(flags, (), seed)
