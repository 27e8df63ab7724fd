"""How many files may be open: more for this process, what it was given for those that it starts.

Law: raising our own limit changes nobody else's. A program that uses `select` breaks on a
descriptor above 1023, and some clear a table as long as the limit; so the soft limit that a user's
shell gave us goes on to what is started here, as if we had never touched it.

It is given back right after the start, for an instant of which the program has ours. Rejected: to
lower our own for the start, during which other threads of ours would be refused files; a program in
between that sets it.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

MOST: Final = 65_536
"""Open files that an instance wants at most: some for each service, one for each reader."""

_given: tuple[int, int] | None = None  # what this process began with, once that has been changed


def raise_open_files() -> int:
    """Raises this process's soft limit towards its hard one; what it is now. Twice is no error."""
    global _given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    _given = _given or (soft, hard)
    return wanted


def give_back(pid: int) -> None:
    """Gives a process that was just started the limit that we began with."""
    if _given is not None:
        # It may have ended already, or have become somebody else's.
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _given)
