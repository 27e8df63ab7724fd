"""The portable cases of Erlang's supervisor_SUITE, under its names: start, stop, administration.

Restarts and automatic shutdown are in `test_supervisor_suite_restarts.py`.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest

from actors import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    ActorDown,
    ChildRefused,
    ChildSpec,
    CountChildren,
    Counts,
    Crashed,
    DeleteChild,
    DynamicSupervisor,
    FailedToStart,
    GetChildSpec,
    Ignore,
    InvalidSpec,
    Killed,
    NameTaken,
    Normal,
    Ref,
    RestartChild,
    Shutdown,
    StartChild,
    StartFailed,
    Supervisor,
    System,
    TerminateChild,
    WhichChildren,
)
from actors.actor import Actor
from actors.testing import settle
from tests.actors.supervised import (
    BOOM,
    NO,
    Child,
    Die,
    Log,
    Script,
    Unlink,
    child,
    die,
    kill,
    ref_of,
    status,
    top_of,
)

# -- starting --------------------------------------------------------------------------------------


async def test_sup_start_normal() -> None:
    async with System() as system:
        log = Log(system)
        top = await system.start(top_of())
        assert await system.stop_actor(top) == Shutdown()
        assert log.read() == ["started top", "exited top: shutdown"]


class Needless(Supervisor):
    """A supervisor that need not run."""

    async def start(self) -> Ignore:
        return IGNORE


async def test_sup_start_ignore_init() -> None:
    async with System() as system:
        log = Log(system)
        top = await system.start(top_of(Needless.spec([child("a")])))
        assert log.read() == ["ignored top/needless", "started top"]
        assert await status(top) == {"needless": "undefined"}


async def test_sup_start_ignore_child() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a", Script("ignore"))))
        await top.call(StartChild(child("b")))
        assert await status(top) == {"a": "undefined", "b": "running"}
        assert await top.call(CountChildren()) == Counts(2, 1, 0, 2)


async def test_sup_start_ignore_temporary_child() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a", Script("ignore"), restart="temporary")))
        assert await status(top) == {}


async def test_sup_start_ignore_temporary_child_start_child() -> None:
    async with System() as system:
        top = await system.start(top_of())
        spec = child("a", Script("ignore"), restart="temporary")
        assert await top.call(StartChild(spec)) is None
        assert await status(top) == {}


@pytest.mark.parametrize("restart", ["temporary", "permanent"])
async def test_sup_start_ignore_child_start_child_simple(restart: Any) -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        spec = child("a", Script("ignore"), restart=restart)
        assert await top.call(StartChild(spec)) is None
        assert await top.call(CountChildren()) == Counts(0, 0, 0, 0)
        assert await system.stop_actor(top) == Shutdown()


async def test_sup_start_fail() -> None:
    async with System() as system:
        log = Log(system)
        # `Supervisor.spec` would have refused it.
        twins: ChildSpec[Any] = ChildSpec("top", Supervisor, ([child("a"), child("a")],))
        with pytest.raises(StartFailed) as caught:
            await system.start(twins)
        assert isinstance(caught.value.reason, Crashed)
        assert isinstance(caught.value.__cause__, InvalidSpec)
        assert str(caught.value) == (
            "top failed to start: InvalidSpec: two children have the id 'a'"
        )
        assert log.read() == [
            "start failed top: InvalidSpec: two children have the id 'a'",
        ]


async def test_sup_start_child_returns_error() -> None:
    async with System() as system:
        top = await system.start(top_of())
        with pytest.raises(ChildRefused) as caught:
            await top.call(StartChild(child("a", Script(NO))))
        assert (caught.value.code, caught.value.reason) == ("start_failed", NO)
        assert str(caught.value) == "child 'a': start_failed: no"
        assert await status(top) == {}


class Broken(Actor):
    async def start(self) -> None:
        raise KeyError("nothing here")


async def test_sup_start_child_that_raises_keeps_its_traceback() -> None:
    async with System() as system:
        top = await system.start(top_of())
        with pytest.raises(ChildRefused) as caught:
            await top.call(StartChild(Broken.spec()))
        assert isinstance(caught.value.__cause__, KeyError)
        assert isinstance(caught.value.reason, Crashed)
        assert 'raise KeyError("nothing here")' in caught.value.reason.traceback


async def test_sup_start_restart_child_returns_error() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a", Script("ok", NO))))
        await top.call(TerminateChild("a"))
        with pytest.raises(ChildRefused, match="start_failed: no"):
            await top.call(RestartChild("a"))
        assert await status(top) == {"a": "undefined"}


async def test_sup_start_child_returns_error_simple() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        with pytest.raises(ChildRefused, match="start_failed: no"):
            await top.call(StartChild(child("a", Script(NO))))
        assert await top.call(CountChildren()) == Counts(0, 0, 0, 0)


async def test_sup_start_map() -> None:
    async with System() as system:
        top = await system.start(top_of(Child.spec(), Supervisor.spec()))
        worker = await top.call(GetChildSpec("child"))
        assert (worker.restart, worker.shutdown, worker.type) == ("permanent", 5.0, "worker")
        inner = await top.call(GetChildSpec("supervisor"))
        assert (inner.restart, inner.shutdown, inner.type) == ("permanent", INFINITY, "supervisor")
        with pytest.raises(ChildRefused, match="child 'x': not_found"):
            await top.call(GetChildSpec("x"))


async def test_sup_start_map_simple() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        spec = child("a", shutdown=3, restart="transient")
        await top.call(StartChild(spec))
        assert await top.call(GetChildSpec("a")) == spec


async def test_sup_start_map_faulty_specs() -> None:
    async with System() as system:
        top = await system.start(top_of())
        with pytest.raises(ChildRefused) as caught:
            await top.call(StartChild(child("a", restart="transient", significant=True)))
        assert caught.value.code == "bad_combination"
        assert await status(top) == {}


async def test_already_started_outside_supervisor() -> None:
    async with System() as system:
        await system.start(child("stranger", name="the one"))
        top = await system.start(top_of())
        with pytest.raises(ChildRefused) as caught:
            await top.call(StartChild(child("a", name="the one")))
        assert isinstance(caught.value.__cause__, NameTaken)
        assert str(caught.value.__cause__) == "the name 'the one' is taken by stranger"
        assert await status(top) == {}


async def test_faulty_application_shutdown() -> None:
    async with System() as system:
        deep = Supervisor.spec([child("a"), child("b", Script(NO))]).options(id="deep")
        with pytest.raises(StartFailed) as caught:
            await system.start(top_of(child("c"), Supervisor.spec([deep]).options(id="mid")))
        assert caught.value.reason == Shutdown(
            FailedToStart("mid", Shutdown(FailedToStart("deep", Shutdown(FailedToStart("b", NO)))))
        )
        assert str(caught.value).endswith(
            "shutdown (mid failed to start: shutdown (deep failed to start: "
            "shutdown (b failed to start: no)))"
        )


# -- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["worker", "supervisor"])
async def test_sup_stop_infinity(type: Any) -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a", Script(stop_after=86400), shutdown=INFINITY, type=type))
        )
        log = Log(system)
        began = system.now()
        await system.stop_actor(top)
        assert system.now() - began == pytest.approx(86400)
        assert log.read() == ["exited top/a: shutdown", "exited top: shutdown"]


async def test_sup_stop_timeout() -> None:
    async with System() as system:
        top = await system.start(
            top_of(
                child("quick", Script(stop_after=0.9), shutdown=1),
                child("slow", Script(stop_after=None), shutdown=1),
            )
        )
        log = Log(system)
        began = system.now()
        assert await system.stop_actor(top) == Shutdown()
        assert system.now() - began == pytest.approx(1.9)
        assert log.read() == [
            "exited top/slow: killed",
            "stop failed top/slow: killed",
            "exited top/quick: shutdown",
            "exited top: shutdown",
        ]


async def test_sup_stop_timeout_dynamic() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for n in range(10):
            await top.call(StartChild(child(f"c{n}", Script(stop_after=None), shutdown=1)))
        await top.call(StartChild(child("quick")))
        log = Log(system)
        began = system.now()
        await system.stop_actor(top)
        assert system.now() - began == pytest.approx(1)
        lines = log.read()
        assert lines[0] == "exited top/quick: shutdown"
        assert sorted(lines[1:11]) == [f"exited top/c{n}: killed" for n in range(10)]
        assert sorted(lines[11:21]) == [f"stop failed top/c{n}: killed" for n in range(10)]
        assert lines[21:] == ["exited top: shutdown"]


async def test_sup_stop_brutal_kill() -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a", Script(stop_after=None), shutdown=BRUTAL_KILL), child("b"))
        )
        log = Log(system)
        await system.stop_actor(top)
        assert log.read() == [
            "exited top/b: shutdown",
            "exited top/a: killed",
            "exited top: shutdown",
        ]


async def test_sup_stop_brutal_kill_dynamic() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for n in range(10):
            await top.call(StartChild(child(f"c{n}", shutdown=BRUTAL_KILL)))
        log = Log(system)
        await system.stop_actor(top)
        lines = log.read()
        assert sorted(lines[:10]) == [f"exited top/c{n}: killed" for n in range(10)]
        assert lines[10:] == ["exited top: shutdown"]


async def test_sup_stop_race() -> None:
    """Children that end by themselves while they wait for their turn to be stopped."""
    reasons = [Normal(), Shutdown(), Shutdown("term"), BOOM]
    async with System() as system:
        specs = [
            child(f"{restart}{n}", restart=restart)
            for restart in ("permanent", "transient", "temporary")
            for n in range(4)
        ]
        top = await system.start(top_of(*specs, child("slow", Script(stop_after=1.0))))
        refs = {spec.id: await ref_of(top, spec.id) for spec in specs}
        log = Log(system)
        async with anyio.create_task_group() as group:
            group.start_soon(system.stop_actor, top)
            await settle()
            for n, ref in enumerate(refs.values()):
                ref.tell(Die(reasons[n % 4]))
        lines = [line for line in log.read() if not line.startswith("stop failed")]
        assert sorted(lines[:12]) == sorted(
            f"exited top/{id}: {reasons[n % 4]}" for n, id in enumerate(refs)
        )
        assert lines[12:] == ["exited top/slow: shutdown", "exited top: shutdown"]


async def test_sup_stop_non_shutdown_exit_dynamic() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for n, reason in enumerate([Normal(), Shutdown("term"), BOOM]):
            for restart in ("permanent", "transient"):
                spec = child(f"{restart}{n}", Script(stop_reason=reason), restart=restart)
                await top.call(StartChild(spec))
        log = Log(system)
        assert await system.stop_actor(top) == Shutdown()
        assert sorted(line for line in log.read() if line.startswith("stop failed")) == [
            "stop failed top/permanent0: normal",
            "stop failed top/permanent1: shutdown (term)",
            "stop failed top/permanent2: boom",
            "stop failed top/transient2: boom",
        ]


async def test_child_unlink() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a")))
        (await ref_of(top, "a")).tell(Unlink(top))
        await settle()
        await top.call(TerminateChild("a"))
        assert await status(top) == {"a": "undefined"}


async def test_order_of_children() -> None:
    async with System() as system:
        log = Log(system)
        top = await system.start(
            top_of(*(child(id) for id in "abcde"), strategy="rest_for_one", intensity=5)
        )
        assert log.read() == [*(f"started top/{id}" for id in "abcde"), "started top"]
        await kill(system, top, "c")
        assert log.read() == [
            "exited top/c: killed",
            "exited top/e: shutdown",
            "exited top/d: shutdown",
            "started top/c",
            "started top/d",
            "started top/e",
        ]
        await system.stop_actor(top)
        assert log.read() == [
            *(f"exited top/{id}: shutdown" for id in "edcba"),
            "exited top: shutdown",
        ]


# -- administration --------------------------------------------------------------------------------


async def refusal(top: Ref[Any], command: Any) -> str:
    """The code with which a command is refused."""
    with pytest.raises(ChildRefused) as caught:
        await top.call(command)
    return caught.value.code


async def test_child_adm() -> None:
    async with System() as system:
        top = await system.start(top_of())
        spec = child("a")
        ref = await top.call(StartChild(spec))
        assert ref == system.at("top/a")
        assert await status(top) == {"a": "running"}
        assert await refusal(top, StartChild(spec)) == "already_started"
        assert await refusal(top, RestartChild("a")) == "running"
        assert await refusal(top, DeleteChild("a")) == "running"
        assert await refusal(top, TerminateChild("x")) == "not_found"
        assert await refusal(top, RestartChild("x")) == "not_found"
        assert await refusal(top, DeleteChild("x")) == "not_found"
        await top.call(TerminateChild("a"))
        await top.call(TerminateChild("a"))
        assert await status(top) == {"a": "undefined"}
        assert await refusal(top, StartChild(spec)) == "already_present"
        assert await top.call(RestartChild("a")) == ref
        await top.call(TerminateChild("a"))
        await top.call(DeleteChild("a"))
        assert await status(top) == {}
        assert await refusal(top, RestartChild("a")) == "not_found"
        await system.stop_actor(top)
        with pytest.raises(ActorDown) as caught:
            await top.call(StartChild(spec))
        assert caught.value.reason == Shutdown()


async def test_child_adm_simple() -> None:
    """Our dynamic children have ids, so that they are administered like any others (R64)."""
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        assert await top.call(WhichChildren()) == ()
        await top.call(StartChild(child("a")))
        assert await refusal(top, StartChild(child("a"))) == "already_started"
        await top.call(TerminateChild("a"))
        assert await refusal(top, TerminateChild("a")) == "not_found"
        assert await refusal(top, RestartChild("a")) == "not_found"
        await top.call(StartChild(child("a")))
        assert await status(top) == {"a": "running"}


async def test_count_children() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec(intensity=1000))
        for n in range(1000):
            await top.call(StartChild(child(f"c{n}", restart="temporary")))
        assert await top.call(CountChildren()) == Counts(1000, 1000, 0, 1000)
        for info in await top.call(WhichChildren()):
            assert info.ref is not None
            system.kill(info.ref)
        await settle()
        assert await top.call(CountChildren()) == Counts(0, 0, 0, 0)


async def test_count_children_supervisor() -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a"), Supervisor.spec().options(id="s"), Supervisor.spec())
        )
        assert await top.call(CountChildren()) == Counts(3, 3, 2, 1)
        await top.call(TerminateChild("s"))
        assert await top.call(CountChildren()) == Counts(3, 2, 2, 1)


async def test_count_restarting_children() -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a", Script("ok", *[NO] * 1000)), child("b"), intensity=1000)
        )
        a = await ref_of(top, "a")
        a.tell(Die())
        await a.stopped()
        while (await status(top))["a"] != "restarting":
            await anyio.lowlevel.checkpoint()
        assert await top.call(CountChildren()) == Counts(2, 1, 0, 2)
        await top.call(TerminateChild("a"))
        assert await status(top) == {"a": "undefined", "b": "running"}


async def test_which_children() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a"), child("b", type="supervisor")))
        a, b = await top.call(WhichChildren())
        assert (a.id, a.ref, a.type) == ("a", system.at("top/a"), "worker")
        assert (b.id, b.ref, b.type) == ("b", system.at("top/b"), "supervisor")
        await top.call(TerminateChild("a"))
        assert [info.ref for info in await top.call(WhichChildren())] == [None, b.ref]


async def test_do_not_save_child_specs_for_temporary_children() -> None:
    async with System() as system:
        top = await system.start(top_of())
        for restart, code in (
            ("temporary", None),
            ("transient", "already_present"),
            ("permanent", "already_started"),
        ):
            spec: ChildSpec[Any] = child(restart).options(restart=restart)  # type: ignore[arg-type]
            await top.call(StartChild(spec))
            await die(top, restart, Normal())
            if code is None:
                assert await top.call(StartChild(spec)) is not None
            else:
                assert await refusal(top, StartChild(spec)) == code


class Luggage:
    """An argument of which we want to know whether anybody still holds it."""


class Traveller(Actor):
    def __init__(self, luggage: Luggage) -> None: ...


async def test_do_not_save_start_parameters_for_temporary_children() -> None:
    """And simple_one_for_one_corruption: nothing of a temporary child outlives it."""
    async with System() as system:
        kinds: list[ChildSpec[Any]] = [Supervisor.spec(), DynamicSupervisor.spec()]
        for kind in kinds:
            top: Ref[Any] = await system.start(kind)
            luggage = Luggage()
            gone = weakref.ref(luggage)
            ref = await top.call(StartChild(Traveller.spec(luggage).options(restart="temporary")))
            assert ref is not None
            system.kill(ref)
            await settle()
            del luggage, ref
            assert await status(top) == {}
            gc.collect()
            assert gone() is None


async def test_unknown_supervisor() -> None:
    async with System() as system:
        top = await system.start(top_of())
        system.kill(top)
        assert await top.stopped() == Killed()
        with pytest.raises(ActorDown) as caught:
            await top.call(WhichChildren())
        assert caught.value.reason == Killed()
