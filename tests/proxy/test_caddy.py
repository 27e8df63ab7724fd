"""Caddy: our own process, somebody else's, the admin API, and keeping the routes as wanted."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import stat
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.caddy import CaddyProcess, caddy_version
from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import SERVER_PATH, parse_version
from proxy.errors import (
    AlreadyServed,
    BinaryNotFound,
    CaddyError,
    CaddyUnreachable,
    PortsTaken,
    ProcessDied,
    ProxyError,
    StartFailed,
)
from proxy.existing_caddy import ExistingCaddy
from proxy.reconciler import Timing
from proxy.routes import EMPTY, RouteTable, TcpUpstream
from tests.ports import free_ports
from tests.proxy.support import (
    FAST,
    PATIENCE,
    alive,
    environment,
    eventually,
    fetch,
    held,
    host,
    listing,
    route,
    running,
    script,
    service,
    strangers_apps,
    strangers_caddy,
    taken_port,
)

pytestmark = pytest.mark.real_time

VERSION = '[ "$1" = version ] && echo 2.6.2 && exit'
TABLE = RouteTable([route("one", TcpUpstream(1, "127.0.0.1"))])


def caddy(directory: Path, **options: Any) -> CaddyProcess:
    own: dict[str, Any] = {"ports": free_ports(3), "timing": FAST, "routes": "static"}
    return CaddyProcess(directory / "caddy", **(own | options))


# a Caddy of our own


async def test_the_version_of_the_installed_caddy_is_read() -> None:
    version = await caddy_version()
    assert version is not None
    assert version >= (2, 0, 0)
    assert parse_version(".".join(map(str, version))) == version


async def test_the_routes_are_in_its_configuration_as_documented(tmp_path: Path) -> None:
    door = caddy(tmp_path)
    async with running(door, TABLE):
        config = await door.admin.get("/config/")
        [entry, *_] = config["apps"]["http"]["servers"]["colony"]["routes"]
        assert entry["match"] == [{"host": ["one-3000.colony.local", "one-3000.colony.localhost"]}]
        assert [handler["handler"] for handler in entry["handle"]] == ["reverse_proxy"]
        assert entry["handle"][0]["upstreams"] == [{"dial": "127.0.0.1:1"}]
        assert entry == await door.admin.get("/id/colony-one-3000")


async def test_its_admin_socket_is_for_us_alone(tmp_path: Path) -> None:
    door = caddy(tmp_path)
    async with running(door, EMPTY):
        mode = stat.S_IMODE((tmp_path / "caddy").stat().st_mode)
        assert mode == 0o700
        assert (tmp_path / "caddy" / "admin.sock").is_socket()


async def test_its_admin_api_opens_at_the_documented_kind_of_place(tmp_path: Path) -> None:
    [port] = free_ports(1)
    door = caddy(tmp_path, admin=f"localhost:{port}")
    async with running(door, TABLE):
        response = await fetch(port, f"localhost:{port}", "/config/")
        assert response.status == 200
        assert "one-3000.colony.local" in response.text


async def test_an_admin_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with taken_port() as port:
        door = caddy(tmp_path, admin=f"localhost:{port}")
        with pytest.raises(PortsTaken, match=f"Caddy's admin API: tried {port} .taken."):
            await door.start()
    assert listing(tmp_path) == []


async def test_its_environment_is_what_it_is_given(tmp_path: Path) -> None:
    door = caddy(tmp_path, env={"COLONY_INSTANCE": "abc123"})
    async with running(door, EMPTY):
        assert door.pid is not None
        directory = str(tmp_path / "caddy")
        assert environment(door.pid) == {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "XDG_DATA_HOME": f"{directory}/data",
            "XDG_CONFIG_HOME": f"{directory}/config",
            "COLONY_INSTANCE": "abc123",
        }
        assert os.getpgid(door.pid) == door.pid


async def test_after_its_death_all_routes_are_back_on_the_same_port(tmp_path: Path) -> None:
    async with service("one") as one, service("two") as two:
        door = caddy(tmp_path)
        table = RouteTable([route("one", one.upstream)])
        await door.start(table)
        try:
            port, pid = door.port, door.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ProcessDied, match="caddy ended with signal 9"):
                await door.run()
            await door.stop()
            await door.start(table.put(route("two", two.upstream)))
            assert door.port == port
            assert door.pid != pid
            assert (await fetch(port, host("one"))).text == "one"
            assert (await fetch(port, host("two"))).text == "two"
        finally:
            await door.stop()


async def test_a_caddy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFound, match="'caddy-x' was not found on PATH") as caught:
        await caddy(tmp_path, binary="caddy-x").start()
    assert caught.value.binary == "caddy-x"
    assert "embedded" in caught.value.hint
    assert listing(tmp_path) == []


async def test_a_caddy_that_does_not_start_says_why(tmp_path: Path) -> None:
    fake = script(tmp_path / "fake-caddy", VERSION, "echo no luck >&2", "exit 3")
    before = held()
    with pytest.raises(StartFailed, match="caddy ended with exit code 3: no luck") as caught:
        await caddy(tmp_path, binary=fake).start()
    assert caught.value.status == 3
    assert listing(tmp_path) == ["fake-caddy"]
    assert held() <= before


async def test_a_quicker_one_took_the_port(tmp_path: Path) -> None:
    """What Caddy says when its bind fails sends us to the next port."""
    first, second = free_ports(2)
    fake = script(
        tmp_path / "fake-caddy",
        VERSION,
        "config=$(cat)",
        f'case "$config" in *127.0.0.1:{first}*) echo bind: address already in use; exit 1;; esac',
        'printf %s "$config" | exec caddy run --config -',
    )
    door = CaddyProcess(tmp_path / "caddy", ports=[first, second], binary=fake)
    async with running(door, EMPTY):
        assert door.port == second


async def test_a_directory_too_deep_for_a_socket_is_an_error(tmp_path: Path) -> None:
    door = CaddyProcess(tmp_path / ("d" * 100), ports=free_ports(3))
    with pytest.raises(ProxyError, match="at most 107 are possible"):
        await door.start()


async def test_a_directory_of_somebodys_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    door = CaddyProcess(tmp_path, ports=free_ports(3))
    with pytest.raises(ProxyError, match="is not for Caddy alone, it holds 'precious'"):
        await door.start()
    await door.stop()
    assert listing(tmp_path) == ["precious"]


async def test_what_a_killed_caddy_left_is_removed(tmp_path: Path) -> None:
    door = caddy(tmp_path)
    for name in ("data", "config"):
        (tmp_path / "caddy" / name).mkdir(parents=True)
    (tmp_path / "caddy" / "admin.sock").write_text("")
    async with running(door, EMPTY):
        assert (await fetch(door.port, "localhost")).status == 404


async def test_cancelled_while_it_starts_nothing_is_left(tmp_path: Path) -> None:
    fake = script(tmp_path / "fake-caddy", VERSION, "echo $$ > pid", "sleep 99")
    before = held()
    pid_file = tmp_path / "caddy" / "pid"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caddy(tmp_path, binary=fake).start)
        await eventually(lambda: pid_file.is_file() and bool(pid_file.read_text().strip()))
        pid = int(pid_file.read_text())
        tasks.cancel_scope.cancel()
    assert not alive(pid)
    assert listing(tmp_path) == ["fake-caddy"]
    assert held() <= before


# keeping it as wanted


async def test_many_changes_are_one_request(tmp_path: Path) -> None:
    quiet = 1.0
    door = caddy(tmp_path, timing=Timing(quiet=quiet, patience=PATIENCE))
    async with running(door, EMPTY):
        table = EMPTY
        for bursts in itertools.count(1):
            before, began = door.changes, anyio.current_time()
            for number in range(50):
                table = table.put(route(f"c{bursts}-{number}", TcpUpstream(1)))
                door.want(table)
                await anyio.lowlevel.checkpoint()
            took = anyio.current_time() - began
            await door.settled()
            if took < quiet:  # else there was a pause, on a machine that had no time for us
                break
        assert door.changes == before + 1
        server = await door.admin.get(SERVER_PATH)
        assert len(server["routes"]) == 2 + 50 * bursts


async def test_what_is_the_case_already_is_not_sent(tmp_path: Path) -> None:
    door = caddy(tmp_path)
    async with running(door, TABLE):
        door.want(RouteTable(TABLE))
        await door.settled()
        assert door.changes == 0


async def test_an_edit_by_hand_is_healed(tmp_path: Path) -> None:
    door = caddy(tmp_path)
    async with running(door, TABLE):
        wanted = await door.admin.get(SERVER_PATH)
        await door.admin.delete("/id/colony-one-3000")
        await eventually(lambda: door.changes == 1)
        assert await door.admin.get(SERVER_PATH) == wanted
        await door.admin.delete(SERVER_PATH)
        await eventually(lambda: door.changes == 2)
        assert await door.admin.get(SERVER_PATH) == wanted


# somebody else's Caddy


async def test_only_our_server_is_touched_and_it_goes_at_the_end(tmp_path: Path) -> None:
    async with service("one") as one, strangers_caddy(tmp_path) as stranger:
        before = await stranger.admin.get("/config/")
        door = ExistingCaddy(stranger.admin.address, ports=free_ports(3), timing=FAST)
        async with running(door, RouteTable([route("one", one.upstream)])):
            during = await stranger.admin.get("/config/")
            assert during["apps"]["http"]["servers"].pop("colony")["listen"] == [
                f"127.0.0.1:{door.port}",
                f"[::1]:{door.port}",
            ]
            assert during == before
            assert (await fetch(door.port, host("one"))).text == "one"
            assert (await fetch(stranger.port, "any")).text == "stranger"
        assert await stranger.admin.get("/config/") == before
        assert (await fetch(stranger.port, "any")).text == "stranger"


async def test_an_empty_caddy_is_left_empty(tmp_path: Path) -> None:
    async with strangers_caddy(tmp_path, {}) as stranger:
        before = await stranger.admin.get("/config/")
        assert "apps" not in before
        door = ExistingCaddy(stranger.admin.address, ports=free_ports(3))
        async with running(door, TABLE):
            assert (await fetch(door.port, host("one"))).status == 503
        assert await stranger.admin.get("/config/") == before


async def test_what_others_put_beside_ours_stays(tmp_path: Path) -> None:
    async with strangers_caddy(tmp_path, {}) as stranger:
        door = ExistingCaddy(stranger.admin.address, ports=free_ports(3))
        [port] = free_ports(1)
        server = strangers_apps(port)["apps"]["http"]["servers"]["srv0"]
        async with running(door, EMPTY):
            await stranger.admin.put("/config/apps/http/servers/srv0", server)
        assert (await stranger.admin.get("/config/"))["apps"]["http"]["servers"] == {"srv0": server}


async def test_what_a_killed_colony_left_is_taken_over(tmp_path: Path) -> None:
    async with service("one") as one, strangers_caddy(tmp_path) as stranger:
        ports = free_ports(3)
        killed = ExistingCaddy(stranger.admin.address, ports=ports)
        await killed.start(TABLE)
        left = killed.port
        killed._claim.release()  # type: ignore[union-attr]  # as its death would
        killed._held.release()  # type: ignore[union-attr]
        door = ExistingCaddy(stranger.admin.address, ports=free_ports(3))
        async with running(door, RouteTable([route("two", one.upstream)])):
            assert door.port == left
            assert (await fetch(door.port, host("two"))).text == "one"
            assert (await fetch(door.port, host("one"))).status == 404


async def test_two_colonies_in_one_caddy_are_one_too_many(tmp_path: Path) -> None:
    async with strangers_caddy(tmp_path) as stranger:
        first = ExistingCaddy(stranger.admin.address, ports=free_ports(3))
        async with running(first, EMPTY):
            second = ExistingCaddy(stranger.admin.address, ports=free_ports(3))
            with pytest.raises(AlreadyServed, match=stranger.admin.address):
                await second.start()
            assert await stranger.admin.get(SERVER_PATH) is not None


async def test_its_own_restart_brings_our_routes_back(tmp_path: Path) -> None:
    async with service("one") as one, strangers_caddy(tmp_path) as stranger:
        door = ExistingCaddy(stranger.admin.address, ports=free_ports(3), timing=FAST)
        async with running(door, RouteTable([route("one", one.upstream)])):
            whole = await stranger.admin.get("/config/")
            del whole["apps"]["http"]["servers"]["colony"]
            await stranger.admin.post("/load", whole)
            await eventually(lambda: door.changes == 2)
            assert (await fetch(door.port, host("one"))).text == "one"


async def test_a_caddy_that_does_not_run_is_named(tmp_path: Path) -> None:
    before = held()
    [port] = free_ports(1)
    with pytest.raises(CaddyUnreachable, match=f"http://127.0.0.1:{port} does not answer"):
        await ExistingCaddy(f"http://127.0.0.1:{port}", ports=free_ports(3)).start()
    assert held() <= before


# the admin API


async def test_caddys_own_words_are_in_the_error(tmp_path: Path) -> None:
    async with strangers_caddy(tmp_path) as stranger:
        with pytest.raises(CaddyError, match="Caddy refused PUT /config/apps/nope with ") as at:
            await stranger.admin.put("/config/apps/nope", {})
        assert at.value.status >= 400
        assert "unknown module: nope" in at.value.detail
        assert await stranger.admin.get("/config/apps/nope") is None


async def test_a_request_that_was_never_read_is_sent_again() -> None:
    """A connection that meets Caddy changing its admin server is reset."""
    seen: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        sock, _ = listener.accept()
        with closing(sock):
            seen.append(sock.recv(65536))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        admin = CaddyAdmin(f"127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, serve, listener)
            await admin.delete("/config/x")
    assert [request.split()[:2] for request in seen] == [[b"DELETE", b"/config/x"]]


async def test_a_cancelled_request_does_not_wait_for_its_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        admin = CaddyAdmin(f"127.0.0.1:{listener.getsockname()[1]}")
        before = held()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(admin.get, "/config/")
            sock, _ = await anyio.to_thread.run_sync(listener.accept)
            sock.settimeout(PATIENCE)
            asked = await anyio.to_thread.run_sync(sock.recv, 65536)
            tasks.cancel_scope.cancel()
        with closing(sock):
            assert len(held() - before) == 1  # our end of it alone
            assert asked.startswith(b"GET /config/ ")
            assert await anyio.to_thread.run_sync(sock.recv, 65536) == b""


@pytest.mark.parametrize(
    "address", ["", "localhost", "https://localhost:2019", "unix/x", "a:b", "x://"]
)
def test_an_admin_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="a Caddy admin address is") as caught:
        CaddyAdmin(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("localhost:2019", "localhost:2019"),
        ("http://localhost:2019/", "localhost:2019"),
        ("unix//run/x.sock", "unix//run/x.sock"),
    ],
)
def test_an_admin_address_in_caddys_words(address: str, listen: str) -> None:
    assert CaddyAdmin(address).listen == listen
