"""Finding and ending processes: all those in a namespace, all those of an instance.

Law: whoever is in the namespace belongs to the colony, however it got away from its parent (setsid,
double fork, nohup); and nobody is killed on the word of a number alone: a process is opened by
descriptor first, looked at again, and only then signalled.

Who forks while we look. A process is signalled on sight, not after the scan, and its group is
killed as a whole, which the kernel does atomically against fork. A chain of processes, each ending
as soon as it has a child, is gone by the time a scan of all comes to it; so, as long as the machine
makes new processes, those since an empty scan began are looked at, the newest microseconds after
their birth. That nobody is left is known, however busy the machine is, once nobody at all was born
while we looked at all of these: who lives then was there when the scan began, or is one of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import anyio
import msgspec

from netns import names
from netns.errors import NetnsError

Belongs = Callable[[int], bool]

_CHASES: Final = 200
_NEWEST: Final = 16
_MARGIN: Final = 64
"""A number is given out before its process can be seen. So many births at most lie in between."""

_MANY: Final = 4096
_GRACE: Final = 0.25  # seconds for the killed of one scan to vanish before the next one
_LOOK_AGAIN: Final = (0.0005,) * 20 + (0.0025,) * 20 + (0.01,) * 100
"""Seconds between two looks at a process that becomes another one: on a busy machine it may have to
wait for a processor in the midst of that, some tenths of a second even."""

_ENOUGH: Final = 40
"""So many looks at one that has an environment, be it empty."""

# Fields of /proc/PID/stat after the command's closing parenthesis (proc_pid_stat(5)).
_STATE, _PARENT, _ENV_START, _ENV_END = 0, 1, 47, 48
_AT_WORK: Final = (b"R", b"D")
# <linux/pidfd.h>: struct pidfd_info, and what asks for it.
_GET_INFO: Final = 0xC040FF0B
_INFO_PID: Final = 1
_INFO_SIZE: Final = 64
_INFO_MASK, _INFO_PARENT = slice(0, 8), slice(24, 28)
_FORKS: Final = b"\nprocesses "  # a line of /proc/stat (proc_stat(5)), threads counted as well
_PAGE: Final = 4096
_NEVER: Final = b"never"  # the place of one that there will not be


Census = frozenset[tuple[int, int]]
"""Who was there at one moment: see `census`."""


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
        return wanted in environment_of(pid)

    return belongs


def environment_of(pid: int) -> list[bytes]:
    """The environment that a process was started with; empty for one that may not be looked at.

    One that is just becoming another program has none for a moment, and is looked at again: it is
    in a storm of forks that a sweep has to see everybody. Blocks for some hundredths of a second at
    most; for a second, where it takes that one as long to become another.
    """
    empty_at = b""
    for number, pause in enumerate(_LOOK_AGAIN):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                text = file.read()
            if text:
                return text.split(b"\0")
            before = empty_at
            empty_at, at_work = _place_of_nothing(pid)
        except OSError:
            return []
        stays = number >= _ENOUGH or (empty_at == before and not at_work)
        if empty_at == _NEVER or (empty_at and stays):
            return []
        time.sleep(pause)
    return []


def _place_of_nothing(pid: int) -> tuple[bytes, bool]:
    """Where an environment lies that is empty, b"" for one in the making, which has no place yet;
    and whether the process is at work.

    For an instant one in the making looks empty as well. It never does at the same place again, as
    each program's stack begins at another; but at work it may have to wait in that instant.
    """
    try:
        os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError:  # a thread of the kernel's, or one that has ended
        return _NEVER, False
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = fields[_ENV_START], fields[_ENV_END]
    return (start if start == end != b"0" else b""), fields[_STATE] in _AT_WORK


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
    """The numbers of the processes that belong, as they are met, the newest first; never this
    process's own."""
    for pid in numbers():
        if belongs(pid):
            yield pid


def numbers() -> Iterator[int]:
    """Of all processes but this one, as they are now, the newest first."""
    me = os.getpid()
    listed = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return (pid for pid in reversed(listed) if pid != me)


def census() -> Census:
    """Everybody but this process: each one's number, and the inode of its place in /proc.

    The inode tells a process from another one that gets its number later, and costs nothing, as
    the listing has it. It may change while the process lives, when the kernel is short of memory;
    so that somebody is in an earlier census proves that he was there, and the contrary nothing.
    """
    me = os.getpid()
    with os.scandir("/proc") as entries:
        listed = [(int(entry.name), entry.inode()) for entry in entries if entry.name.isdigit()]
    return frozenset(entry for entry in listed if entry[0] != me)


