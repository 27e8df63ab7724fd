"""A system: the root that actors live under, the names, the timers, the events.

    class Idle(Actor):
        pass

    async with System() as system:
        idle = await system.start(Idle.spec().options(name="it"))
        assert system.whereis("it") == idle
        assert system.at("idle") == idle
        assert [node.path for node in system.tree()] == ["idle"]
    assert await idle.stopped() == Shutdown()

Leaving the block stops what was started in it, newest first, each as its spec says, and waits
until all of it is gone; also when the block is left by an exception or by cancellation. The one
task group here holds the task of every cell. Each of those is shielded, so that the host's
cancellation reaches the block alone and the tree is stopped in order; the pump and the timers end
last, for a tree needs both in order to stop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, get_args
from weakref import WeakValueDictionary

import anyio
import msgspec
from anyio.abc import TaskGroup

from actors import backend, crashes
from actors.actor import Actor
from actors.backend import Future
from actors.cell import Cell, Ignore, OwnedTask
from actors.condemned import Condemned
from actors.errors import ActorDown, NameTaken, StartFailed
from actors.events import CrashReport, Event, EventStream
from actors.introspection import Node, tree
from actors.pump import PlainCell, Pump, PumpStatistics, SpawnedCell
from actors.reasons import Crashed, NoProc, Reason, Shutdown, StartTimeout
from actors.ref import Ref, Slot, slot_of
from actors.scheduling import Scheduler, seed_of_run
from actors.spec import ChildSpec, default_id
from actors.task_cell import TaskCell
from actors.timers import Deadlines, Timers, TimerStatistics
from actors.watchdog import Watchdog

A = TypeVar("A", bound=Actor)

Plain = Literal["inline", "pump", "task"]
"""How actors run that never await: called in place when idle, by the pump alone, or in a task."""

default_plain: Final[ContextVar[Plain]] = ContextVar("actors_plain", default="inline")
"""What `System(plain=None)` means; for tests that are to hold in every way."""


class SystemStatistics(msgspec.Struct, frozen=True):
    """What `System.statistics` found.

    names
        Names that stand for a living actor.
    deadlines
        Calls with a timeout that wait for their answer.
    condemned
        Actors and tasks that were killed and are not gone yet.
    timers, pump
        What those say of themselves.
    """

    names: int
    deadlines: int
    condemned: int
    timers: TimerStatistics
    pump: PumpStatistics


class System:
    """The root of one tree of actors, in one event loop.

    plain
        How actors whose methods are all plain `def` run: "inline" (default), "pump" or "task". To
        the actors it makes no difference.
    watchdog
        After how many seconds in which the event loop stands still a `HandlerBlocked` event says
        in whose handler. Costs a thread. Default None: no watch.
    log_crashes
        Whether each `CrashReport` is also an error in the log "actors" (module `logging`). Default
        true, so that no crash goes unnoticed; false for a program that shows them itself.
    """

    backend: backend.Backend
    future: Callable[[], Future[Any]]
    timers: Timers
    deadlines: Deadlines
    condemned: Condemned
    events: EventStream
    pump: Pump
    scheduler: Scheduler | None

    def __init__(
        self,
        *,
        plain: Plain | None = None,
        watchdog: float | None = None,
        log_crashes: bool = True,
    ) -> None:
        self._plain = default_plain.get() if plain is None else plain
        if self._plain not in get_args(Plain):
            raise ValueError(f"plain must be one of {get_args(Plain)}, got: {plain!r}")
        if watchdog is not None and watchdog <= 0:
            raise ValueError(f"watchdog must be a number of seconds above 0, got: {watchdog!r}")
        self._log_crashes = log_crashes
        self._patience = watchdog
        self._watchdog: Watchdog | None = None
        self._spawned: dict[Any, ChildSpec[Any]] = {}
        self._services: list[anyio.CancelScope] = []
        self._slots: WeakValueDictionary[str, Slot] = WeakValueDictionary()
        self._names: dict[str, Cell] = {}
        self._roots: dict[Cell, None] = {}
        self.releases: list[Callable[[Cell], None]] = []
        self._tasks: TaskGroup | None = None
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<System of {', '.join(cell.path for cell in self._roots) or 'nobody'}>"

    async def __aenter__(self) -> Self:
        self.backend = backend.current()
        self.future = self.backend.future
        self.timers = Timers(self.backend)
        self.events = EventStream(self.backend)
        self.deadlines = Deadlines(self.timers)
        self.condemned = Condemned(self)
        seed = seed_of_run.get()
        self.scheduler = None if seed is None else Scheduler(seed)
        inline = self._plain == "inline" and self.scheduler is None
        self.pump = Pump(self, self.backend, inline=inline)
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._serve(self.timers.run, "timers")
        self._serve(self.pump.run, "pump")
        if self.scheduler is not None:
            self._serve(self.scheduler.run, "scheduler")
        if self._patience is not None:
            self._watchdog = Watchdog(self, self._patience)
            self._watchdog.start()
        return self

    def _serve(self, run: Callable[[], Awaitable[None]], name: str) -> None:
        assert self._tasks is not None
        scope = anyio.CancelScope(shield=True)
        self._services.append(scope)

        async def service() -> None:
            with scope:
                await run()

        self._tasks.start_soon(service, name=name)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.stop()
        self.events.release()
        if self._watchdog is not None:
            self._watchdog.stop()
        assert self._tasks is not None
        for scope in self._services:
            scope.cancel()
        self._services.clear()
        # The group is left without the block's exception, which would come out wrapped in a group
        # although nothing but the block has failed.
        await self._stack.__aexit__(None, None, None)
        self._tasks = None

    def top_cells(self) -> tuple[Cell, ...]:
        """The cells at the top, in start order: for the kernel's own use."""
        return tuple(self._roots)

    def tree(self) -> tuple[Node, ...]:
        """Every living actor, with what it is doing: see `introspection.tree` and `as_text`."""
        return tree(self)

    def statistics(self) -> SystemStatistics:
        """How much is going on, for a debugger or a gauge; counted now, in one go."""
        return SystemStatistics(
            names=len(self._names),
            deadlines=self.deadlines.waiting,
            condemned=len(self.condemned),
            timers=self.timers.statistics(),
            pump=self.pump.statistics(),
        )

    def now(self) -> float:
        """The event loop's monotonic time in seconds."""
        return self.backend.now()

    def publish(self, event: Event) -> None:
        """Puts an event on the system's stream."""
        self.events.publish(event)

    def report_crash(self, report: CrashReport) -> None:
        """Publishes and logs a report: for the kernel's own use."""
        self.events.publish(report)
        if self._log_crashes:
            crashes.log(report)

    # -- starting and stopping -----------------------------------------------------------------

    async def start(self, spec: ChildSpec[A]) -> Ref[A]:
        """Starts an actor at the top of the tree and returns its ref.

        Raises `StartFailed` when its `start` fails or says `IGNORE`; nothing is left then.
        Cancelling kills what was being started.
        """
        ref = await self.start_under(None, spec)
        if ref is None:
            raise StartFailed(spec.id, Shutdown("ignored"))
        return ref

    async def start_under(self, parent: Cell | None, spec: ChildSpec[A]) -> Ref[A] | None:
        """The same under another actor; None if the start was ignored."""
        cell = self.launch(parent, spec)
        outcome = await self.started(cell, parent)
        if isinstance(outcome, Ignore):
            return None
        if outcome is not None:
            failed = StartFailed(cell.path, outcome)
            raise failed from (outcome.error if isinstance(outcome, Crashed) else None)
        return Ref(cell.slot)

    def launch(self, parent: Cell | None, spec: ChildSpec[Any]) -> Cell:
        """Makes the cell and its task, without waiting for its start."""
        if self._tasks is None:
            raise RuntimeError("the system is not running: use `async with System() as system`")
        if not isinstance(spec, ChildSpec):
            raise TypeError(f"to start an actor takes its spec, such as Web.spec(), got: {spec!r}")
        path = spec.id if parent is None else f"{parent.path}/{spec.id}"
        held = self._slots.get(path)
        if held is not None and held.cell is not None and held.cell.down is None:
            raise NameTaken(path, path)
        slot = self._slot(path, spec)
        cell: TaskCell | PlainCell
        if self._plain != "task" and getattr(spec.factory, "__plain__", False):
            cell = PlainCell(self, slot, spec, parent)
        else:
            cell = TaskCell(self, slot, spec, parent)
        slot.cell = cell
        if spec.name is not None and not self._register(spec.name, cell):
            cell.die(Crashed(NameTaken(spec.name, self._names[spec.name].path)))
        if parent is None:
            self._roots[cell] = None
        if isinstance(cell, PlainCell):
            cell.launch()
        else:
            self._tasks.start_soon(cell.begin, name=path)
        return cell

    def spawn(
        self, parent: Cell | None, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Ref[Any]:
        """See `Context.spawn`; without a parent at the top."""
        if self._tasks is None:
            raise RuntimeError("the system is not running: use `async with System() as system`")
        if not getattr(kind, "__plain__", False):
            raise TypeError(
                f"spawn takes an actor without async methods, and {kind.__name__} has some: "
                "use start_child or start"
            )
        spec = self._spawned.get(kind)
        if spec is None:
            spec = ChildSpec(default_id(kind), kind, restart="temporary")
            self._spawned[kind] = spec
        cell = SpawnedCell(self, parent, spec)
        if parent is None:
            self._roots[cell] = None
        cell.launch_with(args, kwargs)
        if cell.down is not None:
            ignored = isinstance(cell.outcome(), Ignore)
            reason = Shutdown("ignored") if ignored else cell.down
            failed = StartFailed(cell.path, reason)
            raise failed from (reason.error if isinstance(reason, Crashed) else None)
        return self.ref(cell)

    def spawn_task(
        self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any, name: str
    ) -> None:
        """Starts a task in the system's group: for the kernel's own use."""
        assert self._tasks is not None
        self._tasks.start_soon(function, *args, name=name)

    async def started(self, cell: Cell, waiter: Cell | None) -> Reason | Ignore | None:
        """Waits until a launched cell has started: None, or `IGNORE`, or why it failed.

        Cancelling kills it and waits until it is gone.
        """
        try:
            if isinstance(cell, PlainCell):
                await self.pump.took_a_turn()
                if cell.started or cell.down is not None:
                    return cell.outcome()
                await cell.stopped()
                return cell.outcome()
            assert isinstance(cell, TaskCell)
            with cell.awaited_by(waiter):
                if cell.spec.start_timeout is None:
                    return await cell.ack
                return await self._started_in_time(cell, cell.spec.start_timeout)
        except BaseException:
            cell.put_down()
            with anyio.CancelScope(shield=True):
                await cell.stopped()
            raise

    async def _started_in_time(self, cell: TaskCell, limit: float) -> Reason | Ignore | None:
        with anyio.move_on_after(limit):
            return await cell.ack
        if cell.started:
            return None
        cell.die(StartTimeout(limit))
        return await cell.stopped()

    async def stop(self, reason: Reason | None = None) -> None:
        """Stops everything at the top of the tree, newest first, each as its spec says."""
        for cell in reversed(tuple(self._roots)):
            self.events.release()
            await cell.shut_down(reason or Shutdown(), cell.spec.shutdown)

    async def stop_actor(self, ref: Ref[Any], reason: Reason | None = None) -> Reason:
        """Stops one actor that was started at the top, and returns its exit reason (R20)."""
        cell = slot_of(ref).cell
        if cell is None or cell.down is not None:
            return await ref.stopped()
        return await cell.shut_down(reason or Shutdown(), cell.spec.shutdown)

    def kill(self, ref: Ref[Any]) -> None:
        """Kills an actor, whoever its parent is (R6)."""
        cell = slot_of(ref).cell
        if cell is not None:
            cell.kill()

    def run_owned(
        self,
        cell: Cell,
        function: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
        name: str | None,
    ) -> OwnedTask:
        """Starts a task that belongs to a cell; see `Context.run`."""
        assert self._tasks is not None
        label = name or str(getattr(function, "__name__", "task"))
        task = OwnedTask(cell, label)
        if cell.down is not None:
            raise RuntimeError(f"{cell.path} is down and can own no task")
        cell.tie().tasks[task] = None
        self._tasks.start_soon(task.begin, function, args, name=f"{cell.path}:{label}")
        return task

    # -- places and names ----------------------------------------------------------------------

    def _slot(self, path: str, spec: ChildSpec[Any]) -> Slot:
        kind: Any = spec.factory
        slot = self._slots.get(path)
        if slot is None or slot.kind is not kind:
            slot = Slot(path, kind, getattr(kind, "__handlers__", {}))
            self._slots[path] = slot
        slot.incarnation += 1
        return slot

    def ref(self, slot: Any) -> Ref[Any]:
        """A ref to a slot."""
        return Ref(slot)

    def at(self, path: str) -> Ref[Any] | None:
        """A ref to a place in the tree, if an actor lives or has lived there."""
        slot = self._slots.get(path)
        return None if slot is None else Ref(slot)

    def whereis(self, name: str) -> Ref[Any] | None:
        """The living actor that holds a name (R12)."""
        cell = self._names.get(name)
        return None if cell is None else Ref(cell.slot)

    def named(self, name: str, kind: type[A]) -> Ref[A]:
        """The living actor that holds a name, for callers that need it.

        Raises `ActorDown` if there is none, `TypeError` if it is not a `kind`.
        """
        ref = self.whereis(name)
        if ref is None:
            raise ActorDown(name, NoProc())
        if not issubclass(ref.kind, kind):
            raise TypeError(f"{name!r} is a {ref.kind.__name__}, not a {kind.__name__}")
        return ref

    def _register(self, name: str, cell: Cell) -> bool:
        return self._names.setdefault(name, cell) is cell

    def forget(self, cell: Cell) -> None:
        """Frees what a dying cell holds here; called before anybody hears of the death (R12)."""
        name = cell.spec.name
        if name is not None and self._names.get(name) is cell:
            del self._names[name]
        for release in self.releases:
            release(cell)
        self._roots.pop(cell, None)
