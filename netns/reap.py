"""Removing what a dead instance left behind.

Law: by tags, not by lists. What a dead instance made is found in the kernel by the instance's id
(see `names`), so it does not matter at which moment it died. What bears another id is not touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from socket import AF_INET, AF_INET6
from typing import TypeVar

import anyio
import msgspec

from netns import hostwide, linux, messages, names, nft, pins, ruleset, sweep
from netns.errors import NetnsError
from netns.instance import DeadInstance, dead_instances
from netns.lost import lost_instances
from netns.netlink import Netlink
from netns.pins import Pin
from netns.sweep import Killed
from netns.thread import NetworkThread

T = TypeVar("T")


class Reaped(msgspec.Struct, frozen=True):
    """What was removed of a dead instance, for the log.

    processes
        Killed, in its namespaces or marked as its own.
    namespaces, links, routes, tables
        By their names; a route by its destination.
    settings
        The machine's settings and directories that were put back.
    """

    instance: str
    processes: tuple[Killed, ...] = ()
    namespaces: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there was anything."""
        return bool(self.words())

    def words(self) -> list[str]:
        """A phrase for each thing that was removed."""
        return [
            *(f"process {killed.pid} ({killed.command})" for killed in self.processes),
            *(f"namespace {name}" for name in self.namespaces),
            *(f"link {name}" for name in self.links),
            *(f"route to {name}" for name in self.routes),
            *(f"packet rules {name}" for name in self.tables),
            *(f"{name} put back" for name in self.settings),
        ]


async def reap_all(thread: NetworkThread, runtime: str | os.PathLike[str]) -> list[Reaped]:
    """Removes what every dead instance below the runtime directory left behind, and every one that
    has no runtime directory any more.

    Raises `NetnsError` as `reap` does, after having gone through all.
    """
    reaped, errors = [], []
    found = await anyio.to_thread.run_sync(dead_instances, runtime)
    found += await anyio.to_thread.run_sync(lost_instances)
    for dead in found:
        try:
            reaped.append(await reap(thread, dead))
        except NetnsError as error:
            errors.append(str(error))
    if errors:
        raise NetnsError("; ".join(errors))
    return reaped


async def reap(thread: NetworkThread, dead: DeadInstance) -> Reaped:
    """Removes what a dead instance left behind, and its identity with it.

    Whatever cannot be removed stays recorded for the next attempt, and is named by the
    `NetnsError` that is raised once the rest is gone. Cancelling does not interrupt it.
    """
    reaped = Reaped(dead.id)
    with anyio.CancelScope(shield=True):
        try:
            found = await thread.run(_pins_of, thread, dead) if may_remove() else []
            inodes = [sweep.in_namespace(pin.inode) for pin in found if pin.inode is not None]
            killed = await sweep.kill_all(sweep.either(sweep.marked(dead.id), *inodes))
            reaped = Reaped(dead.id, processes=tuple(killed))
            if may_remove():
                reaped = await thread.run(_remove, dead, found, tuple(killed))
        except BaseException:
            await anyio.to_thread.run_sync(lambda: dead.bury(remove=False))
            raise
        await anyio.to_thread.run_sync(lambda: dead.bury(remove=True))
    return reaped


def may_remove() -> bool:
    """Whether this process may change the kernel's networks. Without that right it may not even
    look at others' namespaces; and an instance of the same user has made none."""
    wanted = 1 << linux.CAP_SYS_ADMIN | 1 << linux.CAP_NET_ADMIN
    return linux.effective_capabilities() & wanted == wanted


def _pins_of(thread: NetworkThread, dead: DeadInstance) -> list[Pin]:
    return [pin for pin in pins.listed(thread, dead.pins) if pin.instance == dead.id]


def _remove(dead: DeadInstance, found: list[Pin], killed: tuple[Killed, ...]) -> Reaped:
    """On the network thread."""
    instance = dead.id
    errors: list[str] = []

    def attempt(function: Callable[[], list[str]]) -> tuple[str, ...]:
        try:
            return tuple(function())
        except (NetnsError, OSError) as error:
            errors.append(str(error))
            return ()

    with Netlink() as netlink:
        links = attempt(lambda: _remove_links(netlink, instance))
        routes = attempt(lambda: _remove_routes(netlink, instance))
    reaped = Reaped(
        instance=instance,
        processes=killed,
        namespaces=attempt(lambda: _remove_pins(found, dead.pins)),
        links=links,
        routes=routes,
        tables=attempt(lambda: _remove_tables(instance)),
        settings=attempt(lambda: hostwide.let_go(instance, dead.record)),
    )
    if errors:
        raise NetnsError(f"cleaning up after the dead instance {instance}: {'; '.join(errors)}")
    return reaped


def _remove_pins(found: list[Pin], directory: str) -> list[str]:
    for pin in found:
        pins.remove(pin.colony, directory)
    return [names.namespace_name(pin.colony) for pin in found]


def _remove_links(netlink: Netlink, instance: str) -> list[str]:
    group = names.link_group(instance)
    found = [link.name for link in netlink.links() if link.group == group]
    if found:
        netlink.send(messages.delete_group(group))
    return found


def _remove_routes(netlink: Netlink, instance: str) -> list[str]:
    """What the links did not take with them: the claims of the pools."""
    number = names.instance_number(instance)
    found = [
        route.destination
        for family in (AF_INET, AF_INET6)
        for route in netlink.routes(family)
        if route.protocol == names.ROUTE_PROTOCOL and route.metric == number
    ]
    for destination in found:
        netlink.send(messages.unclaim_pool(destination, number))
    return [str(destination) for destination in found]


def _remove_tables(instance: str) -> list[str]:
    if not nft.available():
        return []
    table = names.table_name(instance)
    with nft.Nft() as host:
        if (ruleset.FAMILY, table) not in host.tables():
            return []
        host.run(ruleset.remove_table(table), f"removing the table {table}")
    return [table]
