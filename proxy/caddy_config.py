"""Caddy's configuration as data: what our server looks like, and the one change that makes it so.

    routes   one per service, in the documented form; then the page that lists them; then the page
             for strangers
    errors   502 and 504, which is what a dial that fails becomes, turned into the 503 page

The law: Caddy is told the whole of our server, or nothing. It provisions its whole configuration
anew for every change, so fifty small changes cost fifty times what one large one does; and a change
that would alter nothing is not sent.

`flush_interval` is a millisecond and not -1, though both let a slow answer through at once. With -1
Caddy no longer tells the service when its client has gone (a closed tab leaves its event stream
open), and from 2.7 on it also undoes `stream_close_delay`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxy import pages
from proxy.routes import OUR_HOST_PATTERNS, SUFFIXES, Route, RouteTable

Json = dict[str, Any]
Version = tuple[int, int, int]

SERVER: Final = "colony"
"""The key of our server under `apps.http.servers`."""

SERVER_PATH: Final = f"/config/apps/http/servers/{SERVER}"

_STREAM_CLOSE_DELAY_SINCE: Final = (2, 7, 0)
_STREAM_CLOSE_DELAY: Final = "24h"
_FLUSH: Final = "1ms"
_OUR_HOST: Final = (
    rf"(?i)^([a-z0-9-]+)-([0-9]+)\.(?:{'|'.join(map(re.escape, SUFFIXES))})\.?(?::[0-9]+)?$"
)
_COLONY_PLACEHOLDER: Final = "{colony_name}"
_SERVICE_PLACEHOLDER: Final = "{colony_service}"


class Features(msgspec.Struct, frozen=True):
    """What the running Caddy understands. An unknown field makes it refuse a whole configuration.

    stream_close_delay
        WebSockets outlive a change of the configuration (2.7 and later).
    """

    stream_close_delay: bool = False


class Listen(msgspec.Struct, frozen=True):
    """Where our server listens: loopback addresses, and the port on each."""

    port: int
    addresses: tuple[str, ...] = ("127.0.0.1", "::1")

    def caddy(self) -> list[str]:
        """The addresses as Caddy writes them."""
        return [f"[{a}]:{self.port}" if ":" in a else f"{a}:{self.port}" for a in self.addresses]

    @classmethod
    def of(cls, server_config: object) -> Listen | None:
        """Where a server of ours listens that was left in a Caddy; None if that cannot be read."""
        entries = server_config.get("listen") if isinstance(server_config, dict) else None
        parts = [str(entry).rpartition(":") for entry in entries or ()]
        numbers = {port for _, _, port in parts}
        if len(numbers) != 1 or not (port := numbers.pop()).isdecimal():
            return None
        return cls(int(port), tuple(host.strip("[]") for host, _, _ in parts))


class Change(msgspec.Struct, frozen=True):
    """One request to the admin API that makes the actual configuration the wanted one."""

    method: str
    path: str
    body: Any


def parse_version(text: str) -> Version | None:
    """The version in what `caddy version` prints; None for a build that does not say."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def features(version: Version | None) -> Features:
    """What a version understands; a build that does not say its version is taken to be old."""
    return Features(stream_close_delay=version is not None and version >= _STREAM_CLOSE_DELAY_SINCE)


def route(entry: Route, has: Features) -> Json:
    """A service's route in the documented form."""
    proxy: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": entry.upstream.dial}],
        "flush_interval": _FLUSH,
    }
    if has.stream_close_delay:
        proxy["stream_close_delay"] = _STREAM_CLOSE_DELAY
    return {
        "@id": f"colony-{entry.label}",
        "match": [{"host": list(entry.hosts)}],
        "handle": [proxy],
        "terminal": True,
    }


def server(table: RouteTable, listen: Listen, has: Features) -> Json:
    """The whole of our server."""
    listing = pages.not_found(table, listen.port)
    return {
        "listen": listen.caddy(),
        "automatic_https": {"disable": True},
        "routes": [
            *(route(entry, has) for entry in table),
            {"match": [{"host": list(OUR_HOST_PATTERNS)}], "handle": [_static(listing)]},
            {"handle": [_static(pages.foreign())]},
        ],
        "errors": {"routes": [_down(table)]},
    }


