"""`colony net …` and `colony focus` against a real instance on its real socket."""

from __future__ import annotations

import functools
import json
import re
import secrets
import shlex
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

from colony.host import Host
from netns.actors import NETWORK, GetNetwork, NetworkOwner
from tests.colony.cli.support import Ran, invoke
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, get, page, root_only
from tests.end_to_end.hosted import add, entered, options
from tests.ports import free_port

SLEEPS = {"command": ["sleep", "1000"]}

pytestmark = [root_only, pytest.mark.real_time]


@asynccontextmanager
async def serving(shop: Shop) -> AsyncIterator[Host]:
    chosen = msgspec.structs.replace(options(shop, EMBEDDED), serve=True)
    async with entered(shop, chosen) as host:
        await host.start()
        yield host


async def colony(shop: Shop, *words: str) -> Ran:
    call = functools.partial(invoke, *words, runtime=shop.runtime)
    return await anyio.to_thread.run_sync(call)


def rare_subnet() -> IPv4Network:
    """One that no other test, which may run beside this one, takes as well."""
    return IPv4Network((0x0A_D0_00_00 + (secrets.randbelow(1 << 12) << 8), 24))


async def start(shop: Shop, host: Host, text: str, port: int = 4001, **network: Any) -> Colony:
    made = shop.colony({"web": page(text, port, "127.0.0.1")}, network=network)
    await (await add(shop, host, made)).service("web").ready(PATIENCE)
    return made


async def test_ports_and_focus(shop: Shop) -> None:
    async with serving(shop) as host:
        one = await start(shop, host, "one", ports=["auto:4001"])
        ran = await colony(shop, "net", "forward", one.name, "auto:4001")
        found = re.fullmatch(rf"localhost:(\d+) leads to port 4001/tcp of {one.name}\n", ran.out)
        assert found is not None, ran
        port = int(found[1])
        page_text = await anyio.to_thread.run_sync(get, port, "localhost")
        assert page_text.text.startswith("one")
        listed = json.loads((await colony(shop, "net", "ports", "--json")).out)
        origins = sorted((each["origin"], each["service"]) for each in listed["forwards"])
        assert origins == [("asked", "web"), ("file", "web")]
        assert [each["port"] for each in listed["listening"]] == [4001]
        table = (await colony(shop, "net", "ports")).lines
        assert table[0].split() == ["COLONY", "SERVICE", "HOST", "PORT", "PROTO", "BY"]
        assert (await colony(shop, "net", "unforward", one.name, str(port))).status == 0
        again = await colony(shop, "net", "unforward", one.name, str(port))
        assert again.status != 0
        assert f"has no forward at port {port}/tcp of the host" in again.err
        sixth = await colony(shop, "net", "forward", one.name, f"[::1]:{free_port()}:4001")
        assert sixth.out.startswith("[::1]:")
        bad = await colony(shop, "net", "forward", one.name, "web")
        assert "a port is PORT, HOST_PORT:PORT or ADDRESS:HOST_PORT:PORT" in bad.err
        free = await start(shop, host, "free", plain := free_port())
        focused = await colony(shop, "focus", free.name)
        assert focused.out == f"http://localhost:{plain}/ is {free.name}'s\n"
        assert (await colony(shop, "focus", "--off")).status == 0
        with socket.create_server(("127.0.0.1", plain)):
            focused = await colony(shop, "focus", free.name)
        assert (focused.status, focused.out) == (1, "")
        assert focused.err.startswith(f"port {plain} of the host is taken")
        assert (await colony(shop, "focus", "--off")).status == 0


async def test_networks_rules_and_ping(shop: Shop) -> None:
    async with serving(shop) as host:
        network = shop.name()
        one = await start(shop, host, "one", network=network, ports=["auto:4001"])
        two = await start(shop, host, "two", network=network)
        alone = await start(shop, host, "alone")
        listed = (await colony(shop, "net", "list")).lines
        assert sorted(line.split()[:3] for line in listed[1:]) == sorted(
            [["-", "-", "1"], [network, "-", "2"]]
        )
        shown = json.loads((await colony(shop, "net", "inspect", network, "--json")).out)
        assert {each["colony"]: each["reaches"] for each in shown["members"]} == {
            one.name: [two.name],
            two.name: [one.name],
        }
        table = (await colony(shop, "net", "inspect", network)).lines
        assert table[0].split() == ["COLONY", "ADDRESS", "PORTS", "REACHES"]
        row = next(line.split() for line in table if line.startswith(one.name))
        assert re.fullmatch(r"\d+:4001/tcp", row[2])
        assert row[3:] == [two.name]
        a, b = (host.colonies[each.name].address for each in (one, two))
        rules = (await colony(shop, "net", "rules")).lines
        assert rules[0] == f"nft table inet colony_{host.parts.instance.id}"
        assert rules[1:] == sorted([f"peer     {a} → {b}/32:*", f"peer     {b} → {a}/32:*"])
        ping = await colony(shop, "net", "ping", one.name, two.name)
        assert re.fullmatch(
            rf"{one.name} → {two.name} \({b}:4001\): ok \([0-9.e-]+ ms\)\n", ping.out
        )
        silent = await colony(shop, "net", "ping", one.name, two.name, "--port", "9")
        assert silent.out.endswith("nothing listens)\n")
        no = await colony(shop, "net", "ping", one.name, alone.name)
        assert no.status == 1
        assert (
            f"{one.name} does not reach {alone.name}: {alone.name} lets nobody in but its own "
            f"network; name {one.name} in its allow_from, or give both one `network`"
        ) in no.err
        guest = shop.colony({}, network={"mode": "share", "share": one.name}, terminal=SLEEPS)
        await add(shop, host, guest)
        no = await colony(shop, "net", "ping", guest.name, alone.name)
        assert f"{alone.name} lets nobody in but its own network; name {one.name} in its" in no.err
        no = await colony(shop, "net", "ping", alone.name, guest.name)
        assert f"colony {guest.name} has no network of its own" in no.err
        unknown = await colony(shop, "net", "inspect", "nonet")
        assert unknown.status != 0


