"""Bounded mailboxes: the three policies, high water, and what passes a full mailbox by."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import (
    ActorDown,
    InvalidSpec,
    Killed,
    Mailbox,
    MailboxFull,
    Overflow,
    Ref,
    System,
    events,
    introspection,
)
from actors.control import Policy
from actors.testing import settle
from tests.actors.helpers import Do, Doll, Note, Puppet, nothing, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


async def full(system: System, kind: Any, policy: Policy, limit: int = 2) -> tuple[Ref[Any], Any]:
    """An actor that takes nothing, with a mailbox filled to its limit."""
    log: list[Any] = []
    spec = kind.spec(log).options(id="x", mailbox=Mailbox(limit, policy))
    ref = await system.start(spec)
    await settle()
    await introspection.suspend(ref)
    for n in range(limit):
        ref.tell(Note(n))
    return ref, log


@KINDS
async def test_reject_raises_at_the_sender_of_a_tell_a_send_and_a_call(kind: Any) -> None:
    async with System() as system:
        ref, log = await full(system, kind, "reject")
        with pytest.raises(MailboxFull) as caught:
            ref.tell(Note("more"))
        assert str(caught.value) == (
            "the mailbox of x is full: 2 messages wait; `await ref.send(...)` waits for room where "
            "its policy is 'block'"
        )
        with pytest.raises(MailboxFull):
            await ref.send(Note("more"))
        with pytest.raises(MailboxFull):
            await ref.call(Do(nothing))
        introspection.resume(ref)
        await settle()
        assert log == [0, 1]
        assert await ref.call(Do(lambda _a: 1)) == 1


@KINDS
async def test_block_makes_send_and_call_wait_and_tell_raise(kind: Any) -> None:
    async with System() as system:
        ref, log = await full(system, kind, "block")
        with pytest.raises(MailboxFull):
            ref.tell(Note("more"))
        async with anyio.create_task_group() as group:
            group.start_soon(ref.send, Note("sent"))
            await settle()
            assert log == []
            introspection.resume(ref)
        await ref.call(Do(nothing))
        assert log == [0, 1, "sent"]


@KINDS
async def test_a_blocked_sender_hears_of_the_actors_death(kind: Any) -> None:
    async with System() as system:
        ref, _ = await full(system, kind, "block")
        failures: list[Any] = []

        async def send() -> None:
            try:
                await ref.send(Note("x"))
            except ActorDown as down:
                failures.append(down.reason)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await settle()
            system.kill(ref)
        assert failures == [Killed()]


@KINDS
async def test_drop_oldest_makes_dead_letters_of_tells_and_fails_calls(kind: Any) -> None:
    async with System() as system:
        ref, log = await full(system, kind, "drop_oldest")
        failures: list[MailboxFull] = []

        async def call() -> None:
            try:
                await ref.call(Do(nothing))
            except MailboxFull as error:
                failures.append(error)

        async with anyio.create_task_group() as group:
            with recorded(system, events.DeadLetter) as seen:
                group.start_soon(call)
                await settle()
                for n in (2, 3):
                    ref.tell(Note(n))
        assert [(e.message, e.reason) for e in seen if isinstance(e, events.DeadLetter)] == [
            (Note(0), Overflow(2)),
            (Note(1), Overflow(2)),
        ]
        ref.tell(Note(4))
        await settle()
        assert [str(e)[:21] for e in failures] == ["the mailbox of x is f"]
        introspection.resume(ref)
        await settle()
        assert log == [3, 4]


@KINDS
async def test_high_water_is_said_once_until_it_has_fallen(kind: Any) -> None:
    async with System() as system:
        with recorded(system, events.MailboxHigh) as seen:
            ref, _ = await full(system, kind, "reject", limit=10)
            introspection.resume(ref)
            await settle()
            await introspection.suspend(ref)
            for n in range(9):
                ref.tell(Note(n))
        assert [(e.depth, e.limit) for e in seen if isinstance(e, events.MailboxHigh)] == [
            (8, 10),
            (8, 10),
        ]


@KINDS
async def test_deaths_and_signals_pass_a_full_mailbox_by(kind: Any) -> None:
    async with System() as system:
        other = await system.start(Puppet.spec().options(id="other"))
        ref, log = await full(system, kind, "reject")
        await introspection.get_state(ref, lambda actor: actor.ctx.monitor(other))
        system.kill(other)
        await settle()
        introspection.resume(ref)
        await settle()
        assert log[:2] == [0, 1]
        assert [m.reason for m in log[2:]] == [Killed()]
        await system.stop_actor(ref)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
def test_a_limit_is_a_number_from_1_up(limit: Any) -> None:
    with pytest.raises(InvalidSpec, match="a mailbox's limit must be a number from 1 up, got: "):
        Mailbox(limit)


def test_a_policy_is_one_of_three() -> None:
    wrong: Any = "drop"
    number: Any = 5
    with pytest.raises(InvalidSpec) as caught:
        Mailbox(3, wrong)
    assert str(caught.value) == (
        'a mailbox\'s policy must be "block", "reject" or "drop_oldest", got: \'drop\''
    )
    with pytest.raises(InvalidSpec, match="mailbox must be a Mailbox or None, got: 5"):
        Puppet.spec().options(mailbox=number)


@KINDS
async def test_to_drop_the_oldest_is_to_drop_a_message_of_a_user(kind: Any) -> None:
    """Neither what the kernel keeps there to call `started`, nor what was taken back."""
    log: list[Any] = []
    async with System() as system:
        spec = kind.spec(log, continuing=lambda actor: actor.log.append("started"))
        box = Mailbox(1, policy="drop_oldest")
        with recorded(system, events.DeadLetter) as seen:
            ref = await system.start(spec.options(mailbox=box))
            for n in range(3):
                ref.tell(Note(n))
            await settle()
        assert log == ["started", 2]
        assert [letter.message for letter in seen if isinstance(letter, events.DeadLetter)] == [
            Note(0),
            Note(1),
        ]
