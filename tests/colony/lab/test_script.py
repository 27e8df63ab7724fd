from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.config import ConfigError, render
from colony.lab.faults import (
    After,
    At,
    Behaviour,
    Crash,
    Every,
    Exit,
    Exponential,
    Fault,
    Fixed,
    Flapping,
    Lived,
    NeverReady,
    Poisson,
    Scenario,
    SlowStart,
    Uniform,
)
from colony.lab.flags import EXAMPLES, parse_flags
from colony.lab.script import KINDS, Script, load_script, parse_script, written
from colony.lab.words import distribution_text, duration_text
from colony.testing.strategies import distributions, scenarios

SERVICES = ("db", "api", "web")


def read(text: str) -> Script:
    return parse_script(text, "outage.toml", SERVICES)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [f"{p.line}:{p.column} {p.message}" for p in caught.value.problems]


def flag(kind: str, text: str) -> Fault:
    [fault], _ = parse_flags([(kind, text)], [], SERVICES)
    return fault


def refused(kind: str, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_flags([(kind, text)], [], SERVICES)
    return render(caught.value.problems)


# -- files -----------------------------------------------------------------------------------------


def test_a_script_says_what_goes_wrong_how_processes_behave_and_for_how_long() -> None:
    script = read("""
[scenario]
for = "2h"
seed = 7

[[fault]]
crash = ["web", "api"]
at = "5s"
signal = "SEGV"

[[fault]]
exit = "db"
code = 3
every = "30s"
first = 5
times = 4
until = "10m"

[[fault]]
crash = "api"
poisson = "10m"

[[fault]]
flapping = "web"
up = "3s"
when = "db is ready"
delay = "1s"
lasting = "1m"

[[fault]]
never_ready = "db"

[behaviour.db]
ready = "1m"
lifetime = "~10m"
ends = [1, "SIGKILL"]
lives = [{ lasts = "5s", end = 0 }, { lasts = 9 }]

[behaviour.web]
stop = "1s..5s"
ignores_stop = true
""")
    assert script.scenario() == Scenario(
        faults=(
            Fault(("web", "api"), At(5.0), Crash(11)),
            Fault(("db",), Every(30.0, 5.0), Exit(3), times=4, until=600.0),
            Fault(("api",), Poisson(600.0), Crash()),
            Fault(("web",), After("ready", "db", 1.0), Flapping(3.0), lasting=60.0),
            Fault(("db",), At(0.0), NeverReady()),
        ),
        behaviours={
            "db": Behaviour(
                ready=Fixed(60.0),
                lifetime=Exponential(600.0),
                ends=(Exit(1), Crash(9)),
                lives=(Lived(5.0, Exit(0)), Lived(9.0)),
            ),
            "web": Behaviour(stop=Uniform(1.0, 5.0), ignores_stop=True),
        },
        horizon=7200.0,
        seed=7,
    )


def test_what_the_caller_says_goes_before_what_the_file_says() -> None:
    script = read('[scenario]\nfor = "2h"\nseed = 7\n')
    assert script.scenario(60.0, 0) == Scenario(horizon=60.0, seed=0)
    assert read("").scenario() == Scenario(horizon=3600.0, seed=0)


def test_all_mistakes_are_found_at_once_each_at_its_place() -> None:
    assert problems("""[[fault]]
crash = "wbe"
at = "5x"

[[fault]]
crsh = "web"
at = "5s"

[[fault]]
crash = "web"

[[fault]]
crash = "web"
exit = "db"
at = 1

[[fault]]
slow_start = "db"

[[fault]]
crash = "web"
at = 1
code = 3
delay = 2

[[fault]]
crash = "web"
when = "db explodes"

[behaviour.bd]
redy = 1
lifetime = "soon"

[scenarios]
""") == [
        '2:9 the colony has no service "wbe"',
        '3:6 `at` in [[fault]] must be a number of seconds or a text like "500ms", "5s", "2m": '
        'got the string "5x"',
        "6:1 unknown key `crsh` in [[fault]]",
        "9:1 this [[fault]] does not say when",
        "14:1 a [[fault]] says what goes wrong twice: `crash` and `exit`",
        "17:1 `slow_start` in a [[fault]] needs `slower`",
        "23:1 `code` says nothing beside `crash`",
        "24:1 `delay` says nothing beside `at`",
        '28:8 `when` in [[fault]] must say what happens to a service: got "explodes"',
        '30:12 the colony has no service "bd"',
        "31:1 unknown key `redy` in [behaviour.bd]",
        '32:12 `lifetime` in [behaviour.bd] must be a length of time: got "soon"',
        "34:2 unknown table `scenarios`",
    ]


def test_a_mistake_is_shown_with_its_line_a_caret_and_the_near_miss() -> None:
    with pytest.raises(ConfigError) as caught:
        read('[[fault]]\ncrash = "wbe"\nat = "5s"\n')
    assert render(caught.value.problems) == (
        'error: the colony has no service "wbe"\n'
        " --> outage.toml:2:9\n"
        "  |\n"
        '2 | crash = "wbe"\n'
        "  |         ^^^^^\n"
        "  = help: did you mean `web`?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fault = 3", "`fault` must be an array of tables: got the integer 3"),
        ("fault = [3]", "[[fault]] must be a table: got the integer 3"),
        ("behaviour = 1", "`behaviour` must be a table: got the integer 1"),
        ("[behaviour]\nweb = 1", "[behaviour.web] must be a table: got the integer 1"),
        ("scenario = 1", "[scenario] must be a table: got the integer 1"),
        ("[behaviour.web]\nlives = 3", "`lives` must be a list of tables: got the integer 3"),
        ("[[fault]]\ncrash = []\nat = 1", "must be a service or a list of them"),
        ("[[fault]]\ncrash = 'web'\nat = 1\nlasting = 3", "`lasting` says nothing beside `crash`"),
        ("[[fault]]\ncrash = 'web'\nat = 1\nevery = 3", "says when twice: `at` and `every`"),
        ("[[fault]]\ncrash = ['web', 'web']\nat = 1", '`crash` in [[fault]] names "web" twice'),
        ("[[fault]]\ncrash = 'web'\nevery = 0", "must be from 0.001"),
        ("[[fault]]\ncrash = 'web'\nwhen = 'db'", "must be a service and what happens to it"),
        ("[[fault]]\ncrash = 'web'\nat = 1\nsignal = 'KIL'", "must be a signal"),
        ("[behaviour.web]\nstop = '5s..1s'", 'must begin with the shorter one: got "5s..1s"'),
        ("[scenario]\nseed = -1", "must be a whole number from 0 up: got the integer -1"),
        ("[[fault]\n", "a table's header must end in `]`"),
    ],
)
def test_what_a_script_may_not_say(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert message in str(caught.value)


def test_a_script_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_script("/nowhere/outage.toml", SERVICES)


@given(scenarios(SERVICES))
def test_a_scenario_is_written_as_a_file_that_reads_back_to_the_same(scenario: Scenario) -> None:
    assert parse_script(written(scenario), "written.toml", SERVICES).scenario() == scenario


def test_a_scenario_may_take_days() -> None:
    assert read('[scenario]\nfor = "1.5d 2h"\n').horizon == 38 * 3600.0


@given(st.floats(0, 1e9))
def test_a_length_of_time_is_written_so_that_it_reads_back_to_the_same(length: float) -> None:
    script = read(f'[behaviour.web]\nready = "{duration_text(length)}"\n')
    assert script.behaviours["web"].ready == Fixed(length)


@given(distributions())
def test_so_is_a_distribution(value: Fixed | Uniform | Exponential) -> None:
    script = read(f'[behaviour.web]\nready = "{distribution_text(value)}"\n')
    assert script.behaviours["web"].ready == value


@given(st.text() | st.text("[]{}=\"'.,\n#~ abcdefault123"))
def test_no_text_makes_anything_but_a_script_or_problems(text: str) -> None:
    with suppress(ConfigError):
        parse_script(text, "any.toml", SERVICES)


# -- flags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("crash", "web@5s", Fault(("web",), At(5.0), Crash())),
        ("crash", "web@5s:SIGSEGV", Fault(("web",), At(5.0), Crash(11))),
        ("crash", "api@every:30s", Fault(("api",), Every(30.0), Crash())),
        (
            "crash",
            "api@every:30s,first=5s,times=3,until=10m",
            Fault(("api",), Every(30.0, 5.0), Crash(), 3, 600.0),
        ),
        ("crash", "api@poisson:10m:TERM", Fault(("api",), Poisson(600.0), Crash(15))),
        ("exit", "db@1m:0", Fault(("db",), At(60.0), Exit(0))),
        ("exit", "db@1m", Fault(("db",), At(60.0), Exit(0))),
        (
            "exit",
            "web+api@on:db.exits+2s:3",
            Fault(("web", "api"), After("exited", "db", 2.0), Exit(3)),
        ),
        ("crash", "web@on:db.ready", Fault(("web",), After("ready", "db"), Crash())),
        ("never_ready", "db", Fault(("db",), At(0.0), NeverReady())),
        ("slow_start", "db:1m", Fault(("db",), At(0.0), SlowStart(60.0))),
        (
            "flapping",
            "web@1m:3s,lasting=5m",
            Fault(("web",), At(60.0), Flapping(3.0), lasting=300.0),
        ),
    ],
)
def test_a_flag_says_what_a_fault_is(kind: str, text: str, fault: Fault) -> None:
    assert flag(kind, text) == fault


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_example_that_holds(kind: str) -> None:
    assert isinstance(flag(kind, EXAMPLES[kind]), Fault)


