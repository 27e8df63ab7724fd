"""A trace in figures: what a policy did for each service, and which limit was in the way. Pure.

    summary = summarise(trace)
    summary.services["web"].availability        # 0.998
    summary.limits[0]                           # the one that bit first

A service is *available* while it is ready and answers: as its users see it, whether its supervisor
has noticed or not. It is measured from when it was ready for the first
time, so that a slow first start is no outage, up to the horizon: after a supervisor has given up
everything is down, and that is what giving up costs. What nobody misses is not measured (`spans`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from colony.lab.spans import Span, outages, spans
from colony.lab.trace import Ending, Entry, Trace

LimitKind = Literal["intensity", "deadline", "health", "grace"]


class ServiceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One service.

    starts
        How many lives have begun.
    crashes, exits
        How many of them ended by themselves, badly and in good order.
    restarts
        How often its supervisor decided to restart it for its own end.
    taken_down
        How often it was stopped because of another service, by whom.
    measured, downtime
        Seconds that are looked at, and those of them in which it was not available.
    unnoticed
        Seconds of the downtime in which it hung and its supervisor took it for ready. What of a
        real run's is told by its failed health checks; of a hang that none has found, nothing is.
    outages, longest, longest_at
        How many outages there were, and how long the longest was and when it began.
    first_ready
        When it was ready for the first time; None if it never was.
    """

    service: str
    starts: int
    crashes: int
    exits: int
    restarts: int
    taken_down: dict[str, int]
    measured: float
    downtime: float
    unnoticed: float
    outages: int
    longest: float
    longest_at: float | None
    first_ready: float | None

    @property
    def availability(self) -> float:
        """The part of the time that it was available, from 0 to 1; 0 if it never was."""
        return self._part(self.downtime)

    @property
    def seemed_available(self) -> float:
        """The same as its supervisor sees it: what it has not noticed is no outage."""
        return self._part(self.downtime - self.unnoticed)

    def _part(self, down: float) -> float:
        if self.first_ready is None:
            return 0.0
        return 1 - down / self.measured if self.measured else 1.0


class Limit(msgspec.Struct, frozen=True):
    """A limit of the configuration that was reached.

    kind
        "intensity": too many restarts in the period. "deadline": not ready in time. "health": too
        many failed checks. "grace": had to be killed.
    at, service, detail
        When for the first time, by whom, and in words.
    times
        How often in all.
    """

    kind: LimitKind
    at: float
    service: str
    detail: str
    times: int


class Peak(msgspec.Struct, frozen=True):
    """How near the restart limit came: `count` of `limit` restarts in the window, by `service`."""

    at: float
    service: str
    count: int
    limit: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All services, in the order of starting.

    limits
        Those that were reached, the first one first.
    peak
        The fullest that the window of restarts was; None if there was no restart.
    """

    horizon: float
    ending: Ending
    services: dict[str, ServiceSummary]
    limits: tuple[Limit, ...]
    peak: Peak | None

    @property
    def restarts(self) -> int:
        """How many restarts were decided in all."""
        return sum(each.restarts for each in self.services.values())

    @property
    def gave_up(self) -> bool:
        """Whether the restart limit ended the colony."""
        return self.ending.kind == "gave_up"


def summarise(trace: Trace) -> Summary:
    """The figures of a trace."""
    return Summary(
        horizon=trace.horizon,
        ending=trace.ending,
        services={name: _service(trace, name) for name in trace.services},
        limits=tuple(sorted(_limits(trace), key=lambda limit: limit.at)),
        peak=_peak(trace),
    )


def _service(trace: Trace, name: str) -> ServiceSummary:
    mine = trace.of(name)
    states = spans(trace, name)
    missed = list(outages(states))
    longest = max(missed, key=lambda outage: outage.seconds, default=None)
    first = next((span.start for span in states if span.state in ("up", "hung")), None)
    # One that was ready and gone in the same instant has no span of being up.
    if first is None:
        first = next((entry.at for entry in mine if entry.kind == "ready"), None)
    return ServiceSummary(
        service=name,
        starts=_count(mine, "started"),
        crashes=_count(mine, "crashed"),
        exits=_count(mine, "exited"),
        restarts=_count(mine, "restarting", "backoff"),
        taken_down=_takers(mine),
        measured=_measured(states, first),
        downtime=sum(outage.seconds for outage in missed),
        unnoticed=sum(span.seconds for span in states if span.state == "hung"),
        outages=len(missed),
        longest=0.0 if longest is None else longest.seconds,
        longest_at=None if longest is None else longest.start,
        first_ready=first,
    )


def _count(entries: tuple[Entry, ...], *kinds: str) -> int:
    return sum(entry.kind in kinds for entry in entries)


def _takers(entries: tuple[Entry, ...]) -> dict[str, int]:
    takers: dict[str, int] = {}
    for entry in entries:
        if entry.kind == "stopped" and entry.by:
            takers[entry.by] = takers.get(entry.by, 0) + 1
    return takers


def _measured(states: list[Span], first: float | None) -> float:
    if first is None:
        return 0.0
    return sum(span.seconds for span in states if span.start >= first and span.state != "off")


def _limits(trace: Trace) -> Iterator[Limit]:
    reached: dict[LimitKind, list[Entry]] = {}
    for entry in trace.entries:
        kind = _limit_of(entry)
        if kind is not None:
            reached.setdefault(kind, []).append(entry)
    for kind, entries in reached.items():
        first = entries[0]
        yield Limit(kind, first.at, first.service, first.detail, len(entries))


def _limit_of(entry: Entry) -> LimitKind | None:
    match entry.kind:
        case "gave_up":
            return "intensity"
        case "unhealthy":
            return "health" if 0 < entry.limit <= entry.count else None
        case "stopped":
            return "grace" if entry.killed else None
        case "crashed":
            return "deadline" if entry.detail.startswith("not ready within") else None
        case _:
            return None


def _peak(trace: Trace) -> Peak | None:
    decisions = [entry for entry in trace.entries if entry.kind in ("restarting", "backoff")]
    fullest = max(decisions, key=lambda entry: entry.count, default=None)
    if fullest is None:
        return None
    return Peak(fullest.at, fullest.service, fullest.count, fullest.limit)
