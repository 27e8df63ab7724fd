"""`statistics()`: what the kernel's parts say of themselves."""

from __future__ import annotations

import anyio

from actors import System
from actors.cell import FAIRNESS
from actors.events import SubscriptionStatistics
from actors.system import Plain
from actors.testing import settle
from actors.timers import TimerStatistics
from tests.actors.helpers import Do, Doll, Note, Puppet

NO_TIMERS = TimerStatistics(pending=0, cancelled=0, next_due=None)


async def test_timers_that_wait_and_that_were_cancelled() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        late = await ref.call(Do(lambda actor: actor.ctx.send_after(9, Note("late"))))
        await ref.call(Do(lambda actor: actor.ctx.send_after(5, Note("soon"))))
        now = system.now()
        assert system.timers.statistics() == TimerStatistics(2, 0, now + 5)
        late.cancel()
        assert system.timers.statistics() == TimerStatistics(1, 1, now + 5)
        await anyio.sleep(10)
        assert system.timers.statistics() == NO_TIMERS


async def test_what_waits_for_the_pump(plain: Plain) -> None:
    async with System() as system:
        refs = [await system.start(Doll.spec().options(id=id)) for id in "ab"]
        await settle()
        for ref in (refs[0], *refs):
            ref.tell(Note("x"))
        found = system.pump.statistics()
        assert (found.ready, found.messages) == ((0, 0) if plain == "task" else (2, 3))
        await settle()
        assert system.pump.statistics().ready == 0


async def test_a_quiet_system_and_a_busy_one(plain: Plain) -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec().options(name="it"))
        await settle()
        quiet = system.statistics()
        assert (quiet.names, quiet.timers, quiet.condemned) == (1, NO_TIMERS, 0)
        assert quiet.pump.in_place == (FAIRNESS if plain == "inline" else 0)

        async def call() -> None:
            await ref.call(Do(lambda _: anyio.sleep(1)), timeout=5)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await settle()
            assert system.statistics().deadlines == 1
        assert system.statistics().deadlines == 0


async def test_a_subscription() -> None:
    async with System() as system:
        with system.events.subscribe(size=2) as events:
            for id in "abc":
                await system.start(Puppet.spec().options(id=id))
            assert events.statistics() == SubscriptionStatistics(waiting=2, size=2, dropped=1)
            await anext(events)
            assert events.statistics() == SubscriptionStatistics(waiting=1, size=2, dropped=1)
