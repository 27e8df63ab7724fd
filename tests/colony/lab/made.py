"""Traces made by hand, for what reads them; and what plays a scenario without playing anything."""

from __future__ import annotations

import io
import random
import time

from rich.console import Console, RenderableType

from colony.config import Config, parse
from colony.lab.faults import Scenario
from colony.lab.summary import Summary, summarise
from colony.lab.trace import Ending, Entry, Trace

FILE = """\
[colony]
name = "shop"
[services.db]
command = "true"
[services.web]
command = "true"
"""


def config(more: str = "") -> Config:
    return parse(FILE + more)


def trace(
    outages: dict[str, tuple[tuple[float, float], ...]],
    *,
    horizon: float = 100.0,
    gave_up: tuple[float, str] | None = None,
) -> Trace:
    """Services that are ready from the beginning, but for these stretches, each after a crash."""
    entries = []
    for service, stretches in outages.items():
        entries += [Entry(0.0, service, "started", 1), Entry(0.0, service, "ready", 1)]
        for life, (start, end) in enumerate(stretches, 2):
            entries.append(Entry(start, service, "crashed", life - 1, "exit code 1", code=1))
            if end < horizon:
                entries.append(Entry(start, service, "backoff", life - 1, due=end, count=1))
                entries.append(Entry(end, service, "started", life))
                entries.append(Entry(end, service, "ready", life))
    ending = Ending("horizon", horizon)
    if gave_up is not None:
        at, culprit = gave_up
        entries.append(Entry(at, culprit, "gave_up", 1, limit=5))
        ending = Ending("gave_up", at, culprit, "too many")
    entries.sort(key=lambda entry: entry.at)
    return Trace(
        colony="shop",
        services=tuple(outages),
        entries=tuple(entries),
        horizon=horizon,
        ending=ending,
        strategy="one_for_one",
        intensity=5,
        period=60.0,
    )


def summary(
    outages: dict[str, tuple[tuple[float, float], ...]],
    *,
    horizon: float = 100.0,
    gave_up: tuple[float, str] | None = None,
) -> Summary:
    return summarise(trace(outages, horizon=horizon, gave_up=gave_up))


def by_seed(_config: Config, scenario: Scenario) -> Trace:
    """web is down from 10 on for as many seconds as the seed; every tenth run gives up for it."""
    seed = scenario.seed
    gave_up = (50.0, "web") if seed % 10 == 9 else None
    return trace({"db": (), "web": ((10.0, 10.0 + seed),) if seed else ()}, gave_up=gave_up)


def by_chance(_config: Config, scenario: Scenario) -> Trace:
    """web is down for some seconds that are drawn from the seed."""
    return trace({"db": (), "web": ((10.0, random.Random(scenario.seed).uniform(10.1, 90.0)),)})


def failing(_config: Config, scenario: Scenario) -> Trace:
    """Fails in all runs but the first ones, which take their time."""
    if scenario.seed >= 3:
        raise ValueError(f"no luck with {scenario.seed}")
    time.sleep(0.2)
    return trace({"web": ()})


def shown(*renderables: RenderableType, width: int = 120) -> str:
    """What a console without colours shows, without the spaces at the ends of lines."""
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    for each in renderables:
        console.print(each)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
