"""The same scenario gives the same trace: each time, and on both backends."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import DataObject, data

from colony.lab.world import simulate
from colony.testing.strategies import configs, scenarios


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data())
def test_whatever_goes_wrong_the_course_is_the_same(data: DataObject) -> None:
    config = data.draw(configs())
    scenario = data.draw(scenarios(config.services))
    trace = simulate(config, scenario)
    assert simulate(config, scenario) == trace
    assert simulate(config, scenario, backend="trio") == trace
