"""What the laboratory's worker processes need to do jobs of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _found_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are given our path, on which the package of the tests has to be."""
    monkeypatch.syspath_prepend(str(ROOT))
