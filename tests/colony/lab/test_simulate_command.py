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
        "web  ▼  ·············░░░░░░░░░░░━━━━━━━━━━━━━━━━━━",
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
    flags = ["--crash", "db@poisson:30s", "--exit", "web@on:db.ready+2s,times=5"]
    flags += ["--behaviour", "web:ready=1s..5s,stop=~1s", "--for", "1h", "--seed", "7"]
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
        (("--for", "never"), "invalid value for '--for'"),
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


# -- beyond one run --------------------------------------------------------------------------------

NIGHT = ("--crash", "db@poisson:10m", "--behaviour", "db:ready=20s", "--for", "2h")


def test_many_runs_tell_how_downtime_is_spread_and_which_seeds_to_look_at(folder: Path) -> None:
    ran = simulate(folder, *NIGHT, "--monte-carlo", "10", "--seed", "5")
    heads = ["downtime", "least", "25", "%", "median", "75", "%", "95", "%", "most"]
    assert ran.lines[0].split()[: len(heads)] == heads
    assert [line.split()[0] for line in ran.lines[1:4]] == ["db", "web", "together"]
    assert ran.lines[5] == "10 runs, seeds 5 to 14"
    typical = ran.lines[7].split()[1]
    assert typical in {str(seed) for seed in range(5, 15)}
    assert simulate(folder, *NIGHT, "--seed", typical, "--timeline", "none").status in (0, 1)


def test_many_runs_come_as_json_too(folder: Path) -> None:
    found = simulate(folder, *NIGHT, "--monte-carlo", "3", "--json").json
    assert found["config"] == str(folder / "colony.toml")
    assert found["outcomes"]["runs"] == 3
    assert found["scenario"]["horizon"] == 7200.0


def test_two_policies_stand_side_by_side(folder: Path) -> None:
    (folder / "calm.toml").write_text(SHOP.replace('"rest_for_one"', '"one_for_one"'))
    ran = simulate(folder, *NIGHT, "--compare", "calm.toml")
    assert ran.lines[0].split() == [str(folder / "colony.toml"), str(folder / "calm.toml")]
    [row] = [line.split() for line in ran.lines if line.startswith("web")]
    assert row[:2] == ["web", "availability"]
    assert row[-3:] == ["100", "%", "★"]
    found = simulate(folder, *NIGHT, "--compare", "calm.toml", "--json").json
    titles = [column["title"] for column in found["comparison"]["columns"]]
    assert titles == [str(folder / "colony.toml"), str(folder / "calm.toml")]


def test_a_policy_without_the_service_in_question_cannot_be_compared(folder: Path) -> None:
    (folder / "other.toml").write_text('[services.web]\ncommand = "run"\n')
    ran = simulate(folder, *NIGHT, "--compare", "other.toml")
    assert ran.status == 2
    assert "other.toml has no service 'db', which the scenario is about" in ran.err


def test_a_sweep_has_a_row_for_each_combination(folder: Path) -> None:
    words = ("--sweep", "supervision.intensity=0,9", "--sweep", "services.db.backoff.max=1s,5s")
    ran = simulate(folder, *NIGHT, *words)
    assert [line.split()[:2] for line in ran.lines[1:]] == [
        ["0", "1s"],
        ["0", "5s"],
        ["9", "1s"],
        ["9", "5s"],
    ]
    rows = simulate(folder, *NIGHT, *words, "--json").json["rows"]
    assert rows[0]["settings"] == [
        ["supervision.intensity", "0"],
        ["services.db.backoff.max", "1s"],
    ]
    wrong = simulate(folder, *NIGHT, "--sweep", "supervision.intensty=1")
    assert (wrong.status, "did you mean `intensity`?" in wrong.err) == (2, True)


def test_two_questions_at_once_are_refused(folder: Path) -> None:
    ran = simulate(folder, "--compare", "colony.toml", "--sweep", "supervision.intensity=1")
    assert (ran.status, "ask one at a time" in ran.err) == (2, True)


def test_a_hang_that_nobody_would_notice_is_told(folder: Path) -> None:
    ran = simulate(folder, "--hang", "web@5s", "--for", "1m", "--timeline", "none")
    assert ran.lines[-1] == ("  nobody notices that web hangs at 0:05.000: it has no health check")
    blind = "nobody notices that web hangs at 0:05.000: a connection is all that its health check"
    for check, told in (("tcp = true", True), ('http = "/health"', False)):
        (folder / "colony.toml").write_text(f"{SHOP}health = {{ {check} }}\n")
        ran = simulate(folder, "--hang", "web@5s", "--for", "1m", "--timeline", "none")
        assert (blind in ran.out) == told
        assert ("first limit at 0:" in ran.out) == (not told)
        unnoticed = ran.lines[2].split("  ")[-1].strip()
        assert unnoticed == ("55 s" if told else "40.1 s")


@pytest.mark.parametrize(
    ("begun", "found"),
    [("", ["db", "web"]), ("w", ["web"]), ("db+", ["db+web"]), ("x", [])],
)
def test_a_shell_completes_the_services_of_the_file(
    folder: Path, begun: str, found: list[str]
) -> None:
    line = f"colony -C {folder} simulate --crash {begun}"
    env = {"_COLONY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "5"}
    ran = invoke(runtime=folder / "run", env=env)
    assert [each.removeprefix("plain,") for each in ran.out.split()] == found
