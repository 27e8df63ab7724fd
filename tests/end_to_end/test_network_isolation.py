"""What nobody in a colony may reach, tried from inside one as root: the host's loopback, the way
into the instance, Caddy's, the name server, another colony. And that it is reached where allowed.

(TCP to the host and to neighbours: see `test_network_neighbours` as well.)
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from netns import userns
from proxy.dns import query
from tests.end_to_end.colonies import PATIENCE, Colony, Shop, page, root_only
from tests.end_to_end.hosted import add, entered, options

pytestmark = [root_only, pytest.mark.real_time]

ASK_API = """
import http.client, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
try:
    asked = Unix("localhost")
    asked.request("GET", "/api/colonies")
    answer = asked.getresponse()
    print(answer.status, answer.read().decode())
except OSError as error:
    print("no way", error.strerror)
"""

TRY = """
import json, socket, sys
said = {}
for kind, host, port in json.loads(sys.argv[1]):
    family = {"unix": socket.AF_UNIX}.get(kind, socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.settimeout(1.0)
    try:
        sock.connect(host if kind == "unix" else (host, port))
        if kind == "udp":
            sock.send(bytes.fromhex(sys.argv[2]))
            sock.recv(500)
        said[f"{kind} {host} {port}"] = "reached"
    except OSError as error:
        said[f"{kind} {host} {port}"] = "no"
print(json.dumps(said))
"""

Target = tuple[str, str, int]


async def inside(host: Host, colony: Colony, program: str, *arguments: str) -> str:
    argv = (sys.executable, "-c", program, *arguments)
    done = await execute(host.colonies[colony.name], Exec(argv=argv, timeout_ms=60000))
    assert done.code == 0, done.stderr
    return done.stdout


async def tries(host: Host, colony: Colony, targets: list[Target]) -> dict[str, str]:
    question = query("a.colony.local", 1).hex()
    said = await inside(host, colony, TRY, json.dumps(targets), question)
    found: dict[str, str] = json.loads(said)
    return found


def name_server_answers(port: int) -> bool:
    """Whether the name server answers us."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.sendto(query("a.colony.local", 1), ("127.0.0.1", port))
        return bool(client.recv(500))


def sockets_of(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob("*") if path.is_socket()]


async def test_the_api_is_for_who_is_let_in(shop: Shop) -> None:
    idle = {"idle": {"command": "sleep 600"}}
    shut = shop.colony(idle)
    let_in = shop.colony(idle, **{"network.policy": {"api": True}})
    chosen = msgspec.structs.replace(options(shop, ()), serve=True)
    async with entered(shop, chosen) as host:
        await host.start()
        await add(shop, host, shut)
        await add(shop, host, let_in)
        api = str(shop.runtime / "colony.sock")
        refused = await inside(host, shut, ASK_API, api)
        assert refused.startswith("403 ")
        assert f"what runs in colony {shut.name} may not use this instance's API" in refused
        assert f"api = true in [network.policy] of {shut.name}" in refused
        assert (await inside(host, let_in, ASK_API, api)).startswith("200 ")
        # Nor by a network namespace of its own.
        own = "-n" if not userns.entered() else "-rn"  # a user namespace, too, for who is no root
        argv = ("unshare", own, sys.executable, "-c", ASK_API, api)
        done = await execute(host.colonies[shut.name], Exec(argv=argv, timeout_ms=20000))
        assert done.stdout.startswith("403 ")
        assert "the caller is in another network namespace than this instance" in done.stdout


async def test_nothing_else_that_leads_into_the_instance_is_reached(shop: Shop) -> None:
    """Caddy's admin socket, the name server, what serves the pages, and the host's own."""
    async with entered(shop, options(shop, ())) as host:
        await host.start()
        colony = shop.colony({"idle": {"command": "sleep 600"}})
        other = shop.colony({"web": page("other")})
        await add(shop, host, colony)
        await (await add(shop, host, other)).service("web").ready(PATIENCE)
        with ExitStack() as stack:
            name = f"\0colony-test-{secrets.token_hex(6)}"
            abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
            abstract.bind(name)
            abstract.listen()
            own4 = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            own6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
            space = host.parts.places.place(colony.name)
            assert space is not None
            admin = sockets_of(host.parts.instance.own)
            assert admin  # Caddy's
            assert host.parts.dns is not None
            dns = host.parts.dns.port
            assert name_server_answers(dns)
            gateway4, gateway6 = str(space.address.gateway4), str(space.address.gateway6)
            targets: list[Target] = [
                *(("unix", path, 0) for path in admin),
                ("unix", name, 0),
                ("tcp", "127.0.0.1", own4.getsockname()[1]),
                ("tcp", gateway4, own4.getsockname()[1]),
                ("tcp", "::1", own6.getsockname()[1]),
                ("tcp", gateway6, own6.getsockname()[1]),
                ("udp", "127.0.0.1", dns),
                ("udp", gateway4, dns),
                ("tcp", gateway4, dns),
                ("tcp", gateway4, host.http_port),
                ("tcp", str(host.colonies[other.name].address), 4001),
            ]
            # All of it is there, for us.
            for kind, where, port in targets[: len(admin) + 1]:
                with socket.socket(socket.AF_UNIX) as here:
                    here.connect(where)
                assert (kind, port) == ("unix", 0)
            found = await tries(host, colony, targets)
            assert set(found.values()) == {"no"}, found


async def test_another_instance_is_reached_no_more_than_ones_own(shop: Shop) -> None:
    """Its API, Caddy's socket, its name server and front door, and its colonies. As root also one
    that has a runtime directory of its own; a plain user's is known of in the same one alone."""
    first = msgspec.structs.replace(options(shop, ()), serve=True)
    apart: dict[str, Any] = {"serve": False}
    if not userns.entered():
        apart = {"runtime": shop.folder / "other", "home": shop.folder / "other-home"}
    async with (
        entered(shop, first) as host,
        entered(shop, msgspec.structs.replace(first, **apart)) as other,
    ):
        await host.start()
        await other.start()
        colony = shop.colony({"idle": {"command": "sleep 600"}})
        theirs = shop.colony({"web": page("theirs")}, **{"network.policy": {"api": True}})
        await add(shop, host, colony)
        running = await add(shop, other, theirs)
        await running.service("web").ready(20)
        space = host.parts.places.place(colony.name)
        there = other.parts.places.place(theirs.name)
        assert space is not None
        assert there is not None
        assert other.parts.dns is not None
        admin = sockets_of(other.parts.instance.own)
        assert admin
        targets: list[Target] = [
            *(("unix", path, 0) for path in admin),
            *(
                (kind, str(gateway), port)
                for gateway in (space.address.gateway4, there.address.gateway4)
                for kind, port in (
                    ("tcp", other.http_port),
                    ("tcp", other.parts.dns.port),
                    ("udp", other.parts.dns.port),
                )
            ),
            ("tcp", str(there.address.v4), 4001),
            ("tcp", str(there.address.v6), 4001),
        ]
        found = await tries(host, colony, targets)
        assert set(found.values()) == {"no"}, found
        if userns.entered():
            return
        # `api = true` of theirs lets nobody in but theirs.
        api = str(shop.folder / "other" / "colony.sock")
        refused = await inside(host, colony, ASK_API, api)
        assert refused.startswith("403 ")
        assert "the caller is in another network namespace than this instance" in refused
