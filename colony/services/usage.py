"""CPU and memory of services, from /proc. `sample` reads and blocks; `between` is pure.

A service is its process and all those in the process groups and sessions of it: whoever has left
both counts for nobody here, and is found by the sweep all the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/PID/stat after the command's closing parenthesis (proc_pid_stat(5)).
_GROUP, _SESSION, _USER, _SYSTEM, _RSS = 2, 3, 11, 12, 21


class Sample(msgspec.Struct, frozen=True):
    """A service's processes at one time: CPU seconds used in all, resident bytes, how many."""

    at: float
    cpu_seconds: float
    memory: int
    processes: int


class Usage(msgspec.Struct, frozen=True):
    """What a service takes.

    cpu
        Part of one CPU since the last question, 1.0 being all of it; None at the first.
    memory
        Resident bytes of its processes together; what they share counts for each.
    processes
        How many there are.
    """

    cpu: float | None
    memory: int
    processes: int


def sample(pids: Mapping[str, int], now: float) -> dict[str, Sample]:
    """The processes of services, given the first process of each. One pass through /proc."""
    names = {pid: name for name, pid in pids.items()}
    sums: dict[str, list[float]] = {}
    for entry in os.listdir("/proc") if names else ():
        if not entry.isdigit():
            continue
        fields = _stat(entry)
        if fields is None:
            continue
        name = names.get(int(fields[_GROUP])) or names.get(int(fields[_SESSION]))
        name = name or names.get(int(entry))
        if name is not None:
            found = sums.setdefault(name, [0.0, 0, 0])
            found[0] += (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
            found[1] += int(fields[_RSS]) * _PAGE
            found[2] += 1
    return {
        name: Sample(now, cpu, int(memory), int(count))
        for name, (cpu, memory, count) in sums.items()
    }


def between(before: Sample | None, now: Sample) -> Usage:
    """What was used between two samples."""
    cpu = None
    if before is not None and now.at > before.at:
        # Less than before: processes have ended and taken their seconds with them.
        cpu = max(0.0, now.cpu_seconds - before.cpu_seconds) / (now.at - before.at)
    return Usage(cpu, now.memory, now.processes)


def _stat(pid: str) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None
