"""The supervision tree, as specs. Pure: what is started, in what order, and what falls with what.

    system                        one_for_one
    ├── chronicle                 what happens, written to disk
    ├── journal                   the last output of every service
    ├── addresses, network        (with namespaces) the network thread and the host's side
    ├── way out                   (rootless) the program that takes packets out of the hub
    ├── networks                  (with namespaces) the networks that have a subnet of their own
    ├── neighbours                (with namespaces) who may reach whom, under what names
    ├── audit                     (with namespaces) tells of the connections that colonies begin
    ├── guardian                  ends what a killed Colony leaves
    ├── routes, door, dns         the front door
    ├── ports                     the host's ports that lead into colonies
    ├── colonies                  dynamic
    │   └── my-app                rest_for_one, ends when `services` gives up
    │       ├── namespace, member (with namespaces) its network, and itself to its neighbours
    │       ├── egress            (with egress = "proxy") the only way out
    │       ├── ports, routes
    │       ├── board             what is known of each service
    │       ├── screens           the terminals of services that have one
    │       ├── services          strategy and limit of colony.toml
    │       │   ├── web
    │       │   └── api
    │       ├── control           what an operator does to them
    │       ├── terminals         dynamic: a child for each terminal session
    │       └── watch             (with namespaces) what listens in there
    └── api                       (where it is served) the HTTP API

`services` is a transient, significant child: when its limit is reached it ends in good order
(R85), is not started again, and takes the colony down with it. Everything else of a colony is
permanent: a crash of the namespace's owner brings the namespace and what is in it up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import msgspec

from actors import ChildSpec, DynamicSupervisor, Event, Supervisor
from colony.api.owner import API, Api, ApiOwner
from colony.chronicle import CHRONICLE, Chronicle, ChronicleOwner
from colony.config import Config
from colony.guardian import GUARDIAN, Guardian
from colony.journal import JOURNAL, Journal
from colony.logs import Logs
from colony.network.audit import AUDIT, Audit
from colony.network.egress_proxy import EgressProxy
from colony.network.forms import Forward, parse
from colony.network.named import NETWORKS, NamedNetworks
from colony.network.neighbours import NEIGHBOURS, ColonyMember, Neighbours
from colony.network.ports import PORTS, ColonyPorts, HostPorts, ports_name
from colony.network.watching import PortWatch, watch_name
from colony.places import ColonyRoutes, Places, routes_name
from colony.services import specs
from colony.services.linux import LinuxMachine
from colony.services.specs import Where, colony_children, colony_supervisor
from colony.terminals.opening import terminals_spec
from netns import Instance, NetworkThread
from netns.actors import (
    ADDRESSES,
    NETWORK,
    WAY_OUT,
    AddressBook,
    NamespaceGuest,
    NamespaceOwner,
    NetworkOwner,
    ProcessesOwner,
    WayOutOwner,
    namespace_name,
)
from netns.namespace import Egress
from netns.uplink import WayOut
from proxy import FrontDoor, NameServer, Route, TcpUpstream
from proxy.actors import DNS, DOOR, ROUTES, DnsOwner, DoorOwner, Routes

SYSTEM: Final = "system"
COLONIES: Final = "colonies"
SERVICES: Final = specs.SERVICES

OWNER_LIMIT: Final = (10, 60.0)
"""Restarts of the owners at the top, within how many seconds, before the whole system gives up."""


class Parts(msgspec.Struct, frozen=True):
    """What the owners at the top are given to own.

    `networks_file` and `addresses_file` are where named networks and the colonies' addresses are
    kept, None: nowhere.
    `thread` serves to start processes; without namespaces it is the only part of the network.
    `ways_out` are the programs by which rootless colonies may go out, `way_out` is the one that
    they have. `relays` says whether the front door cannot dial their addresses.
    """

    instance: Instance
    runtime: str
    isolated: bool
    thread: NetworkThread
    places: Places
    door: FrontDoor
    door_kind: str
    dns: NameServer | None
    dns_kind: str
    chronicle: Chronicle
    api: Api | None = None
    logs: Logs = msgspec.field(default_factory=Logs)
    networks_file: Path | None = None
    addresses_file: Path | None = None
    guarded: dict[str, int] = msgspec.field(default_factory=dict)
    ways_out: tuple[str, ...] = ()
    way_out: WayOut = msgspec.field(default_factory=WayOut)
    relays: bool = False


def system_spec(parts: Parts) -> ChildSpec[Supervisor]:
    """The top of the tree."""
    network = NetworkOwner.spec(
        parts.instance, parts.thread, parts.runtime, parts.isolated, parts.way_out
    )
    guardian = Guardian.spec(parts.instance.id, parts.thread, parts.guarded, parts.way_out)
    children: list[ChildSpec[Any]] = [
        ChronicleOwner.spec(parts.chronicle).options(id="chronicle", name=CHRONICLE),
        Journal.spec(parts.logs).options(id="journal", name=JOURNAL),
        AddressBook.spec(parts.addresses_file).options(id="addresses", name=ADDRESSES),
        network.options(id="network", name=NETWORK, shutdown=30.0),
        *_if_isolated(parts),
        guardian.options(id="guardian", name=GUARDIAN),
        Routes.spec().options(id="routes", name=ROUTES),
        DoorOwner.spec(parts.door, parts.door_kind).options(id="door", name=DOOR, shutdown=10.0),
    ]
    if parts.dns is not None:
        children.append(
            DnsOwner.spec(parts.dns, parts.dns_kind).options(id="dns", name=DNS, shutdown=10.0)
        )
    ports = HostPorts.spec(parts.places)
    children.append(ports.options(id="ports", name=PORTS, shutdown=10.0))
    colonies = DynamicSupervisor.spec().options(id=COLONIES, name=COLONIES)
    intensity, period = OWNER_LIMIT
    children.append(colonies)
    if parts.api is not None:
        children.append(ApiOwner.spec(parts.api).options(id="api", name=API, shutdown=10.0))
    top = Supervisor.spec(children, intensity=intensity, period=period)
    return top.options(id=SYSTEM)


def _if_isolated(parts: Parts) -> list[ChildSpec[Any]]:
    networks = NamedNetworks.spec(parts.networks_file)
    neighbours = Neighbours.spec().options(id="neighbours", name=NEIGHBOURS)
    if not parts.isolated:
        return []
    found: list[ChildSpec[Any]] = [networks.options(id="networks", name=NETWORKS), neighbours]
    found.append(Audit.spec(parts.thread).options(id="audit", name=AUDIT))
    if parts.ways_out:
        way = WayOutOwner.spec(parts.instance.id, parts.thread, parts.ways_out, parts.way_out)
        found.insert(0, way.options(id="way out", name=WAY_OUT, shutdown=10.0))
    return found


def colony_spec(
    config: Config, parts: Parts, urls: Mapping[str, str], system_env: Mapping[str, str]
) -> ChildSpec[Supervisor]:
    """One colony. `urls` holds the URL of each of its services."""
    children: list[ChildSpec[Any]] = []
    isolated = is_isolated(config, parts)
    if isolated:
        children += _network_of(config, parts)
    else:
        swept = ProcessesOwner.spec(config.name, parts.instance.id)
        children.append(swept.options(id="processes", shutdown=30.0))
    ports = ColonyPorts.spec(config.name, forwards(config), plain_ports(config), isolated)
    children.append(ports.options(id="ports", name=ports_name(config.name)))
    routes = ColonyRoutes.spec(
        config.name,
        list(colony_routes(config)),
        parts.places,
        isolated=isolated,
        relays=parts.instance.directory if isolated and parts.relays else None,
    )
    children.append(routes.options(id="routes", name=routes_name(config.name)))
    here, path = where(config, parts), services_path(config.name)
    children += colony_children(config, here, urls, system_env, path)
    children.append(terminals_spec(config.name))
    if isolated and config.network.mode != "share":
        auto = config.network.expose == "auto"
        watch = PortWatch.spec(config.name, parts.thread, routes_name(config.name) if auto else "")
        children.append(watch.options(id="watch", name=watch_name(config.name)))
    return colony_supervisor(config.name, children)


def is_isolated(config: Config, parts: Parts) -> bool:
    """Whether a colony lives in a namespace, its own or another's."""
    return parts.isolated and config.network.mode != "host"


