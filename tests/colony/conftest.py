"""The tests of the application keep what outlasts an instance in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """$COLONY_HOME of whatever the tests run in this process or below it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLONY_HOME", str(tmp_path_factory.mktemp("home")))
        yield
