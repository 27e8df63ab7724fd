"""Asking processes to end, those included that have left their group. Reads /proc in a thread."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import anyio.to_thread

from netns import Process, sweep
from netns.sweep import Belongs


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
    """Whether any process that belongs is left."""
    return await anyio.to_thread.run_sync(lambda: next(sweep.find(strays), None) is not None)