async def test_routes_and_names(shop: Shop) -> None:
    async with serving(shop) as host:
        network, other = shop.name(), free_port()
        one = await start(shop, host, "one", network=network, hostname=f"{network}-h")
        seen = f"s = __import__('socket').create_server(('127.0.0.1', {other})); input()"
        two = shop.colony(
            {
                "web": page("two", 4001),
                "tail": {
                    "command": [
                        "sh",
                        "-c",
                        f"sleep 999 | {shlex.join([sys.executable, '-c', seen])}",
                    ]
                },
            },
            network={"network": network, "expose": "auto"},
        )
        await (await add(shop, host, two)).service("web").ready(PATIENCE)
        address = host.colonies[two.name].address
        wanted = {(f"{address}:4001", "ready"), (f"{address}:{other}", None)}
        leads: set[tuple[str, str | None]] = set()
        with anyio.fail_after(PATIENCE):
            while leads != wanted:
                await anyio.sleep(0.05)
                found = json.loads((await colony(shop, "net", "routes", "--json")).out)
                mine = [each for each in found if each["colony"] == two.name]
                leads = {(each["upstream"], each["state"]) for each in mine}
        table = (await colony(shop, "net", "routes")).lines
        assert table[0].split() == ["URL", "COLONY", "SERVICE", "LEADS", "TO", "STATE"]
        [row] = [line for line in table if f"{two.name}-{other}" in line]
        assert row.split()[1:] == [two.name, "port", str(other), f"{address}:{other}", "open"]
        names = json.loads((await colony(shop, "net", "dns", "--json")).out)
        assert (names["server"], names["suffixes"]) == (
            "embedded",
            ["colony.local", "colony.localhost"],
        )
        known = {each["name"]: each["known_to"] for each in names["names"]}
        assert known[f"{network}-h"] == known[f"web.{one.name}.colony.local"] == [two.name]
        shown = (await colony(shop, "net", "dns")).lines
        assert shown[0] == f"server    embedded at 127.0.0.1:{names['port']} (UDP)"
        assert [f"{network}-h", host.colonies[one.name].address, one.name, two.name] in [
            line.split() for line in shown
        ]


async def test_a_network_with_a_subnet_of_its_own(shop: Shop) -> None:
    name, subnet = shop.name(), rare_subnet()
    around = str(subnet.supernet(new_prefix=16))
    second, third, ninth = (str(subnet[index]) for index in (2, 3, 9))
    async with serving(shop) as host:
        made = await colony(shop, "net", "create", name, "--subnet", str(subnet))
        assert made.out == f"network {name} has {subnet}\n"
        again = await colony(shop, "net", "create", name)
        assert again.status != 0
        assert f"network {name} is there already, with {subnet}" in again.err
        network = await host.system.named(NETWORK, NetworkOwner).call(GetNetwork())
        pool = network.pool.v4
        for bad, why in {
            around: f"overlaps {subnet}, the addresses of network {name}",
            f"{pool[4 * 256]}/24": f"overlaps {pool}, the addresses of colonies in no such network",
            "8.8.8.0/24": "a subnet is of private addresses",
            "10.1.2.3/24": "has host bits set",
            "10.1.2.0/31": "a subnet is a /12 to a /29",
        }.items():
            ran = await colony(shop, "net", "create", "other", "--subnet", bad)
            assert ran.status != 0
            assert why in ran.err, ran.err
        one = await start(shop, host, "one", network=name)
        two = await start(shop, host, "two", network=name, ip=ninth)
        assert host.colonies[one.name].address == second
        assert host.colonies[two.name].address == ninth
        ping = await colony(shop, "net", "ping", one.name, two.name)
        assert ": ok (" in ping.out
        shown = json.loads((await colony(shop, "net", "list", "--json")).out)
        assert [(each["name"], each["subnet"], len(each["members"])) for each in shown] == [
            (name, str(subnet), 2)
        ]
        assert (await colony(shop, "net", "inspect", name)).lines[0] == f"subnet {subnet}"
        busy = await colony(shop, "net", "remove", name)
        assert busy.status != 0
        used = ", ".join(sorted((one.name, two.name)))
        assert f"network {name} is in use by colonies {used}; stop them first" in busy.err
        await host.remove(one.name)
        await host.remove(two.name)
        automatic = await colony(shop, "net", "create", "auto")
        assert re.fullmatch(r"network auto has 10\.199\.\d+\.0/24\n", automatic.out)
        assert (await colony(shop, "net", "remove", "auto")).status == 0
    # It outlasts the instance.
    async with serving(shop) as host:
        assert (await colony(shop, "net", "list")).lines[1].split() == [name, str(subnet), "0"]
        three = await start(shop, host, "three", network=name)
        assert host.colonies[three.name].address == third  # .2 is kept for `one`
        await host.remove(three.name)
        assert (await colony(shop, "net", "remove", name)).status == 0
        gone = await colony(shop, "net", "remove", name)
        assert gone.status != 0
        assert f"there is no network '{name}'" in gone.err
        assert (await colony(shop, "net", "list")).out == (
            "no colonies run, and no network was created\n"
        )