def dynamic_server(
    others: Iterable[Route],
    listen: Listen,
    has: Features,
    *,
    names_port: int,
    pages_port: int,
    suffix: str,
) -> Json:
    """The whole of our server where one route is for all: see `companion`.

    others
        The routes that a name cannot say.
    names_port
        Where a route's label under `suffix` is resolved, on 127.0.0.1 by UDP.
    pages_port
        Who answers for hosts that lead nowhere, and for services that are down.
    """
    ours = {"header_regexp": {"Host": {"name": "ours", "pattern": _OUR_HOST}}}
    unreached = {"vars": {"{http.error.status_code}": ["502", "504"]}}
    asked = _asked_for_a_page(pages_port)
    return {
        "listen": listen.caddy(),
        "automatic_https": {"disable": True},
        "routes": [
            *(route(entry, has) for entry in others),
            {"match": [ours], "handle": [_found_by_name(names_port, suffix)], "terminal": True},
            {"handle": [asked]},
        ],
        "errors": {"routes": [{"match": [unreached], "handle": [asked]}]},
    }


def _found_by_name(names_port: int, suffix: str) -> Json:
    """Passes on to where the host's own name leads; `ours` has matched it."""
    # The dot at the end keeps the host's search domains out of it.
    dial = "{http.regexp.ours.1}-{http.regexp.ours.2}." + suffix + ".:{http.regexp.ours.2}"
    resolver = {"addresses": [f"udp/127.0.0.1:{names_port}"]}
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial}],
        # A connection that is kept leads to where the name led when it was made.
        "transport": {"protocol": "http", "resolver": resolver, "keep_alive": {"enabled": False}},
        "flush_interval": _FLUSH,
    }


def _asked_for_a_page(pages_port: int) -> Json:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{pages_port}"}],
        # A body that was sent in vain cannot be sent again, and the page does not ask for it.
        "rewrite": {"method": "GET"},
    }


def document(server_config: Json, admin_listen: str) -> Json:
    """The configuration that a Caddy of our own starts with.

    `admin_listen` is `unix//path` or `host:port`. Behind a unix socket Caddy 2.6 insists on a known
    Host, and so `localhost` is made one.
    """
    admin: Json = {"listen": admin_listen, "config": {"persist": False}}
    if admin_listen.startswith("unix/"):
        admin["origins"] = ["localhost"]
    return {
        "admin": admin,
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"grace_period": "1s", "servers": {SERVER: server_config}}},
    }


def change(wanted: Json, actual: object) -> Change | None:
    """The one request that turns `actual` (None: there is no such server) into `wanted`.

    PUT makes the missing parents, which POST on an empty Caddy does not; PATCH replaces.
    """
    if actual is None:
        return Change("PUT", SERVER_PATH, wanted)
    if actual == wanted:
        return None
    if isinstance(actual, dict) and _but_routes(actual) == _but_routes(wanted):
        return Change("PATCH", f"{SERVER_PATH}/routes", wanted["routes"])
    return Change("PATCH", SERVER_PATH, wanted)


def missing_parent(config: object) -> str | None:
    """The path of the outermost object above our server that `config` lacks; None if it has all.

    An existing Caddy is left as it was found: what we had to make for our server goes with it.
    """
    path, here = "/config", config
    for key in ("apps", "http", "servers"):
        path += f"/{key}"
        if not isinstance(here, dict) or here.get(key) is None:
            return path
        here = here[key]
    return None


def is_shell(config: object) -> bool:
    """Whether there is nothing in it but empty objects."""
    return isinstance(config, dict) and all(is_shell(value) for value in config.values())


def _but_routes(config: Json) -> Json:
    return {key: value for key, value in config.items() if key != "routes"}


def _static(page: pages.Page) -> Json:
    return {
        "handler": "static_response",
        "status_code": str(page.status.value),
        "headers": {name: [value] for name, value in page.headers},
        "body": page.html,
    }


def _down(table: RouteTable) -> Json:
    """One route for every service that is down: a map gives the page its two names.

    A page for each service would make the configuration, and with it every change, three times as
    large.
    """
    names: Json = {
        "handler": "map",
        "source": "{http.request.host}",
        "destinations": [_COLONY_PLACEHOLDER, _SERVICE_PLACEHOLDER],
        "mappings": [
            {"input": host, "outputs": [pages.literal(entry.colony), pages.literal(entry.service)]}
            for entry in table
            for host in entry.hosts
        ],
        "defaults": ["this colony", "this service"],
    }
    page = pages.service_down_template(_COLONY_PLACEHOLDER, _SERVICE_PLACEHOLDER)
    return {
        "match": [{"vars": {"{http.error.status_code}": ["502", "504"]}}],
        "handle": [names, _static(page)],
    }
