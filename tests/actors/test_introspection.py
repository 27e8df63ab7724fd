"""State, suspension, statistics, hooks and the tree: R39–R43."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import ActorDown, CallTimeout, Shutdown, System, introspection
from actors.introspection import DONE, Node, Statistics
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Note, Puppet, nothing, raises

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


def log_of(actor: Any) -> list[Any]:
    return list(actor.log)


async def hold_for_a_second(actor: Puppet) -> None:
    await anyio.sleep(1)
    actor.log.append("worked")


@KINDS
async def test_r39_state_is_read_between_messages(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Note(1))
        await ref.call(Do(nothing))
        assert await introspection.get_state(ref, log_of) == [1]


async def test_r39_a_busy_actor_answers_after_the_message_at_hand_and_before_the_next() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        ref.tell(Act(hold_for_a_second))
        ref.tell(Note("next"))
        await settle()
        assert await introspection.get_state(ref, log_of) == ["worked"]
        assert await ref.call(Do(log_of)) == ["worked", "next"]


async def test_the_state_of_an_actor_that_is_still_at_work_when_it_dies() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        ref.tell(Act(hold_for_a_second))
        await settle()

        async def kill() -> None:
            await anyio.sleep(0.5)
            system.kill(ref)

        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            with pytest.raises(ActorDown):
                await introspection.get_state(ref, log_of)


@KINDS
async def test_an_error_in_reading_is_the_readers(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(KeyError, match="k"):
            await introspection.get_state(ref, raises(KeyError("k")))
        assert ref.alive
        await system.stop_actor(ref)
        with pytest.raises(ActorDown):
            await introspection.get_state(ref, log_of)


@KINDS
async def test_r40_a_suspended_actor_takes_no_message_and_answers_introspection(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        await introspection.suspend(ref)
        ref.tell(Note("queued"))
        with pytest.raises(CallTimeout):
            await ref.call(Do(lambda a: a.log.append("call")), timeout=1)
        assert await introspection.get_state(ref, log_of) == []
        [node] = system.tree()
        assert (node.state, node.mailbox) == ("suspended", 2)
        introspection.resume(ref)
        await settle()
        assert await introspection.get_state(ref, log_of) == ["queued", "call"]


@KINDS
async def test_a_suspended_actor_can_be_stopped(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        await introspection.suspend(ref)
        ref.tell(Note("queued"))
        assert await system.stop_actor(ref) == Shutdown()


@KINDS
async def test_r41_replace_state_returns_and_a_failure_leaves_the_old_state(kind: Any) -> None:
    def set_log(actor: Any) -> str:
        actor.log = ["new"]
        return "done"

    def fail(actor: Any) -> None:
        actor.log = ["broken"]
        actor.extra = 1
        raise ValueError

    async with System() as system:
        ref = await system.start(kind.spec())
        assert await introspection.replace_state(ref, set_log) == "done"
        with pytest.raises(ValueError):  # noqa: PT011
            await introspection.replace_state(ref, fail)
        assert await introspection.get_state(ref, log_of) == ["new"]
        assert await introspection.get_state(ref, lambda a: hasattr(a, "extra")) is False


@KINDS
async def test_r42_statistics_count_from_when_they_are_switched_on(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Note(0))
        await ref.call(Do(nothing))
        await settle()
        assert introspection.statistics(ref) is None
        introspection.start_statistics(ref)
        began = system.now()
        await ref.call(Do(nothing))
        ref.tell(Note(1))
        await ref.call(Do(nothing))
        await settle()
        assert introspection.statistics(ref) == Statistics(began, 3, 2)


@KINDS
async def test_r42_the_log_keeps_the_last_events(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        introspection.keep_log(ref, 3)
        for n in range(3):
            ref.tell(Note(n))
        await settle()
        assert introspection.get_log(ref) == (("out", Note(1)), ("in", Note(2)), ("out", Note(2)))
        introspection.keep_log(ref, 0)
        assert introspection.get_log(ref) == ()


@KINDS
async def test_r42_a_hook_sees_every_message_until_it_is_done(kind: Any) -> None:
    seen: list[Any] = []

    def twice(direction: str, message: Any) -> Any:
        seen.append((direction, message.word))
        return DONE if len(seen) == 4 else None

    async with System() as system:
        ref = await system.start(kind.spec())
        introspection.install(ref, twice)
        for n in range(3):
            ref.tell(Note(n))
        await settle()
        assert seen == [("in", 0), ("out", 0), ("in", 1), ("out", 1)]
        remove = introspection.install(ref, lambda *event: seen.append(event))
        remove()
        ref.tell(Note(3))
        await settle()
        assert len(seen) == 4


async def test_the_tree_as_data() -> None:
    async with System() as system:
        callee = await system.start(Puppet.spec().options(id="callee", name="boss"))
        caller = await system.start(Puppet.spec().options(id="caller"))
        await caller.call(Do(lambda a: a.ctx.start_child(Doll.spec().options(id="child"))))
        await settle()
        work = Do(hold_for_a_second)
        ask = Act(lambda _a: callee.call(work))
        caller.tell(ask)
        await settle()
        caller.tell(Note("waits"))
        await anyio.sleep(0.5)
        assert system.tree() == (
            Node(
                path="callee",
                name="boss",
                kind="Puppet",
                state="busy",
                mailbox=0,
                message=work,
                age=0.5,
                restarts=0,
                waits_for=(),
                children=(),
            ),
            Node(
                path="caller",
                name=None,
                kind="Puppet",
                state="busy",
                mailbox=1,
                message=ask,
                age=0.5,
                restarts=0,
                waits_for=("callee",),
                children=(
                    Node(
                        path="caller/child",
                        name=None,
                        kind="Doll",
                        state="idle",
                        mailbox=0,
                        message=None,
                        age=None,
                        restarts=0,
                        waits_for=(),
                        children=(),
                    ),
                ),
            ),
        )
        assert introspection.as_text(system.tree()) == (
            "├─ callee (boss) Puppet busy with Do for 0.5 s\n"
            "└─ caller Puppet busy with Act for 0.5 s mailbox 1 waits for callee\n"
            "   └─ child Doll idle"
        )


@KINDS
async def test_the_tree_counts_restarts(kind: Any) -> None:
    async with System() as system:
        for _ in range(3):
            ref = await system.start(kind.spec().options(id="x"))
            if ref.incarnation < 3:
                await system.stop_actor(ref)
        assert introspection.as_text(system.tree()) == f"└─ x {kind.__name__} idle restarts 2"
