"""What services take, between two questions and before the first."""

from __future__ import annotations

import os
import time

import pytest

from colony.services.usage import Sample, Usage, between, sample


def taken(pid: int = 1, *, age: float, at: float, cpu: float) -> Sample:
    return Sample(pid, age, at, cpu, memory=4096, processes=1)


@pytest.mark.parametrize(
    ("before", "now", "cpu"),
    [
        (None, taken(age=10.0, at=100.0, cpu=5.0), 0.5),
        (None, taken(age=0.05, at=100.0, cpu=0.05), None),
        (None, taken(age=0.0, at=100.0, cpu=5.0), None),
        (taken(age=10.0, at=100.0, cpu=5.0), taken(age=12.0, at=102.0, cpu=5.5), 0.25),
        (taken(age=10.0, at=100.0, cpu=5.0), taken(age=12.0, at=102.0, cpu=4.0), 0.0),
        (taken(age=10.0, at=100.0, cpu=5.0), taken(age=10.0, at=100.0, cpu=5.0), None),
        (taken(age=10.0, at=100.0, cpu=5.0), taken(2, age=1.0, at=102.0, cpu=1.0), 1.0),
        (taken(age=10.0, at=100.0, cpu=5.0), taken(2, age=0.0, at=102.0, cpu=1.0), None),
    ],
)
def test_cpu_is_since_the_last_question_in_this_life_or_since_its_start(
    before: Sample | None, now: Sample, cpu: float | None
) -> None:
    assert between(before, now) == Usage(cpu, memory=4096, processes=1)


def test_a_first_sample_knows_how_old_a_process_is() -> None:
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    born = ticks / os.sysconf("SC_CLK_TCK")
    [found] = sample({"me": os.getpid()}, now=0.0).values()
    later = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert found.pid == os.getpid()
    assert since_boot - born <= found.age <= later - born
