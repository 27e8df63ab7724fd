"""The journal: what services have written, kept for those who ask later.

It owns the threads that read and write output; what they have kept is in `Logs`, which is nobody's
life's, and so is there after a crash of the journal. Who wants lines asks `Logs.page`, in a thread;
to follow, listen to `ServiceOutput` events and ask for what comes after the last page.
"""

from __future__ import annotations

from typing import Final

import anyio

from actors import Actor, Call, Ignore, on
from colony.logs import Logs

JOURNAL: Final = "journal"
"""The journal's name in its system."""


class LastLines(Call["Journal", tuple[bytes, ...]], frozen=True):
    """The last `count` lines that a service wrote, on either stream, over all its lives."""

    colony: str
    service: str
    count: int = 10


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

    @on(ForgetLogs)
    def _forget(self, msg: ForgetLogs) -> None:
        self.logs.forget(msg.colony)
