from __future__ import annotations

from pathlib import Path

import pytest

from colony.cli.simulate import FAULTS
from colony.lab.script import KINDS, parse_script
from tests.colony.cli.support import Ran, invoke

SHOP = """
[colony]
name = "shop"
[supervision]
strategy = "rest_for_one"
intensity = 3
[services.db]
command = "run-db"
port = 5432
[services.web]
command = "run-web"
port = 4001
after = ["db"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a colony.toml."""
    (tmp_path / "colony.toml").write_text(SHOP)
    return tmp_path


def simulate(folder: Path, *words: str, env: dict[str, str] | None = None) -> Ran:
    return invoke("-C", str(folder), "simulate", *words, runtime=folder / "run", env=env)


def test_every_kind_of_fault_has_its_flag() -> None:
    assert set(FAULTS) == set(KINDS)


def test_off_a_terminal_each_change_is_a_line_and_the_figures_follow(folder: Path) -> None:
    ran = simulate(folder, "--crash", "db@5s", "--for", "10s")
    assert ran.lines == [
        "0:00.005  ◌ db   started, life 1",
        "0:00.005  · web  waits for db to be ready",
        "0:00.055  ● db   ready by port 5432",
        "0:00.060  ◌ web  started, life 1",
        "0:00.110  ● web  ready by port 4001",
        "0:05.000  ✗ db   killed by SIGKILL",
        "0:05.000  ↻ db   restart 1 of 3, at once",
        "0:05.000  ▼ web  taken down by db",
        "0:05.010  ▼ web  is down",
        "0:05.015  ◌ db   started, life 2",
        "0:05.015  · web  waits for db to be ready",
        "0:05.065  ● db   ready by port 5432",
        "0:05.070  ◌ web  started, life 2, after db",
        "0:05.120  ● web  ready by port 4001",
        "0:10.000  · shop runs on",
        "",
        "SERVICE  AVAILABLE  DOWN    OUTAGES  LONGEST         RESTARTS  ENDS  TAKEN DOWN",
        "db       99.35 %    65 ms   1        65 ms at 0:05   1         1     -",
        "web      98.79 %    120 ms  1        120 ms at 0:05  -         -     1 by db",
        "",
        "· shop runs on after 10 s",
        "  nearest to the restart limit at 0:05.000: 1 of 3 in 1 min, by db",
    ]
    assert (ran.status, ran.err) == (0, "")


def test_lanes_can_be_had_anywhere_in_any_width_and_closely(folder: Path) -> None:
    lanes = ("--crash", "db@5s", "--timeline", "lanes", "--width", "50")
    assert simulate(folder, *lanes).lines[:7] == [
        "     0 s            2 s            4 s",
        "     ├──────────────┼──────────────┼─────────────┤",
        "db   ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━✗━━━━━━",
        "web  ·━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━▼━━━━━━",
        "",
        "━ ready   · waits for others   ✗ crash",
        "▼ taken down by one above it",
    ]
    assert simulate(folder, *lanes, "--zoom", "5s..5200ms").lines[:4] == [
        "     5 s        5.05 s     5.1 s      5.15 s",
        "     ├──────────┼──────────┼──────────┼──────────┤",
        "db   ✗  ░░░░░░░░░░░░━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "web    ▼·············░░░░░░░░░░░━━━━━━━━━━━━━━━━━━",
    ]


def test_a_colony_that_gives_up_ends_the_command_with_1(folder: Path) -> None:
    ran = simulate(folder, "--flapping", "web:1s", "--for", "10m", "--timeline", "none")
    assert ran.status == 1
    assert ran.lines[-1].startswith("‡ shop gave up after ")
    assert ran.lines[-1].endswith("because of web: more than 3 restarts in 60 s: exit code 1")


