"""What commands do with the event journal: `events --timeline`, `events --since`, `simulate
--from-journal`. It is read from the disk: no instance has to run.

Imported by the commands when they run: everything heavy may be imported here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from colony import config as configuration
from colony.api.history import iso
from colony.cli import output as out
from colony.cli.experiments import show
from colony.cli.session import Failed, Session, not_there
from colony.config import Config
from colony.exits import Exit
from colony.lab.compare import Column, comparison
from colony.lab.faults import Scenario
from colony.lab.replay import Replay, choose, missed_until, recorded, replay
from colony.lab.summary import summarise
from colony.lab.tables import comparison_table
from colony.lab.timeline import length
from colony.lab.trace import Trace
from colony.lab.world import simulate
from colony.records import (
    Record,
    Run,
    colonies_in,
    journal_directory,
    parse_since,
    read,
    runs_of,
)

QUIET: Final = 1.15
"""The pictures end this factor after the last thing that happened in either."""


def records() -> list[Record]:
    """The whole journal of this user. Raises `Failed` if there is nothing in it."""
    directory = journal_directory()
    try:
        found = read(directory)
    except OSError as error:
        raise Failed(
            Exit.FAILED, f"the journal in {directory} cannot be read: {error.strerror}"
        ) from None
    if not found:
        raise Failed(
            Exit.NOT_FOUND,
            f"the journal in {directory} is empty",
            "instances write what happens to their colonies there; start one: colony up",
        )
    return found


def moment(since: str | None) -> float | None:
    """A time as people write it, in seconds since the epoch. Raises `Failed`."""
    try:
        return None if since is None else parse_since(since, time.time())
    except ValueError as error:
        raise Failed(Exit.WRONG, f"--since: {error}") from None


def colony_name(session: Session, name: str | None, known: Sequence[str]) -> str:
    """The colony that is meant: the one named, else the nearest file's, else the only one."""
    path = None if name is not None else session.nearest()
    if path is not None:
        try:
            name = configuration.load(path).name
        except configuration.ConfigError as error:
            raise Failed(Exit.WRONG, str(error.problems[0]), "name a colony: -c NAME") from None
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise Failed(Exit.WRONG, f"which colony? The journal tells of {', '.join(known)}")
    if name not in known:
        raise not_there("colony in the journal called", name, list(known))
    return name


class Told(NamedTuple):
    """A run of a colony, and up to when it is looked at, in seconds since the epoch."""

    run: Run
    until: float


def runs(session: Session, name: str | None, since: float | None) -> list[Told]:
    """The runs of the colony that is meant which reach into the time since; one at least."""
    found, now = records(), time.time()
    name = colony_name(session, name, colonies_in(found))
    every = runs_of(found, name)
    told = [Told(run, missed_until(run, every, now)) for run in every]
    late = [each for each in told if since is None or each.until > since]
    if not late:
        when = clock(told[-1].until)
        raise Failed(Exit.NOT_FOUND, f"nothing happened to {name} since then; the last was {when}")
    return late


# -- colony events ---------------------------------------------------------------------------------


