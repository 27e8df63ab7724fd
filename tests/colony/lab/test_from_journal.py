"""What if: last night's faults, out of the journal, under another policy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from colony.config import Config, parse
from colony.host import policy_of
from colony.lab.compare import Column, figures
from colony.lab.faults import (
    At,
    Behaviour,
    Crash,
    Every,
    Exit,
    Fault,
    Fixed,
    Flapping,
    Hang,
    Lived,
    Poisson,
    Scenario,
    Uniform,
)
from colony.lab.replay import choose, clipped, gave_up, missed_until, recorded, replay
from colony.lab.script import parse_script, written
from colony.lab.summary import summarise
from colony.lab.trace import Entry, Trace
from colony.lab.world import simulate
from colony.records import Run
from tests.colony.lab.made import trace as made_trace
from tests.colony.lab.nights import BEGAN, FILE, config, record, run_of


def played(config: Config, *faults: Fault, horizon: float = 125.0, **more: Any) -> Trace:
    return simulate(config, Scenario(faults=faults, horizon=horizon, **more))


def happened(trace: Trace) -> list[tuple[str, str, str]]:
    """What happened, without the milliseconds, and without a simulation's own remarks."""
    return [
        (entry.service, entry.kind, entry.by)
        for entry in trace.entries
        if entry.kind not in ("fault", "missed")
    ]


# -- the night again -----------------------------------------------------------------------------

NIGHTS: dict[str, tuple[Fault, ...]] = {
    "quiet": (),
    "one crash": (Fault(("api",), At(5.0), Crash()),),
    "crashes": (Fault(("db",), Every(20.0), Exit(3)), Fault(("web",), Every(31.0), Crash(11))),
    "by chance": (Fault(("api",), Poisson(15.0), Crash()), Fault(("db",), Poisson(40.0), Exit(1))),
    "at one instant": (Fault(("db", "web"), At(30.0), Crash()),),
    "flapping": (Fault(("web",), At(10.0), Flapping(2.0, 4), lasting=20.0),),
    "hangs": (Fault(("web",), At(10.0), Hang()),),
    "in good order": (Fault(("web",), At(10.0), Exit(0)),),
}


@pytest.mark.parametrize("night", NIGHTS)
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_under_its_own_policy_the_same_happens_again(night: str, strategy: str) -> None:
    policy = config(f'strategy = "{strategy}"\n')
    then = played(policy, *NIGHTS[night], behaviours={"db": Behaviour(ready=Uniform(0.5, 3.0))})
    again = replay(run_of(then), policy, until=BEGAN + 125.0)
    now = simulate(policy, again.scenario)
    assert happened(now) == happened(then)
    for one, other in zip(seen(now), seen(then), strict=True):
        assert one.at == pytest.approx(other.at, abs=0.05), (one, other)
    assert now.ending.kind == then.ending.kind


def seen(trace: Trace) -> list[Entry]:
    """What the journal has of it."""
    return [each for each in trace.entries if each.kind not in ("fault", "missed", "hung")]


def test_what_happened_and_what_is_played_are_measured_alike() -> None:
    """A service is taken to have hung since just before the first check that failed, which took
    its timeout; until it was ended for it its supervisor took it for well."""
    policy = config('strategy = "one_for_one"\n')
    then = played(policy, *NIGHTS["hangs"])
    night = replay(run_of(then), policy, until=BEGAN + 125.0)
    before, after = summarise(night.trace), summarise(simulate(policy, night.scenario))
    for name, was in before.services.items():
        found = after.services[name]
        assert found.downtime == pytest.approx(was.downtime, abs=0.1)
        assert found.unnoticed == pytest.approx(was.unnoticed, abs=0.1)
    web = before.services["web"]
    assert 3 < web.unnoticed < web.downtime < 10
    assert web.seemed_available > web.availability


def test_under_its_own_policy_it_gives_up_again() -> None:
    policy = parse(FILE.replace("intensity = 10", "intensity = 2"), "new.toml")
    then = played(policy, Fault(("api",), Every(5.0), Crash()))
    assert then.ending.kind == "gave_up"
    now = simulate(policy, replay(run_of(then), policy, until=BEGAN + 125.0).scenario)
    assert happened(now) == happened(then)
    assert now.ending.service == "api"


