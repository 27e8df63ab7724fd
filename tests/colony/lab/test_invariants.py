"""Each invariant holds of what is well, and says what is wrong of what is not."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from colony.config import Config, parse
from colony.lab import invariants as laws
from colony.lab.faults import At, Crash, Every, Fault, Scenario
from colony.lab.invariants import Violated
from colony.lab.trace import Ending, Entry, Trace
from colony.lab.world import simulate
from tests.colony.lab.traces import of


def config(strategy: str = "rest_for_one", restart: str = "permanent") -> Config:
    return parse(
        f"""
[colony]
name = "lab"
[supervision]
strategy = "{strategy}"
intensity = 2
[services.db]
command = "run"
restart = "{restart}"
[services.web]
command = "run"
after = ["db"]
""",
        workspace="/",
    )


def made(*entries: Entry) -> Trace:
    return msgspec.structs.replace(of(*entries, services=("db", "web")), strategy="one_for_one")


def E(at: float, service: str, kind: str, life: int = 1, **fields: object) -> Entry:
    return Entry(at, service, kind, life, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_a_real_simulation_keeps_them_all(strategy: str) -> None:
    policy = config(strategy)
    faults = (Fault(("db",), Every(45.0), Crash()), Fault(("web",), At(20.0), Crash()))
    trace = simulate(policy, Scenario(faults=faults, horizon=600.0))
    laws.check(trace, policy)
    assert len(trace.entries) > 50


BROKEN: dict[str, tuple[Callable[[Trace, Config], object], Trace, str]] = {
    "time": (
        lambda trace, _: laws.in_order(trace),
        made(E(5.0, "db", "started"), E(4.0, "db", "ready")),
        "time runs backwards",
    ),
    "horizon": (
        lambda trace, _: laws.in_order(trace),
        made(E(101.0, "db", "started")),
        "something happens after the horizon of 1 min 40 s",
    ),
    "limit": (
        lambda trace, _: laws.never_more_restarts(trace, within="10s", than=2),
        made(*(E(at, "db", "restarting") for at in (1.0, 5.0, 11.0))),
        "3 restarts within 10 s; at most 2 are allowed",
    ),
    "ready": (
        lambda trace, _: laws.ready_only_after_started(trace),
        made(E(1.0, "db", "started"), E(2.0, "db", "crashed"), E(3.0, "db", "ready")),
        "db is ready and does not run",
    ),
    "ready twice": (
        lambda trace, _: laws.ready_only_after_started(trace),
        made(E(1.0, "db", "started"), E(2.0, "db", "ready"), E(3.0, "db", "ready")),
        "db becomes ready twice",
    ),
    "runs twice": (
        lambda trace, _: laws.one_life_at_a_time(trace),
        made(E(1.0, "db", "started"), E(2.0, "db", "started", 2)),
        "db runs twice",
    ),
    "lives": (
        lambda trace, _: laws.one_life_at_a_time(trace),
        made(E(1.0, "db", "started", 2), E(2.0, "db", "crashed", 2), E(3.0, "db", "started", 2)),
        "db begins life 2 after life 2",
    ),
    "unanswered": (
        laws.every_end_is_answered,
        made(
            E(1.0, "db", "crashed"),
            E(9.0, "web", "crashed"),
            E(9.0, "web", "restarting"),
        ),
        "nothing is done about the end of db",
    ),
    "answered in vain": (
        lambda trace, _: laws.every_end_is_answered(trace, config(restart="temporary")),
        made(E(1.0, "db", "crashed"), E(1.0, "db", "restarting")),
        "db is temporary, and is restarted after it has crashed",
    ),
    "early": (
        lambda trace, _: laws.started_only_when_due(trace),
        made(E(1.0, "db", "backoff", due=9.0), E(5.0, "db", "started", 2)),
        "db is started before its restart was due at 0:09.000",
    ),
    "dependency": (
        laws.never_without_dependencies,
        made(E(1.0, "db", "started"), E(1.0, "web", "waiting"), E(2.0, "web", "started")),
        "web is started before db is ready",
    ),
    "silence": (
        lambda trace, _: laws.silent_after_the_end(trace),
        made(E(1.0, "db", "gave_up"), E(2.0, "db", "restarting")),
        "db goes on after the restart limit",
    ),
    "together": (
        lambda trace, _: laws.never_down_together(trace, "db", "web"),
        made(
            E(1.0, "db", "ready"),
            E(1.0, "web", "ready"),
            E(5.0, "db", "crashed"),
            E(6.0, "web", "crashed"),
        ),
        "db and web are down together at 0:06.000",
    ),
    "without": (
        lambda trace, _: laws.never_up_without(trace, "web", "db"),
        made(E(1.0, "db", "ready"), E(1.0, "web", "ready"), E(5.0, "db", "crashed")),
        "web is up without db for 1 min 35 s from 0:05.000",
    ),
    "available": (
        lambda trace, _: laws.available(trace, "db", at_least=0.99),
        made(E(0.0, "db", "ready"), E(50.0, "db", "crashed")),
        "db is available 50.000% of the time; wanted is 99.000%",
    ),
    "outage": (
        lambda trace, _: laws.no_outage_longer(trace, "db", than="10s"),
        made(E(0.0, "db", "ready"), E(50.0, "db", "crashed")),
        "db is down for 50 s from 0:50.000; wanted is at most 10 s",
    ),
    "gives up": (
        lambda trace, _: laws.never_gives_up(trace),
        msgspec.structs.replace(
            made(E(1.0, "db", "gave_up", detail="more than 2 restarts")),
            ending=Ending("gave_up", 1.0, "db"),
        ),
        "gave up because of db",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_is_told_in_words(name: str) -> None:
    law, trace, text = BROKEN[name]
    with pytest.raises(Violated) as caught:
        law(trace, config())
    assert str(caught.value).splitlines()[0] == f"lab: {text}"
    law(made(E(0.0, "db", "started"), E(0.0, "db", "ready")), config())


def test_the_entries_that_contradict_it_are_shown_with_what_was_before() -> None:
    trace = made(
        E(1.0, "db", "started"),
        E(2.0, "db", "ready"),
        E(2.5, "web", "started"),
        E(3.0, "db", "started", 2, detail="odd"),
    )
    with pytest.raises(Violated) as caught:
        laws.one_life_at_a_time(trace)
    assert str(caught.value) == (
        "lab: db runs twice\n"
        "> 0:01.000  db  started\n"
        "  0:02.000  db  ready\n"
        "  0:02.500  web  started\n"
        "> 0:03.000  db  started  odd"
    )
    assert [entry.life for entry in caught.value.entries] == [1, 2]


def test_who_is_not_come_to_before_the_restart_limit_is_left_alone() -> None:
    """Two die at one instant while a third is still being started for the first time: the first one
    is one too many, and of the other nothing is ever decided."""
    services = "".join(
        f'[services.s{number}]\ncommand = "run"\nready = {{ none = true }}\n'
        for number in (1, 2, 3)
    )
    last = '[services.s4]\ncommand = "run"\nafter = { s1 = "started" }\n'
    for strategy in ("one_for_one", "rest_for_one", "one_for_all"):
        rules = f'[colony]\nname = "lab"\n[supervision]\nstrategy = "{strategy}"\nintensity = 0\n'
        policy = parse(rules + services + last, "colony.toml", workspace="/")
        crash = Fault(("s1", "s2"), At(0.011), Crash())
        trace = simulate(policy, Scenario(faults=(crash,), horizon=60.0))
        assert [each.service for each in trace.entries if each.kind == "gave_up"] == ["s1"]
        laws.check(trace, policy)


def test_whoever_ends_while_a_group_is_restarted_comes_back_with_it() -> None:
    trace = msgspec.structs.replace(
        made(
            E(1.0, "db", "crashed"),
            E(1.0, "db", "restarting"),
            E(1.0, "web", "crashed"),
            E(1.1, "db", "started", 2),
            E(1.2, "web", "waiting"),
            E(9.0, "db", "restarting"),
        ),
        strategy="rest_for_one",
    )
    laws.every_end_is_answered(trace, config())
