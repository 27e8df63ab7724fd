"""Many runs: the same on any number of cores, and what they come to."""

from __future__ import annotations

import pytest

from colony.lab.crew import JobFailed, way
from colony.lab.faults import Scenario
from colony.lab.monte_carlo import (
    ALONE,
    Player,
    Sample,
    ServiceSample,
    Spread,
    aggregate,
    monte_carlo,
    quantile,
    sample,
    share,
    spread,
)
from colony.lab.tables import outcomes_table, short
from tests.colony.lab.made import by_chance, by_seed, config, failing, shown, summary

# -- running -------------------------------------------------------------------------------------


def test_a_run_has_the_seed_of_its_number() -> None:
    found = monte_carlo(config(), Scenario(seed=7), 4, play=by_seed, workers=1)
    assert [each.seed for each in found] == [7, 8, 9, 10]
    assert [each.services["web"].downtime for each in found] == [7.0, 8.0, 59.0, 10.0]


def test_the_number_of_processes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALONE, way(), 0.0)
    of = {
        workers: monte_carlo(config(), Scenario(seed=3), 60, play=by_chance, workers=workers)
        for workers in (1, 2, 3)
    }
    assert of[1] == of[2] == of[3]
    assert len({each.downtime for each in of[1]}) == 60


def test_one_player_serves_many_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALONE, way(), 0.0)
    with Player(by_chance, workers=2) as player:
        first = player.samples(config(), Scenario(seed=3), 20)
        crew = player._crew
        assert player.samples(config(), Scenario(seed=3), 20) == first
        assert player._crew is crew
    assert player._crew is None


def test_progress_is_told_up_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALONE, way(), 0.0)
    for workers in (1, 2):
        told: list[int] = []
        monte_carlo(config(), Scenario(), 30, play=by_chance, workers=workers, progress=told.append)
        assert told[0] == 1
        assert told == sorted(told)
        assert told[-1] == 30


def test_a_run_that_fails_is_told_of_alone_and_with_others() -> None:
    with pytest.raises(ValueError, match="no luck with 3"):
        monte_carlo(config(), Scenario(), 4, play=failing, workers=1)
    with pytest.raises(JobFailed, match="ValueError: no luck with"):
        monte_carlo(config(), Scenario(), 40, play=failing, workers=2)


# -- one run -------------------------------------------------------------------------------------


def test_of_a_run_the_figures_are_kept() -> None:
    kept = sample(5, summary({"db": (), "web": ((10, 20), (50, 80))}, gave_up=(90.0, "web")))
    assert kept == Sample(
        5,
        "gave_up",
        90.0,
        "web",
        {
            "db": ServiceSample(0, 0, 10.0, 10.0, 0.9),
            "web": ServiceSample(2, 2, 50.0, 30.0, 0.5),
        },
    )
    assert kept.downtime == 60.0


# -- what they come to ---------------------------------------------------------------------------


def test_quantiles_lie_between_the_values() -> None:
    assert quantile([5.0], 0.95) == 5.0
    assert quantile([0.0, 10.0], 0.25) == 2.5
    assert quantile([0.0, 1.0, 2.0, 3.0, 4.0], 0.5) == 2.0


def test_a_spread_names_its_points() -> None:
    assert spread([float(value) for value in reversed(range(101))]) == Spread(
        0.0, 25.0, 50.0, 75.0, 95.0, 100.0, 50.0
    )


def test_a_share_has_the_interval_of_its_probability() -> None:
    def found(count: int) -> tuple[float, float, float]:
        of = share(count, 100)
        assert (of.count, of.runs) == (count, 100)
        return of.share, round(of.low, 4), round(of.high, 4)

    assert found(0) == (0.0, 0.0, 0.037)
    assert found(10) == (0.1, 0.0552, 0.1744)
    assert found(100) == (1.0, 0.963, 1.0)


def test_many_runs_come_to_their_distributions() -> None:
    outcomes = aggregate(monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1))
    assert (outcomes.seed, outcomes.runs) == (0, 21)
    assert outcomes.gave_up.count == 2
    assert outcomes.gave_up_at == Spread(50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0)
    web, db = outcomes.services["web"], outcomes.services["db"]
    assert (web.gave_up.count, db.gave_up.count) == (2, 0)
    # Runs 9 and 19 are down from 50 on: db for 50 seconds, web for those and its own.
    assert (db.downtime.least, db.downtime.median, db.downtime.most) == (0.0, 0.0, 50.0)
    assert (web.downtime.least, web.downtime.median, web.downtime.most) == (0.0, 11.0, 69.0)
    assert outcomes.worst == 19
    assert outcomes.typical == 11


def test_the_order_of_the_samples_says_nothing() -> None:
    samples = monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1)
    assert aggregate(samples[::-1]) == aggregate(samples)


# -- shown ---------------------------------------------------------------------------------------


def test_the_table_of_many_runs() -> None:
    outcomes = aggregate(monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1))
    assert shown(outcomes_table(outcomes)) == TABLE


TABLE = """\
downtime  least  25 %  median  75 %      95 %      most  available  gave up
db            0     0       0     0      50 s      50 s    95.24 %      0 %
web           0   5 s    11 s  16 s      59 s  1.15 min    85.24 %    9.5 %
together      0   5 s    11 s  16 s  1.82 min  1.98 min               9.5 %

21 runs, seeds 0 to 20
gave up in 2 of 21 runs (likely 2.7 % to 28.9 %), half of those before 50 s
--seed 11 is a typical run, --seed 19 the worst"""


def test_a_narrow_table_has_no_quartiles() -> None:
    outcomes = aggregate(monte_carlo(config(), Scenario(), 21, play=by_seed, workers=1))
    [head, *_] = shown(outcomes_table(outcomes, 76), width=76).splitlines()
    assert head.split()[:4] == ["downtime", "least", "median", "95"]
    assert all(len(line) <= 76 for line in shown(outcomes_table(outcomes, 76)).splitlines()[:4])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.4951, "495 ms"), (5.859, "5.86 s"), (69.0, "1.15 min"), (6900.0, "1.92 h")],
)
def test_lengths_of_time_are_short_where_there_are_many(seconds: float, text: str) -> None:
    assert short(seconds) == text


def test_never_to_have_given_up_is_not_to_be_safe() -> None:
    outcomes = aggregate(monte_carlo(config(), Scenario(), 9, play=by_seed, workers=1))
    last = shown(outcomes_table(outcomes)).splitlines()[-2]
    assert last == "never gave up; likely in less than 29.91 % of all runs"