def test_another_policy_makes_something_else_of_it() -> None:
    strict = parse(FILE.replace("intensity = 10", "intensity = 2"), "old.toml")
    then = played(strict, Fault(("api",), Every(5.0), Crash(), times=4))
    night = replay(run_of(then), config(), until=BEGAN + 125.0)
    now = simulate(config(), night.scenario)
    assert now.ending.kind == "horizon"
    before, after = summarise(night.trace), summarise(now)
    assert before.services["api"].downtime > 100 > 10 > after.services["api"].downtime
    assert night.faults == {"db": 0, "api": 3, "web": 0}
    [gave_up] = [
        figure
        for figure in figures([Column("what happened", before), Column("new.toml", after)])
        if figure.name == "gave up at"
    ]
    assert gave_up.best == (1,)


def test_who_was_stopped_for_another_lives_on_where_nobody_stops_it() -> None:
    """web's third life crashed 7 s after its start; its first two were cut short by db."""
    together = config('strategy = "one_for_all"\n')
    alone = config('strategy = "one_for_one"\n')
    then = played(
        together,
        Fault(("db",), At(10.0), Crash()),
        Fault(("db",), At(20.0), Crash()),
        Fault(("web",), At(27.0), Crash()),
    )
    now = simulate(alone, replay(run_of(then), alone, until=BEGAN + 125.0).scenario)
    crashes = [(entry.service, round(entry.at)) for entry in now.entries if entry.kind == "crashed"]
    assert crashes == [("db", 10), ("db", 20), ("web", 26)], "after as long a time as it had run"


# -- what is taken out ---------------------------------------------------------------------------


def lives(trace: Trace, service: str, since: float | None = None) -> tuple[Lived, ...]:
    night = replay(run_of(trace), config(), since=since)
    return night.scenario.behaviours[service].lives


def test_lives_are_as_they_were() -> None:
    trace = made_trace({"web": ((10.0, 20.0), (50.0, 80.0))})
    assert lives(trace, "web") == (
        Lived(10.0, Exit(1), 0.0),
        Lived(30.0, Exit(1), 0.0),
        Lived(ready=0.0),
    )


def test_a_signal_is_known_by_its_name() -> None:
    def ended(status: str) -> Crash | Exit:
        entries = (
            Entry(0.0, "web", "started", 1),
            Entry(3.0, "web", "crashed", 1, status),
        )
        return lives(replaced(made_trace({"web": ()}), entries), "web")[0].end

    assert ended("killed by SIGSEGV") == Crash(11)
    assert ended("killed by signal 35") == Crash(35)
    assert ended("ended unseen") == Crash()


def replaced(trace: Trace, entries: tuple[Entry, ...]) -> Trace:
    return msgspec.structs.replace(trace, entries=entries)


def test_what_was_not_ready_when_it_ended_would_have_been_ready_later() -> None:
    entries = (
        Entry(0.0, "web", "started", 1),
        Entry(2.0, "web", "ready", 1),
        Entry(9.0, "web", "crashed", 1, "exit code 1", code=1),
        Entry(10.0, "web", "started", 2),
        Entry(15.0, "web", "crashed", 2, "exit code 1", code=1),
    )
    found = lives(replaced(made_trace({"web": ()}), entries), "web")
    assert found == (Lived(9.0, Exit(1), 2.0), Lived(5.0, Exit(1), 7.0))


def test_a_life_at_hand_begins_with_the_time_that_is_asked_for() -> None:
    trace = made_trace({"web": ((10.0, 20.0), (50.0, 80.0))})
    assert lives(trace, "web", since=BEGAN + 40.0) == (Lived(10.0, Exit(1), 0.0), Lived(ready=0.0))


def test_start_up_and_stop_are_as_they_mostly_were() -> None:
    entries = (
        Entry(0.0, "web", "started", 1),
        Entry(2.0, "web", "ready", 1),
        Entry(9.0, "web", "stopping", 1),
        Entry(9.5, "web", "stopped", 1, "exit code 0", killed=True),
        Entry(10.0, "web", "started", 2),
        Entry(14.0, "web", "ready", 2),
    )
    night = replay(run_of(replaced(made_trace({"web": ()}), entries)), config())
    behaviour = night.scenario.behaviours["web"]
    assert (behaviour.ready, behaviour.ignores_stop) == (Fixed(3.0), True)
    assert behaviour.lives == (Lived(9.5, ready=2.0, cut=True), Lived(ready=4.0))


