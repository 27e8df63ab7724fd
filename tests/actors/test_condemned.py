"""A kill that is not obeyed is an event, with the stack of the one who does not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import pytest

from actors import Killed, Normal, System, condemned, events
from actors.testing import settle
from tests.actors.helpers import Act, Puppet, recorded


async def deaf_for_five_seconds(_actor: Any) -> None:
    """Shields itself."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(5)


async def test_an_actor_that_outlives_its_kill_is_reported_at_1_2_and_4_seconds() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        message = Act(deaf_for_five_seconds)
        ref.tell(message)
        await settle()
        with recorded(system, events.KillIgnored) as seen:
            system.kill(ref)
            await ref.stopped()
            await anyio.sleep(60)
        found = [event for event in seen if isinstance(event, events.KillIgnored)]
        assert [event.seconds for event in found] == [1.0, 2.0, 4.0]
        assert {(event.actor, event.task, event.message) for event in found} == {
            ("puppet", None, message)
        }
        assert all("in deaf_for_five_seconds\n" in event.stack for event in found)
        assert repr(system.condemned) == "<Condemned 0>"


async def test_a_task_of_an_actor_that_outlives_it_is_reported_by_its_name() -> None:
    async with System() as system:
        ref = await system.start(
            Puppet.spec(starting=lambda actor: actor.ctx.run(deaf_for_five_seconds, 0) and None)
        )
        await settle()
        with recorded(system, events.KillIgnored) as seen:
            await system.stop_actor(ref)
        found = [event for event in seen if isinstance(event, events.KillIgnored)]
        assert [(event.actor, event.task, event.seconds) for event in found] == [
            ("puppet", "deaf_for_five_seconds", seconds) for seconds in (1.0, 2.0, 4.0)
        ]
        assert "in deaf_for_five_seconds\n" in found[0].stack


async def test_one_that_is_dead_but_for_its_children_is_not_blamed() -> None:
    async with System() as system:

        async def with_a_slow_child(actor: Puppet) -> None:
            slow = Puppet.spec(ending=lambda _: anyio.sleep(3))
            await actor.ctx.start_child(slow.options(id="slow"))

        parent = await system.start(Puppet.spec(starting=with_a_slow_child))
        with recorded(system, events.KillIgnored) as seen:
            system.kill(parent)
            await settle()
            system.kill(parent)
            await parent.stopped()
        assert system.now() == 3.0
        assert seen == []


@pytest.mark.real_time
async def test_a_handler_that_swallows_its_cancellation_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(condemned, "PATIENCE", 0.05)
    async with System() as system:
        seen: list[events.KillIgnored] = []

        async def swallows(_actor: Any) -> None:
            while not seen:
                with suppress(BaseException):
                    await anyio.sleep(1)

        system.events.listen(
            lambda event: seen.append(event) if isinstance(event, events.KillIgnored) else None
        )
        ref = await system.start(Puppet.spec())
        ref.tell(Act(swallows))
        await settle()
        system.kill(ref)
        await ref.stopped()
        assert "in swallows\n" in seen[0].stack


@pytest.mark.parametrize("seconds", [5.0, 0.5])
async def test_a_stopping_that_goes_on_after_its_deadline(seconds: float) -> None:
    """Reported as a kill is, from a second on, and killed from then on."""

    async def deaf(_actor: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2.0 + seconds)

    async with System() as system:
        ref = await system.start(Puppet.spec(ending=deaf).options(shutdown=2.0))
        with recorded(system, events.KillIgnored) as seen:
            ref.tell(Act(lambda actor: actor.ctx.stop()))
            reason = await ref.stopped()
        assert system.now() == 2.0 + seconds
        found = [event for event in seen if isinstance(event, events.KillIgnored)]
        if seconds < 1:
            assert (found, reason) == ([], Normal())
            return
        assert [event.seconds for event in found] == [1.0, 2.0, 4.0]
        assert (found[0].actor, found[0].message) == ("puppet", None)
        assert "in deaf\n" in found[0].stack
        assert reason == Killed()
        await anyio.sleep(60)
        assert len(system.condemned) == 0


async def test_a_stopping_that_swallows_its_cancellation_is_killed() -> None:
    async def swallows(_actor: Any) -> None:
        for _ in range(3):
            with suppress(BaseException):
                await anyio.sleep_forever()
        await anyio.sleep_forever()

    async with System() as system:
        ref = await system.start(Puppet.spec(ending=swallows).options(shutdown=2.0))
        ref.tell(Act(lambda actor: actor.ctx.stop()))
        assert await ref.stopped() == Normal()
        assert system.now() == 2.0
