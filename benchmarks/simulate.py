"""The laboratory: how long 10,000 hours of a colony of five services take, on one core.

    python benchmarks/simulate.py [--quick] [--json]

10,000 hours    five services that depend on each other, each of which fails every twelve hours on
                the average; and the same on trio
an event        what an event of such a run costs, all in all, beside a bare wait in virtual time on
                the same event loop: the least that anything can cost which happens at a time
idle            how much is done in 10,000 hours in which nothing happens
Monte Carlo     200 runs of the same colony over ten hours, on all cores beside on one

`--quick` simulates 1,000 hours instead, and its limit is a tenth; of Monte Carlo it has 50 runs.
"""

from __future__ import annotations

import time
from typing import Final

import _ratio
import anyio

from actors import Event
from actors.testing import BackendName, run
from colony.config import Config, parse
from colony.lab.crew import cores
from colony.lab.faults import Behaviour, Exit, Exponential, Scenario, Uniform
from colony.lab.monte_carlo import monte_carlo
from colony.lab.world import Simulation, simulate

HOUR: Final = 3600.0

FILE: Final = """
[colony]
name = "five"

[supervision]
strategy = "rest_for_one"
intensity = 1000
period = "1m"

[services.db]
command = "db"
port = 5432

[services.cache]
command = "cache"
port = 6379

[services.api]
command = "api"
port = 8000
after = ["db", "cache"]
health = { http = "/health", interval = "10s" }

[services.web]
command = "web"
port = 3000
after = ["api"]

[services.worker]
command = "worker"
after = ["db"]
"""


def scenario(config: Config, hours: float, seed: int = 0) -> Scenario:
    """Failures without a pattern, and starts that take their time."""
    fails = Behaviour(ready=Uniform(0.1, 5.0), lifetime=Exponential(12 * HOUR), ends=(Exit(1),))
    behaviours = dict.fromkeys(config.services, fails)
    return Scenario(behaviours=behaviours, horizon=hours * HOUR, seed=seed)


def play(config: Config, hours: float, backend: BackendName) -> tuple[float, int]:
    """Seconds that a run took, and how many events there were in it."""

    async def playing() -> int:
        count = 0

        def note(_event: Event) -> None:
            nonlocal count
            count += 1

        async with Simulation(config, scenario(config, hours)) as lab:
            lab.system.events.listen(note)
            trace = await lab.finish()
        assert trace.ending.kind == "horizon"
        return count

    begin = time.perf_counter()
    events = run(playing, backend=backend)
    return time.perf_counter() - begin, events


def waits(count: int) -> float:
    """Seconds that so many bare waits take."""

    async def waiting() -> None:
        for _ in range(count):
            await anyio.sleep(1.0)

    begin = time.perf_counter()
    run(waiting)
    return time.perf_counter() - begin


def idle(config: Config, hours: float) -> int:
    """How many things are done in hours in which nothing happens."""

    async def idling() -> int:
        async with Simulation(config) as lab:
            await lab.advance("1m")
            before = lab.agenda.done
            await lab.advance(hours * HOUR)
            return lab.agenda.done - before

    return run(idling)


def many(config: Config, runs: int) -> _ratio.Samples:
    """Seconds that so many runs take, on one core and on all, in turn."""
    samples = _ratio.Samples()
    workers = {"one": 1, "all": cores()}
    for name in _ratio.turns(list(workers), 3):
        with samples.timed(name, scale=1.0):
            monte_carlo(config, scenario(config, 10.0), runs, play=simulate, workers=workers[name])
    return samples


def main() -> int:
    arguments = _ratio.arguments(__doc__.splitlines()[0])
    hours, rounds = (1_000.0, 3) if arguments.quick else (10_000.0, 3)
    config = parse(FILE, "/lab/colony.toml", workspace="/lab")
    play(config, 10.0, "asyncio")  # imports, and what is made once
    play(config, 10.0, "trio")
    samples, events = _ratio.Samples(), 0
    for name in _ratio.turns(["colony", "trio", "waits"], rounds):
        if name == "waits":
            samples[name].append(waits(20_000) / 20_000 * 1e6)
            continue
        seconds, events = play(config, hours, "trio" if name == "trio" else "asyncio")
        samples[name].append(seconds)
    report = _ratio.Report()
    limit = hours / 1_000.0
    named = f"{hours:,.0f} hours of five services"
    report.state(named, samples["colony"], unit="s", goal=f"< {limit:g}")
    report.state(f"{named}, on trio", samples["trio"], unit="s")
    report.state("events in it", events, unit="events")
    each = [seconds / events * 1e6 for seconds in samples["colony"]]
    report.compare("an event", each, "a bare wait", samples["waits"], unit="µs", goal="<= 15")
    report.state("done in as many idle hours", idle(config, hours), unit="actions", goal="== 0")
    runs = 50 if arguments.quick else 200
    found = many(config, runs)
    name, goal = f"{runs} runs on {cores()} cores", "<= 0.65" if cores() > 1 else None
    report.compare(name, found["all"], "on one", found["one"], unit="s", goal=goal)
    report.show(json=arguments.json)
    return 0 if report.met or arguments.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
