"""What all tests share: both backends, and no skips on CI."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["actors.pytest_plugin", "colony.pytest_plugin"]

ROOTLESS = "COLONY_TEST_ROOTLESS"
"""In the environment of a plain user whose tests are to have networks (`end_to_end/plain.py`)."""


if ROOTLESS in os.environ:
    # Here and now: other conftests ask for it when they are imported, and nothing has a thread yet.
    from colony.entering import enter
    from netns.rootless import refusal

    assert enter("rootless"), refusal()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """On CI a skip is a failure: the machine has to have what the tests need."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped on CI, where nothing may skip: {report.longrepr}"
