"""A pytest fixture that gives each test a colony of its own: real servers, on their usual ports.

    pytest examples/pytest_fixture.py

The fixtures are what goes into a project's `conftest.py`. The instance is made once for all tests;
a colony takes milliseconds, so that each test has its own, starts from nothing and may break
whatever it likes. Two tests that run at the same time do not see each other: both servers are on
port 4001, and each test's is the one that it finds.

The tests are ordinary functions, and the event loop is in a thread behind a portal. Tests that are
coroutines use `host.add` and what it gives directly.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

import colony
from colony import config

TOML = """\
[colony]
name = "shop-{unique}"

[services.web]
command = "python3 -u -m http.server 4001"
port = 4001
"""


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """The way into the event loop that all colonies live in."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def host(portal: BlockingPortal) -> Iterator[colony.Host]:
    """One instance for all tests."""
    with portal.wrap_async_context_manager(colony.Host()) as host:
        portal.call(host.start)
        yield host


class Shop:
    """A colony as a test without coroutines likes it."""

    def __init__(self, portal: BlockingPortal, c: colony.Colony, folder: Path) -> None:
        self.folder = folder
        self._portal = portal
        self._colony = c

    def get(self, path: str) -> colony.Response:
        """What its server answers."""
        return self._portal.call(self._colony.http("web").get, path)

    def restart(self) -> None:
        """Another process, ready to serve."""
        self._portal.call(self._colony.service("web").restart)
        self._portal.call(self._colony.service("web").ready, 30)

    def logs(self, until: str) -> list[str]:
        """What its server wrote, up to a line that matches."""

        async def read() -> list[str]:
            return [line.text async for line in self._colony.logs(until=until)]

        return self._portal.call(read)


@pytest.fixture
def shop(portal: BlockingPortal, host: colony.Host, tmp_path: Path) -> Iterator[Shop]:
    """A colony that is ready, and gone after the test."""
    file = tmp_path / "colony.toml"
    file.write_text(TOML.format(unique=secrets.token_hex(4)))
    c = portal.call(host.add, config.load(file))
    try:
        portal.call(c.ready, 30)
        yield Shop(portal, c, tmp_path)
    finally:
        portal.call(c.stop)


def test_a_page_is_served(shop: Shop) -> None:
    (shop.folder / "index.html").write_text("<h1>open</h1>")
    assert shop.get("/").body == "<h1>open</h1>"


def test_nothing_is_left_of_the_other_test(shop: Shop) -> None:
    assert "<h1>open</h1>" not in shop.get("/").body
    assert shop.get("/missing").status == 404
    assert shop.logs(until="missing")[-1].endswith('"GET /missing HTTP/1.1" 404 -')


def test_it_serves_after_a_restart(shop: Shop) -> None:
    shop.restart()
    assert shop.get("/").ok
