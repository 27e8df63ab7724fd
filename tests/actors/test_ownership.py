"""What an actor owns ends with it, and the host's cancellation stops a tree in order."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from actors import (
    Abnormal,
    ActorDown,
    ChildSpec,
    Crashed,
    Killed,
    Normal,
    OwnedTask,
    Reason,
    Ref,
    Shutdown,
    Stop,
    System,
    events,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Hook, Puppet, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


def start(spec: ChildSpec[Any]) -> Hook:
    return lambda actor: actor.ctx.start_child(spec)


def run_task(actor: Any) -> OwnedTask:
    async def beside() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            actor.log.append("task gone")

    task: OwnedTask = actor.ctx.run(beside)
    return task


@KINDS
async def test_an_owned_task_runs_beside_the_actor_and_ends_with_it(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log, starting=lambda a: run_task(a) and None))
        await settle()
        assert await ref.call(Do(lambda _a: 1)) == 1
        with recorded(system, events.Exited) as seen:
            await system.stop_actor(ref)
        assert log == [("stopping", Shutdown()), "task gone"]
        assert len(seen) == 1


@KINDS
async def test_a_crash_in_an_owned_task_is_the_actors_and_runs_stopping(kind: Any) -> None:
    log: list[Any] = []
    error = ValueError("beside")

    async def fail() -> None:
        raise error

    async with System() as system:
        ref = await system.start(kind.spec(log))
        await ref.call(Do(lambda a: a.ctx.run(fail)))
        assert await ref.stopped() == Crashed(error)
        assert log == [("stopping", Crashed(error))]


@KINDS
async def test_a_cancelled_owned_task_is_no_crash(kind: Any) -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(kind.spec(log))
        task = await ref.call(Do(run_task))
        await settle()
        task.cancel()
        await settle()
        assert log == ["task gone"]
        assert ref.alive
        assert repr(task).startswith("<OwnedTask beside of ")


async def test_a_crash_in_an_owned_task_interrupts_the_handler_at_hand() -> None:
    log: list[Any] = []
    error = ValueError("beside")

    async def fail() -> None:
        await anyio.sleep(1)
        raise error

    async def hang(_actor: Any) -> None:
        await anyio.sleep_forever()

    async with System() as system:
        ref = await system.start(Puppet.spec(log))
        await ref.call(Do(lambda a: a.ctx.run(fail)))
        with pytest.raises(ActorDown) as caught:
            await ref.call(Do(hang))
        assert caught.value.reason == Crashed(error)
        assert log == [("stopping", Crashed(error))]


async def test_a_task_that_fails_during_start_fails_the_start() -> None:
    error = ValueError("beside")

    async def fail() -> None:
        raise error

    async def slow(actor: Puppet) -> None:
        actor.ctx.run(fail)
        await anyio.sleep(10)

    async with System() as system:
        with pytest.raises(Exception, match="beside"):
            await system.start(Puppet.spec(starting=slow))


@KINDS
@pytest.mark.parametrize("how", ["kill", "crash", "stop"])
async def test_children_and_tasks_are_gone_before_the_end_is_announced(kind: Any, how: str) -> None:
    log: list[Any] = []
    order: list[str] = []
    async with System() as system:
        parent = await system.start(Puppet.spec(log).options(id="p"))
        for n in (1, 2):
            spec = kind.spec().options(id=f"c{n}")
            await parent.call(Do(start(spec)))
        child = system.at("p/c1")
        assert child is not None
        await child.call(Do(run_task))
        await parent.call(Do(run_task))
        await settle()
        leave = system.events.listen(
            lambda e: order.append(e.actor) if isinstance(e, events.Exited) else None
        )
        if how == "kill":
            system.kill(parent)
        elif how == "crash":
            parent.tell(Act(raises(ValueError())))
        else:
            parent.tell(Act(lambda a: a.ctx.stop()))
        await parent.stopped()
        leave()
        assert order == ["p/c2", "p/c1", "p"]
        assert log[-1] == "task gone"


async def test_a_dead_actor_can_own_nothing() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec().options(id="x"))
        ctx = await ref.call(Do(lambda a: a.ctx))
        await system.stop_actor(ref)
        with pytest.raises(RuntimeError, match="x is down and can own no task"):
            ctx.run(anyio.sleep_forever)


@KINDS
async def test_a_childs_crash_takes_an_untrapping_parent_along(kind: Any) -> None:
    async with System() as system:
        parent = await system.start(Puppet.spec())
        child = await parent.call(Do(lambda a: a.ctx.start_child(kind.spec())))
        child.tell(Act(raises(Stop(Abnormal("x")))))
        assert await parent.stopped() == Abnormal("x")


@KINDS
async def test_a_child_that_unlinked_itself_cannot_hurt_its_parent(kind: Any) -> None:
    async with System() as system:
        parent = await system.start(Puppet.spec())
        child = await parent.call(Do(lambda a: a.ctx.start_child(kind.spec())))
        await child.call(Do(lambda a: a.ctx.unlink(parent)))
        child.tell(Act(raises(Stop(Abnormal("x")))))
        await child.stopped()
        await settle()
        assert parent.alive


@KINDS
async def test_leaving_the_block_stops_everything_newest_first(kind: Any) -> None:
    order: list[str] = []
    async with System() as system:
        system.events.listen(
            lambda e: order.append(e.actor) if isinstance(e, events.Exited) else None
        )
        for n in range(3):
            await system.start(kind.spec().options(id=f"a{n}"))
    assert order == ["a2", "a1", "a0"]


@KINDS
async def test_an_exception_leaves_the_block_as_it_is_after_the_stop(kind: Any) -> None:
    log: list[Any] = []
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:  # noqa: PT012
        async with System() as system:
            await system.start(kind.spec(log))
            raise error
    assert caught.value is error
    assert log == [("stopping", Shutdown())]


@KINDS
async def test_host_cancellation_stops_the_tree_in_order_with_its_deadlines(kind: Any) -> None:
    log: list[Any] = []
    order: list[tuple[str, Reason]] = []

    async def slow(_actor: Puppet) -> None:
        await anyio.sleep(2)
        log.append("slow one done")

    with anyio.move_on_after(1) as scope:
        async with System() as system:
            system.events.listen(
                lambda e: (
                    order.append((e.actor, e.reason)) if isinstance(e, events.Exited) else None
                )
            )
            await system.start(Puppet.spec(ending=slow).options(id="a"))
            await system.start(kind.spec(log).options(id="b"))
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert order == [("b", Shutdown()), ("a", Shutdown())]
    assert log == [("stopping", Shutdown()), "slow one done"]


@pytest.mark.backends("asyncio")
async def test_native_cancellation_of_an_actors_task_kills_that_actor_only() -> None:
    log: list[Any] = []
    tasks: list[asyncio.Task[Any]] = []

    async def hang(actor: Puppet) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await anyio.sleep_forever()

    async with System() as system:
        other = await system.start(Puppet.spec().options(id="other"))
        ref = await system.start(Puppet.spec(log).options(id="x"))
        await ref.call(Do(lambda a: a.ctx.start_child(Puppet.spec().options(id="child"))))
        ref.tell(Act(hang))
        await settle()
        tasks[0].cancel()
        assert await ref.stopped() == Killed()
        assert log == [("stopping", Killed())]
        assert other.alive
        assert await other.call(Do(lambda _a: 1)) == 1


@pytest.mark.backends("asyncio")
async def test_native_cancellation_of_the_host_stops_the_tree_in_order() -> None:
    log: list[Any] = []

    async def host() -> None:
        async with System() as system:
            await system.start(Puppet.spec(log))
            await anyio.sleep_forever()

    task = asyncio.get_running_loop().create_task(host())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == [("stopping", Shutdown())]


async def test_two_systems_know_nothing_of_each_other() -> None:
    async with System() as one, System() as two:
        a = await one.start(Puppet.spec().options(name="n"))
        b = await two.start(Puppet.spec().options(name="n"))
        assert a != b
        assert one.whereis("n") == a
        assert two.whereis("n") == b


async def test_a_child_starts_under_its_parents_path() -> None:
    async with System() as system:
        parent: Ref[Puppet] = await system.start(Puppet.spec().options(id="p"))
        child = await parent.call(Do(lambda a: a.ctx.start_child(Doll.spec().options(id="c"))))
        assert child.path == "p/c"
        assert await system.stop_actor(parent, Normal()) == Normal()
        assert await child.stopped() == Normal()