def parent_of(pid: int) -> int | None:
    """The number of a process's parent, 0 if that is outside of what is seen here; None if there is
    no such process, as where the number is a thread's. Asks for nothing of the process's memory,
    and so waits for nobody."""
    try:
        pidfd = os.pidfd_open(
            pid
        )  # which is cheaper for one that is not there, and refuses threads
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    try:
        info = bytearray(_INFO_SIZE)
        info[_INFO_MASK] = _INFO_PID.to_bytes(8, sys.byteorder)
        try:
            fcntl.ioctl(pidfd, _GET_INFO, info)
        except OSError as error:
            return None if error.errno == errno.ESRCH else _parent_by_proc(pid)
        return int.from_bytes(info[_INFO_PARENT], sys.byteorder)
    finally:
        os.close(pidfd)


def _parent_by_proc(pid: int) -> int | None:
    """The same on a kernel older than 6.13, which tells nothing of a descriptor's process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read().rpartition(b")")[2].split(None, 2)[_PARENT])
    except (OSError, IndexError):  # it has ended in between
        return None


def orphans_parents() -> frozenset[int]:
    """Whose child a process may become when its parent ends: this one's, or an ancestor's of it.

    Who it is decides a flag of theirs (`PR_SET_CHILD_SUBREAPER`) that nobody else can see. A
    process that is told of later is one of these already: one only becomes somebody's child that
    was an ancestor before.
    """
    found = {0, 1}
    pid: int | None = os.getpid()
    while pid and pid not in found:
        found.add(pid)
        pid = parent_of(pid)
    return frozenset(found)


def _find_since(first: int, belongs: Belongs) -> Iterator[int]:
    """`find` among the numbers that the kernel has given out from `first` on, the latest first."""
    me, last = os.getpid(), last_pid()
    if not 0 <= last - first < _MANY:  # they began anew at 1
        first = last - _MANY
    for pid in range(last, max(first, 1) - 1, -1):
        if pid != me and belongs(pid):
            yield pid


def last_pid() -> int:
    """The number that the kernel gave out last, to a process or to a thread: if it is the same at
    two moments, nobody was born in between."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[-1])


class Births:
    """How many processes and threads there have been, and which number the latest of them has.

    All of them read the same two files, which this process keeps open: to open one takes several
    times as long as to read it again.
    """

    __slots__ = ("_loadavg", "_stat")

    def __init__(self) -> None:
        self._loadavg = _kept_open("/proc/loadavg")
        self._stat = _kept_open("/proc/stat")

    def __repr__(self) -> str:
        return f"<Births {self.count()}, the latest {self.last()}>"

    def last(self) -> int:
        """What `last_pid` says."""
        return int(os.pread(self._loadavg, _PAGE, 0).split()[-1])

    def count(self) -> int:
        """Since the machine was started; in a container, of all the machine."""
        text, at = b"", -1
        while at < 0 or b"\n" not in text[at + 1 :]:
            part = os.pread(self._stat, 16 * _PAGE, len(text))
            if not part:
                raise NetnsError("/proc/stat does not tell how many processes there have been")
            text += part
            at = text.find(_FORKS)
        return int(text[at + len(_FORKS) :].split(None, 1)[0])


@functools.cache
def _kept_open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@functools.cache
def hears_of_births() -> bool:
    """Whether `last_pid` is the kernel's own word: in a container that file may be a daemon's
    (lxcfs), and some seconds old."""
    return os.stat("/proc/loadavg").st_dev == os.stat("/proc").st_dev


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
    # Named first: of a group that is killed as a whole the scan would meet only some.
    killed = {pid: Killed(pid, _command(pid)) for pid in find(belongs)}
    while met := _scan(belongs, killed):
        if time.monotonic() > deadline and (left := [pid for pid in met if belongs(pid)]):
            words = ", ".join(f"{pid} ({killed[pid].command})" for pid in left)
            raise NetnsError(f"still running {timeout:g} seconds after SIGKILL: {words}")
    return list(killed.values())


def _scan(belongs: Belongs, killed: dict[int, Killed]) -> list[int]:
    """Looks at all processes, and at those that are born meanwhile; returns whom it met."""
    born = last_pid()
    if met := _kill_on_sight(find, belongs, killed):
        return met
    for _ in range(_CHASES):
        newest = partial(_find_since, last_pid() - _NEWEST)
        if met := _kill_on_sight(newest, belongs, killed):
            return met
        last = last_pid()
        if met := _kill_on_sight(partial(_find_since, born - _MARGIN), belongs, killed):
            return met
        if last_pid() == last:
            return []
    return []  # others never rest: a chain would have been met by now


def _kill_on_sight(
    look: Callable[[Belongs], Iterator[int]], belongs: Belongs, killed: dict[int, Killed]
) -> list[int]:
    """One scan: kills whom it meets and waits a little for them; returns whom it met."""
    waiting: dict[int, int] = {}
    try:
        for pid in look(belongs):
            pidfd = _kill(pid, belongs)
            if pidfd is not None:
                waiting[pid] = pidfd
                killed.setdefault(pid, Killed(pid, _command(pid)))
        if waiting:
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


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
