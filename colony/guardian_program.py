"""The guardian's program: ends what a killed Colony leaves. Standard library only.

    python -I -S guardian_program.py INSTANCE        commands on standard input

    +123456    the network namespace with this inode is the instance's, too
    -123456    it is not any more
    !4711      this process is the instance's, though it does not show it: it has more rights
    bye        a clean end: exit without doing anything

When the input ends without a "bye", Colony has died, however that came about: the kernel closes a
dead process's pipes. Then every process that is marked with the instance in its environment, or
stands in one of its namespaces, is killed, until there is none.

Whoever could fork meanwhile is stopped first: all that are found are sent SIGSTOP, again and again
until no new one turns up, and then SIGKILL. Who does nothing but fork and end is gone before a scan
of all comes to it: as long as the machine makes new processes, those since the scan began are
looked at, until nobody at all was born meanwhile.
"""

import os
import signal
import sys
import time

PATIENCE = 10.0
"""Seconds after which it gives up on those that are left: in uninterruptible sleep, say."""

PAUSE = 0.001

NEWEST = 16
CHASES = 400
"""How many of the latest process numbers are looked at, and how often at most."""

MARGIN = 64
"""A number is given out before its process can be seen. So many births at most lie in between."""

MANY = 4096


def belongs(pid: str, mark: bytes, inodes: set[int]) -> bool:
    """Whether a process is the instance's."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def signal_one(pid: str, number: int, mark: bytes, inodes: set[int]) -> None:
    """Signals a process, bound by descriptor, if it is still the instance's."""
    try:
        pidfd = os.pidfd_open(int(pid))
    except OSError:
        return
    try:
        if belongs(pid, mark, inodes):
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def found(mark: bytes, inodes: set[int]) -> set[str]:
    """The processes that belong."""
    mine = str(os.getpid())
    pids = {pid for pid in os.listdir("/proc") if pid.isdigit() and pid != mine}
    return {pid for pid in pids if belongs(pid, mark, inodes)}


def last_pid() -> int:
    """The latest process number that the kernel gave out."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[-1])


def met_since(first: int, mark: bytes, inodes: set[int]) -> bool:
    """Looks at the numbers given out since the first; whether one belongs, which is stopped now."""
    mine, last = os.getpid(), last_pid()
    if not 0 <= last - first < MANY:  # they began anew at 1
        first = last - MANY
    for number in range(last, max(first, 1) - 1, -1):
        pid = str(number)
        if number != mine and belongs(pid, mark, inodes):
            signal_one(pid, signal.SIGSTOP, mark, inodes)
            return True
    return False


def chase(born: int, mark: bytes, inodes: set[int]) -> bool:
    """Looks at those born since a scan that met nobody began; whether it met one that belongs."""
    for _ in range(CHASES):
        if met_since(last_pid() - NEWEST, mark, inodes):
            return True
        last = last_pid()
        if met_since(born - MARGIN, mark, inodes):
            return True
        if last_pid() == last:
            return False
    return False


def sweep(mark: bytes, inodes: set[int]) -> None:
    """Kills all, and looks until nobody is found twice in a row: one that is just becoming another
    program has no environment for a moment."""
    deadline = time.monotonic() + PATIENCE
    empty = 0
    while empty < 2 and time.monotonic() < deadline:
        stopped: set[str] = set()
        born = last_pid()
        while new := found(mark, inodes) - stopped:
            for pid in new:
                signal_one(pid, signal.SIGSTOP, mark, inodes)
            stopped |= new
        for pid in stopped:
            signal_one(pid, signal.SIGKILL, mark, inodes)
        empty = 0 if stopped or chase(born, mark, inodes) else empty + 1
        time.sleep(PAUSE)


def opened(pid: int) -> list[int]:
    """A descriptor of a process, by which it is meant and no later one of its number."""
    try:
        return [os.pidfd_open(pid)]
    except OSError:
        return []


def main() -> None:
    """Waits for the end of its input."""
    mark = f"COLONY_INSTANCE={sys.argv[1]}".encode()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    inodes: set[int] = set()
    others: list[int] = []
    rest = b""
    while data := os.read(0, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b"bye":
                return
            if line[:1] == b"!":
                others += opened(int(line[1:]))
                continue
            change = inodes.add if line[:1] == b"+" else inodes.discard
            change(int(line[1:]))
    for pidfd in others:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            continue
    sweep(mark, inodes)


if __name__ == "__main__":
    main()
