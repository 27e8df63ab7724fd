"""What docs/testing.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from colony.testing import Simulated

HERE = Path(__file__).parent
TEXT = (HERE.parents[2] / "docs" / "testing.md").read_text()


def shown() -> dict[str, Any]:
    """All that the page's examples define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        exec(compile(block, "testing.md", "exec"), names)
    return {name: value for name, value in names.items() if name.startswith("test_")}


async def test_the_example_with_the_fixture(simulated: Simulated) -> None:
    await shown()["test_the_shop_survives_its_database"](simulated)


@pytest.mark.parametrize(
    "name", ["test_three_crashes_in_a_minute", "test_a_day_with_a_crash_every_hour"]
)
def test_the_plain_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    shown()[name]()


def test_these_are_all() -> None:
    assert len(shown()) == 3
