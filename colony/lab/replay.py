"""What if: the faults that really happened, taken out of the event journal, under another policy.

    run = choose(runs_of(read(journal_directory()), "shop"), since=parse_since("yesterday", now))
    night = replay(run, config)
    night.trace                              # what happened
    simulate(config, night.scenario)         # what would have happened under `config`

Law: what a policy does is not replayed, what was done to it is. The n-th life of a service lasts as
long as it did, ends as it did and takes as long to start; when it is started, and whether it is
stopped for another's sake, is up to the policy. So under the policy of that night the same trace
comes out, but for the milliseconds of real processes.

Nobody knows what lives would have been like that never were. After its recorded lives a service is
taken to be well, and to start as it mostly did.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from colony.config import Config
from colony.lab.faults import Behaviour, Crash, Exit, Fixed, Lived, Scenario
from colony.lab.trace import NEWS, Collector, Entry, Trace
from colony.records import POLICY, Record, Run

BEFORE: Final = 0.01
"""Seconds before a check that failed at which a service is taken to have hung: it was well at the
check before, and nobody knows when in between."""

_WITHIN: Final = re.compile(r"within (\d+(?:\.\d+)?) s")

_PLAIN: Final = Behaviour()


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A night, and what is needed to have it again.

    began
        Second 0 of trace and scenario, in seconds since the epoch.
    trace
        What happened.
    scenario
        What was done to the services.
    faults
        By service, how often it ended by itself, badly or in vain.
    notes
        What cannot be replayed, a line each.
    """

    colony: str
    began: float
    trace: Trace
    scenario: Scenario
    faults: dict[str, int]
    notes: tuple[str, ...]


# -- which run -------------------------------------------------------------------------------------


def choose(runs: Sequence[Run], *, since: float | None = None) -> Run | None:
    """The run that is meant: the last one with a fault since then, else the last one; None if there
    is none."""
    for run in reversed(runs):
        if any(since is None or crash.wall >= since for crash in run.crashes()):
            return run
    return runs[-1] if runs else None


def gave_up(run: Run) -> bool:
    """Whether a run ended with the restart limit."""
    return any(
        record.type == "supervisor.limit_reached" and record.data["supervisor"] == run.supervisor
        for record in run.records
    )


def missed_until(run: Run, runs: Sequence[Run], now: float) -> float:
    """Up to when a run is looked at, in seconds since the epoch. A colony that gave up is down
    until somebody starts it again: that is what giving up costs."""
    if not gave_up(run):
        return run.until(now)
    later = [other.began for other in runs if other.began > run.began]
    return max(run.ended, min(later, default=now))


# -- what happened ---------------------------------------------------------------------------------


def recorded(
    run: Run,
    *,
    since: float | None = None,
    until: float | None = None,
    config: Config | None = None,
) -> Trace:
    """What happened in a run, as a trace. Pure.

    since, until
        The stretch that is looked at, in seconds since the epoch; the whole run by default. What
        was the case at its beginning stands at 0.
    config
        For the order of the services, where the journal does not tell it.
    """
    collector = _collector(run, config)
    for record in run.records:
        collector.take_record(record.at, record.data)
    whole = collector.trace((run.ended if until is None else until) - run.began)
    return clipped(_with_hangs(whole, run), _offset(run, since))


def _with_hangs(trace: Trace, run: Run) -> Trace:
    """The trace with the hangs that its failed health checks tell of, as they will be played."""
    hangs = [
        Entry(round(max(life.hung, life.ready or 0.0), 6), name, "hung", life.number)
        for name in run.services
        for life in _lives(run.of(name), run.records[0].at)
        if life.was_sick and life.hung is not None
    ]
    entries = sorted((*hangs, *trace.entries), key=lambda entry: entry.at)
    return msgspec.structs.replace(trace, entries=tuple(entries)) if hangs else trace


