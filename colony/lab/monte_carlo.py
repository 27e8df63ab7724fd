"""A scenario many times, each time with other dice: what to expect of a policy, not what it did.

    samples = monte_carlo(config, scenario, 1000, play=simulate)
    outcomes = aggregate(samples)
    outcomes.gave_up.share                          # 0.032: in one of 30 nights it gives up
    outcomes.services["web"].downtime.p95           # 14.2 seconds, and only in 5 % of them longer

Law: run number i has the seed `scenario.seed + i`, and nothing else tells it from the others. So
the result is the same on one core and on sixteen, and any single run can be looked at by its seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from colony.config import Config
from colony.lab.crew import Crew, Way, cores, way
from colony.lab.faults import Scenario
from colony.lab.summary import Summary, summarise
from colony.lab.trace import EndingKind, Trace

Play = Callable[[Config, Scenario], Trace]
"""What plays a scenario, as `world.simulate` does; a function of a module."""

MOST: Final = 100_000
"""Runs that may be asked for at once."""

ALONE: Final[dict[Way, float]] = {"fork": 0.1, "spawn": 1.5}
"""Seconds of work for which no further processes are started: that would take as long."""

SHARE: Final = 32
"""Jobs for each process, where there are runs enough: the last ones to end leave little to wait
for, and progress is seen."""


# -- one run ---------------------------------------------------------------------------------------


class ServiceSample(msgspec.Struct, frozen=True):
    """What is kept of one service in one run. As in `summary.ServiceSummary`."""

    restarts: int
    crashes: int
    downtime: float
    longest: float
    availability: float


class Sample(msgspec.Struct, frozen=True):
    """What is kept of one run. `culprit` is on whose account it ended, "" if it did not."""

    seed: int
    ending: EndingKind
    ended: float
    culprit: str
    services: dict[str, ServiceSample]

    @property
    def downtime(self) -> float:
        """That of all services together, in seconds."""
        return sum(each.downtime for each in self.services.values())


def sample(seed: int, summary: Summary) -> Sample:
    """What is kept of a run."""
    ending = summary.ending
    return Sample(
        seed,
        ending.kind,
        ending.at,
        ending.service,
        {
            name: ServiceSample(s.restarts, s.crashes, s.downtime, s.longest, s.availability)
            for name, s in summary.services.items()
        },
    )


# -- many runs -------------------------------------------------------------------------------------


class Job(msgspec.Struct, frozen=True):
    """Some of the runs, for one process. `scenario` without its seed."""

    config: Config
    scenario: Scenario
    seeds: Sequence[int]
    play: Play


def work(job: Job) -> list[Sample]:
    """Does a job."""
    return [
        sample(seed, summarise(job.play(job.config, with_seed(job.scenario, seed))))
        for seed in job.seeds
    ]


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    """The same scenario with other dice."""
    return msgspec.structs.replace(scenario, seed=seed)


class Player:
    """Plays scenarios many times, on as many cores as there are, for as long as the block.

        with Player(simulate) as player:
            for config in configs:
                print(aggregate(player.samples(config, scenario, 1000)).gave_up.share)

    play
        What plays a scenario once.
    workers
        Processes at most; as many as there are cores by default. They are started when there is
        work for them, and serve until the block ends, whatever ends it.
    """

    def __init__(self, play: Play, workers: int | None = None) -> None:
        self.play = play
        self.workers = cores() if workers is None else workers
        self._crew: Crew[Job, list[Sample]] | None = None

    def __repr__(self) -> str:
        return f"<Player on {self.workers} cores>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.__exit__(kind, error, traceback)

    def samples(
        self,
        config: Config,
        scenario: Scenario,
        runs: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Sample]:
        """Plays a scenario `runs` times, from its seed on; the samples in the order of their seeds.

        `progress` is called with the number of runs that are done. Blocks. Raises what `play`
        raises for the first run, and `crew.JobFailed` for a later one.
        """
        seeds = range(scenario.seed, scenario.seed + runs)
        began = time.perf_counter()
        found = work(Job(config, scenario, seeds[:1], self.play))
        progress(1)
        expected = (time.perf_counter() - began) * (runs - 1)
        if self.workers <= 1 or (self._crew is None and expected < ALONE[way()]):
            for seed in seeds[1:]:
                found += work(Job(config, scenario, (seed,), self.play))
                progress(len(found))
            return found
        size = max(1, runs // (self.workers * SHARE))
        jobs = [Job(config, scenario, seeds[n : n + size], self.play) for n in range(1, runs, size)]
        for _, samples in self._hands().results(jobs):
            found += samples
            progress(len(found))
        return sorted(found, key=lambda each: each.seed)

    def _hands(self) -> Crew[Job, list[Sample]]:
        if self._crew is None:
            self._crew = Crew(work, self.workers).__enter__()
        return self._crew


def monte_carlo(
    config: Config,
    scenario: Scenario,
    runs: int,
    *,
    play: Play,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Sample]:
    """One policy many times: `Player.samples` for those who have no second one to play."""
    with Player(play, workers) as player:
        return player.samples(config, scenario, runs, progress)


# -- what they come to -----------------------------------------------------------------------------


class Spread(msgspec.Struct, frozen=True):
    """How a figure is spread over the runs: the least, quartiles, 95 % point, the most, the mean.

    A part of the runs that falls between two of them is interpolated.
    """

    least: float
    quarter: float
    median: float
    three_quarters: float
    p95: float
    most: float
    mean: float


class Share(msgspec.Struct, frozen=True):
    """In how many of the runs something was so.

    share
        The part of them, from 0 to 1.
    low, high
        Between what the true probability is with 95 % confidence (Wilson's interval): of 100 runs
        without a give-up nobody knows that there is none in 1000.
    """

    count: int
    runs: int
    share: float
    low: float
    high: float


class ServiceOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """One service over all runs. Times in seconds.

    gave_up
        In how many runs the colony gave up because of it.
    """

    service: str
    downtime: Spread
    longest: Spread
    availability: Spread
    restarts: Spread
    gave_up: Share


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """All runs.

    seed, runs
        The first seed, and how many runs there were.
    downtime
        Of all services together.
    gave_up, gave_up_at
        In how many runs the restart limit ended the colony, and when; None if in none.
    typical, worst
        The seeds of a run whose downtime is the median, and of the one with the most.
    """

    seed: int
    runs: int
    downtime: Spread
    gave_up: Share
    gave_up_at: Spread | None
    services: dict[str, ServiceOutcomes]
    typical: int
    worst: int


def aggregate(samples: Sequence[Sample]) -> Outcomes:
    """What many runs come to. Pure; the order of the samples says nothing. Needs at least one."""
    ordered = sorted(samples, key=lambda each: (each.downtime, each.seed))
    ended = [each.ended for each in samples if each.ending == "gave_up"]
    return Outcomes(
        seed=min(each.seed for each in samples),
        runs=len(samples),
        downtime=spread(each.downtime for each in samples),
        gave_up=share(len(ended), len(samples)),
        gave_up_at=spread(ended) if ended else None,
        services={name: _service(name, samples) for name in samples[0].services},
        typical=ordered[(len(ordered) - 1) // 2].seed,
        worst=ordered[-1].seed,
    )


def _service(name: str, samples: Sequence[Sample]) -> ServiceOutcomes:
    mine = [each.services[name] for each in samples]
    culprits = sum(each.ending == "gave_up" and each.culprit == name for each in samples)
    return ServiceOutcomes(
        service=name,
        downtime=spread(each.downtime for each in mine),
        longest=spread(each.longest for each in mine),
        availability=spread(each.availability for each in mine),
        restarts=spread(each.restarts for each in mine),
        gave_up=share(culprits, len(samples)),
    )


def spread(values: Iterable[float]) -> Spread:
    """How values are spread; at least one is needed."""
    ordered = sorted(values)
    return Spread(
        ordered[0],
        quantile(ordered, 0.25),
        quantile(ordered, 0.5),
        quantile(ordered, 0.75),
        quantile(ordered, 0.95),
        ordered[-1],
        math.fsum(ordered) / len(ordered),
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value below which a part of the ordered values lies."""
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


_Z: Final = 1.959964
"""Within so many standard deviations lie 95 % of a normal distribution."""


def share(count: int, runs: int) -> Share:
    """A part of the runs, with the interval of its probability."""
    part = count / runs
    spread_out = 1 + _Z**2 / runs
    middle = (part + _Z**2 / (2 * runs)) / spread_out
    reach = _Z / spread_out * math.sqrt(part * (1 - part) / runs + _Z**2 / (4 * runs**2))
    # Exactly 0 and 1 at the ends, where rounding would leave something.
    low = 0.0 if count == 0 else middle - reach
    high = 1.0 if count == runs else middle + reach
    return Share(count, runs, part, low, high)
