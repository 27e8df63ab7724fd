"""Waiting for a service: until it is ready, has ended, or has written a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio

from colony.api import types as t
from colony.api.history import Line, recent, wanted
from colony.api.problems import invalid
from colony.running import OVER, USABLE, RunningService

if TYPE_CHECKING:
    from colony.api.operations import Operations


async def wait_for(operations: Operations, service: RunningService, query: t.WaitQuery) -> t.Waited:
    """Waits without limit. `met` is false if what is waited for cannot come any more."""
    if query.condition == "log":
        return await _log(operations, service, query)
    with service.watch() as statuses:
        async for status in statuses:
            over = service.colony.ended or status.state in OVER
            if query.condition == "ready" and status.state in USABLE:
                return t.Waited(True, operations.views.service(service))
            if over:
                return t.Waited(query.condition == "exit", operations.views.service(service))
    raise AssertionError("a system's events do not end before its colonies")


async def _log(operations: Operations, service: RunningService, query: t.WaitQuery) -> t.Waited:
    pattern = compiled(query.pattern, "pattern")
    names = (service.name,)
    history = operations.host.history
    found: list[Line] = list(
        recent(
            history.lines(service.colony.name),
            after=query.since or 0,
            services=names,
            grep=pattern,
        )
    )
    came = anyio.Event()

    def note(lines: list[Line]) -> None:
        for line in lines:
            if line.colony == service.colony.name and wanted(line, names, pattern):
                found.append(line)
                came.set()

    leave = history.listen(lines=note)
    try:
        if not found:
            await _either(came, service)
    finally:
        leave()
    view = operations.views.service(service)
    return t.Waited(bool(found), view, found[0].text.decode("utf-8", "replace") if found else None)


async def _either(came: anyio.Event, service: RunningService) -> None:
    """Waits for a line, or for the end of the service."""

    async def end(scope: anyio.CancelScope) -> None:
        with service.watch() as statuses:
            async for status in statuses:
                if service.colony.ended or status.state in OVER:
                    scope.cancel()
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end, tasks.cancel_scope)
        await came.wait()
        tasks.cancel_scope.cancel()


def compiled(pattern: str, field: str) -> re.Pattern[bytes]:
    """A regular expression for lines. Raises `ApiError` (422)."""
    try:
        return re.compile(pattern.encode())
    except (re.error, OverflowError, RecursionError) as error:
        words = f"this is no regular expression: {error}, got: {pattern!r}"
        raise invalid([t.Advice(field, words)]) from None