def _collector(run: Run, config: Config | None) -> Collector:
    """A collector that knows what the journal says of the policy; of an older journal, or one that
    has lost the beginning, the configuration's order."""
    begin = run.records[0].at
    policy = next((each.data for each in run.records if each.type == POLICY), None)
    if policy is not None:
        return Collector(
            run.colony,
            policy.get("services", ()),
            strategy=policy.get("strategy", ""),
            intensity=policy.get("intensity", 0),
            period=policy.get("period", 0.0),
            exits=policy.get("exits", ()),
            supervisor=run.supervisor,
            began=begin,
        )
    services = [] if config is None else [*config.services]
    exits = [] if config is None else [n for n, s in config.services.items() if s.exit_colony]
    told = [name for name in dict.fromkeys([*services, *run.services]) if name in run.services]
    return Collector(run.colony, told, supervisor=run.supervisor, exits=exits, began=begin)


def _offset(run: Run, since: float | None) -> float:
    return 0.0 if since is None else max(0.0, since - run.began)


def clipped(trace: Trace, start: float) -> Trace:
    """A trace from a later time on, which becomes its 0. What was the case then stands there."""
    if start <= 0:
        return trace
    last: dict[str, Entry] = {}
    for entry in trace.entries:
        if entry.at < start and entry.kind not in NEWS:
            last[entry.service] = entry
    replace = msgspec.structs.replace
    before = [replace(last[name], at=0.0) for name in trace.services if name in last]
    later = [replace(each, at=each.at - start) for each in trace.entries if each.at >= start]
    entries = [
        each if each.due is None else replace(each, due=each.due - start)
        for each in (*before, *later)
    ]
    ending = replace(trace.ending, at=max(0.0, trace.ending.at - start))
    return replace(
        trace, entries=tuple(entries), horizon=max(0.0, trace.horizon - start), ending=ending
    )


# -- what was done to it ---------------------------------------------------------------------------


def replay(
    run: Run,
    config: Config,
    *,
    since: float | None = None,
    until: float | None = None,
    seed: int = 0,
) -> Replay:
    """Takes the faults of a run out of its records, for a configuration. Pure.

    since, until
        As for `recorded`.
    seed
        Of the backoff's jitter, and of nothing else.
    """
    offset = _offset(run, since)
    trace = recorded(run, since=since, until=until, config=config)
    behaviours: dict[str, Behaviour] = {}
    faults: dict[str, int] = {}
    notes: list[str] = []
    for name in run.services:
        mine = run.of(name)
        lives = [life for life in _lives(mine, run.records[0].at) if life.end > offset]
        faults[name] = sum(life.by_itself for life in lives)
        if name not in config.services:
            notes.append(f"{name} is not in {config.path}: its {faults[name]} faults are left out")
            continue
        behaviours[name] = _behaviour(lives, mine, offset, config.services[name].health is not None)
        notes += _notes(name, lives, mine, config)
    return Replay(
        colony=run.colony,
        began=run.began + offset,
        trace=trace,
        scenario=Scenario(behaviours=behaviours, horizon=trace.horizon, seed=seed),
        faults=faults,
        notes=tuple(notes),
    )


class _Life:
    """One life as it was, in seconds since the run's beginning. `how` is the record of its end."""

    def __init__(self, start: float, number: int = 0) -> None:
        self.start = start
        self.number = number
        self.ready: float | None = None
        self.hung: float | None = None
        self.end = float("inf")
        self.how: Record | None = None

    def __repr__(self) -> str:
        return f"<life from {self.start:g} to {self.end:g}>"

    @property
    def by_itself(self) -> bool:
        """Whether it ended, and nobody had stopped it."""
        return self.how is not None and self.how.type == "service.exited"

    @property
    def status(self) -> str:
        """How it ended, in words."""
        return "" if self.how is None else str(self.how.data.get("status", ""))

    @property
    def was_sick(self) -> bool:
        """Whether it was ended because it failed its health checks."""
        return self.by_itself and self.status.startswith("unhealthy")

    @property
    def never_ready(self) -> bool:
        """Whether it was ended because it was not ready in time."""
        return self.by_itself and self.status.startswith("not ready within")


