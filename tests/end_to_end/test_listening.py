"""Wherever a service listens inside its colony, the front door reaches it."""

from __future__ import annotations

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    PORT,
    Shop,
    answers,
    both_doors,
    host,
    page,
    program,
    root_only,
)

pytestmark = root_only


@both_doors
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_listener_is_reached(shop: Shop, door: tuple[str, ...], address: str) -> None:
    colony = shop.colony({"web": page("hello", address=address)})
    run = shop.run(colony, options=door)
    run.ready()
    assert answers(run.http_port, host(colony), "hello").pid == run.service_pid()


def test_a_listener_on_ipv6_loopback_alone_is_reached_by_the_embedded_door(shop: Shop) -> None:
    colony = shop.colony({"web": page("hello", address="::1")})
    run = shop.run(colony, options=EMBEDDED)
    run.ready()
    assert answers(run.http_port, host(colony), "hello").pid == run.service_pid()


@both_doors
def test_localhost_is_127_0_0_1_in_there(shop: Shop, door: tuple[str, ...]) -> None:
    """A dev server that binds `localhost` ends up where Caddy reaches it."""
    colony = shop.colony(
        {"web": {"command": program("page", PORT, "hello", "localhost"), "port": PORT}}
    )
    run = shop.run(colony, options=door)
    run.ready()
    answers(run.http_port, host(colony), "hello")


@both_doors
def test_services_of_a_colony_reach_each_other_on_localhost(
    shop: Shop, door: tuple[str, ...]
) -> None:
    ask = "import urllib.request as u; print('it says', u.urlopen('http://localhost:4001').read())"
    loop = 'until "$@" 2>/dev/null; do sleep 0.05; done; sleep 600'
    command = ["/bin/sh", "-c", loop, "sh", "python3", "-c", ask]
    colony = shop.colony({"web": page("hello", address="127.0.0.1"), "ask": {"command": command}})
    run = shop.run(colony, options=door)
    run.expect(r"ask +\| it says b'hello \d+")
