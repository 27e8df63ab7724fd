"""The portable cases of Erlang's supervisor_SUITE, under its names: restarts, scale."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest

from actors import (
    AutoShutdown,
    ChildRefused,
    ChildSpec,
    CountChildren,
    Counts,
    DeleteChild,
    DynamicSupervisor,
    Killed,
    Normal,
    Reason,
    Ref,
    Restart,
    RestartChild,
    Shutdown,
    StartChild,
    Strategy,
    Supervisor,
    System,
    TerminateChild,
    supervision,
)
from actors.testing import settle
from tests.actors.supervised import (
    BOOM,
    NO,
    Child,
    Die,
    Log,
    Script,
    child,
    die,
    kill,
    lives,
    ref_of,
    status,
    top_of,
)

# -- strategies ------------------------------------------------------------------------------------


async def test_multiple_restarts() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a"), intensity=1, period=1.0))
        for _ in range(3):
            await die(top, "a")
            await anyio.sleep(2.1)
        assert lives(system, "top/a") == [4]


async def until_the_third_crash(strategy: Strategy, after_one: list[int]) -> None:
    """Two crashes are survived and the third within the period is not."""
    async with System() as system:
        top = await system.start(
            top_of(child("a"), child("b"), child("c"), strategy=strategy, intensity=2, period=3600)
        )
        await die(top, "b")
        assert lives(system, "top/a", "top/b", "top/c") == after_one
        await die(top, "b")
        log = Log(system)
        await die(top, "b")
        assert log.read() == [
            "exited top/b: boom",
            "limit top: b",
            "exited top/c: shutdown",
            "exited top/a: shutdown",
            "exited top: shutdown",
        ]


async def test_one_for_one() -> None:
    await until_the_third_crash("one_for_one", [1, 2, 1])


async def test_one_for_all() -> None:
    await until_the_third_crash("one_for_all", [2, 2, 2])


async def test_rest_for_one() -> None:
    await until_the_third_crash("rest_for_one", [1, 2, 2])


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
async def test_escalation(strategy: Strategy) -> None:
    """one_for_one_escalation, one_for_all_escalation, rest_for_one_escalation."""
    script = Script("ok", *[NO] * 4)
    async with System() as system:
        failing = "b" if strategy == "one_for_one" else "c"
        specs = [child("a"), child("b"), child("c")]
        specs = [child(spec.id, script) if spec.id == failing else spec for spec in specs]
        top = await system.start(top_of(*specs, strategy=strategy, intensity=4))
        refs = [await ref_of(top, id) for id in "abc"]
        await die(top, "b")
        assert await top.stopped() == Shutdown()
        assert [ref.alive for ref in refs] == [False, False, False]
        assert script.starts == []


async def test_one_for_all_other_child_fails_restart() -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a"), child("b", Script("ok", NO)), strategy="one_for_all", intensity=3)
        )
        log = Log(system)
        await die(top, "a")
        assert log.read() == [
            "exited top/a: boom",
            "exited top/b: shutdown",
            "started top/a",
            "start failed top/b: no",
            "exited top/a: shutdown",
            "started top/a",
            "started top/b",
        ]


async def test_rest_for_one_other_child_fails_restart() -> None:
    async with System() as system:
        top = await system.start(
            top_of(child("a"), child("b", Script("ok", NO)), strategy="rest_for_one", intensity=3)
        )
        log = Log(system)
        await die(top, "a")
        assert log.read() == [
            "exited top/a: boom",
            "exited top/b: shutdown",
            "started top/a",
            "start failed top/b: no",
            "started top/b",
        ]


async def test_simple_one_for_one() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec(intensity=2, period=3600).options(id="top"))
        for id in "ab":
            await top.call(StartChild(child(id)))
        await die(top, "a")
        assert lives(system, "top/a", "top/b") == [2, 1]
        await die(top, "a")
        (await ref_of(top, "a")).tell(Die())
        assert await top.stopped() == Shutdown()


async def test_simple_one_for_one_shutdown() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for n in range(10):
            await top.call(StartChild(child(f"c{n}", Script(stop_after=0.5), shutdown=0.75)))
        await top.call(StartChild(child("slow", Script(stop_after=None), shutdown=0.75)))
        began = system.now()
        await system.stop_actor(top)
        assert system.now() - began == pytest.approx(0.75)


async def test_simple_one_for_one_escalation() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec(intensity=4).options(id="top"))
        await top.call(StartChild(child("a", Script("ok", *[NO] * 4))))
        b = await top.call(StartChild(child("b")))
        assert b is not None
        await die(top, "a")
        assert await top.stopped() == Shutdown()
        assert not b.alive


async def test_simple_one_for_one_restart_ignore() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec())
        await top.call(StartChild(child("a", Script("ok", "ignore"))))
        await die(top, "a")
        assert await status(top) == {}


async def test_temporary_bystander() -> None:
    async with System() as system:
        for strategy in ("one_for_all", "rest_for_one"):
            top = await system.start(
                top_of(child("a"), child("b", restart="temporary"), strategy=strategy)
            )
            await die(top, "a")
            assert await status(top) == {"a": "running"}
            await system.stop_actor(top)


ENDS: dict[str, tuple[Reason, ...]] = {
    "normal": (Normal(),),
    "shutdown": (Shutdown(), Shutdown("term")),
    "abnormal": (BOOM,),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_restart_types(restart: Restart, end: str) -> None:
    """permanent_normal … temporary_abnormal: nine cases of the suite."""
    async with System() as system:
        for reason in ENDS[end]:
            top = await system.start(top_of(child("a", restart=restart)))
            await die(top, "a", reason)
            if restart == "permanent" or (restart == "transient" and end == "abnormal"):
                assert await status(top) == {"a": "running"}
            else:
                gone = {} if restart == "temporary" else {"a": "undefined"}
                assert await status(top) == gone
            await system.stop_actor(top)


# -- trees -----------------------------------------------------------------------------------------


async def test_tree() -> None:
    async with System() as system:
        inner: list[ChildSpec[Any]] = [
            Supervisor.spec([child("a"), child("b")]).options(id="left"),
            DynamicSupervisor.spec().options(id="right"),
        ]
        top = await system.start(top_of(*inner, strategy="one_for_all", intensity=1, period=3600))
        right = await ref_of(top, "right")
        await right.call(StartChild(child("c")))
        await die(await ref_of(top, "left"), "a")
        assert lives(system, "top/left", "top/left/a", "top/left/b") == [1, 2, 1]
        await die(await ref_of(top, "left"), "a")
        assert lives(system, "top/left", "top/left/a", "top/left/b") == [2, 3, 2]
        assert await status(right) == {}
        assert right.incarnation == 2
        await kill(system, await ref_of(top, "left"), "b")
        (await ref_of(await ref_of(top, "left"), "b")).tell(Die())
        assert await top.stopped() == Shutdown()


async def test_simple_global_supervisor() -> None:
    """A named supervisor comes back under its name whoever is killed (OTP-9212)."""
    async with System() as system:
        spec = Supervisor.spec([child("worker", name="named worker")]).options(
            id="sup", name="named supervisor"
        )
        top = await system.start(top_of(spec, intensity=10))
        for victim in ("named worker", "named supervisor", "named worker"):
            ref = system.whereis(victim)
            assert ref is not None
            system.kill(ref)
            await settle()
            for name in ("named worker", "named supervisor"):
                back = system.whereis(name)
                assert back is not None
                assert back.alive
        assert top.alive


# -- a restart that keeps failing ------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
async def test_hanging_restart_loop(strategy: Strategy) -> None:
    """The supervisor answers and obeys while a restart fails over and over (OTP-9549)."""
    async with System() as system:
        top = await system.start(
            top_of(child("a", Script("ok", *[NO] * 10_000)), strategy=strategy, intensity=10_000)
        )
        await restarting(top, "a")
        for command, code in (
            (StartChild(child("a")), "already_present"),
            (RestartChild("a"), "restarting"),
            (DeleteChild("a"), "restarting"),
        ):
            with pytest.raises(ChildRefused) as caught:
                await top.call(command)
            assert caught.value.code == code
        assert await top.call(CountChildren()) == Counts(1, 0, 0, 1)
        await top.call(TerminateChild("a"))
        assert await status(top) == {"a": "undefined"}


async def test_hanging_restart_loop_simple() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec(intensity=10_000).options(id="top"))
        await top.call(StartChild(child("a", Script("ok", *[NO] * 10_000))))
        await restarting(top, "a")
        await top.call(TerminateChild("a"))
        assert await status(top) == {}


async def test_a_supervisor_whose_child_fails_to_restart_over_and_over_can_be_stopped() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a", Script("ok", *[NO] * 10_000)), intensity=10_000))
        await restarting(top, "a")
        assert await system.stop_actor(top) == Shutdown()


async def restarting(top: Ref[Any], id: str) -> None:
    """Lets a child die and waits until the supervisor shows it as restarting."""
    ref = await ref_of(top, id)
    ref.tell(Die())
    await ref.stopped()
    while (await status(top))[id] != "restarting":
        await anyio.lowlevel.checkpoint()


# -- automatic shutdown ----------------------------------------------------------------------------

AUTO: tuple[AutoShutdown, ...] = ("never", "any_significant", "all_significant")


@pytest.mark.parametrize("auto", AUTO)
@pytest.mark.parametrize("restart", ["temporary", "transient"])
async def test_nonsignificant(restart: Restart, auto: AutoShutdown) -> None:
    """nonsignificant_temporary, nonsignificant_transient."""
    async with System() as system:
        top = await system.start(top_of(child("a", restart=restart), auto_shutdown=auto))
        for act in ("terminate", "end"):
            if act == "terminate":
                await top.call(TerminateChild("a"))
                if restart == "temporary":
                    await top.call(StartChild(child("a", restart=restart)))
                else:
                    await top.call(RestartChild("a"))
            else:
                await die(top, "a", Normal())
        assert top.alive


@pytest.mark.parametrize("auto", ["any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("reason", [Normal(), Shutdown("term"), BOOM, Killed()])
async def test_significant(restart: Restart, auto: AutoShutdown, reason: Reason) -> None:
    """significant_temporary, significant_transient."""
    async with System() as system:
        specs = [child(id, restart=restart, significant=True) for id in "ab"]
        top = await system.start(top_of(*specs, auto_shutdown=auto, intensity=5))
        ends = restart == "temporary" or reason.orderly
        await die(top, "a", reason)
        assert top.alive == (not ends or auto == "all_significant")
        if top.alive and ends:
            await die(top, "b", reason)
            assert not top.alive
        if not top.alive:
            assert await top.stopped() == Shutdown()


async def test_significant_simple() -> None:
    with pytest.raises(ValueError, match="never shuts itself down"):
        supervision.Flags(dynamic=True, auto_shutdown="any_significant")


@pytest.mark.parametrize("auto", ["any_significant", "all_significant"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_significant_bystander(strategy: Strategy, auto: AutoShutdown) -> None:
    async with System() as system:
        top = await system.start(
            top_of(
                child("a"),
                child("b", restart="transient", significant=True),
                child("c", restart="temporary", significant=True),
                strategy=strategy,
                auto_shutdown=auto,
            )
        )
        await die(top, "a")
        assert top.alive
        assert (await status(top))["b"] == "running"


@pytest.mark.parametrize("significant", [True, False])
async def test_significant_escalation(significant: bool) -> None:
    async with System() as system:
        inner = Supervisor.spec(
            [child("a", restart="transient", significant=True)], auto_shutdown="any_significant"
        ).options(id="inner", restart="transient", significant=significant)
        top = await system.start(top_of(inner, child("b"), auto_shutdown="any_significant"))
        await die(await ref_of(top, "inner"), "a", Normal())
        assert top.alive is not significant


# -- scale -----------------------------------------------------------------------------------------


def many(count: int, **options: Any) -> Sequence[ChildSpec[Child]]:
    return [child(f"c{n}", **options) for n in range(count)]


async def calls(work: Callable[[int], Awaitable[None]], count: int) -> int:
    """How many function calls the work takes: unlike seconds the same on a busy machine."""
    made = itertools.count()
    before = sys.getprofile()
    sys.setprofile(lambda _frame, event, _value: next(made) if event in CALLS else None)
    try:
        await work(count)
    finally:
        sys.setprofile(before)
    return next(made)


CALLS = ("call", "c_call")


async def static(count: int) -> None:
    """Starts so many children under one supervisor, crashes one, stops all."""
    async with System() as system:
        top = await system.start(top_of(*many(count)))
        await die(top, f"c{count // 2}")


async def dynamic(count: int) -> None:
    """The same under a dynamic supervisor, with temporary children."""
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for spec in many(count, restart="temporary"):
            await top.call(StartChild(spec))
        await die(top, f"c{count // 2}")


async def dynamic_with_stubborn_ones(count: int) -> None:
    """A dynamic supervisor whose children have tasks and take their time to stop."""
    script = Script(stop_after=1.0)
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec().options(id="top"))
        for n in range(count):
            await top.call(StartChild(child(f"c{n}", script)))


async def test_scale_start_stop_many_children() -> None:
    """Ten times the children take ten times the work (R103)."""
    assert await calls(static, 600) / await calls(static, 60) < 10.5


@pytest.mark.parametrize("work", [dynamic, dynamic_with_stubborn_ones])
async def test_simple_one_for_one_scale_many_temporary_children(
    work: Callable[[int], Awaitable[None]],
) -> None:
    assert await calls(work, 600) / await calls(work, 60) < 10.5