def test_what_cannot_be_replayed_is_said() -> None:
    then = played(
        config(),
        Fault(("web",), At(10.0), Hang()),
        Fault(("db",), At(50.0), Crash()),
    )
    text = FILE.replace("health =", "env = {} #").replace("[services.db]", "[services.cache]")
    other = parse(text.replace('"db"', '"cache"'), "other.toml")
    night = replay(run_of(then), other)
    assert night.notes == (
        "db is not in other.toml: its 1 faults are left out",
        "web was ended once by its health check, which other.toml has not; "
        "here it ends by itself at those times",
    )


def test_a_night_can_be_kept_as_a_script() -> None:
    then = played(config('strategy = "one_for_all"'), *NIGHTS["hangs"], *NIGHTS["crashes"])
    scenario = replay(run_of(then), config()).scenario
    kept = [life for each in scenario.behaviours.values() for life in each.lives]
    assert any(life.cut for life in kept)
    assert any(life.hangs for life in kept)
    assert parse_script(written(scenario), "night.toml", config().services).scenario() == scenario


# -- which run, and up to when -------------------------------------------------------------------


def at(run: Run, seconds: float) -> Run:
    """The same run so much later."""
    moved = tuple(
        msgspec.structs.replace(each, wall=each.wall + seconds, at=each.at + seconds)
        for each in run.records
    )
    return msgspec.structs.replace(run, records=moved)


def test_the_last_run_with_a_fault_is_meant() -> None:
    good = run_of(made_trace({"web": ()}), over=True)
    bad = run_of(made_trace({"web": ((10.0, 20.0),)}), over=True)
    runs = [bad, at(good, 1000.0), at(bad, 2000.0), at(good, 3000.0)]
    assert choose(runs) == runs[2]
    assert choose(runs[:2]) == runs[0]
    assert choose([good]) == good
    assert choose([]) is None
    assert choose(runs, since=BEGAN + 2500.0) == runs[3]


def test_a_colony_that_gave_up_is_missed_until_it_is_started_again() -> None:
    over = run_of(made_trace({"web": ()}, gave_up=(50.0, "web")))
    assert gave_up(over)
    assert missed_until(over, [over], BEGAN + 5000.0) == BEGAN + 5000.0
    later = at(over, 900.0)
    assert missed_until(over, [over, later], BEGAN + 5000.0) == later.began
    night = recorded(over, until=later.began)
    assert summarise(night).services["web"].downtime == 850.0


def test_one_that_was_stopped_is_not_missed() -> None:
    run = run_of(made_trace({"web": ((10.0, 20.0),)}), over=True)
    assert not gave_up(run)
    assert missed_until(run, [run], BEGAN + 5000.0) == run.ended


def test_the_policy_is_what_the_journal_says_it_was() -> None:
    then = played(config(), *NIGHTS["one crash"])
    run = run_of(then)
    assert recorded(run).strategy == "", "an older journal does not say"
    policy = record("colony.policy", 0.0, msgspec.to_builtins(policy_of(config(), 0.0)))
    told = recorded(msgspec.structs.replace(run, records=(policy, *run.records)))
    assert (told.strategy, told.intensity, told.period) == ("one_for_one", 10, 60.0)
    assert told.services == ("db", "api", "web")
    assert happened(told) == happened(then)


# -- a stretch of it -----------------------------------------------------------------------------


def test_a_stretch_begins_with_what_was_the_case() -> None:
    trace = made_trace({"db": (), "web": ((10.0, 20.0), (50.0, 80.0))})
    part = clipped(trace, 15.0)
    assert [(e.at, e.service, e.kind) for e in part.entries] == [
        (0.0, "db", "ready"),
        (0.0, "web", "backoff"),
        (5.0, "web", "started"),
        (5.0, "web", "ready"),
        (35.0, "web", "crashed"),
        (35.0, "web", "backoff"),
        (65.0, "web", "started"),
        (65.0, "web", "ready"),
    ]
    assert [e.due for e in part.entries if e.kind == "backoff"] == [5.0, 65.0]
    assert (part.horizon, part.ending.at) == (85.0, 85.0)
    assert clipped(trace, 0.0) is trace
