"""The route table and its URLs, exactly."""

from __future__ import annotations

import pytest

from proxy.routes import (
    EMPTY,
    LOCALHOST,
    Route,
    RouteTable,
    TcpUpstream,
    UnixUpstream,
    is_ours,
    normal_host,
)

WEB = Route("my-app", 3000, TcpUpstream(3000, "10.200.0.2"), "web")
API = Route("my-app", 4000, UnixUpstream("/run/api.sock"), "api", path="/api")
OTHER = Route("a-3000", 80, TcpUpstream(80), "web")


def test_a_route_has_both_hosts_the_documented_one_first() -> None:
    assert WEB.hosts == ("my-app-3000.colony.local", "my-app-3000.colony.localhost")
    assert OTHER.hosts == ("a-3000-80.colony.local", "a-3000-80.colony.localhost")


@pytest.mark.parametrize(
    ("route", "port", "url"),
    [
        (WEB, 80, "http://my-app-3000.colony.local/"),
        (WEB, 8080, "http://my-app-3000.colony.local:8080/"),
        (API, 8080, "http://my-app-4000.colony.local:8080/api"),
    ],
)
def test_the_url_leaves_out_port_80(route: Route, port: int, url: str) -> None:
    assert route.url(port) == url


def test_the_url_under_the_other_suffix() -> None:
    assert WEB.url(8080, LOCALHOST) == "http://my-app-3000.colony.localhost:8080/"


@pytest.mark.parametrize(
    ("upstream", "dial"),
    [
        (TcpUpstream(3000), "localhost:3000"),
        (TcpUpstream(3000, "10.200.0.2", namespace="my-app"), "10.200.0.2:3000"),
        (TcpUpstream(3000, "::1"), "[::1]:3000"),
        (UnixUpstream("/run/web.sock"), "unix//run/web.sock"),
    ],
)
def test_an_upstream_as_caddy_dials_it(upstream: TcpUpstream | UnixUpstream, dial: str) -> None:
    assert upstream.dial == dial


@pytest.mark.parametrize("colony", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 41, "a\n"])
def test_a_colony_name_that_is_no_part_of_a_label(colony: str) -> None:
    with pytest.raises(ValueError, match="a colony's name is a-z") as caught:
        Route(colony, 3000, TcpUpstream(3000), "web")
    assert str(caught.value).endswith(f"got: {colony!r}")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ValueError, match=f"a port is 1 to 65535, got: {port}"):
        Route("a", port, TcpUpstream(3000), "web")


@pytest.mark.parametrize("path", ["", "api", "/a b", "/a\r\n", "/é"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="a path starts with /"):
        Route("a", 3000, TcpUpstream(3000), "web", path=path)


def test_the_longest_label_fits_dns() -> None:
    assert len(Route("a" * 40, 65535, TcpUpstream(1), "web").label) == 46


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("my-app-3000.colony.local", "my-app-3000.colony.local"),
        ("My-App-3000.COLONY.local:8080", "my-app-3000.colony.local"),
        ("my-app-3000.colony.local.", "my-app-3000.colony.local"),
        ("my-app-3000.colony.local.:80", "my-app-3000.colony.local"),
        (" localhost ", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("", ""),
        (":", ""),
    ],
)
def test_a_host_header_is_made_normal(header: str, host: str) -> None:
    assert normal_host(header) == host


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("x.colony.local", True),
        ("x-1.colony.localhost", True),
        ("colony.local", True),
        ("colony.localhost", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("", False),
        (".colony.local", False),
        ("a.b.colony.local", False),
        ("evil.example", False),
        ("evilcolony.local", False),
        ("colony.local.evil.example", False),
    ],
)
def test_only_names_of_ours_are_told_what_is_served(host: str, ours: bool) -> None:
    assert is_ours(host) is ours


def test_put_adds_and_replaces_and_leaves_the_old_table_alone() -> None:
    one = EMPTY.put(WEB)
    down = Route("my-app", 3000, TcpUpstream(3000, "10.200.0.2"), "web", up=False)
    two = one.put(API, down)
    assert EMPTY.routes == ()
    assert one.routes == (WEB,)
    assert two.routes == (down, API)


def test_tables_are_equal_whatever_the_order() -> None:
    assert RouteTable([WEB, API, OTHER]) == RouteTable([OTHER, API, WEB])
    assert hash(RouteTable([WEB, API])) == hash(RouteTable([API, WEB]))
    assert RouteTable([WEB]) != RouteTable([API])
    assert RouteTable([WEB]).__eq__(WEB) is False


def test_remove_takes_one_port_or_a_whole_colony() -> None:
    table = RouteTable([WEB, API, OTHER])
    assert table.remove("my-app", 3000).routes == (OTHER, API)
    assert table.remove("my-app").routes == (OTHER,)
    assert table.remove("nobody") == table


@pytest.mark.parametrize(
    "host",
    [
        "my-app-3000.colony.local",
        "my-app-3000.colony.localhost",
        "MY-APP-3000.colony.LOCAL:8080",
        "my-app-3000.colony.local.",
    ],
)
def test_find_by_host(host: str) -> None:
    assert RouteTable([WEB, API, OTHER]).find(host) == WEB


@pytest.mark.parametrize("host", ["", "my-app-3000", "my-app-3001.colony.local", "[::1]", "x" * 99])
def test_find_nothing(host: str) -> None:
    assert RouteTable([WEB, API]).find(host) is None


def test_repr_says_what_leads_where() -> None:
    down = Route("b", 1, TcpUpstream(1), "x", up=False)
    assert repr(RouteTable([WEB, down])) == (
        "<RouteTable b-1→localhost:1 (down), my-app-3000→10.200.0.2:3000>"
    )
    assert repr(EMPTY) == "<RouteTable empty>"
    assert list(RouteTable([WEB])) == [WEB]
    assert len(RouteTable([WEB, API])) == 2