def lines(since: str, name: str | None, types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The events since a time, as the API gives them."""
    then = moment(since)
    for record in records():
        mine = name is None or record.colony == name
        if mine and (not types or record.type in types) and record.wall >= (then or 0.0):
            yield record.data


def timeline(session: Session, name: str | None, since: str | None, as_json: bool) -> None:
    """What happened, as lanes: the last run of a colony, or every one since a time."""
    then = moment(since)
    late = runs(session, name, then)
    found = []
    for run, until in late if then is not None else late[-1:]:
        trace = recorded(run, since=then, until=until, config=_file_of(session, run.colony))
        found.append((max(run.began, then or 0.0), until, trace))
    if as_json:
        spans = [(iso(began), iso(until), trace) for began, until, trace in found]
        out.as_json([{"began": b, "ended": e, **_plain(trace)} for b, e, trace in spans])
        return
    from colony.cli.simulate import show_timeline, summary_lines

    for number, (began, until, trace) in enumerate(found):
        between = "\n" if number else ""
        sys.stdout.write(f"{between}{trace.colony}, {clock(began)} to {clock(until)}\n\n")
        show_timeline(session, trace, "lanes")
        lines = summary_lines(trace, summarise(trace), session.colour())
        sys.stdout.write("\n".join(lines) + "\n")


def _plain(trace: Any) -> dict[str, Any]:
    return {
        "summary": msgspec.to_builtins(summarise(trace)),
        "trace": msgspec.to_builtins(trace),
    }


def _file_of(session: Session, colony: str) -> Config | None:
    """The nearest file, if it is this colony's: it knows the order of the services."""
    path = session.nearest()
    try:
        found = None if path is None else configuration.load(path)
    except configuration.ConfigError:
        return None
    return found if found is not None and found.name == colony else None


def clock(seconds: float) -> str:
    """A time of day here, with its date: `Thu 26 Nov 02:13:05`."""
    return datetime.fromtimestamp(seconds).strftime("%a %d %b %H:%M:%S")


# -- colony simulate --from-journal ----------------------------------------------------------------


def night(
    session: Session, config: Config, name: str | None, since: str | None, seed: int
) -> Replay:
    """What happened to a colony, to be played under a configuration: its last run with a fault."""
    then = moment(since)
    late = runs(session, name or config.name, then)
    run = choose([each.run for each in late], since=then)
    until = next(each.until for each in late if each.run is run)
    assert run is not None
    return replay(run, config, since=then, until=until, seed=seed)


def with_night(scenario: Scenario, found: Replay, horizon: float | None) -> Scenario:
    """The night as a scenario, with what the flags add; as long as it was, if they do not say."""
    return msgspec.structs.replace(
        scenario,
        behaviours={**found.scenario.behaviours, **scenario.behaviours},
        horizon=found.scenario.horizon if horizon is None else horizon,
    )


def happened(found: Replay) -> Column:
    """What really happened, beside what would have."""
    return Column("what happened", summarise(found.trace))


def what_if(
    session: Session,
    found: Replay,
    config: Config,
    scenario: Scenario,
    form: str,
    width: int | None,
    as_json: bool,
) -> None:
    """Shows a night with and without the change; ends the program with 1 if the change is no help:
    if the colony gives up all the same."""
    trace = simulate(config, scenario)
    columns = [happened(found), Column(config.path, summarise(trace))]
    if as_json:
        compared = msgspec.to_builtins(comparison(columns))
        night = msgspec.to_builtins(found)
        out.as_json({"night": night, "trace": msgspec.to_builtins(trace), "comparison": compared})
    else:
        _show_both(session, found, config, trace, form, width)
        show(session, comparison_table(columns))
    if trace.ending.kind in ("gave_up", "start_failed"):
        sys.exit(Exit.FAILED)


def _show_both(
    session: Session, found: Replay, config: Config, trace: Trace, form: str, width: int | None
) -> None:
    from colony.cli.simulate import show_timeline

    sys.stdout.write("\n".join(night_words(found)) + "\n\n")
    last = max((each.at for of in (found.trace, trace) for each in of.entries), default=0.0)
    end = min(max(found.trace.horizon, trace.horizon), max(last * QUIET, 1.0))
    for title, of in (("what happened", found.trace), (f"under {config.path}", trace)):
        if form != "none":
            sys.stdout.write(f"{title}:\n")
            sys.stdout.flush()
        show_timeline(session, of, form, (0.0, min(end, of.horizon)), width)


def night_words(found: Replay) -> list[str]:
    """What is replayed, in lines."""
    until = found.began + found.trace.horizon
    faults = ", ".join(f"{count} of {name}" for name, count in found.faults.items() if count)
    total = sum(found.faults.values())
    counted = f"{total} fault{'s' if total != 1 else ''}"
    told = f"{counted}: {faults}" if total else "no faults"
    span = f"{clock(found.began)} to {clock(until)} ({length(found.trace.horizon)})"
    return [f"{found.colony}, {span}: {told}", *(f"  note: {note}" for note in found.notes)]
