"""CPU and memory of services, from /proc. `sample` reads and blocks; `between` is pure.

A service is its process and all those in the process groups and sessions of it: whoever has left
both counts for nobody here, and is found by the sweep all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

import msgspec

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/PID/stat after the command's closing parenthesis (proc_pid_stat(5)).
_GROUP, _SESSION, _USER, _SYSTEM, _BEGAN, _RSS = 2, 3, 11, 12, 19, 21

_YOUNG: Final = 0.1
"""Seconds of life beneath which the kernel's ticks, of 10 ms, say nothing."""


class Sample(msgspec.Struct, frozen=True):
    """A service's processes at one time: CPU seconds used in all, resident bytes, how many. `age`
    is that of the first, `pid`, in seconds; 0 if it has gone."""

    pid: int
    age: float
    at: float
    cpu_seconds: float
    memory: int
    processes: int


class Usage(msgspec.Struct, frozen=True):
    """What a service takes.

    cpu
        Part of one CPU since the last question, or since its start if there was none in its life;
        1.0 is all of it; None of one that has just started.
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
    ages: dict[str, float] = {}
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
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
            if int(entry) == pids[name]:
                ages[name] = since_boot - int(fields[_BEGAN]) / _TICKS
    return {
        name: Sample(pids[name], ages.get(name, 0.0), now, cpu, int(memory), int(count))
        for name, (cpu, memory, count) in sums.items()
    }


def between(before: Sample | None, now: Sample) -> Usage:
    """What was used between two samples; since the start if there is none of this life before."""
    used, seconds, least = now.cpu_seconds, now.age, _YOUNG
    if before is not None and before.pid == now.pid:
        used, seconds, least = used - before.cpu_seconds, now.at - before.at, 0.0
    # Less than nothing: processes have ended and taken their seconds with them.
    cpu = max(0.0, used) / seconds if seconds > least else None
    return Usage(cpu, now.memory, now.processes)


def _stat(pid: str) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None
