"""What the benchmarks share: taking turns, medians with their spread, ratios, and `--json`.

The law: a figure stands beside its peer or its limit, both measured in the same run, in turn. A
machine that slows down in the middle then slows both down, and their ratio stays.

    arguments = _ratio.arguments("Creating a namespace, against the `ip` commands")
    samples = _ratio.Samples()
    for name in _ratio.turns(["colony", "ip"], 10 if arguments.quick else 100):
        with samples.timed(name):
            ...
    report = _ratio.Report()
    report.compare("create a namespace", samples["colony"], "ip", samples["ip"], goal="<= 0.2")
    report.show(json=arguments.json)

Standard library alone, so that a benchmark costs no import that it does not measure.
"""

from __future__ import annotations

import argparse
import json as json_module
import math
import operator
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

# Some benchmarks have the name of the package that they measure. Python puts a script's own folder
# first, where `import actors` would find the benchmark; so the clone goes there instead.
_HERE: Final = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(p for p in sys.path if Path(p or ".").resolve() != _HERE)]
sys.path.append(str(_HERE))

_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Figure:
    """One line of a report, in the form that `--json` prints.

    `ratio` is value / peer_value. `goal` is a comparison such as "<= 1.25", on the ratio, or on
    the value where there is no peer; None where there is no goal.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    goal: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        sign, limit = self.goal.split()
        return _COMPARISONS[sign](self.value if self.ratio is None else self.ratio, float(limit))


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, and the quartiles between which half of them lie."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_digits(self.median)} ({_digits(self.low)}–{_digits(self.high)})"


@dataclass(frozen=True)
class Sure(Spread):
    """A median, and the interval that holds the true one 95 times in a hundred."""

    def __str__(self) -> str:
        return f"{_fine(self.median)} (95 %: {_fine(self.low)}–{_fine(self.high)})"


class Samples(defaultdict[str, list[float]]):
    """Measurements by contestant: `samples["colony"]` is a list."""

    def __init__(self) -> None:
        super().__init__(list)

    @contextmanager
    def timed(self, name: str, *, per: int = 1, scale: float = 1e3) -> Iterator[None]:
        """Measures a block: wall time over `per` repetitions in it, in milliseconds by default."""
        begin = time.perf_counter()
        yield
        self[name].append((time.perf_counter() - begin) / per * scale)


class Report:
    """The figures of one benchmark."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self._notes: list[str] = []

    def compare(
        self,
        name: str,
        ours: Sequence[float],
        peer: str,
        theirs: Sequence[float],
        *,
        unit: str = "ms",
        goal: str | None = None,
    ) -> Figure:
        """Our median beside a peer's, from samples taken in turn.

        Raises `ValueError` without samples, and for a peer that measured 0.
        """
        value, peer_value = spread(ours), spread(theirs)
        if not peer_value.median:
            raise ValueError(f"{name}: {peer} measured 0, which gives no ratio")
        ratio = value.median / peer_value.median
        figure = Figure(name, value.median, unit, peer, peer_value.median, ratio, goal)
        return self._add(figure, f"{value} {unit}", f"{peer} {peer_value} {unit}")

    def state(
        self,
        name: str,
        ours: Sequence[float] | Spread | float,
        *,
        unit: str,
        goal: str | None = None,
    ) -> Figure:
        """A figure without a peer, such as a count of orphans that has to be 0."""
        if isinstance(ours, Spread):
            value = ours
        else:
            value = spread([ours] if isinstance(ours, (int, float)) else ours)
        shown = str(value) if value.low != value.high else _digits(value.median)
        return self._add(
            Figure(name, value.median, unit, goal=goal), f"{shown} {unit}".rstrip(), ""
        )

    def missing(self, peer: str, how: str) -> None:
        """Says that a peer is not on this machine, and how to get it."""
        self._notes.append(f"not measured: {peer} is not installed ({how})")

    def unable(self, peer: str, why: str) -> None:
        """Says why a peer is not measured here."""
        self._notes.append(f"not measured: {peer} {why}")

    def show(self, *, json: bool) -> None:
        """Prints the report: one JSON object, or a line a figure."""
        if json:
            print(json_module.dumps({"figures": [asdict(figure) for figure in self.figures]}))
            return
        for note in self._notes:
            print(note)

    @property
    def met(self) -> bool:
        """Whether no goal has been missed."""
        return all(figure.met is not False for figure in self.figures)

    def _add(self, figure: Figure, ours: str, theirs: str) -> Figure:
        self.figures.append(figure)
        parts = [f"{figure.name}: {ours}"]
        if theirs:
            parts.append(f"against {theirs}")
        if figure.ratio is not None:
            parts.append(f"ratio {_digits(figure.ratio)}")
        if figure.goal is not None:
            parts.append(f"goal {figure.goal}: {'met' if figure.met else 'MISSED'}")
        self._notes.append(", ".join(parts))
        return figure


def environment(**more: str) -> dict[str, str]:
    """What commands that are measured run in: ours, with Python's bytecode kept.

    Some machines for tests forbid that, and a command then compiles all its files anew each time;
    whoever has installed Colony, or run it once, does not. The first round writes what is missing.
    """
    kept = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    return kept | more


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """The contestants' names in turn, `rounds` times each: A B C, B C A, C A B, C B A, B A C, …

    Each round begins with another one, and each cycle of rounds goes the other way about, so that
    nobody always runs in the same one's wake.
    """
    for index in range(rounds):
        cycle, first = divmod(index, len(names))
        order = names[::-1] if cycle % 2 else names
        yield from (*order[first:], *order[:first])


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles. Raises `ValueError` without a sample."""
    if not samples:
        raise ValueError("no samples were taken")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high)


def sure(samples: Sequence[float]) -> Sure:
    """The median, with the interval in which that of endless samples lies at 95 %: from one of
    the sorted samples to another, whatever their distribution. All of them if there are few."""
    ordered = sorted(samples)
    aside = max(0, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2))
    return Sure(statistics.median(ordered), ordered[aside], ordered[-1 - aside])


def arguments(description: str, **more: Any) -> argparse.Namespace:
    """Parses `--quick`, `--json` and `--install`; `more` are further options' settings by name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--install", action="store_true", help="install what is compared with")
    for name, settings in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    return parser.parse_args()


def _fine(value: float) -> str:
    """To a hundredth, or to a thousandth for what is near 1."""
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.3f}"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent for the usual sizes."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"
