"""Policies side by side: the same faults, and what each policy makes of them. Pure.

    columns = [Column("colony.toml", summarise(now)), Column("calm.toml", summarise(then))]
    for figure in figures(columns):
        print(figure.service, figure.name, figure.values, figure.best)

Law: what is compared was measured in the same way and over the same time; each figure says which
way is better, and where all are as good, but for some milliseconds, there is no winner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from colony.lab.monte_carlo import Outcomes
from colony.lab.summary import ServiceSummary, Summary

Unit = Literal["part", "seconds", "count"]
"""A part from 0 to 1, seconds, or how many."""


class Column(msgspec.Struct, frozen=True):
    """One policy: what it is called, what it did, and with --monte-carlo what it did on the whole.

    The summary is of the scenario's own seed.
    """

    title: str
    summary: Summary
    outcomes: Outcomes | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    service
        Whose figure it is; "" for the whole colony's.
    values
        One for each column; None where a column has none.
    best
        Which columns have the best value; empty if all have the same, or none is better.
    """

    service: str
    name: str
    unit: Unit
    values: tuple[float | None, ...]
    best: tuple[int, ...]


class _Metric(NamedTuple):
    """`better` is 1 if more is better, -1 if less is, 0 if neither; `never` whether to have no
    value is best."""

    name: str
    unit: Unit
    better: int
    value: Callable[[Any], float | None]
    never: bool = False


def _value(field: str) -> Callable[[Any], float | None]:
    """The value at a dotted path of attributes."""

    def found(of: Any) -> float | None:
        for name in field.split("."):
            if of is None:
                return None
            of = getattr(of, name)
        return None if of is None else float(of)

    return found


def _taken_down(service: ServiceSummary) -> float:
    return sum(service.taken_down.values())


def _gave_up_at(summary: Summary) -> float | None:
    return summary.ending.at if summary.gave_up else None


_SINGLE: Final = (
    _Metric("availability", "part", 1, _value("availability")),
    _Metric("downtime", "seconds", -1, _value("downtime")),
    _Metric("hung unnoticed", "seconds", -1, _value("unnoticed")),
    _Metric("longest outage", "seconds", -1, _value("longest")),
    _Metric("outages", "count", -1, _value("outages")),
    _Metric("crashes", "count", 0, _value("crashes")),
    _Metric("restarts", "count", 0, _value("restarts")),
    _Metric("taken down", "count", -1, _taken_down),
)

_SINGLE_ALL: Final = (
    _Metric("gave up at", "seconds", 1, _gave_up_at, never=True),
    _Metric("restarts", "count", 0, _value("restarts")),
)

_MANY: Final = (
    _Metric("availability, median", "part", 1, _value("availability.median")),
    _Metric("downtime, median", "seconds", -1, _value("downtime.median")),
    _Metric("downtime, 95 %", "seconds", -1, _value("downtime.p95")),
    _Metric("downtime, most", "seconds", -1, _value("downtime.most")),
    _Metric("longest outage, 95 %", "seconds", -1, _value("longest.p95")),
    _Metric("restarts, median", "count", 0, _value("restarts.median")),
    _Metric("gave up because of it", "part", -1, _value("gave_up.share")),
)

_MANY_ALL: Final = (
    _Metric("gave up", "part", -1, _value("gave_up.share")),
    _Metric("gave up at, median", "seconds", 1, _value("gave_up_at.median"), never=True),
    _Metric("downtime, median", "seconds", -1, _value("downtime.median")),
    _Metric("downtime, 95 %", "seconds", -1, _value("downtime.p95")),
    _Metric("downtime, most", "seconds", -1, _value("downtime.most")),
)

_KEPT: Final = frozenset({"availability", "availability, median", "gave up"})
"""What is shown even if it is nothing in every column."""


def figures(columns: Sequence[Column]) -> list[Figure]:
    """What there is to compare, service by service; of many runs, if every column has them.

    Services that only some of the columns have come last. Figures that are nothing everywhere are
    left out.
    """
    many = all(column.outcomes is not None for column in columns)
    whole: list[Any] = [column.outcomes if many else column.summary for column in columns]
    of_service, of_all = (_MANY, _MANY_ALL) if many else (_SINGLE, _SINGLE_ALL)
    parts: list[dict[str, Any]] = [each.services for each in whole]
    found: list[Figure] = []
    for service in dict.fromkeys(name for services in parts for name in services):
        mine = [services.get(service) for services in parts]
        found += _rows(service, of_service, mine)
    return [*found, *_rows("", of_all, whole)]


def _rows(service: str, metrics: Sequence[_Metric], of: Sequence[Any]) -> Iterator[Figure]:
    for metric in metrics:
        values = tuple(None if each is None else metric.value(each) for each in of)
        if any(values) or (metric.name in _KEPT and any(value is not None for value in values)):
            yield Figure(
                service=service,
                name=metric.name,
                unit=metric.unit,
                values=values,
                best=_best(values, metric),
            )


def _best(values: Sequence[float | None], metric: _Metric) -> tuple[int, ...]:
    """Where the best value is; nowhere if all are as good, or there is nothing to compare with."""
    known = [value for value in values if value is not None]
    top: float | None
    if len(known) < len(values):
        if not metric.never:
            return ()
        top = None
    elif metric.better == 0:
        return ()
    else:
        top = max(known) if metric.better > 0 else min(known)
    found = tuple(n for n, value in enumerate(values) if as_good(value, top, metric.unit))
    return () if len(found) == len(values) else found


NEAR: Final[dict[Unit, float]] = {"part": 0.0005, "seconds": 0.05, "count": 0.0}
"""Differences that say nothing: processes do not take the same time twice."""


def as_good(value: float | None, top: float | None, unit: Unit) -> bool:
    """Whether a value is the best one, or as near to it as makes no difference."""
    if value is None or top is None:
        return value is top
    return abs(value - top) <= max(NEAR[unit], 0.01 * abs(top) if unit == "seconds" else 0.0)


class Comparison(msgspec.Struct, frozen=True):
    """All columns and all figures, for --json."""

    columns: tuple[Column, ...]
    figures: tuple[Figure, ...]


def comparison(columns: Sequence[Column]) -> Comparison:
    """Everything that there is to say of several policies."""
    return Comparison(tuple(columns), tuple(figures(columns)))
