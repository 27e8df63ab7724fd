from __future__ import annotations

import msgspec
import pytest

from colony.lab.spans import Span, outages, spans
from colony.lab.summary import Limit, Peak, ServiceSummary, summarise
from colony.lab.trace import Ending, Entry
from tests.colony.lab.traces import KILL, LIMIT, OUTAGE, of


def test_the_spans_of_a_service_begin_at_0_have_no_gap_and_end_at_the_horizon() -> None:
    assert spans(OUTAGE, "web") == [
        Span(0.0, 1.0, "waiting"),
        Span(1.0, 2.0, "starting"),
        Span(2.0, 20.0, "up"),
        Span(20.0, 25.0, "down"),
        Span(25.0, 26.0, "starting"),
        Span(26.0, 40.0, "up"),
        Span(40.0, 100.0, "down"),
    ]
    for service in OUTAGE.services:
        found = spans(OUTAGE, service)
        assert found[0].start == 0.0
        assert found[-1].end == 100.0
        assert [span.end for span in found[:-1]] == [span.start for span in found[1:]]


def test_a_backoff_is_a_state_of_its_own_and_a_job_that_is_done_is_off() -> None:
    assert spans(OUTAGE, "db")[2:5] == [
        Span(20.0, 24.0, "backoff"),
        Span(24.0, 25.0, "starting"),
        Span(25.0, 40.0, "up"),
    ]
    assert spans(OUTAGE, "job")[-1] == Span(3.0, 100.0, "off")


def test_a_service_that_never_was_there_is_off() -> None:
    assert spans(of(services=("web",)), "web") == [Span(0.0, 100.0, "off")]


def test_an_outage_is_all_that_is_not_up_once_it_has_been_up() -> None:
    assert list(outages(spans(OUTAGE, "web"))) == [
        Span(20.0, 26.0, "down"),
        Span(40.0, 100.0, "down"),
    ]
    assert list(outages(spans(OUTAGE, "job"))) == []


def test_a_stop_by_an_operator_is_no_outage() -> None:
    trace = of(
        Entry(0.0, "web", "started", 1),
        Entry(1.0, "web", "ready", 1),
        Entry(5.0, "web", "stopping", 1),
        Entry(6.0, "web", "stopped", 1),
    )
    assert list(outages(spans(trace, "web"))) == []


@pytest.mark.parametrize(("kind", "last"), [("shut_down", "off"), ("gave_up", "down")])
def test_after_the_end_of_the_colony_all_is_down_unless_it_was_to_end(kind: str, last: str) -> None:
    trace = of(Entry(0.0, "web", "started", 1), Entry(1.0, "web", "ready", 1))
    ended = msgspec.structs.replace(trace, ending=Ending(kind, 10.0))  # type: ignore[arg-type]
    assert spans(ended, "web")[-1] == Span(10.0, 100.0, last)  # type: ignore[arg-type]


def test_a_summary_counts_what_became_of_each_service() -> None:
    summary = summarise(OUTAGE)
    assert summary.services["web"] == ServiceSummary(
        service="web",
        starts=2,
        crashes=0,
        exits=0,
        restarts=0,
        taken_down={"db": 2},
        measured=98.0,
        downtime=66.0,
        unnoticed=0.0,
        outages=2,
        longest=60.0,
        longest_at=40.0,
        first_ready=2.0,
    )
    assert summary.services["web"].availability == 1 - 66 / 98
    db, job = summary.services["db"], summary.services["job"]
    assert (db.starts, db.crashes, db.restarts, db.taken_down) == (2, 2, 1, {})
    assert (job.exits, job.measured, job.downtime, job.availability) == (1, 1.0, 0.0, 1.0)
    assert (summary.restarts, summary.gave_up) == (1, True)


HANG = of(
    Entry(0.0, "web", "started", 1),
    Entry(1.0, "web", "ready", 1),
    Entry(11.0, "web", "hung", 1),
    Entry(21.0, "web", "answering", 1),
    Entry(31.0, "web", "hung", 1),
    Entry(36.0, "web", "unhealthy", 1, count=1, limit=1),
    Entry(37.0, "web", "crashed", 1),
    Entry(37.0, "web", "backoff", 1, due=41.0),
    Entry(41.0, "web", "started", 2),
    Entry(51.0, "web", "ready", 2),
)


def test_one_that_hangs_is_missed_whether_its_supervisor_knows_or_not() -> None:
    assert spans(HANG, "web")[2:6] == [
        Span(11.0, 21.0, "hung"),
        Span(21.0, 31.0, "up"),
        Span(31.0, 37.0, "hung"),
        Span(37.0, 41.0, "backoff"),
    ]
    web = summarise(HANG).services["web"]
    assert (web.downtime, web.unnoticed, web.outages) == (30.0, 16.0, 2)
    assert (web.availability, web.seemed_available) == (1 - 30 / 99, 1 - 14 / 99)


def test_a_service_that_was_never_ready_was_never_available() -> None:
    web = summarise(of(Entry(0.0, "web", "started", 1))).services["web"]
    assert (web.first_ready, web.availability, web.outages) == (None, 0.0, 0)


def test_the_limits_are_told_in_the_order_in_which_they_bit() -> None:
    assert summarise(OUTAGE).limits == (
        Limit("intensity", 40.0, "db", LIMIT, 1),
        Limit("grace", 40.5, "web", KILL, 1),
    )
    trace = of(
        Entry(1.0, "web", "crashed", 1, "not ready within 5 s (port 1)"),
        Entry(2.0, "web", "unhealthy", 1, "refused", count=2, limit=3),
        Entry(3.0, "web", "unhealthy", 1, "refused", count=3, limit=3),
        Entry(4.0, "web", "crashed", 1, "not ready within 5 s (port 1)"),
    )
    assert summarise(trace).limits == (
        Limit("deadline", 1.0, "web", "not ready within 5 s (port 1)", 2),
        Limit("health", 3.0, "web", "refused", 1),
    )


def test_the_peak_is_how_near_the_restart_limit_came() -> None:
    trace = of(
        Entry(1.0, "web", "restarting", 1, count=1, limit=5),
        Entry(2.0, "web", "backoff", 1, due=3.0, count=2, limit=5),
        Entry(90.0, "web", "restarting", 1, count=1, limit=5),
    )
    assert summarise(trace).peak == Peak(2.0, "web", 2, 5)
    assert summarise(of()).peak is None
