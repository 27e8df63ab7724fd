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
import msgspec

from netns import Process, sweep
from netns.sweep import Belongs, Census

NOBODY: Final[Census] = frozenset()

FRESH: Final = 1.0
"""Seconds for which a census is used for whatever starts then."""

_QUIET_LOOKS: Final = 3

_FEW: Final = 150
_ASKED: Final = 30
"""Births in a service's life up to which a glance looks at each of them, and of those such as must
be asked for their parent: one that is no more takes some µs, one that is asked three times that."""

_JUST_NOW: Final = 0.1
"""Seconds for which the moment of a glance serves as one before the next life."""


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
    gone stays under suspicion, for it may have left a child that is met later. Of too many to ask
    it is not sure.
    """
    suspects, left = {*young, *takers}, _ASKED
    for pid in sorted(young):
        parent = parent_of(pid)
        if parent is None:
            continue
        left -= 1
        if parent in suspects or not left:
            return False
        suspects.discard(pid)
    return True


class Moment(msgspec.Struct, frozen=True):
    """Before the birth of a process: how many there had been, and the number of the latest."""

    births: int
    last: int

    def numbers(self, now: Moment) -> range | None:
        """Those that have been given out since, if they are few; None if they are not, or may have
        begun anew at 1.

        They have if the latest is not as far from the first as there were births. (A birth that a
        control group forbids takes a number and is not counted, so a few may be left out.)
        """
        given = now.last - self.last
        born = now.births - self.births
        if not 0 <= given <= born <= _FEW or not sweep.hears_of_births():
            return None
        return range(self.last + 1, now.last + 1)


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
        self._births = sweep.Births()
        self._latest = NOBODY
        self._before = self._glanced = Moment(0, 0)
        self._glanced_at = -math.inf
        self._at = -math.inf
        self._takers: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return f"<Registrar knows {len(self._latest)}>"

    def now(self) -> Moment:
        """This moment. Does not block."""
        return Moment(self._births.count(), self._births.last())

    def glance(self, began: Moment) -> bool:
        """Whether it can be seen at once that a service, which has ended and is not closed yet, has
        left nobody behind; `began` is a moment before its birth. Does not block.

        False if it takes a closer look: something may be left, or more has happened on the machine
        than can be told apart here. A number is seen by the time that its parent may end, and they
        are gone through from the first to the last: so a chain of processes, each ending as soon as
        it has a child, is met unless it goes on beyond the last, and then another one is the last.
        """
        now = self.now()
        numbers = began.numbers(now)
        if numbers is None:
            return False
        known = {process.pid for process in self.services if process.pidfd >= 0}
        self._takers = self._takers or sweep.orphans_parents()
        try:
            strangers = all_strangers({*numbers} - known, self._takers, sweep.parent_of)
        except OSError:  # no descriptor is left to look with
            return False
        self._glanced, self._glanced_at = now, time.monotonic()
        return strangers and self._births.last() == now.last

    def lately(self) -> Moment:
        """One that was just now, if it is known without asking the kernel; else this one."""
        fresh = time.monotonic() - self._glanced_at < _JUST_NOW
        return self._glanced if fresh else self.now()

    async def elders(self, began: Moment) -> Census:
        """Many that were there at a moment which is over: everybody, as of a second before it at
        most, unless more has happened since than can be told apart."""
        if time.monotonic() - self._at > FRESH or self._before.births > began.births:
            everybody = await anyio.to_thread.run_sync(sweep.census)
            younger = began.numbers(self.now())
            if younger is not None:
                self.note(frozenset(each for each in everybody if each[0] not in younger), began)
        return self._latest if self._before.births <= began.births else NOBODY

    def note(self, everybody: Census, before: Moment | None = None) -> None:
        """All these were born before a moment; default: this one."""
        self._latest, self._before = everybody, before or self.now()
        self._at = time.monotonic()
