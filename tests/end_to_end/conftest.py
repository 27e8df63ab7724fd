"""Every end-to-end test gets a `shop`, which finds nothing left when the test is over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.colonies import Shop
from tests.end_to_end.plain import UID


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """With a failure comes all that the test's runs have said."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.when != "call":
        return
    for shop in getattr(item, "funcargs", {}).values():
        if isinstance(shop, Shop):
            for number, run in enumerate(shop.runs, start=1):
                report.sections.append((f"colony run, number {number}", run.transcript()))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    one = Shop(tmp_path)
    yield one
    one.close()


@pytest.fixture
def users() -> Iterator[Shop]:
    """A shop in a folder of a plain user's own: pytest's are below one that only root may enter."""
    with tempfile.TemporaryDirectory(prefix="colony-user-") as name:
        os.chown(name, UID, UID)
        shop = Shop(Path(name))
        yield shop
        shop.close()
