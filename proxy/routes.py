"""The route table: which host name belongs to which service, and where that service listens.

    a service  →  Route  →  two hosts, one URL      my-app-3000.colony.local
                                                    my-app-3000.colony.localhost

The law: a host name leads to one route or to none. A name is one DNS label (`{colony}-{port}`)
under one of two suffixes; the last hyphen parts colony from port, so two different services can
never make the same name. Everything here is a value: a table is never changed, `put` and `remove`
return another, and so a front door that runs in another thread reads a snapshot without a lock.

Why two suffixes: `.colony.local` is the documented one and needs a DNS server; browsers and curl
resolve everything under `.localhost` by themselves, and dev servers accept it as a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

LOCAL: Final = "colony.local"
LOCALHOST: Final = "colony.localhost"
SUFFIXES: Final = (LOCAL, LOCALHOST)
"""The names under which services are served, the documented one first."""

_COLONY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_COLONY_MAX: Final = 40
_PATH: Final = re.compile(r"/[\x21-\x7e]*")


class TcpUpstream(msgspec.Struct, frozen=True, tag="tcp"):
    """A service that listens on TCP.

    address
        An IP literal, or `localhost`: then 127.0.0.1 and ::1 are both tried.
    namespace
        An opaque key that only a `Dialer` understands: in which network namespace to make the
        socket. Caddy dials by itself and ignores it. Default: the host's.
    """

    port: int
    address: str = "localhost"
    namespace: str | None = None

    @property
    def dial(self) -> str:
        """The address as Caddy writes it: `10.200.0.2:3000`, `[::1]:3000`."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class UnixUpstream(msgspec.Struct, frozen=True, tag="unix"):
    """A service that listens on a unix socket at an absolute path."""

    path: str

    @property
    def dial(self) -> str:
        """The address as Caddy writes it: `unix//run/web.sock`."""
        return f"unix/{self.path}"


Upstream: TypeAlias = TcpUpstream | UnixUpstream


class Route(msgspec.Struct, frozen=True):
    """A service's place at the front door. Belongs to its definition, not to one of its lives.

    colony, port
        Name it: `{colony}-{port}` is the label under both suffixes.
    upstream
        Where it listens.
    service
        Its name, for the pages.
    path
        What its URL ends with. Default `/`.
    up
        False: known to be down, so that the embedded front door answers 503 without dialling.
        Caddy is not told; it finds out by dialling, and a restart needs no change of its routes.

    Raises `ValueError` for a name, port or path that could not be served.
    """

    colony: str
    port: int
    upstream: Upstream
    service: str
    path: str = "/"
    up: bool = True

    def __post_init__(self) -> None:
        if len(self.colony) > _COLONY_MAX or not _COLONY.fullmatch(self.colony):
            raise ValueError(
                "a colony's name is a-z, 0-9 and inner hyphens, "
                f"at most {_COLONY_MAX} characters, got: {self.colony!r}"
            )
        if not 1 <= self.port <= 65535:
            raise ValueError(f"a port is 1 to 65535, got: {self.port!r}")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"a path starts with / and has no blanks, got: {self.path!r}")

    @property
    def label(self) -> str:
        return f"{self.colony}-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that lead here, the documented one first."""
        return tuple(f"{self.label}.{suffix}" for suffix in SUFFIXES)

    def url(self, http_port: int = 80, suffix: str = LOCAL) -> str:
        """The service's URL behind a front door on `http_port` (80 is left unsaid)."""
        port = "" if http_port == 80 else f":{http_port}"
        return f"http://{self.label}.{suffix}{port}{self.path}"


def normal_host(host: str) -> str:
    """A Host header's name alone: lower case, without port, trailing dot or IPv6 brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def is_ours(host: str) -> bool:
    """Whether a normal host is one that only the machine's own user asks for.

    Those get the list of what is served. Any other name came by DNS rebinding or a mistake, and a
    stranger's page must not learn what runs here.
    """
    if host in _OUR_HOSTS:
        return True
    label, _, suffix = host.partition(".")
    return bool(label) and suffix in SUFFIXES


_OUR_HOSTS: Final = frozenset({*SUFFIXES, "localhost", "127.0.0.1", "::1"})

OUR_HOST_PATTERNS: Final = tuple(
    sorted(_OUR_HOSTS | {f"*.{suffix}" for suffix in SUFFIXES}, reverse=True)
)
"""`is_ours` in the form of Caddy's host matcher."""


class RouteTable:
    """The routes by host, as a value: equal tables hold equal routes, in whatever order put."""

    __slots__ = ("_by_host", "routes")

    routes: tuple[Route, ...]
    """All routes, by colony and port."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        by_key = {(route.colony, route.port): route for route in routes}
        self.routes = tuple(by_key[key] for key in sorted(by_key))
        self._by_host = {host: route for route in self.routes for host in route.hosts}

    def put(self, *routes: Route) -> RouteTable:
        """A table with `routes` added, each in place of one of the same colony and port."""
        return RouteTable((*self.routes, *routes))

    def remove(self, colony: str, port: int | None = None) -> RouteTable:
        """A table without that route, or without any of that colony's if no port is named.

        What is not there is not missed.
        """
        return RouteTable(
            route
            for route in self.routes
            if route.colony != colony or (port is not None and route.port != port)
        )

    def find(self, host: str) -> Route | None:
        """The route of a Host header: case, a port and a trailing dot do not matter."""
        return self._by_host.get(host) or self._by_host.get(normal_host(host))

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    def __len__(self) -> int:
        return len(self.routes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteTable) and self.routes == other.routes

    def __hash__(self) -> int:
        return hash(self.routes)

    def __repr__(self) -> str:
        labels = [
            f"{route.label}→{route.upstream.dial}{'' if route.up else ' (down)'}" for route in self
        ]
        return f"<RouteTable {', '.join(labels) or 'empty'}>"


EMPTY: Final = RouteTable()