def _lives(records: Sequence[Record], begin: float) -> Iterator[_Life]:
    """The lives of one service. Of one that began before the records, its end says when."""
    life: _Life | None = None
    for record in records:
        at = record.at - begin
        match record.type:
            case "service.started":
                life = _Life(at, int(record.data.get("incarnation", 0)))
            case "service.ready" if life is not None:
                life.ready = at
            case "service.unhealthy" if life is not None and record.data.get("failures") == 1:
                life.hung = at - _lasted(str(record.data.get("reason"))) - BEFORE
            case "service.exited" | "service.stopped":
                if life is None and record.type == "service.exited":
                    life = _Life(at - float(record.data.get("seconds", 0.0)))
                if life is not None:
                    life.end, life.how = at, record
                    yield life
                life = None
    if life is not None:
        yield life


def _lasted(reason: str) -> float:
    """How long a check took that failed for this reason."""
    found = _WITHIN.search(reason)
    return 0.0 if found is None else float(found[1])


def _behaviour(
    lives: Sequence[_Life], records: Sequence[Record], offset: float, checked: bool
) -> Behaviour:
    took = [life.ready - life.start for life in lives if life.ready is not None]
    usual = median(took) if took else _PLAIN.ready.seconds if isinstance(_PLAIN.ready, Fixed) else 0
    stops = [record.data for record in records if record.type == "service.stopped"]
    stops = [data for data in stops if data.get("status")]
    patient = [float(data.get("seconds", 0.0)) for data in stops if not data.get("killed")]
    return Behaviour(
        ready=Fixed(_rounded(usual)),
        stop=Fixed(_rounded(median(patient))) if patient else _PLAIN.stop,
        ignores_stop=bool(stops) and not patient,
        lives=tuple(_lived(life, offset, usual, checked) for life in lives),
    )


def _lived(life: _Life, offset: float, usual: float, checked: bool) -> Lived:
    start = max(life.start, offset)
    lasts = None if life.how is None else _rounded(life.end - start)
    ready = None if life.ready is None else _rounded(max(0.0, life.ready - start))
    if life.never_ready:
        return Lived(hangs=0.0)
    if life.was_sick and checked:
        hung = life.end if life.hung is None else life.hung
        at = max(hung, life.start if life.ready is None else life.ready)
        return Lived(ready=ready, hangs=_rounded(max(0.0, at - start)))
    if ready is None and lasts is not None:
        ready = _rounded(lasts + usual)  # it would have been, had it lasted
    if not life.by_itself:
        return Lived(lasts=lasts, ready=ready, cut=lasts is not None)
    return Lived(lasts=lasts, end=_end(life), ready=ready)


def _end(life: _Life) -> Crash | Exit:
    code = None if life.how is None else life.how.data.get("code")
    if isinstance(code, int):
        return Exit(code)
    name = life.status.removeprefix("killed by ").removeprefix("signal ")
    if name in signal.Signals.__members__:
        return Crash(int(signal.Signals[name]))
    return Crash(int(name)) if name.isdecimal() and 0 < int(name) < signal.NSIG else Crash()


def _rounded(seconds: float) -> float:
    """To the millisecond: a script that keeps it stays readable."""
    return round(seconds, 3)


def _notes(
    name: str, lives: Sequence[_Life], records: Sequence[Record], config: Config
) -> Iterator[str]:
    """What of a service cannot be replayed as it was."""
    sick = sum(life.was_sick for life in lives)
    if sick and config.services[name].health is None:
        yield (
            f"{name} was ended {_times(sick)} by its health check, which {config.path} has not; "
            "here it ends by itself at those times"
        )
    never = sum(life.never_ready for life in lives)
    if never and config.services[name].ready.deadline is None:
        yield (
            f"{name} was {_times(never)} not ready in time; {config.path} sets no deadline, and "
            "waits for ever"
        )
    failed = [record for record in records if record.type == "service.failed"]
    if failed:
        yield f"{name} could not be started: {failed[0].data.get('reason')}; this is not replayed"
    if any(record.type == "service.detached" for record in records):
        yield f"{name} left a server behind; here it ends when that did"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
