"""What the API says of the network: forwards, focus, networks, what may pass. Types alone, since
every client reads them with the table of routes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=1, le=65535)]


class Forwarded(Struct, frozen=True):
    """A port of the host that leads into a colony. `service` is the one that has the port;
    `origin` is file, asked or focus."""

    colony: str
    service: str | None
    addresses: tuple[str, ...]
    host_port: int
    port: int
    protocol: str
    origin: str


class Listening(Struct, frozen=True):
    """Something listens in a colony."""

    colony: str
    service: str | None
    port: int
    protocol: str
    addresses: tuple[str, ...]


class Ports(Struct, frozen=True):
    """Which ports of the host lead where, and what listens in the colonies."""

    focus: str
    forwards: tuple[Forwarded, ...]
    listening: tuple[Listening, ...]


class NetworkMember(Struct, frozen=True):
    """A colony in a network. `ports` are its forwards, HOST_PORT:PORT/PROTOCOL."""

    colony: str
    address: str
    names: tuple[str, ...]
    reaches: tuple[str, ...]
    ports: tuple[str, ...] = ()


class NetworkGroup(Struct, frozen=True):
    """A named network; "" is of those who are in none. `subnet` is of one that was created."""

    name: str
    members: tuple[NetworkMember, ...]
    subnet: str | None = None


class NewNetwork(Struct, frozen=True, forbid_unknown_fields=True):
    """A network with a subnet of its own, as "10.210.0.0/24"; default: a free /24."""

    name: str
    subnet: str | None = None


class NamedNetwork(Struct, frozen=True):
    """A network that was created, or removed."""

    name: str
    subnet: str


class Rules(Struct, frozen=True):
    """What passes from colony to colony and, for those with an allow list, out; in words."""

    table: str
    peers: tuple[str, ...]
    outward: tuple[str, ...]


class KnownName(Struct, frozen=True):
    """A name of a colony or a service of it, and the colonies whose hosts files have it."""

    name: str
    address: str
    colony: str
    known_to: tuple[str, ...]


class Names(Struct, frozen=True):
    """The name server for the host, and the names in the colonies.

    server, address, port
        dnsmasq, embedded or none; where it answers (UDP).
    suffixes
        Every name under these is the front door's.
    asked
        Whether this machine's own resolver knows the documented one of them.
    """

    server: str
    address: str
    port: int
    suffixes: tuple[str, ...]
    asked: bool
    names: tuple[KnownName, ...]


class NewForward(Struct, frozen=True, forbid_unknown_fields=True):
    """A forward in niso's words: "9090:9090", "53:53/udp", "0.0.0.0:443:443", "auto:3000"."""

    ports: str


class ForwardQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the two that may have one number."""

    protocol: str = "tcp"


class FocusOn(Struct, frozen=True, forbid_unknown_fields=True):
    """The colony that gets the plain localhost ports; "" for none."""

    colony: str


class Focused(Struct, frozen=True):
    """Who has the plain ports, which ones, and why not the others."""

    colony: str
    ports: tuple[int, ...]
    missed: tuple[str, ...]


class Ping(Struct, frozen=True, forbid_unknown_fields=True):
    """From one colony to another. `port` defaults to the target's first service."""

    source: str
    target: str
    port: Port | None = None


class Pinged(Struct, frozen=True):
    """Whether packets came there and back; whether anything listens is in `listens`."""

    source: str
    target: str
    address: str
    port: int
    ok: bool
    listens: bool
    ms: float
    why: str = ""