def test_for_machines_there_is_everything(folder: Path) -> None:
    ran = simulate(folder, "--exit", "web@1m:3", "--for", "2m", "--json")
    found = ran.json
    assert found["config"] == str(folder / "colony.toml")
    assert found["scenario"]["horizon"] == 120.0
    assert found["summary"]["services"]["web"]["restarts"] == 1
    assert found["summary"]["ending"]["kind"] == "horizon"
    [end] = [entry for entry in found["trace"]["entries"] if entry["kind"] == "crashed"]
    assert end == {
        "at": 60.0,
        "service": "web",
        "kind": "crashed",
        "life": 1,
        "detail": "exit code 3",
        "code": 3,
    }


def test_the_same_scenario_gives_the_same_trace_also_from_its_file(folder: Path) -> None:
    flags = ("--crash", "db@poisson:30s", "--exit", "web@on:db.ready+2s,times=5")
    flags += ("--behaviour", "web:ready=1s..5s,stop=~1s", "--for", "1h", "--seed", "7")
    first = simulate(folder, *flags, "--save", "outage.toml")
    again = simulate(folder, *flags)
    replayed = simulate(folder, "--script", "outage.toml")
    other = simulate(folder, *flags[:-1], "8")
    assert first.out == again.out == replayed.out != other.out
    assert parse_script((folder / "outage.toml").read_text(), "outage.toml", ("db", "web"))


def test_flags_add_to_a_script_and_go_before_it(folder: Path) -> None:
    (folder / "slow.toml").write_text(
        '[scenario]\nfor = "2h"\n[[fault]]\ncrash = "db"\nat = 5\n[behaviour.db]\nready = "1m"\n'
    )
    flags = ("--script", "slow.toml", "--crash", "web@2m", "--behaviour", "db:stop=2s")
    found = simulate(folder, *flags, "--for", "5m", "--json").json["scenario"]
    assert found["horizon"] == 300.0
    assert [fault["services"] for fault in found["faults"]] == [["db"], ["web"]]
    assert found["behaviours"]["db"]["ready"] == {"type": "fixed", "seconds": 60.0}
    assert found["behaviours"]["db"]["stop"] == {"type": "fixed", "seconds": 2.0}


def test_all_mistakes_of_flags_and_script_are_shown_at_once(folder: Path) -> None:
    (folder / "bad.toml").write_text('[[fault]]\ncrash = "wbe"\nat = 5\n')
    ran = simulate(folder, "--script", "bad.toml", "--crash", "bd@5s", "--exit", "web@soon")
    assert ran.status == 2
    assert ran.out == ""
    heads = [line for line in ran.err.splitlines() if line.lstrip().startswith("-->")]
    assert heads == [f" --> {folder / 'bad.toml'}:2:9", " --> --crash:1:1", " --> --exit:1:5"]
    assert "did you mean `web`?" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "never"), "Invalid value for '--for'"),
        (("--zoom", "5s"), "must be two times, as 1m..2m30s"),
        (("--zoom", "5s..1s"), "must be two times, as 1m..2m30s"),
        (("--script", "nowhere.toml"), "there is no such file"),
        (("--save", "no/such/folder.toml"), "cannot be written: No such file or directory"),
        (("nowhere.toml",), "there is no such file"),
    ],
)
def test_wrong_usage_is_told_in_a_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    ran = simulate(folder, *words)
    assert ran.status in (1, 2)
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_bad_colony_toml_is_shown_as_everywhere(folder: Path) -> None:
    (folder / "colony.toml").write_text("[services.web]\ncomand = 'x'\n")
    ran = simulate(folder)
    assert ran.status == 2
    assert "did you mean `command`?" in ran.err


def test_colours_come_and_go_as_elsewhere(folder: Path) -> None:
    flags = ("--crash", "db@5s", "--for", "10s")
    plain = simulate(folder, *flags)
    assert "\x1b" not in plain.out
    coloured = simulate(folder, *flags, env={"FORCE_COLOR": "1"})
    assert "\x1b[31m✗" in coloured.out
    assert simulate(folder, *flags, env={"NO_COLOR": "1"}).out == plain.out
