"""Caddy's configuration as data, whole structures."""

from __future__ import annotations

from typing import Any

import pytest

from proxy import caddy_config as config
from proxy import pages
from proxy.routes import EMPTY, Route, RouteTable, TcpUpstream

WEB = Route("my-app", 3000, TcpUpstream(3000, "10.200.0.2"), "web")
LISTEN = config.Listen(8080)
OLD = config.Features()
NEW = config.Features(stream_close_delay=True)


def static(page: pages.Page) -> dict[str, Any]:
    return {
        "handler": "static_response",
        "status_code": str(page.status.value),
        "headers": {name: [value] for name, value in page.headers},
        "body": page.html,
    }


def test_a_route_has_the_documented_form() -> None:
    assert config.route(WEB, OLD) == {
        "@id": "colony-my-app-3000",
        "match": [{"host": ["my-app-3000.colony.local", "my-app-3000.colony.localhost"]}],
        "handle": [
            {
                "handler": "reverse_proxy",
                "upstreams": [{"dial": "10.200.0.2:3000"}],
                "flush_interval": "1ms",
            }
        ],
        "terminal": True,
    }


def test_streams_outlive_a_reload_where_caddy_can() -> None:
    handler = config.route(WEB, NEW)["handle"][0]
    assert handler["stream_close_delay"] == "24h"


def test_whether_a_service_is_up_is_none_of_caddys_business() -> None:
    down = Route("my-app", 3000, TcpUpstream(3000, "10.200.0.2"), "web", up=False)
    assert config.server(RouteTable([down]), LISTEN, OLD) == config.server(
        RouteTable([WEB]), LISTEN, OLD
    )


def test_the_whole_server() -> None:
    table = RouteTable([WEB])
    assert config.server(table, LISTEN, OLD) == {
        "listen": ["127.0.0.1:8080", "[::1]:8080"],
        "automatic_https": {"disable": True},
        "routes": [
            config.route(WEB, OLD),
            {
                "match": [
                    {
                        "host": [
                            "localhost",
                            "colony.localhost",
                            "colony.local",
                            "::1",
                            "127.0.0.1",
                            "*.colony.localhost",
                            "*.colony.local",
                        ]
                    }
                ],
                "handle": [static(pages.not_found(table, 8080))],
            },
            {"handle": [static(pages.foreign())]},
        ],
        "errors": {
            "routes": [
                {
                    "match": [{"vars": {"{http.error.status_code}": ["502", "504"]}}],
                    "handle": [
                        {
                            "handler": "map",
                            "source": "{http.request.host}",
                            "destinations": ["{colony_name}", "{colony_service}"],
                            "mappings": [
                                {"input": host, "outputs": ["my-app", "web"]} for host in WEB.hosts
                            ],
                            "defaults": ["this colony", "this service"],
                        },
                        static(pages.service_down_template("{colony_name}", "{colony_service}")),
                    ],
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("listen", "origins"),
    [("unix//run/x/admin.sock", {"origins": ["localhost"]}), ("localhost:2019", {})],
)
def test_the_whole_document(listen: str, origins: dict[str, Any]) -> None:
    assert config.document({"listen": []}, listen) == {
        "admin": {"listen": listen, "config": {"persist": False}, **origins},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"grace_period": "1s", "servers": {"colony": {"listen": []}}}},
    }


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.6.2\n", (2, 6, 2)),
        ("v2.11.4 h1:abc=", (2, 11, 4)),
        ("v2.7.0-beta.1", (2, 7, 0)),
        ("(devel)", None),
        ("", None),
    ],
)
def test_the_version_is_read(text: str, version: config.Version | None) -> None:
    assert config.parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "has"),
    [((2, 6, 2), OLD), ((2, 7, 0), NEW), ((2, 11, 4), NEW), ((3, 0, 0), NEW), (None, OLD)],
)
def test_what_a_version_understands(version: config.Version | None, has: config.Features) -> None:
    assert config.features(version) == has


SERVER = config.server(RouteTable([WEB]), LISTEN, OLD)
BARE = config.server(EMPTY, LISTEN, OLD)


@pytest.mark.parametrize(
    ("wanted", "actual", "change"),
    [
        (SERVER, SERVER, None),
        (SERVER, None, config.Change("PUT", "/config/apps/http/servers/colony", SERVER)),
        (
            SERVER,
            {**SERVER, "routes": []},
            config.Change("PATCH", "/config/apps/http/servers/colony/routes", SERVER["routes"]),
        ),
        (SERVER, BARE, config.Change("PATCH", "/config/apps/http/servers/colony", SERVER)),
        (SERVER, {}, config.Change("PATCH", "/config/apps/http/servers/colony", SERVER)),
        (SERVER, "x", config.Change("PATCH", "/config/apps/http/servers/colony", SERVER)),
    ],
)
def test_one_change_or_none(
    wanted: config.Json, actual: object, change: config.Change | None
) -> None:
    assert config.change(wanted, actual) == change


@pytest.mark.parametrize(
    ("existing", "missing"),
    [
        (None, "/config/apps"),
        ({}, "/config/apps"),
        ({"apps": None}, "/config/apps"),
        ({"apps": {"tls": {}}}, "/config/apps/http"),
        ({"apps": {"http": {}}}, "/config/apps/http/servers"),
        ({"apps": {"http": {"servers": {}}}}, None),
        ({"apps": {"http": {"servers": {"srv0": {}}}}}, None),
    ],
)
def test_what_has_to_be_made_above_our_server(existing: object, missing: str | None) -> None:
    assert config.missing_parent(existing) == missing


@pytest.mark.parametrize(
    ("value", "shell"),
    [({}, True), ({"http": {"servers": {}}}, True), ({"http": {"x": 1}}, False), (None, False)],
)
def test_what_holds_nothing(value: object, shell: bool) -> None:
    assert config.is_shell(value) is shell


@pytest.mark.parametrize(
    ("left", "listen"),
    [
        (SERVER, LISTEN),
        ({"listen": ["127.0.0.1:80"]}, config.Listen(80, ("127.0.0.1",))),
        ({"listen": ["127.0.0.1:80", "[::1]:81"]}, None),
        ({"listen": []}, None),
        ({"listen": ["unix//x"]}, None),
        ({}, None),
        (None, None),
    ],
)
def test_where_a_server_that_was_left_listens(left: object, listen: config.Listen | None) -> None:
    assert config.Listen.of(left) == listen
