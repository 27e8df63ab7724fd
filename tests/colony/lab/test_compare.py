"""Policies side by side, and the tables of sweeps."""

from __future__ import annotations

import msgspec
import pytest

from colony.lab.compare import Column, Figure, comparison, figures
from colony.lab.faults import Scenario
from colony.lab.monte_carlo import aggregate, monte_carlo
from colony.lab.tables import (
    Row,
    comparison_table,
    percent,
    short_names,
    sweep_table,
    written,
)
from tests.colony.lab.made import by_seed, config, shown, summary

NOW = Column("colony.toml", summary({"db": (), "web": ((10, 20), (50, 80))}))
CALM = Column("calm.toml", summary({"db": (), "web": ((10, 11), (50, 51))}))
OVER = Column("over.toml", summary({"db": (), "web": ((10, 20),)}, gave_up=(40.0, "web")))


def values(columns: list[Column]) -> dict[tuple[str, str], tuple[float | None, ...]]:
    return {(figure.service, figure.name): figure.values for figure in figures(columns)}


def best(columns: list[Column]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(figure.service, figure.name): figure.best for figure in figures(columns)}


# -- figures -------------------------------------------------------------------------------------


def test_a_figure_has_a_value_for_each_policy_and_the_best_one() -> None:
    [figure] = [each for each in figures([NOW, CALM]) if each.name == "longest outage"]
    assert figure == Figure(
        service="web", name="longest outage", unit="seconds", values=(30.0, 1.0), best=(1,)
    )


def test_every_service_is_compared_and_then_the_colony() -> None:
    assert values([NOW, CALM]) == {
        ("db", "availability"): (1.0, 1.0),
        ("web", "availability"): (0.6, 0.98),
        ("web", "downtime"): (40.0, 2.0),
        ("web", "longest outage"): (30.0, 1.0),
        ("web", "outages"): (2.0, 2.0),
        ("web", "crashes"): (2.0, 2.0),
        ("web", "restarts"): (2.0, 2.0),
        ("", "restarts"): (2.0, 2.0),
    }


def test_what_is_equal_has_no_winner() -> None:
    found = best([NOW, CALM])
    assert found["db", "availability"] == ()
    assert found["web", "outages"] == ()
    assert set(best([NOW, NOW]).values()) == {()}


def test_never_to_give_up_is_better_than_to_give_up_late() -> None:
    columns = [OVER, CALM, NOW]
    assert values(columns)["", "gave up at"] == (40.0, None, None)
    assert best(columns)["", "gave up at"] == (1, 2)


def test_a_service_that_one_policy_lacks_has_no_value_there() -> None:
    other = Column("other.toml", summary({"db": (), "cache": ((1, 2),)}))
    assert values([NOW, other])["cache", "downtime"] == (None, 1.0)
    assert values([NOW, other])["web", "downtime"] == (40.0, None)
    assert best([NOW, other])["web", "downtime"] == ()


def test_many_runs_are_compared_as_such() -> None:
    of = aggregate(monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1))
    columns = [msgspec.structs.replace(each, outcomes=of) for each in (NOW, CALM)]
    found = values(columns)
    assert found["web", "downtime, median"] == (11.0, 11.0)
    assert found["", "gave up"] == (2 / 21, 2 / 21)
    assert found["", "gave up at, median"] == (50.0, 50.0)


def test_it_goes_out_as_json() -> None:
    data = msgspec.json.decode(msgspec.json.encode(comparison([NOW, CALM])))
    assert [column["title"] for column in data["columns"]] == ["colony.toml", "calm.toml"]
    assert data["figures"][0] == {
        "service": "db",
        "name": "availability",
        "unit": "part",
        "values": [1.0, 1.0],
        "best": [],
    }


# -- as people read it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.999999, "99.99 %"),
        (0.0000001, "0.01 %"),
        (0.12345, "12.35 %"),
    ],
)
def test_percent_is_never_rounded_to_all_or_nothing(part: float, text: str) -> None:
    assert percent(part) == text


def test_figures_are_written_with_their_units() -> None:
    assert written(None, "seconds") == "–"
    assert written(0.0, "seconds") == "0"
    assert written(90.0, "seconds") == "1 min 30 s"
    assert written(3.0, "count") == "3"
    assert written(2.5, "count") == "2.5"
    assert written(0.5, "part") == "50.00 %"


def test_the_table_of_a_comparison() -> None:
    assert shown(comparison_table([OVER, CALM])) == COMPARISON


COMPARISON = """\
                               over.toml   calm.toml
db       availability            40.00 %     100 % ★
         downtime                  1 min         0 ★
         longest outage            1 min         0 ★
         outages                       1         0 ★

web      availability            30.00 %   98.00 % ★
         downtime             1 min 10 s       2 s ★
         longest outage            1 min       1 s ★
         outages                       2           2
         crashes                       1           2
         restarts                      1           2

colony   gave up at                 40 s     never ★
         restarts                      1           2
         end                gave up: web     runs on"""


# -- sweeps --------------------------------------------------------------------------------------


def test_keys_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["services.web.backoff.max"]) == ["max"]
    assert short_names(["services.web.backoff.max", "services.api.backoff.max"]) == [
        "web.backoff.max",
        "api.backoff.max",
    ]
    assert short_names([]) == []


def test_the_table_of_a_sweep() -> None:
    rows = [
        Row((("services.web.backoff.max", value),), column.summary)
        for value, column in (("1s", OVER), ("5s", CALM), ("30s", NOW))
    ]
    assert shown(sweep_table(rows)) == SWEEP


SWEEP = """\
max   worst service     downtime   longest outage   restarts                  end
1s      web 30.00 %   2 min 10 s            1 min          1   gave up: web, 40 s
5s      web 98.00 %          2 s              1 s          2              runs on   ★
30s     web 60.00 %         40 s             30 s          2              runs on"""


def test_the_table_of_a_sweep_of_many_runs() -> None:
    few = aggregate(monte_carlo(config(), Scenario(), 9, play=by_seed, workers=1))
    more = aggregate(monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1))
    rows = [
        Row((("supervision.intensity", "3"),), NOW.summary, more),
        Row((("supervision.intensity", "10"),), NOW.summary, few),
    ]
    assert shown(sweep_table(rows)) == SWEEP_OF_MANY


SWEEP_OF_MANY = """\
intensity   downtime, median     mean         95 %         most   gave up
3                       11 s   19.5 s   1 min 49 s   1 min 59 s     9.5 %
10                       4 s      4 s        7.6 s          8 s       0 %   ★"""
