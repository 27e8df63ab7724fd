"""When it is asked whether a service is ready."""

from __future__ import annotations

from itertools import islice

import pytest

from colony.services.plan import Probe
from colony.services.probes import (
    LONGEST_HEAD_START,
    SHRINKS,
    SLOWEST_PROBE,
    expected,
    pauses,
)


@pytest.mark.parametrize(
    ("took", "first"),
    [(0.0, 0.005), (0.001, 0.005), (0.04, 0.046), (10.0, LONGEST_HEAD_START)],
)
def test_the_first_look_comes_a_little_after_it_was_ready_the_last_time(
    took: float, first: float
) -> None:
    found = list(islice(pauses(Probe("tcp", port=1), took), 20))
    assert found[:4] == pytest.approx([first, 0.005, 0.0075, 0.01125])
    assert found[-1] == SLOWEST_PROBE


def test_with_an_interval_it_is_asked_at_once_and_then_after_each() -> None:
    assert list(islice(pauses(Probe("tcp", port=1, interval=2.0), 0.04), 3)) == [0.0, 2.0, 2.0]


def test_less_is_expected_as_long_as_the_first_look_is_good_and_else_what_it_took() -> None:
    assert expected(0.047, looks=1, pause=0.046) == pytest.approx(0.04 * SHRINKS)
    assert expected(0.052, looks=2, pause=0.005) == 0.052


def test_when_a_service_is_found_ready_follows_how_long_it_takes() -> None:
    took = 0.0

    def late(ready_after: float) -> float:
        """How much later than it is that a life is found ready."""
        nonlocal took
        now, looks = 0.0, 0
        for pause in pauses(Probe("tcp", port=1), took):
            looks += 1
            now += pause
            if now >= ready_after:
                break
        took = expected(now, looks, pause)
        return now - ready_after

    assert late(10.0) < SLOWEST_PROBE
    assert max(late(0.03) for _ in range(200)) <= LONGEST_HEAD_START - 0.03
    assert min(late(0.03) for _ in range(200)) < 0.001
    assert min(late(0.02) for _ in range(200)) < 0.001
    assert max(late(0.04) for _ in range(200)) < 0.015
