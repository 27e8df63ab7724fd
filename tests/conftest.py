"""What all tests share: both backends, and no skips on CI."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# So that the asserts of helpers show values, too.
HELPED = ("actors", "colony", "end_to_end", "netns", "otp", "ports", "proxy", "registries")
pytest.register_assert_rewrite(*(f"tests.{part}" for part in HELPED))

# A shell that starts us in the background, and `nohup`, have us ignore signals, and what we start
# inherits that. Those whose behaviour at signals is tested are to find them as a person's are.
for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)

# Some tests install packages, and a registry may be busy for a moment, or never answer a request:
# npm by itself waits five minutes for that answer, which is longer than a test may take.
for name, value in {
    "npm_config_fetch_timeout": "40000",  # milliseconds, as the next two
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "10000",
    "npm_config_fetch_retries": "5",
    "PIP_RETRIES": "10",
    "UV_HTTP_RETRIES": "10",
    "CARGO_NET_RETRY": "10",
}.items():
    os.environ.setdefault(name, value)

pytest_plugins = ["actors.pytest_plugin", "colony.pytest_plugin"]

# How long an example takes says something of the machine. On CI the same examples are tried each
# time, elsewhere others; a failure says how to repeat it.
settings.register_profile(
    "colony",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("colony")

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
