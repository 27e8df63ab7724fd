"""Asking processes to end, those included that have left their group; and whether any are left.

The environment by which a process is known as a service's is in its memory, and who reads that may
have to wait: so it is read in a thread. That nobody is left of one that has crashed can mostly be
seen without (`Registrar.glance`), and a restart does not wait for a thread then.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from typing import Final

import anyio.to_thread

from netns import Process, sweep
from netns.sweep import Belongs, Census

NOBODY: Final[Census] = frozenset()

FRESH: Final = 1.0
"""Seconds for which a census is used for whatever starts then."""

_QUIET_LOOKS: Final = 3

_MANY: Final = 1000
_FEW: Final = 64
"""Processes on the machine, and of those such as must be asked for their parent, up to which a
glance is worth its price: 0.7 µs for each of the former, 10 for each of the latter."""


async def ask_to_end(
    process: Process, strays: Belongs, number: int, elders: Census = NOBODY
) -> None:
    """Sends a signal to the process's group, then to each stray outside of it.

    elders
        Who is none of them, being older than the process. Default: nobody is known to be.

    SIGCONT follows, since one that was stopped would not notice before the kill.
    """
    process.signal_group(number)
    process.signal_group(signal.SIGCONT)
    await anyio.to_thread.run_sync(_signal_strays, process.pid, strays, number, elders)


def _signal_strays(group: int, strays: Belongs, number: int, elders: Census) -> None:
    for pid in _younger(sweep.census(), elders):
        with suppress(ProcessLookupError):
            if not strays(pid) or os.getpgid(pid) == group:
                continue
            pidfd = os.pidfd_open(pid)
            try:
                if strays(pid):  # still: the number is bound to the descriptor now
                    signal.pidfd_send_signal(pidfd, number)
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            finally:
                os.close(pidfd)


async def lingering(strays: Belongs, elders: Census = NOBODY) -> bool:
    """Whether any process that belongs is left, the elders aside."""
    return await anyio.to_thread.run_sync(left_alone, strays, elders) is None


def left_alone(strays: Belongs, elders: Census = NOBODY) -> Census | None:
    """Everybody there is, if none of them belongs; None if one does. Reads /proc: blocks.

    One that hands over to its child while /proc is read is missed together with the child: it has
    gone when we come to it, and the child was not there when the list was made. So a look that
    finds nobody counts if nobody at all was born meanwhile, or if it is the third in a row; each
    looks at those alone whom the last did not meet.
    """
    met = elders
    for _ in range(_QUIET_LOOKS):
        born = sweep.last_pid()
        everybody = sweep.census()
        if any(strays(pid) for pid in _younger(everybody, met)):
            return None
        met |= everybody
        if sweep.hears_of_births() and sweep.last_pid() == born:
            break
    return everybody


def _younger(everybody: Census, elders: Census) -> list[int]:
    """The numbers of all who are not among the elders, the newest first."""
    return sorted((pid for pid, _ in everybody - elders), reverse=True)


def all_strangers(
    young: Iterable[int], takers: Set[int], parent_of: Callable[[int], int | None]
) -> bool:
    """Whether it is sure that no process of these has descended from one that has ended. Pure.

    young
        All who are not known to be older than that one, or to be somebody else's.
    takers
        Who may have become the parent of what it left behind.

    A stray's parent is a stray as well, and so among the young, or a taker of orphans. One that is
    gone stays under suspicion, for it may have left a child that is met later.
    """
    suspects = {*young, *takers}
    for pid in sorted(young):
        parent = parent_of(pid)
        if parent is None:
            continue
        if parent in suspects:
            return False
        suspects.discard(pid)
    return True


class Registrar:
    """Who is older than a service that is about to start, and so no descendant of its.

    To ask each process of the machine whose it is takes milliseconds, at each restart; most have
    been there for hours. The services of a machine share the latest census. One that has grown old
    is no less true, but those who came since would all be asked.

    services
        The services' own processes, of which each has descended from none of the others. One that
        is closed does not count, as its number may be another's.
    """

    def __init__(self) -> None:
        self.services: set[Process] = set()
        self._latest = NOBODY
        self._at = -math.inf
        self._takers: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return f"<Registrar knows {len(self._latest)}>"

    async def elders(self) -> Census:
        """Everybody who is there, as of a second ago at most."""
        if time.monotonic() - self._at > FRESH:
            self.note(await anyio.to_thread.run_sync(sweep.census))
        return self._latest

    def glance(self, elders: Census) -> Census | None:
        """Everybody there is, if it can be seen at once that a service, which has ended and is not
        closed yet, has left nobody behind; None if it takes a closer look. Does not block.

        As in `left_alone`, it counts only if nobody was born meanwhile.
        """
        if len(elders) > _MANY or not sweep.hears_of_births():
            return None
        born = sweep.last_pid()
        everybody = sweep.census()
        known = {process.pid for process in self.services if process.pidfd >= 0}
        young = {pid for pid, _ in everybody - elders} - known
        if len(young) > _FEW:
            return None
        self._takers = self._takers or sweep.orphans_parents()
        if all_strangers(young, self._takers, sweep.parent_of) and sweep.last_pid() == born:
            return everybody
        return None

    def note(self, everybody: Census) -> None:
        """Somebody has just counted, for a reason of his own."""
        self._latest, self._at = everybody, time.monotonic()
