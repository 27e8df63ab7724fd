"""When it is asked whether a service is ready."""

from __future__ import annotations

from itertools import islice

import pytest

from colony.services.plan import Probe
from colony.services.probes import LONGEST_HEAD_START, SLOWEST_PROBE, pauses


@pytest.mark.parametrize(
    ("took", "first"),
    [(0.0, 0.005), (0.001, 0.005), (0.04, 0.036), (10.0, LONGEST_HEAD_START)],
)
def test_the_first_look_comes_a_little_before_it_was_ready_the_last_time(
    took: float, first: float
) -> None:
    found = list(islice(pauses(Probe("tcp", port=1), took), 20))
    assert found[:4] == pytest.approx([first, 0.005, 0.0075, 0.01125])
    assert found[-1] == SLOWEST_PROBE


def test_with_an_interval_it_is_asked_at_once_and_then_after_each() -> None:
    assert list(islice(pauses(Probe("tcp", port=1, interval=2.0), 0.04), 3)) == [0.0, 2.0, 2.0]
