"""Commands that read the event journal, with no instance anywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from colony.lab.faults import Crash, Every, Fault, Scenario
from colony.lab.world import simulate
from tests.colony.cli.support import Ran, invoke
from tests.colony.lab import nights
from tests.colony.lab.nights import BEGAN, config

NIGHT = simulate(
    config(),
    Scenario(faults=(Fault(("api",), Every(20.0), Crash(), times=2),), horizon=60.0),
)
"""api crashes at 20 and 40, and takes nobody down."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the colony's file, and a home whose journal has the night."""
    (tmp_path / "colony.toml").write_text(nights.FILE)
    nights.write(tmp_path / "home", NIGHT, over=True)
    return tmp_path


def ran(folder: Path, *words: str) -> Ran:
    return invoke("-C", str(folder), *words, runtime=folder / "run")


def refused(folder: Path, *words: str) -> tuple[str, ...]:
    found = ran(folder, *words)
    assert found.status != 0
    assert found.out == ""
    return tuple(line.strip() for line in found.err.splitlines())


# -- colony events -------------------------------------------------------------------------------


def test_events_since_a_time_come_out_of_the_journal(folder: Path) -> None:
    then = datetime.fromtimestamp(BEGAN + 30.0, UTC).isoformat()
    found = ran(folder, "events", "--since", then, "-t", "service.exited", "--json")
    assert found.status == 0
    [line] = found.lines
    assert json.loads(line)["status"] == "killed by SIGKILL"
    [line] = ran(folder, "events", "--since", then, "-t", "service.exited").lines
    assert line.split()[1:3] == ["service.exited", "shop/api"]


def test_events_of_another_colony_are_left_out(folder: Path) -> None:
    then = datetime.fromtimestamp(BEGAN, UTC).isoformat()
    assert ran(folder, "events", "--since", then, "-c", "other").out == ""


def test_the_timeline_of_a_real_run(folder: Path) -> None:
    found = ran(folder, "events", "--timeline")
    assert found.status == 0, found.err
    title, _, *rest = found.lines
    assert title.startswith("shop, ")
    lanes = [line for line in rest if line[:3] in ("db ", "api", "web")]
    assert [line.count("✗") for line in lanes[:3]] == [0, 2, 0]
    figures = [line.split()[0:5] for line in lanes[3:]]
    assert [line[0] for line in figures] == ["db", "api", "web"]


def test_the_timeline_of_a_stretch(folder: Path) -> None:
    then = datetime.fromtimestamp(BEGAN + 30.0, UTC).isoformat()
    [found] = ran(folder, "events", "--timeline", "--since", then, "--json").json
    assert found["summary"]["services"]["api"]["crashes"] == 1
    assert found["trace"]["entries"][0] == {
        "at": 0.0,
        "service": "db",
        "kind": "ready",
        "life": 1,
        "detail": "true",
    }


def test_without_a_file_the_only_colony_is_meant(folder: Path) -> None:
    (folder / "colony.toml").unlink()
    assert ran(folder, "events", "--timeline").status == 0


def test_what_is_not_in_the_journal_is_said(folder: Path) -> None:
    assert refused(folder, "events", "--timeline", "-c", "shp") == (
        "error: there is no colony in the journal called 'shp'; did you mean 'shop'?",
        "= help: there is shop",
    )
    [error] = refused(folder, "events", "--timeline", "--since", "1s")
    assert error.startswith("error: nothing happened to shop since then; the last was ")
    [error] = refused(folder, "events", "--timeline", "--since", "soon")
    assert error.startswith("error: --since: a time is like 2h, 30m, yesterday")
    error, help = refused(folder / "home", "events", "--timeline")
    assert error.startswith("error: the journal in ")
    assert error.endswith(" is empty")
    assert help == (
        "= help: instances write what happens to their colonies there; start one: colony up"
    )


def test_options_that_exclude_each_other(folder: Path) -> None:
    assert refused(folder, "events", "--timeline", "--follow") == (
        "error: --timeline is a picture of the past: it goes without --follow and --type",
    )
    assert refused(folder, "events", "--since", "2h", "--follow") == (
        "error: --follow goes on after an event's number, not after a time",
    )
    assert refused(folder, "simulate", "--since", "2h") == (
        "error: --since and --colony say what is taken from the journal: add --from-journal",
    )
    assert refused(folder, "simulate", "--from-journal", "--script", "x.toml")[0].startswith(
        "error: "
    )


# -- colony simulate --from-journal --------------------------------------------------------------


def strict(folder: Path) -> str:
    """A policy under which the second crash is one too many."""
    text = nights.FILE.replace("intensity = 10", "intensity = 1")
    (folder / "strict.toml").write_text(text)
    return "strict.toml"


def test_a_night_under_another_policy(folder: Path) -> None:
    found = ran(folder, "simulate", strict(folder), "--from-journal", "--timeline", "lanes")
    assert found.status == 1, "the change is no help: it gives up"
    assert found.lines[0].endswith(" (60 s): 2 faults: 2 of api")
    happened = found.lines.index("what happened:")
    under = found.lines.index(f"under {folder / 'strict.toml'}:")
    assert [line.count("‡") for line in found.lines[happened:under] if "━" in line] == [0] * 4
    assert "‡" in next(line for line in found.lines[under:] if line.startswith("api"))
    gave_up = next(line for line in found.lines if " gave up at" in line)
    assert gave_up.split()[-4:] == ["never", "★", "40", "s"]


def test_a_night_as_json(folder: Path) -> None:
    found = ran(folder, "simulate", "--from-journal", "--json")
    assert found.status == 0
    assert found.json["night"]["faults"] == {"db": 0, "api": 2, "web": 0}
    titles = [column["title"] for column in found.json["comparison"]["columns"]]
    assert [Path(title).name for title in titles] == ["what happened", "colony.toml"]
    one, other = found.json["night"]["trace"], found.json["trace"]
    assert [entry["kind"] for entry in one["entries"]] == [
        entry["kind"] for entry in other["entries"]
    ]


def test_a_night_beside_further_policies(folder: Path) -> None:
    name = strict(folder)
    found = ran(folder, "simulate", "--from-journal", "--compare", name)
    assert found.lines[0].endswith(name)
    assert found.lines[0].split()[0:2] == ["what", "happened"]


def test_a_night_many_times_and_in_variants(folder: Path) -> None:
    found = ran(folder, "simulate", "--from-journal", "--monte-carlo", "5")
    assert found.lines[0].split()[:2] == ["downtime", "least"]
    found = ran(folder, "simulate", "--from-journal", "--sweep", "supervision.intensity=1,5")
    assert [line.split()[0] for line in found.lines] == ["intensity", "1", "5"]
    assert found.lines[2].endswith("★")


def test_a_night_can_be_kept_and_played_again(folder: Path) -> None:
    ran(folder, "simulate", "--from-journal", "--save", "night.toml")
    played = ran(folder, "simulate", "--script", "night.toml", "--json").json
    night = ran(folder, "simulate", "--from-journal", "--json").json
    assert played["trace"]["entries"] == night["trace"]["entries"]


def test_a_file_of_another_colony_names_whose_night_it_is(folder: Path) -> None:
    (folder / "colony.toml").write_text(nights.FILE.replace('"shop"', '"store"'))
    assert refused(folder, "simulate", "--from-journal") == (
        "error: there is no colony in the journal called 'store'",
        "= help: there is shop",
    )
    assert ran(folder, "simulate", "--from-journal", "--colony", "shop").status == 0
