"""What many runs, several policies and sweeps came to, as tables for people. Pure, by `rich`.

    console.print(outcomes_table(outcomes))                  # --monte-carlo
    console.print(comparison_table(columns))                 # --compare
    console.print(sweep_table(rows))                         # --sweep

The best of several is marked with a star, which colour repeats; what is equal everywhere has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from colony.lab.compare import Column, Figure, Unit, as_good, figures
from colony.lab.monte_carlo import Outcomes, Share, Spread
from colony.lab.summary import Summary
from colony.lab.timeline import length, moment

BEST: Final = "★"
NONE: Final = "–"


def percent(part: float, *, places: int = 2) -> str:
    """A part as percent: `99.98 %`; never 100 % of what is not whole, nor 0 % of something."""
    if part in (0.0, 1.0):
        return f"{part * 100:.0f} %"
    least = 10**-places
    shown = min(max(part * 100, least), 100 - least)
    return f"{shown:.{places}f} %"


def written(value: float | None, unit: Unit) -> str:
    """A figure as people read it."""
    if value is None:
        return NONE
    if unit == "part":
        return percent(value)
    if unit == "seconds":
        return length(value) if value else "0"
    return f"{value:g}" if value == int(value) else f"{value:.1f}"


def _plain(*columns: str, gap: int = 3) -> Table:
    """A table without lines; all but the first column are figures."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=number > 0)
    return table


# -- many runs -------------------------------------------------------------------------------------

_POINTS: Final = (
    ("least", "least"),
    ("25 %", "quarter"),
    ("median", "median"),
    ("75 %", "three_quarters"),
    ("95 %", "p95"),
    ("most", "most"),
)
"""The points of a distribution that are shown, and what they are in `Spread`."""

_FEWER: Final = tuple(point for point in _POINTS if "quarter" not in point[1])

_ALL_FIT: Final = 92
"""Cells that the table with all points needs at most."""


def outcomes_table(outcomes: Outcomes, width: int | None = None) -> Group:
    """The distribution of downtime of each service, and how likely it is to end the colony.

    `width` is what there is for it, in cells; where it is too little the quartiles are left out.
    """
    points = _POINTS if width is None or width >= _ALL_FIT else _FEWER
    table = _plain("downtime", *(name for name, _ in points), "available", "gave up", gap=2)
    for name, service in outcomes.services.items():
        table.add_row(
            Text(name, "bold"),
            *_spread(service.downtime, points),
            percent(service.availability.mean),
            _likely(service.gave_up),
        )
    if len(outcomes.services) > 1:
        whole = _spread(outcomes.downtime, points)
        table.add_row(Text("together", "dim"), *whole, "", _likely(outcomes.gave_up))
    return Group(table, "", *outcomes_words(outcomes))


def _spread(of: Spread, points: Sequence[tuple[str, str]]) -> list[str]:
    return [short(getattr(of, field)) for _, field in points]


def short(seconds: float) -> str:
    """A length of time in one unit, with three digits at most: `495 ms`, `5.86 s`, `1.9 h`."""
    if seconds == 0:
        return "0"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _likely(share: Share) -> Text:
    return Text(percent(share.share, places=1), "red" if share.count else "")


def outcomes_words(outcomes: Outcomes) -> list[Text]:
    """What is to be said of many runs, in lines."""
    gave_up = outcomes.gave_up
    seeds = f"seeds {outcomes.seed} to {outcomes.seed + outcomes.runs - 1}"
    lines = [Text(f"{outcomes.runs} runs, {seeds}", "dim")]
    if gave_up.count and outcomes.gave_up_at is not None:
        between = f"{percent(gave_up.low, places=1)} to {percent(gave_up.high, places=1)}"
        when = f"half of those before {moment(outcomes.gave_up_at.median)}"
        words = f"gave up in {gave_up.count} of {gave_up.runs} runs (likely {between}), {when}"
        lines.append(Text(words, "red"))
    else:
        most = percent(gave_up.high, places=2)
        lines.append(Text(f"never gave up; likely in less than {most} of all runs", "green"))
    seed = f"--seed {outcomes.typical} is a typical run, --seed {outcomes.worst} the worst"
    lines.append(Text(f"{seed}", "dim"))
    return lines


