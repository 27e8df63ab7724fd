"""`simulated`: a colony under test, from a file, a text or a configuration.

async with simulated("colony.toml") as sim:         # in an event loop with a virtual clock
    sim.crash("db")
    await sim.advance("5m")

with simulated("colony.toml") as sim:               # in a plain function
    sim.crash("db")
    sim.advance("5m")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from colony.config import Config, load, parse
from colony.lab.faults import Behaviour, Fault, Scenario
from colony.lab.world import Simulation
from colony.testing.stepped import Stepped

Source = str | os.PathLike[str] | Config
"""A file's path, the text of a colony.toml (of more than one line), or what was made of one."""


class Experiment(Simulation):
    """A simulation that plain code can enter, too, as a `Stepped`."""

    _stepped: Stepped

    def __enter__(self) -> Stepped:
        self._stepped = Stepped(self)
        self._stepped.start()
        return self._stepped

    def __exit__(self, *_: object) -> None:
        self._stepped.stop()


class Simulated(Protocol):
    """The type of `simulated`, and of the fixture of that name."""

    def __call__(
        self,
        source: Source,
        *,
        faults: Sequence[Fault] = (),
        behaviours: Mapping[str, Behaviour] | None = None,
        seed: int = 0,
    ) -> Experiment: ...


def simulated(
    source: Source,
    *,
    faults: Sequence[Fault] = (),
    behaviours: Mapping[str, Behaviour] | None = None,
    seed: int = 0,
) -> Experiment:
    """A simulation, for `async with`, or for `with` in a plain function.

    What it can do is said in `colony.lab.world.Simulation`, and of the plain one in `Stepped`.

    source
        See `Source`. A path is relative to the working directory.
    faults
        What goes wrong by itself. Default nothing.
    behaviours
        By service, how its processes behave. Default: started within 5 ms, ready 50 ms later,
        and running until they are ended.
    seed
        Of all chance, the backoff's jitter included.

    Raises `ConfigError` for a file or a text with mistakes, and `ValueError` for a fault or a
    behaviour of a service that the colony does not have.
    """
    scenario = Scenario(
        faults=tuple(faults),
        behaviours=dict(behaviours or {}),
        horizon=float("inf"),
        seed=seed,
    )
    return Experiment(config_of(source), scenario)


def config_of(source: Source, folder: str | os.PathLike[str] = ".") -> Config:
    """The configuration that is meant. `folder` is where a relative path begins, and what a text
    takes for its workspace. Reads a small file, and blocks for it. Raises `ConfigError`."""
    if isinstance(source, Config):
        return source
    if isinstance(source, str) and "\n" in source:
        return parse(source, str(Path(folder, "colony.toml")))
    return load(Path(folder, source))
