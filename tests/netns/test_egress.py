"""The way out, proved with a second namespace that stands for the world behind the host."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from netns.thread import Place
from tests.netns.support import PATIENCE, listen, output, read, rig, unique

pytestmark = pytest.mark.real_time


class World(NamedTuple):
    """A namespace beside the host: its address, the host's address towards it, its place."""

    name: str
    address: str
    host: str
    place: Place


@contextmanager
def world() -> Iterator[World]:
    """It has no route to any colony, so whoever gets an answer was seen as the host."""
    tag = secrets.token_hex(3)
    name, link = f"world-{tag}", f"wd{tag}"
    third, last = secrets.randbelow(256), secrets.randbelow(63) * 4
    host, address = f"198.18.{third}.{last + 1}", f"198.18.{third}.{last + 2}"
    output("ip", "netns", "add", name)
    try:
        output("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        output("ip", "address", "add", f"{host}/30", "dev", link)
        output("ip", "link", "set", link, "up")
        output("ip", "-n", name, "address", "add", f"{address}/30", "dev", "eth0")
        output("ip", "-n", name, "link", "set", "eth0", "up")
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield World(name, address, host, Place(fd))
        finally:
            os.close(fd)
    finally:
        output("ip", "netns", "delete", name)


def attempt(client: socket.socket, address: str, port: int) -> str:
    """How a connection attempt ends: "connected", or the error's text."""
    client.setblocking(True)
    client.settimeout(PATIENCE)
    with client:
        try:
            client.connect((address, port))
        except OSError as error:
            return error.strerror or str(error)
        return "connected"


async def test_nat_leads_out_under_the_hosts_address(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        with (
            world() as outside,
            listen(await thread.socket(outside.place), "0.0.0.0", 80) as server,
        ):
            space = await network.create(unique())
            assert read("/proc/sys/net/ipv4/ip_forward") == "1"
            assert attempt(await thread.socket(space), outside.address, 80) == "connected"
            server.settimeout(PATIENCE)  # who has connected may not be there for us yet
            served, peer = server.accept()
            served.close()
            assert peer[0] == outside.host
            await network.destroy(space)


async def test_none_leads_nowhere_not_even_to_the_host(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        with world() as outside, listen(await thread.socket(outside.place), "0.0.0.0", 80):
            other = await network.create(unique("nat"))  # the host forwards, for this one
            space = await network.create(unique(), egress="none")
            gateway = str(space.address.gateway4)
            with listen(socket.socket(), "0.0.0.0", 0) as local:
                port = local.getsockname()[1]
                assert attempt(await thread.socket(other), gateway, port) == "connected"
                assert attempt(await thread.socket(space), gateway, port) == "Connection refused"
            unreachable = "Network is unreachable"
            assert attempt(await thread.socket(space), outside.address, 80) == unreachable
            # A root inside may give itself a route; the host's rules hold all the same.
            route = ("route", "add", "default", "via", gateway, "dev", "eth0")
            output("ip", "-n", space.name, *route)
            assert attempt(await thread.socket(space), outside.address, 80) == "Connection refused"
            # And the host reaches it as ever.
            with listen(await thread.socket(space), "127.0.0.1", 3000):
                address = str(space.address.v4)
                assert attempt(socket.socket(), address, 3000) == "connected"
            await network.destroy(space)
            await network.destroy(other)


async def test_colonies_do_not_reach_each_other(tmp_path: Path) -> None:
    async with rig(tmp_path / "1") as one, rig(tmp_path / "2") as two:
        first = await one.network.create(unique("a"))
        second = await one.network.create(unique("b"))
        third = await two.network.create(unique("c"))
        with listen(await one.thread.socket(second), "0.0.0.0", 3000):
            address = str(second.address.v4)
            inside = await one.thread.socket(first)
            assert attempt(inside, address, 3000) == "Connection refused"
            stranger = await two.thread.socket(third)
            stranger.settimeout(0.2)
            with stranger, pytest.raises(TimeoutError):
                stranger.connect((address, 3000))
        await two.network.destroy(third)
        await one.network.destroy(second)
        await one.network.destroy(first)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
async def test_each_of_many_denied_connections_is_refused(
    tmp_path: Path, family: socket.AddressFamily
) -> None:
    """By a reset: of ICMP errors the kernel would send some, and then one a second or so."""
    async with rig(tmp_path) as (thread, _, network):
        free = await network.create(unique("free"))
        shut = await network.create(unique("shut"), egress="none")
        inside = await thread.socket(free)
        with listen(socket.socket(family), "", 0) as local, listen(inside, "", 3000):
            port = local.getsockname()[1]
            ours, theirs = (
                (space.address.gateway4, space.address.gateway6)[family == socket.AF_INET6]
                for space in (free, shut)
            )
            assert attempt(await thread.socket(free, family), str(ours), port) == "connected"
            assert attempt(socket.socket(), str(free.address.v4), 3000) == "connected"
            targets = [(str(theirs), port)]
            if family == socket.AF_INET:  # over IPv6 only where the host forwards that
                targets.append((str(free.address.v4), 3000))
            for target in targets:
                seen = [attempt(await thread.socket(shut, family), *target) for _ in range(30)]
                assert seen == ["Connection refused"] * 30
        await network.destroy(shut)
        await network.destroy(free)


async def test_the_world_cannot_route_into_a_colony(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        with world() as outside, listen(await thread.socket(space), "0.0.0.0", 3000):
            pool = str(network.pool.v4)
            output("ip", "-n", outside.name, "route", "add", pool, "via", outside.host)
            client = await thread.socket(outside.place)
            client.settimeout(0.2)
            with client, pytest.raises(TimeoutError):
                client.connect((str(space.address.v4), 3000))
        await network.destroy(space)


async def test_an_address_of_a_colony_that_is_gone_answers_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as (_, _, network):
        space = await network.create(unique())
        await network.destroy(space)
        assert attempt(socket.socket(), str(space.address.v4), 3000) == "No route to host"


async def test_no_default_route_over_ipv6_unless_the_host_forwards(tmp_path: Path) -> None:
    forwards = read("/proc/sys/net/ipv6/conf/all/forwarding") == "1"
    async with rig(tmp_path) as (_, _, network):
        space = await network.create(unique())
        shown = output("ip", "-n", space.name, "-6", "route", "show", "default")
        assert bool(shown) is forwards
        await network.destroy(space)
