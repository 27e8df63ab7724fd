"""Waiting for a service: until it is ready, has ended, or has written a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from actors import Event
from colony.api import types as t
from colony.api.lines import check_pattern
from colony.events import ServiceOutput
from colony.logs import Filter
from colony.running import OVER, USABLE, RunningService

if TYPE_CHECKING:
    from colony.api.operations import Operations


async def wait_for(operations: Operations, service: RunningService, query: t.WaitQuery) -> t.Waited:
    """Waits without limit. `met` is false if what is waited for cannot come any more.

    While an operator restarts the whole colony it may still come.
    """
    if query.condition == "log":
        return await _log(operations, service, query)
    with service.watch() as statuses:
        async for status in statuses:
            over = service.colony.ended or status.state in OVER
            if query.condition == "ready" and status.state in USABLE:
                return t.Waited(True, operations.views.service(service))
            if over and query.condition != "exit" and (next_one := await _next_life(service)):
                return await wait_for(operations, next_one, query)
            if over:
                return t.Waited(query.condition == "exit", operations.views.service(service))
    raise AssertionError("a system's events do not end before its colonies")


async def _log(operations: Operations, service: RunningService, query: t.WaitQuery) -> t.Waited:
    """Looks at what there is, and again whenever there is more, or the service has ended."""
    check_pattern(query.pattern, "pattern")
    colony, names = service.colony.name, (service.name,)
    host, after = operations.host, query.since or 0
    bell = Bell()

    def note(event: Event) -> None:
        if isinstance(event, ServiceOutput) and (event.colony, event.service) == (colony, *names):
            bell.ring()

    leave = host.system.events.listen(note)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ring_at_the_end, service, bell)
            while True:
                bell.reset()
                over = bell.last
                wanted = Filter(grep=query.pattern, after=after)
                page = await anyio.to_thread.run_sync(host.parts.logs.page, colony, names, wanted)
                if page.lines or over:
                    break
                after = page.next
                await bell.rung()
            tasks.cancel_scope.cancel()
    finally:
        leave()
    if not page.lines and (next_one := await _next_life(service)):
        later = msgspec.structs.replace(query, since=page.next)
        return await _log(operations, next_one, later)
    view = operations.views.service(service)
    return t.Waited(bool(page.lines), view, page.lines[0].text if page.lines else None)


async def _next_life(service: RunningService) -> RunningService | None:
    """The service in the colony that an operator starts in its colony's place, if one does."""
    successor = await service.colony.successor()
    if successor is None or service.name not in successor.services:
        return None
    return successor.service(service.name)


class Bell:
    """Rings, any number of times as one, until it is reset; after `last` no more will come."""

    def __init__(self) -> None:
        self.last = False
        self._event = anyio.Event()

    def ring(self, *, last: bool = False) -> None:
        self.last = self.last or last
        self._event.set()

    def reset(self) -> None:
        self._event = anyio.Event()

    async def rung(self) -> None:
        await self._event.wait()


async def _ring_at_the_end(service: RunningService, bell: Bell) -> None:
    with service.watch() as statuses:
        async for status in statuses:
            if service.colony.ended or status.state in OVER:
                bell.ring(last=True)
                return
