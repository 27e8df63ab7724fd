from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis.strategies import DataObject, data

from colony.config import Config, load
from colony.lab.script import parse_script, written
from colony.testing.strategies import configs, scenarios

ROOT = Path(__file__).parents[3]
SHOP = load(ROOT / "examples" / "policies" / "shop.toml")


@given(data())
def test_scenarios_are_of_the_services_that_they_are_given(data: DataObject) -> None:
    scenario = data.draw(scenarios(SHOP.services))
    named = {name for fault in scenario.faults for name in fault.services}
    assert named | scenario.behaviours.keys() <= SHOP.services.keys()
    assert parse_script(written(scenario), "any.toml", SHOP.services).scenario() == scenario


@given(configs(3))
def test_policies_are_of_a_few_services_that_come_after_earlier_ones(config: Config) -> None:
    names = list(config.services)
    assert 1 <= len(names) <= 3
    for position, service in enumerate(config.services.values()):
        assert set(service.after) <= set(names[:position])
        assert not (service.exit_colony and service.restart == "permanent")


def test_without_hypothesis_the_import_says_what_to_do() -> None:
    program = "import sys; sys.modules['hypothesis'] = None; import colony.testing.strategies"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last == (
        "ImportError: colony.testing.strategies needs Hypothesis: pip install hypothesis"
    )