# -- side by side ----------------------------------------------------------------------------------


def comparison_table(columns: Sequence[Column]) -> Table:
    """A row for each figure, a column for each policy."""
    table = _plain("", "", *(column.title for column in columns))
    table.columns[1].justify = "left"
    last = None
    for figure in figures(columns):
        if last is not None and figure.service != last:
            table.add_row()
        name = figure.service or "colony"
        table.add_row(
            Text(name if figure.service != last else "", "bold"), figure.name, *_cells(figure)
        )
        last = figure.service
    table.add_row(Text("" if last == "" else "colony", "bold"), "end", *_ends(columns))
    return table


def _cells(figure: Figure) -> list[Text]:
    cells = []
    for number, value in enumerate(figure.values):
        best = number in figure.best
        text = written(value, figure.unit)
        if value is None and best:
            text = "never"
        cells.append(Text(f"{text} {BEST if best else ' '}", "green" if best else ""))
    return cells


def _ends(columns: Sequence[Column]) -> list[Text]:
    return [Text(f"{end_words(column.summary)}  ") for column in columns]


def end_words(summary: Summary) -> str:
    """How a run ended, in a few words."""
    ending = summary.ending
    match ending.kind:
        case "horizon":
            return "runs on"
        case "gave_up":
            return f"gave up: {ending.service}"
        case "shut_down":
            return f"ended with {ending.service}"
        case "start_failed":
            return "cannot start"
        case _:
            return "stopped"


# -- sweeps ----------------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True):
    """One point of a sweep: its settings, what it did, and with --monte-carlo on the whole."""

    settings: tuple[tuple[str, str], ...]
    summary: Summary
    outcomes: Outcomes | None = None

    @property
    def downtime(self) -> float:
        """By what the rows are judged: that of all services together; of many runs, the mean."""
        if self.outcomes is not None:
            return self.outcomes.downtime.mean
        return sum(service.downtime for service in self.summary.services.values())


def short_names(keys: Sequence[str]) -> list[str]:
    """The keys by as many of their last parts as tell them apart."""
    for parts in range(1, max((key.count(".") for key in keys), default=0) + 2):
        names = [".".join(key.split(".")[-parts:]) for key in keys]
        if len(set(names)) == len(names):
            return names
    return list(keys)


def sweep_table(rows: Sequence[Row]) -> Table:
    """A row for each point, in the order of the sweep; the one with the least downtime is marked.

    There has to be one row at least; all have outcomes or none has.
    """
    keys = [key for key, _ in rows[0].settings]
    many = rows[0].outcomes is not None
    figures_of = _MANY_HEADERS if many else _SINGLE_HEADERS
    table = _plain(*short_names(keys), *figures_of, "")
    least = min(row.downtime for row in rows)
    good = [as_good(row.downtime, least, "seconds") for row in rows]
    for row, good_one in zip(rows, good, strict=True):
        best = good_one and not all(good)
        cells = _of_many(row.outcomes) if row.outcomes is not None else _of_one(row.summary)
        values = [value for _, value in row.settings]
        table.add_row(*values, *cells, BEST if best else "", style="green" if best else None)
    return table


_SINGLE_HEADERS: Final = ("worst service", "downtime", "longest outage", "restarts", "end")
_MANY_HEADERS: Final = ("downtime, median", "mean", "95 %", "most", "gave up")


def _of_one(summary: Summary) -> list[str]:
    services = summary.services.values()
    worst = min(services, key=lambda each: each.availability, default=None)
    return [
        NONE if worst is None else f"{worst.service} {percent(worst.availability)}",
        written(sum(each.downtime for each in services), "seconds"),
        written(max((each.longest for each in services), default=0.0), "seconds"),
        str(summary.restarts),
        _end_at(summary),
    ]


def _end_at(summary: Summary) -> str:
    words = end_words(summary)
    return words if summary.ending.kind == "horizon" else f"{words}, {moment(summary.ending.at)}"


def _of_many(outcomes: Outcomes) -> list[str]:
    of = outcomes.downtime
    spread = [written(value, "seconds") for value in (of.median, of.mean, of.p95, of.most)]
    return [*spread, percent(outcomes.gave_up.share, places=1)]