@pytest.mark.parametrize(
    ("kind", "text", "shown", "help"),
    [
        ("crash", "wbe@5s", "wbe@5s\n  | ^^^\n", "did you mean `web`?"),
        ("crash", "db+db@5s", "db+db@5s\n  |    ^^\n", ""),
        ("crash", "web@evry:30s", "web@evry:30s\n  |     ^^^^\n", "did you mean `every`?"),
        ("crash", "web@soon", "web@soon\n  |     ^^^^\n", ""),
        ("crash", "web", "web\n  | ^^^\n", "as in web@5s"),
        ("crash", "@5s", "@5s\n  | ^^^\n", "as in --crash web@5s"),
        ("crash", "web@5s:SIGKIL", "web@5s:SIGKIL\n  |        ^^^^^^\n", "did you mean `SIGKILL`?"),
        ("crash", "web@5s,tims=3", "web@5s,tims=3\n  |        ^^^^^^\n", "did you mean `times`?"),
        ("crash", "web@5s,times=no", "web@5s,times=no\n  |              ^^\n", ""),
        ("crash", "web@5s,lasting=3s", "web@5s,lasting=3s\n  |        ^^^^^^^\n", ""),
        ("crash", "web@5s,first=3s", "web@5s,first=3s\n", ""),
        ("crash", "web@on:db", "web@on:db\n  |        ^^\n", "as in on:db.exits"),
        (
            "crash",
            "web@on:appi.exits",
            "web@on:appi.exits\n  |        ^^^^\n",
            "did you mean `api`?",
        ),
        (
            "crash",
            "web@on:db.exit",
            "web@on:db.exit\n  |           ^^^^\n",
            "did you mean `exits`?",
        ),
        ("exit", "web@5s:300", "web@5s:300\n  |        ^^^\n", ""),
        ("slow_start", "web", "web\n", "as in --slow-start db:1m"),
        ("hang", "web@5s:3", "web@5s:3\n", "as in --hang web@1m"),
    ],
)
def test_a_wrong_flag_is_shown_with_a_caret(kind: str, text: str, shown: str, help: str) -> None:
    rendered = refused(kind, text)
    assert f" --> --{kind.replace('_', '-')}:1:" in rendered
    assert shown in f"{rendered}\n"
    assert help in rendered


def test_all_wrong_flags_are_shown_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_flags([("crash", "a@1s"), ("exit", "b@1s")], ["c:ready=1s"], SERVICES)
    assert [problem.path for problem in caught.value.problems] == [
        "--crash",
        "--exit",
        "--behaviour",
    ]


def test_a_flag_says_how_processes_behave() -> None:
    _, behaviours = parse_flags(
        [], ["db:ready=1m,lifetime=~10m,ends=0|SIGKILL", "db:ignores_stop=true"], SERVICES
    )
    assert behaviours == {
        "db": Behaviour(
            ready=Fixed(60.0),
            lifetime=Exponential(600.0),
            ends=(Exit(0), Crash(9)),
            ignores_stop=True,
        )
    }


@given(st.sampled_from(sorted(KINDS)), st.text("web+db@every:on.,=13sm~ ") | st.text())
def test_no_flag_makes_anything_but_a_fault_or_problems(kind: str, text: str) -> None:
    with suppress(ConfigError):
        parse_flags([(kind, text)], [text], SERVICES)
