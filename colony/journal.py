"""The journal: what services have written, kept for those who ask later.

    journal = system.named(JOURNAL, Journal)
    page = await journal.call(LogQuery("my-app", ("web",), Filter(count=100)))
    more = await journal.call(LogQuery("my-app", ("web",), Filter(after=page.next)))

To follow, listen to `ServiceOutput` events and ask for what comes after the last page.
It owns the threads that read and write output; what they have kept is in `Logs`, which is nobody's
life's, and so is there after a crash of the journal.
"""

from __future__ import annotations

import re
from typing import Final

import anyio
import anyio.to_thread

from actors import Actor, Call, Ignore, Refused, Reply, on
from colony.logs import Filter, LogPage, Logs

JOURNAL: Final = "journal"
"""The journal's name in its system."""


class LastLines(Call["Journal", tuple[bytes, ...]], frozen=True):
    """The last `count` lines that a service wrote, on either stream, over all its lives."""

    colony: str
    service: str
    count: int = 10


class LogQuery(Call["Journal", LogPage], frozen=True):
    """Lines of some services of a colony (of all if none is named), oldest first.

    What does not exist has written nothing. Raises `Refused` for a bad pattern.
    """

    colony: str
    services: tuple[str, ...] = ()
    filter: Filter = Filter()


class ForgetLogs(Call["Journal", None], frozen=True):
    """Drops from memory what a colony's services have written; their files stay."""

    colony: str


class Journal(Actor):
    """Owns the logs."""

    def __init__(self, logs: Logs) -> None:
        self.logs = logs

    async def start(self) -> Ignore | None:
        await self.logs.start(self.ctx.system.publish)
        self.ctx.run(self._hold)
        return None

    async def _hold(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await self.logs.close()

    @on(LastLines)
    def _last_lines(self, msg: LastLines) -> tuple[bytes, ...]:
        lines = self.logs.last_lines(msg.colony, msg.service, msg.count)
        return tuple(line.data for line in lines)

    @on(LogQuery)
    def _query(self, msg: LogQuery) -> Reply[LogPage]:
        # In a thread: a page may be megabytes, and a pattern may take its time over each line.
        try:
            re.compile((msg.filter.grep or "").encode())
        except re.error as error:
            raise Refused(f"{msg.filter.grep!r} is no regular expression: {error}") from None
        reply: Reply[LogPage] = self.ctx.defer()

        async def look() -> None:
            args = msg.colony, msg.services, msg.filter
            reply.send(await anyio.to_thread.run_sync(self.logs.page, *args))

        self.ctx.run(look, name="query")
        return reply

    @on(ForgetLogs)
    def _forget(self, msg: ForgetLogs) -> None:
        self.logs.forget(msg.colony)