def _network_of(config: Config, parts: Parts) -> list[ChildSpec[Any]]:
    wanted, policy = config.network, config.network.policy
    if wanted.share is not None:
        guest = NamespaceGuest.spec(config.name, parts.instance.id, wanted.share)
        name = namespace_name(config.name)
        return [guest.options(id="namespace", name=name, shutdown=30.0)]
    address = None if wanted.ip is None else IPv4Address(wanted.ip)
    allow = policy.egress.allow
    direct = wanted.egress == "nat" and wanted.mode != "none"
    egress: Egress = "none" if not direct else "nat" if allow is None else "some"
    owner = NamespaceOwner.spec(config.name, egress, address=address, network=wanted.network)
    services = tuple(config.services)
    member = ColonyMember.spec(
        *(config.name, services, wanted.network, wanted.hostname), policy.allow_from, allow, direct
    )
    specs: list[ChildSpec[Any]] = [
        owner.options(id="namespace", name=namespace_name(config.name), shutdown=30.0),
        member.options(id="member"),
    ]
    if wanted.egress == "proxy" and wanted.mode != "none":
        specs.append(EgressProxy.spec(config.name, parts.thread, allow).options(id="egress"))
    return specs


def where(config: Config, parts: Parts) -> Where:
    """Where a colony's services run."""
    instance, isolated = parts.instance, is_isolated(config, parts)
    machine = LinuxMachine(parts.thread, parts.logs)
    return Where(instance.id, str(instance.directory), isolated, machine)


def forwards(config: Config) -> tuple[Forward, ...]:
    """The ports of the host that a colony's file asks for."""
    return tuple(parse(text) for text in config.network.ports)


def plain_ports(config: Config) -> tuple[int, ...]:
    """The ports of a colony's services, in the file's order."""
    return tuple(s.port for s in config.services.values() if s.port is not None)


def services_path(colony: str) -> str:
    """The place of a colony's services' supervisor in the tree."""
    return f"{SYSTEM}/{COLONIES}/{colony}/{SERVICES}"


def colony_of(event: Event) -> str | None:
    """The colony that an event is about, by its field or by its actor's place in the tree."""
    colony = getattr(event, "colony", None)
    if isinstance(colony, str):
        return colony or None
    path = getattr(event, "supervisor", None) or getattr(event, "actor", None)
    parts = path.split("/", 3) if isinstance(path, str) else []
    return parts[2] if len(parts) > 2 and parts[:2] == [SYSTEM, COLONIES] else None


def colony_routes(config: Config) -> tuple[Route, ...]:
    """The routes of a colony's services, as they are on the host's own network."""
    return tuple(
        Route(config.name, service.port, TcpUpstream(service.port), service.name, service.path)
        for service in config.services.values()
        if service.port is not None
    )
