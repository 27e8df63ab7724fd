"""A tree of actors under everything that may happen to it, chosen by Hypothesis.

    class Worker(Actor):
        pass

    class Web(TreeMachine):
        def tree(self) -> ChildSpec[Any]:
            specs = [Worker.spec().options(id=id) for id in ("database", "server")]
            return Supervisor.spec(specs, strategy="rest_for_one")

    TestWeb = Web.TestCase                          # for pytest to find

Its rules are the alphabet of the recordings of Erlang's supervisor: a child ends by itself for one
reason or another, or is killed; an operator starts, terminates, restarts, deletes a child; time
passes; the whole is stopped. After every step, with nothing left to run, the laws of any tree are
checked, and then `check`, which is yours. Hypothesis shrinks what fails to the fewest steps.

The laws: a place has one life at a time, each numbered one more than the last; a supervisor's list
is what lives; no restart is made beyond the intensity; after the stop nothing is left.

A rule is a plain function, and an event loop wants to run on: so the system lives in a thread of
its own, in virtual time, and stands still between two steps (`SteppedSystem`). It needs Hypothesis,
which nothing else here does.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar, overload

import anyio
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors import events
from actors.errors import ActorDown, StartFailed
from actors.introspection import Node, as_text
from actors.reasons import Abnormal, Normal, Reason, Shutdown
from actors.ref import Ref, slot_of
from actors.spec import ChildSpec
from actors.supervision import Status
from actors.supervisor import (
    ChildInfo,
    ChildRefused,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)
from actors.system import System
from actors.testing import BackendName, run, settle

T = TypeVar("T")

REASONS: Final[dict[str, Reason]] = {
    "normal": Normal(),
    "shutdown": Shutdown(),
    "shutdown_term": Shutdown("term"),
    "boom": Abnormal("boom"),
}
"""Why a child ends by itself, in the words of the recordings; "kill" is besides these."""


class SteppedSystem:
    """A system that is driven from plain code, one step at a time.

    Between two steps its event loop stands still, and so does its virtual time. Each step ends when
    nothing can run any more. Use it as a context manager: leaving stops the system.

    backend, seed
        As `actors.testing.run`'s.
    """

    def __init__(self, backend: BackendName = "asyncio", seed: int | None = None) -> None:
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._backend = backend
        self._thread = threading.Thread(
            target=copy_context().run,
            args=(self._live, backend, seed),
            name="stepped system",
            daemon=True,
        )
        self.system: System
        """For finding refs between steps; all else is for steps."""

    def __repr__(self) -> str:
        return f"<SteppedSystem on {self._backend}>"

    def __enter__(self) -> Self:
        self._thread.start()
        self._answer()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._work.put(None)
        self._thread.join()
        self._answer()

    @overload
    def step(self, work: Callable[[System], Awaitable[T]]) -> T: ...
    @overload
    def step(self, work: Callable[[System], T]) -> T: ...
    def step(self, work: Any) -> Any:
        """Runs `work(system)`, plain or async, and all that follows from it.

        Returns or raises its outcome.
        """
        self._work.put(work)
        return self._answer()

    def _answer(self) -> Any:
        value, error = self._answers.get()
        if error is not None:
            raise error
        return value

    def _live(self, backend: BackendName, seed: int | None) -> None:
        try:
            run(self._serve, backend=backend, seed=seed)
        except BaseException as error:
            self._answers.put((None, error))
        else:
            self._answers.put((None, None))

    async def _serve(self) -> None:
        async with System(log_crashes=False) as self.system:
            self._answers.put((None, None))
            while True:
                # Blocks the loop, and is meant to: nothing happens until the next step.
                work = self._work.get()
                if work is None:
                    return
                value, error = None, None
                try:
                    value = work(self.system)
                    if inspect.isawaitable(value):
                        value = await value
                except Exception as raised:
                    error = raised
                await settle()
                self._answers.put((value, error))


class Lives:
    """Checks, event by event, that a place has one life at a time, and no restart is too many."""

    def __init__(self) -> None:
        self.living: dict[str, int] = {}
        self.faults: list[str] = []

    def note(self, event: events.Event) -> None:
        """Takes one event in."""
        match event:
            case events.Started(actor=path, incarnation=life):
                if path in self.living:
                    self.faults.append(f"{path} began life {life} within {self.living[path]}")
                self.living[path] = life
            case events.Exited(actor=path, incarnation=life):
                if self.living.pop(path, None) != life:
                    self.faults.append(f"{path} ended life {life}, which it did not live")
            case events.Restarting(supervisor=path, count=count, intensity=intensity):
                if count > intensity:
                    self.faults.append(f"{path} made restart {count} of at most {intensity}")


class TreeMachine(RuleBasedStateMachine):
    """Derive from it, say which `tree`, and run its `TestCase`.

    backend, seed
        As `actors.testing.run`'s. Default "asyncio", and None.
    pauses
        The seconds that time may pass by at a time; none of them, and it stands still.
    """

    backend: ClassVar[BackendName] = "asyncio"
    seed: ClassVar[int | None] = None
    pauses: ClassVar[Sequence[float]] = (0.1, 1.0, 10.0)

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []
        """What has been done so far, in the form of the recordings."""
        self.lives = Lives()
        self.deleted: dict[str, dict[str, ChildSpec[Any]]] = {}
        """The specs that were deleted, by the path of their supervisor."""
        self.root: Ref[Any] | None = None
        self.stepped = SteppedSystem(self.backend, self.seed)
        self.stepped.__enter__()

    # -- yours -----------------------------------------------------------------------------------

    def tree(self) -> ChildSpec[Any]:
        """The tree to try, its root a supervisor."""
        raise NotImplementedError

    async def check(self, system: System) -> None:
        """Called after every step; raises what it finds wrong. Default nothing."""

    # -- the alphabet ----------------------------------------------------------------------------

    @initialize()
    def boot(self) -> None:
        """Starts the tree. A root that cannot start is a tree in which nothing can happen."""

        async def boot(system: System) -> None:
            system.events.listen(self.lives.note)
            try:
                self.root = await system.start(self.tree())
            except StartFailed:
                self.root = None

        self.stepped.step(boot)

    @rule(n=st.integers(0, 999), reason=st.sampled_from([*REASONS, "kill"]))
    def exit(self, n: int, reason: str) -> None:
        """A living worker ends by itself, or is killed."""
        workers = [node for node in self._nodes() if not self._is_supervisor(node.path)]
        if not workers:
            return
        path = workers[n % len(workers)].path

        async def exit(system: System) -> None:
            ref = system.at(path)
            cell = None if ref is None else slot_of(ref).cell
            if cell is not None and reason == "kill":
                cell.kill()
            elif cell is not None:
                cell.fail(REASONS[reason])

        self._do(exit, {"do": "exit", "child": _id(path), "reason": reason})

    @rule(n=st.integers(0, 999), child=st.integers(0, 999))
    def terminate_child(self, n: int, child: int) -> None:
        """An operator stops a child."""
        self._command("terminate_child", TerminateChild, n, child)

    @rule(n=st.integers(0, 999), child=st.integers(0, 999))
    def restart_child(self, n: int, child: int) -> None:
        """An operator starts a stopped child."""
        self._command("restart_child", RestartChild, n, child)

    @rule(n=st.integers(0, 999), child=st.integers(0, 999))
    def delete_child(self, n: int, child: int) -> None:
        """An operator takes a stopped child out."""
        self._command("delete_child", DeleteChild, n, child)

    @rule(n=st.integers(0, 999), child=st.integers(0, 999))
    def start_child(self, n: int, child: int) -> None:
        """An operator adds a child: one that was deleted, or one that is there already."""
        supervisor = self._supervisor(n)
        if supervisor is None:
            return
        specs = dict(self.deleted.get(supervisor.path, {}))
        for info in self._children(supervisor):
            specs[info.id] = self.stepped.step(
                lambda _, id=info.id: supervisor.call(GetChildSpec(id))  # type: ignore[misc]
            )
        if specs:
            id, spec = sorted(specs.items())[child % len(specs)]
            step = {"do": "start_child", "sup": _id(supervisor.path), "spec": id}
            self._do(lambda _: supervisor.call(StartChild(spec)), step)

    @rule(n=st.integers(0, 999))
    def count_children(self, n: int) -> None:
        """Somebody asks for the numbers, which must be those of the list."""
        supervisor = self._supervisor(n)
        if supervisor is None:
            return
        counts = self._do(
            lambda _: supervisor.call(CountChildren()),
            {"do": "count_children", "sup": _id(supervisor.path)},
        )
        if counts is None:
            return
        children = self._children(supervisor)
        assert counts.specs == len(children)
        assert counts.active == sum(info.status is Status.RUNNING for info in children)
        assert counts.supervisors == sum(info.type == "supervisor" for info in children)

    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """Time passes."""
        if not self.pauses:
            return
        seconds = data.draw(st.sampled_from(self.pauses))

        async def advance(system: System) -> None:
            await anyio.sleep(seconds)

        self._do(advance, {"do": "advance", "ms": round(seconds * 1000)})

    # -- the laws --------------------------------------------------------------------------------

    @invariant()
    def laws_hold(self) -> None:
        """The laws of any tree, and those of this one."""
        assert not self.lives.faults, self.lives.faults[0]
        lists = self.stepped.step(self._lists)
        nodes = [node for node in self._nodes() if node.state != "starting"]
        assert sorted(node.path for node in nodes) == sorted(self.lives.living)
        for node in nodes:
            if self._is_supervisor(node.path):
                listed = [info for info in lists[node.path] if info.status is Status.RUNNING]
                listed_paths = [f"{node.path}/{info.id}" for info in listed]
                living = [child.path for child in node.children]
                assert sorted(listed_paths) == sorted(living), as_text((node,))
        self.stepped.step(self.check)

    def teardown(self) -> None:
        """Stops the tree, after which nothing is left."""
        try:
            self._do(lambda system: system.stop(), {"do": "stop"})
            assert not self.lives.faults, self.lives.faults[0]
            assert self.lives.living == {}
            assert self._nodes() == []
        finally:
            self.stepped.__exit__(None, None, None)

    # -- how ---------------------------------------------------------------------------------------

    def _do(self, work: Callable[[System], Awaitable[T]], step: dict[str, Any]) -> T | None:
        """One step; a refusal or a death in it is an outcome like any other."""
        self.steps.append(step)
        try:
            return self.stepped.step(work)
        except (ChildRefused, ActorDown) as refused:
            note(f"{step}: {refused}")
            return None

    def _command(self, word: str, command: Any, n: int, child: int) -> None:
        supervisor = self._supervisor(n)
        if supervisor is None:
            return
        ids = [info.id for info in self._children(supervisor)]
        if not ids:
            return
        id = ids[child % len(ids)]
        spec = self.stepped.step(lambda _: supervisor.call(GetChildSpec(id)))
        self._do(
            lambda _: supervisor.call(command(id)),
            {"do": word, "sup": _id(supervisor.path), "child": id},
        )
        if supervisor.alive and id not in {info.id for info in self._children(supervisor)}:
            self.deleted.setdefault(supervisor.path, {})[id] = spec

    async def _lists(self, system: System) -> dict[str, tuple[ChildInfo, ...]]:
        """What every supervisor says of its children, once none of them has more to do."""
        while True:
            before = system.tree()
            found: dict[str, tuple[ChildInfo, ...]] = {}
            for node in _all_of(before):
                ref = system.at(node.path)
                if ref is not None and issubclass(ref.kind, Supervisor):
                    with suppress(ActorDown):
                        found[node.path] = await ref.call(WhichChildren())
            await settle()
            if system.tree() == before:
                return found

    def _nodes(self) -> list[Node]:
        """All who live, parents first."""
        return _all_of(self.stepped.step(System.tree))

    def _is_supervisor(self, path: str) -> bool:
        ref = self.stepped.system.at(path)
        return ref is not None and issubclass(ref.kind, Supervisor)

    def _supervisor(self, n: int) -> Ref[Supervisor] | None:
        paths = [node.path for node in self._nodes() if self._is_supervisor(node.path)]
        return self.stepped.system.at(paths[n % len(paths)]) if paths else None

    def _children(self, supervisor: Ref[Supervisor]) -> tuple[ChildInfo, ...]:
        return self.stepped.step(lambda _: supervisor.call(WhichChildren()))


def _all_of(tree: Sequence[Node]) -> list[Node]:
    found = list(tree)
    for node in found:
        found.extend(node.children)
    return found


def _id(path: str) -> str:
    return path.rpartition("/")[2]
