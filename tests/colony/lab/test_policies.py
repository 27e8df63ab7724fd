"""Random policies against random faults: what must hold of them all, on the real supervisors."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis.strategies import DataObject, data

from colony.lab import invariants
from colony.lab.spans import spans
from colony.lab.timeline import changes, lanes
from colony.lab.world import simulate
from colony.testing.strategies import configs, scenarios


@settings(max_examples=150, deadline=None)
@given(data())
def test_every_policy_keeps_the_invariants_whatever_goes_wrong(data: DataObject) -> None:
    config = data.draw(configs())
    trace = simulate(config, data.draw(scenarios(config.services)))
    invariants.check(trace, config)
    for service in trace.services:
        found = spans(trace, service)
        assert (found[0].start, found[-1].end) == (0.0, trace.horizon)
        assert all(one.end == other.start for one, other in pairwise(found))
    assert len(lanes(trace, 80)) > len(trace.services)
    assert len(list(changes(trace))) <= len(trace.entries) + 1


@settings(max_examples=25, deadline=None)
@given(data())
def test_a_scenario_gives_the_same_trace_on_either_backend(data: DataObject) -> None:
    config = data.draw(configs())
    scenario = data.draw(scenarios(config.services, 120.0))
    assert simulate(config, scenario, "trio") == simulate(config, scenario, "asyncio")
