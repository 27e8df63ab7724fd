"""Finding and ending processes: all those in a namespace, all those of an instance.

Law: whoever is in the namespace belongs to the colony, however it got away from its parent (setsid,
double fork, nohup); and nobody is killed on the word of a number alone: a process is opened by
descriptor first, looked at again, and only then signalled.

A process that forks while we look is met twice over: it is signalled on sight, not after the scan;
and its process group is killed as a whole, which the kernel does atomically against fork. The scan
is repeated until two in a row find nobody.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import msgspec

from netns import names
from netns.errors import NetnsError

Belongs = Callable[[int], bool]

_QUIET_SCANS: Final = 2
_PAUSE: Final = 0.002
_GRACE: Final = 0.25  # seconds for the killed of one scan to vanish before the next one


class Killed(msgspec.Struct, frozen=True):
    """A process that was killed: its number and its command's name."""

    pid: int
    command: str


def in_namespace(inode: int) -> Belongs:
    """Whether a process is in the network namespace with this inode."""

    def belongs(pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino == inode
        except OSError:
            return _has_thread_in(pid, inode)

    return belongs


def _has_thread_in(pid: int, inode: int) -> bool:
    # A process whose first thread has ended shows its namespace by its other threads only.
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/task/{task}/ns/net").st_ino == inode:
                    return True
    return False


def with_variable(variable: str, value: str) -> Belongs:
    """Whether a process was started with this in its environment."""
    wanted = f"{variable}={value}".encode()

    def belongs(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return wanted in file.read().split(b"\0")
        except OSError:
            return False

    return belongs


def marked(instance: str) -> Belongs:
    """Whether a process was started by this instance."""
    return with_variable(names.INSTANCE_VARIABLE, names.check_instance(instance))


def colony_of(instance: str, colony: str) -> Belongs:
    """Whether a process was started by this instance for this colony."""
    rules = (marked(instance), with_variable(names.COLONY_VARIABLE, colony))
    return lambda pid: all(rule(pid) for rule in rules)


def either(*rules: Belongs) -> Belongs:
    """Whether one of the rules holds."""
    return lambda pid: any(rule(pid) for rule in rules)


def find(belongs: Belongs) -> Iterator[int]:
    """The numbers of the processes that belong, as they are met; never this process's own."""
    me = os.getpid()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (pid := int(entry)) != me and belongs(pid):
            yield pid


def processes_in(inode: int) -> list[int]:
    """The processes in the network namespace with this inode. Some 5 µs per process there is."""
    return list(find(in_namespace(inode)))


def processes_marked(instance: str) -> list[int]:
    """The processes that this instance started, and their descendants."""
    return list(find(marked(instance)))


async def kill_all(belongs: Belongs | int, *, timeout: float = 5.0) -> list[Killed]:
    """Kills (SIGKILL) every process that belongs, and waits until there is none.

    belongs
        A rule such as `marked(instance)`, or the inode of a network namespace.
    timeout
        In seconds.

    A polite SIGTERM beforehand is the caller's. Zombies count as gone; their parents reap them.
    Raises `NetnsError` naming those that are left after `timeout` seconds (in uninterruptible
    sleep, or multiplying faster than they die). Cancelling does not interrupt it.
    """
    rule = in_namespace(belongs) if isinstance(belongs, int) else belongs
    killed: list[Killed] = []
    with anyio.CancelScope(shield=True):
        killed += await anyio.to_thread.run_sync(kill_all_blocking, rule, timeout)
    return killed


def kill_all_blocking(belongs: Belongs, timeout: float = 5.0) -> list[Killed]:
    """`kill_all` for a thread that may block."""
    deadline = time.monotonic() + timeout
    killed: dict[int, Killed] = {}
    quiet = 0
    while quiet < _QUIET_SCANS:
        alive = _kill_on_sight(belongs, killed)
        if alive and time.monotonic() > deadline:
            left = ", ".join(f"{pid} ({_command(pid)})" for pid in alive)
            raise NetnsError(f"still running {timeout:g} seconds after SIGKILL: {left}")
        quiet = 0 if alive else quiet + 1
    return list(killed.values())


def _kill_on_sight(belongs: Belongs, killed: dict[int, Killed]) -> list[int]:
    """One scan: kills whom it meets and waits a little for them; returns whom it met."""
    waiting: dict[int, int] = {}
    try:
        for pid in find(belongs):
            killed.setdefault(pid, Killed(pid, _command(pid)))
            pidfd = _kill(pid, belongs)
            if pidfd is not None:
                waiting[pid] = pidfd
        _await_ends(list(waiting.values()))
        return list(waiting)
    finally:
        for pidfd in waiting.values():
            os.close(pidfd)


def _kill(pid: int, belongs: Belongs) -> int | None:
    """Kills the process and its group; a descriptor to wait for it by, None if it was gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if belongs(pid):  # still: now the number is bound to the descriptor
            _kill_group(pid, belongs)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return pidfd
    except ProcessLookupError:
        pass
    os.close(pidfd)
    return None


def _kill_group(pid: int, belongs: Belongs) -> None:
    """Kills the whole group at once, if its founder belongs, too, or is no more."""
    with contextlib.suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group <= 1 or group == os.getpgrp():
            return
        if not os.path.exists(f"/proc/{group}") or belongs(group):
            os.killpg(group, signal.SIGKILL)


def _await_ends(pidfds: list[int]) -> None:
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + _GRACE
    left = len(pidfds)
    while left and (remaining := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(remaining * 1000):
            poll.unregister(pidfd)
            left -= 1
    if not pidfds:
        time.sleep(_PAUSE)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
