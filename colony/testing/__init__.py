"""Restart policies under test: a colony.toml, hours of faults, in milliseconds.

    from colony.testing import simulated

    async def test_the_shop_survives_its_database() -> None:
        async with simulated("colony.toml") as sim:
            sim.crash("db")
            await sim.advance("5m")
            assert sim.state("web") == "ready"
            assert sim.status("db").restarts == 1

No process is started and no time passes: the colony's own supervisors and state machines run on
played processes and a virtual clock (`colony.lab`). Such a test needs that clock, on asyncio or
trio. With the plugin `colony.pytest_plugin`, which pytest finds by itself where Colony is
installed, every `async def` test that takes the fixture `simulated` has it:

    async def test_it(simulated: Simulated) -> None:
        async with simulated("colony.toml") as sim:             # beside the test's own file
            ...

In a plain function the same is said without waiting, and needs no plugin:

    def test_it() -> None:
        with simulated("colony.toml") as sim:
            sim.crash("db")
            sim.advance("5m")
            assert sim.state("web") == "ready"

`Scenario`, `Fault` and their parts say in advance what is to go wrong, `Behaviour` how processes
behave; `simulate` plays a scenario to its end and gives its `Trace`, without any event loop of
yours. `colony.testing.strategies` has all of it for Hypothesis, and `colony.lab.invariants` what
must hold of any trace.
"""

from colony.lab.faults import (
    After,
    At,
    Behaviour,
    Crash,
    Daemonise,
    Every,
    Exit,
    Exponential,
    Fault,
    Fixed,
    Flapping,
    Hang,
    IgnoreStop,
    Lived,
    NeverReady,
    Poisson,
    PortStolen,
    Scenario,
    SlowStart,
    Uniform,
    Unstartable,
)
from colony.lab.trace import Ending, Entry, Trace
from colony.lab.world import Simulation, play, simulate
from colony.testing.simulated import Experiment, Simulated, config_of, simulated
from colony.testing.stepped import Stepped

__all__ = [
    "After",
    "At",
    "Behaviour",
    "Crash",
    "Daemonise",
    "Ending",
    "Entry",
    "Every",
    "Exit",
    "Experiment",
    "Exponential",
    "Fault",
    "Fixed",
    "Flapping",
    "Hang",
    "IgnoreStop",
    "Lived",
    "NeverReady",
    "Poisson",
    "PortStolen",
    "Scenario",
    "Simulated",
    "Simulation",
    "SlowStart",
    "Stepped",
    "Trace",
    "Uniform",
    "Unstartable",
    "config_of",
    "play",
    "simulate",
    "simulated",
]
