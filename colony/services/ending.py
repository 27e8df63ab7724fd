"""Asking processes to end, those included that have left their group. Reads /proc in a thread."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

import anyio.to_thread

from netns import Process, sweep
from netns.sweep import Belongs

_QUIET_LOOKS: Final = 3


async def ask_to_end(process: Process, strays: Belongs, number: int) -> None:
    """Sends a signal to the process's group, then to each stray outside of it.

    SIGCONT follows, since one that was stopped would not notice before the kill.
    """
    process.signal_group(number)
    process.signal_group(signal.SIGCONT)
    await anyio.to_thread.run_sync(_signal_strays, process.pid, strays, number)


def _signal_strays(group: int, strays: Belongs, number: int) -> None:
    for pid in sweep.find(strays):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == group:
                continue
            pidfd = os.pidfd_open(pid)
            try:
                if strays(pid):  # still: the number is bound to the descriptor now
                    signal.pidfd_send_signal(pidfd, number)
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            finally:
                os.close(pidfd)


async def lingering(strays: Belongs) -> bool:
    """Whether any process that belongs is left.

    One that hands over to its child while /proc is read is missed together with the child: it has
    gone when we come to it, and the child was not there when the list was made. So only the third
    look in a row that finds nobody counts; each looks at those alone whom the last did not meet.
    """

    def look() -> bool:
        met: set[int] = set()
        for _ in range(_QUIET_LOOKS):
            new = [pid for pid in sweep.numbers() if pid not in met]
            if any(strays(pid) for pid in new):
                return True
            met.update(new)
        return False

    return await anyio.to_thread.run_sync(look)
