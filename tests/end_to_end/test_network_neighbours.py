"""Colonies and their neighbours: names, networks, policy; and that nothing else is reached.

What a colony tries, it tries as root inside its own network, which is all that a service could.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network.ports import PORTS, GetForwards, HostPorts
from colony.running import ColonyFailed
from netns.probing import try_tcp
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, page, root_only
from tests.end_to_end.hosted import add, entered, hosted, options

pytestmark = [root_only, pytest.mark.real_time]

TRY = """
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        print(target, "connected")
    except OSError as error:
        print(target, "refused" if isinstance(error, ConnectionRefusedError) else "no")
"""


async def tries(host: Host, colony: Colony, *targets: str) -> list[str]:
    """What becomes of connections from inside a colony: connected, refused, or no (no way there).

    Refused is what the rules deny as well as where nobody listens: see `listens`.
    """
    done = await execute(
        host.colonies[colony.name],
        Exec(argv=(sys.executable, "-c", TRY, *targets), timeout_ms=60000),
    )
    assert done.code == 0, done.stderr
    return [line.rpartition(" ")[2] for line in done.stdout.splitlines()]


async def inside(host: Host, colony: Colony, *argv: str) -> str:
    done = await execute(host.colonies[colony.name], Exec(argv=argv, timeout_ms=20000))
    return done.stdout


async def listens(host: Host, colony: Colony, port: int = 4001) -> bool:
    """Whether somebody would answer there: the host, which no rule denies it, gets through."""
    thread, address = host.parts.thread, str(host.colonies[colony.name].address)
    return await try_tcp(thread, thread.home, address, port, PATIENCE) is None


async def start(shop: Shop, host: Host, **network: Any) -> Colony:
    """A colony whose two services listen on 127.0.0.1 alone, at 4001 and 4002, once they do."""
    services = {"web": page("hello", 4001, "127.0.0.1"), "more": page("more", 4002, "127.0.0.1")}
    colony = shop.colony(services, **network)
    running = await add(shop, host, colony)
    for name in services:
        await running.service(name).ready(PATIENCE)
    return colony


def policy(**rules: Any) -> dict[str, Any]:
    return {"network.policy": rules}


async def test_colonies_of_one_network_know_and_reach_each_other_and_nobody_else(
    shop: Shop,
) -> None:
    async with hosted(shop, EMBEDDED) as host:
        alone = await start(shop, host)
        one = await start(shop, host, network={"network": shop.name(), "hostname": "first"})
        network = host.colonies[one.name].config.network.network
        two = await start(shop, host, network={"network": network})
        names = [
            f"{two.name}",
            f"{two.name}.colony.local",
            f"web.{two.name}",
            f"web.{two.name}.colony.local",
        ]
        assert await tries(host, one, *(f"{name}:4001" for name in names)) == ["connected"] * 4
        assert await tries(host, two, "first:4001", "first.colony.local:4001") == ["connected"] * 2
        assert await tries(host, one, "web:4001", "first:4001") == ["connected"] * 2
        address = host.colonies[two.name].address
        found = await tries(host, alone, f"{address}:4001", f"{two.name}:4001")
        assert found == ["refused", "no"]  # it does not know the name
        assert await listens(host, alone)
        lonely = host.colonies[alone.name].address
        assert await tries(host, one, f"{lonely}:4001") == ["refused"]
        assert two.name in await inside(host, one, "cat", "/etc/hosts")
        await host.remove(two.name)

        with anyio.fail_after(PATIENCE):
            while two.name in await inside(host, one, "cat", "/etc/hosts"):  # noqa: ASYNC110
                await anyio.sleep(0.02)


async def test_a_hostname_and_a_name_are_not_the_same_whoever_comes_first(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        taken = shop.name()
        shop.names.append(taken)
        one = await start(shop, host, network={"hostname": taken})
        late = shop.colony({"web": page("late")}, colony={"name": taken})
        with pytest.raises(ColonyFailed, match=f"{taken} is the hostname of colony {one.name}"):
            await add(shop, host, late)


async def test_allow_from_says_who_and_nobody_else(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        friend, network = shop.name(), shop.name()
        shop.names.append(friend)
        back = await start(shop, host, network={"network": network}, **policy(allow_from=[friend]))
        stranger = await start(shop, host, network={"network": network})
        assert await listens(host, back)
        address = host.colonies[back.name].address
        assert await tries(host, stranger, f"{address}:4001") == ["refused"]
        # A friend needs not be of the network.
        file = shop.write(
            f'[colony]\nname = "{friend}"\n[services.idle]\ncommand = "sleep 600"\n', friend
        )
        await add(shop, host, Colony(friend, file))
        assert await tries(host, Colony(friend, file), f"{back.name}:4001") == ["connected"]


async def test_an_allow_list_is_all_that_a_colony_reaches(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        network = shop.name()
        db = await start(shop, host, network={"network": network})
        rules = {"network.policy.egress": {"allow": [f"{db.name}.colony.local:4001"]}}
        app = await start(shop, host, network={"network": network}, **rules)
        assert await listens(host, db, 4002)
        assert await tries(host, app, f"{db.name}:4001", f"{db.name}:4002") == [
            "connected",
            "refused",
        ]
        # db has no list, and reaches every port of app: nothing listens on this one.
        assert await tries(host, db, f"{app.name}:4001", f"{app.name}:9") == [
            "connected",
            "refused",
        ]


async def test_what_a_colony_must_not_reach(shop: Shop, tmp_path: Path) -> None:
    """The host's loopback, others' ports, and what leads into the instance."""
    with socket.create_server(("127.0.0.1", 0)) as secret:
        chosen = options(shop, ())
        async with entered(shop, chosen) as host:
            await host.start()
            shut = await start(shop, host, network={"egress": "none", "ports": ["auto:4001"]})
            other = await start(shop, host)
            forwards = await host.system.named(PORTS, HostPorts).call(GetForwards())
            port = secret.getsockname()[1]
            space = host.parts.places._spaces[shut.name]
            gateway = str(space.address.gateway4)
            targets = [
                f"127.0.0.1:{port}",
                f"{gateway}:{port}",
                f"{gateway}:{host.http_port}",
                f"{gateway}:{forwards[0].host_port}",
                f"{gateway}:2019",
                f"{host.colonies[other.name].address}:4001",
            ]
            assert await listens(host, other)
            found = await tries(host, shut, *targets)
            assert "connected" not in found, dict(zip(targets, found, strict=True))
            # One that is let out may reach what the host shows to its own network, and still not
            # its loopback: Caddy listens there alone.
            found = await tries(host, other, *targets[:-1])
            assert "connected" not in found, dict(zip(targets, found, strict=True))
            # The sockets that lead into the instance are for its user alone.
            for path in (host.parts.instance.directory, shop.runtime):
                assert os.stat(path).st_mode & 0o077 == 0


async def test_a_static_address_and_one_that_is_not_ours(shop: Shop) -> None:
    async with hosted(shop, EMBEDDED) as host:
        first = await start(shop, host)
        address = host.colonies[first.name].address
        assert address is not None
        wanted = f"{address.rpartition('.')[0]}.77"
        still = await start(shop, host, network={"ip": wanted})
        assert host.colonies[still.name].address == wanted
        bad = shop.colony({"web": page("x")}, network={"ip": "192.0.2.7"})
        with pytest.raises(ColonyFailed) as failed:
            await add(shop, host, bad)
        assert "192.0.2.7 is not a colony's address in the pool" in str(failed.value)
