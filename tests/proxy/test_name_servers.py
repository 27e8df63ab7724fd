"""The two name servers, asked with dig; their arguments and answers, exactly."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dns import DnsResponder, Zone, answer, is_answer, query
from proxy.dnsmasq import Dnsmasq, arguments
from proxy.errors import BinaryNotFound, PortsTaken, ProcessDied, StartFailed
from proxy.front_door import NameServer
from proxy.process import find
from tests.ports import free_ports
from tests.proxy.support import (
    alive,
    environment,
    eventually,
    held,
    script,
)

SERVERS: dict[str, Callable[..., NameServer]] = {"dnsmasq": Dnsmasq, "embedded": DnsResponder}
each_server = pytest.mark.parametrize("kind", SERVERS)
real_time = pytest.mark.real_time


def dig(port: int, name: str, kind: str) -> tuple[str, list[str]]:
    """The status and the data of the answers."""
    argv = [
        find("dig", "needed by the tests"),
        "@127.0.0.1",
        "-p",
        str(port),
        "+tries=2",
        "+time=5",
    ]
    out = subprocess.run([*argv, name, kind], capture_output=True, text=True, check=True).stdout
    status = re.search(r"status: (\w+)", out)
    section = out.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
    assert status is not None
    return status[1], [line.split()[-1] for line in section.splitlines()]


QUESTIONS = [
    ("web-3000.colony.local", "A", "NOERROR", ["127.0.0.1"]),
    ("web-3000.colony.local", "AAAA", "NOERROR", ["::1"]),
    ("web-3000.colony.local", "TYPE65", "NOERROR", []),
    ("web-3000.colony.local", "TXT", "NOERROR", []),
    ("WEB-3000.Colony.LOCAL", "A", "NOERROR", ["127.0.0.1"]),
    ("web-3000.colony.localhost", "A", "NOERROR", ["127.0.0.1"]),
    ("web-3000.colony.localhost", "AAAA", "NOERROR", ["::1"]),
    ("colony.local", "A", "NOERROR", ["127.0.0.1"]),
    ("a.b.c.colony.local", "A", "NOERROR", ["127.0.0.1"]),
    ("example.org", "A", "REFUSED", []),
    ("other.local", "A", "REFUSED", []),
    ("notcolony.local", "A", "REFUSED", []),
    ("colony.local.example.org", "AAAA", "REFUSED", []),
]


@real_time
@each_server
async def test_names_of_ours_and_no_others(kind: str) -> None:
    async with SERVERS[kind](ports=free_ports(3)) as server:  # type: ignore[attr-defined]
        for name, record, status, data in QUESTIONS:
            found = await anyio.to_thread.run_sync(dig, server.port, name, record)
            assert (name, record, *found) == (name, record, status, data)


@real_time
@each_server
async def test_without_ipv6_an_aaaa_is_empty_and_no_error(kind: str) -> None:
    server = SERVERS[kind](ports=free_ports(3), zone=Zone(ipv6=""))
    await server.start()
    try:
        found = await anyio.to_thread.run_sync(dig, server.port, "x.colony.local", "AAAA")
    finally:
        await server.stop()
    assert found == ("NOERROR", [])


@real_time
@each_server
async def test_a_port_that_is_taken_is_passed_over(kind: str) -> None:
    first, second = free_ports(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first))
        async with SERVERS[kind](ports=[first, second]) as server:  # type: ignore[attr-defined]
            assert server.port == second


@real_time
@each_server
async def test_no_port_left_says_which_were_tried(kind: str) -> None:
    before = held()
    [port] = free_ports(1)
    server = SERVERS[kind](ports=[port])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortsTaken) as caught:
        await server.start()
    assert str(caught.value) == (
        f"no port for DNS: tried {port} (taken); free one of them or name another"
    )
    assert held() <= before


@real_time
@each_server
async def test_nothing_is_left_and_it_starts_again_on_its_port(kind: str) -> None:
    before = held()
    server = SERVERS[kind](ports=free_ports(3))
    await server.start()
    with pytest.raises(RuntimeError, match="started before"):
        await server.start()
    port = server.port
    await server.stop()
    await server.run()
    assert server.port == 0
    assert held() <= before
    await server.start()
    assert server.port == port
    await server.stop()
    await server.stop()
    assert held() <= before


@real_time
@each_server
async def test_run_ends_with_stop(kind: str) -> None:
    server = SERVERS[kind](ports=free_ports(3))
    await server.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        await anyio.lowlevel.checkpoint()
        await server.stop()


# dnsmasq


def test_dnsmasqs_arguments() -> None:
    assert arguments(5354, Zone(), Path("/run/hosts.d")) == [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        "--port=5354",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local-ttl=0",
        "--address=/colony.local/127.0.0.1",
        "--address=/colony.local/::1",
        "--local=/colony.local/",
        "--address=/colony.localhost/127.0.0.1",
        "--address=/colony.localhost/::1",
        "--local=/colony.localhost/",
        "--hostsdir=/run/hosts.d",
    ]
    without = arguments(53, Zone(suffixes=("x.test",), ipv6=""))
    assert without[-2:] == ["--address=/x.test/127.0.0.1", "--local=/x.test/"]


@real_time
async def test_names_from_the_hosts_directory_come_and_change() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "web").touch()
        for path, mode in ((directory, 0o755), (directory / "web", 0o644)):
            path.chmod(mode)  # whatever the umask: dnsmasq is no longer root when it reads
        async with Dnsmasq(ports=free_ports(3), hosts_directory=directory) as server:
            for address in ("10.200.0.2", "10.200.0.3"):
                (directory / "web").write_text(f"{address} web.ns.colony\n")
                await eventually(partial(is_at, server.port, "web.ns.colony", address))


def is_at(port: int, name: str, address: str) -> bool:
    return dig(port, name, "A") == ("NOERROR", [address])


@real_time
async def test_its_death_is_told() -> None:
    async with Dnsmasq(ports=free_ports(3), env={"COLONY_INSTANCE": "abc"}) as server:
        assert server.pid is not None
        assert environment(server.pid) == {"PATH": os.environ["PATH"], "COLONY_INSTANCE": "abc"}
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ProcessDied, match="dnsmasq ended with signal 9"):
            await server.run()


@real_time
async def test_a_dnsmasq_that_is_not_there_is_named() -> None:
    with pytest.raises(BinaryNotFound, match="'dnsmasq-x' was not found on PATH"):
        await Dnsmasq(binary="dnsmasq-x").start()


@real_time
async def test_a_dnsmasq_that_does_not_start_says_why(tmp_path: Path) -> None:
    before = held()
    fake = script(tmp_path / "fake", "echo unknown user >&2", "exit 1")
    with pytest.raises(StartFailed, match="dnsmasq ended with exit code 1: unknown user"):
        await Dnsmasq(ports=free_ports(3), binary=fake).start()
    assert held() <= before


@real_time
async def test_a_quicker_one_took_the_port(tmp_path: Path) -> None:
    first, second = free_ports(2)
    fake = script(
        tmp_path / "fake",
        f'case "$*" in *--port={first}*) echo "Address already in use" >&2; exit 2;; esac',
        f'exec {find("dnsmasq", "")} "$@"',
    )
    async with Dnsmasq(ports=[first, second], binary=fake) as server:
        assert server.port == second


@real_time
async def test_an_interface_that_goes_away_while_it_starts_is_no_failure(tmp_path: Path) -> None:
    """Another colony's, say: dnsmasq looks for all that there are, and ends when one is missing."""
    [port] = free_ports(1)
    words = "dnsmasq: failed to find list of interfaces: No such device"
    fake = script(
        tmp_path / "fake",
        f'if [ "$(wc -l < {tmp_path}/seen)" -lt 3 ]; then',
        f'echo x >> {tmp_path}/seen; echo "{words}" >&2; exit 5; fi',
        f'exec {find("dnsmasq", "")} "$@"',
    )
    (tmp_path / "seen").touch()
    async with Dnsmasq(ports=[port], binary=fake) as server:
        assert server.port == port
    assert (tmp_path / "seen").read_text() == "x\n" * 3


@real_time
async def test_cancelled_while_it_starts_nothing_is_left(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    fake = script(tmp_path / "fake", f"echo $$ > {pid_file}", "exec sleep 99")
    before = held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Dnsmasq(ports=free_ports(3), binary=fake).start)
        await eventually(lambda: pid_file.is_file() and bool(pid_file.read_text().strip()))
        tasks.cancel_scope.cancel()
    assert not alive(int(pid_file.read_text()))
    assert held() <= before


# the embedded answers


HEADER = struct.Struct("!HHHHHH")
QUESTION = query("x.colony.local", 7)


def test_the_bytes_of_an_answer() -> None:
    assert (
        HEADER.pack(7, 0x0100, 1, 0, 0, 0) + (b"\x01x\x06colony\x05local\x00\x00\x01\x00\x01")
        == QUESTION
    )
    assert answer(QUESTION, Zone()) == HEADER.pack(7, 0x8500, 1, 1, 0, 0) + QUESTION[12:] + (
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"
    )


def test_any_is_both_addresses() -> None:
    response = answer(query("x.colony.local", 7, 255), Zone())
    assert response is not None
    assert HEADER.unpack_from(response)[3] == 2
    assert response.endswith(b"\x00\x10" + bytes(15) + b"\x01")


def test_the_case_of_a_question_is_kept() -> None:
    asked = query("X.CoLoNy.LoCaL", 7)
    response = answer(asked, Zone())
    assert response is not None
    assert response[12 : len(asked)] == asked[12:]


@pytest.mark.parametrize(
    ("packet", "flags"),
    [
        (query("example.org", 7), 0x8105),
        (QUESTION[:-1] + b"\x03", 0x8105),  # class CHAOS
        (HEADER.pack(7, 0x2000, 1, 0, 0, 0), 0xA404),  # NOTIFY
        (HEADER.pack(7, 0, 0, 0, 0, 0), 0x8401),  # no question
        (HEADER.pack(7, 0, 2, 0, 0, 0) + QUESTION[12:] * 2, 0x8401),
    ],
)
def test_what_is_refused(packet: bytes, flags: int) -> None:
    response = answer(packet, Zone())
    assert response is not None
    ident, got, _, answers, *_ = HEADER.unpack_from(response)
    assert (ident, hex(got), answers) == (7, hex(flags), 0)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        HEADER.pack(7, 0x8000, 1, 0, 0, 0) + QUESTION[12:],  # an answer
        QUESTION[:-1],
        QUESTION[:16],
        HEADER.pack(7, 0, 1, 0, 0, 0) + b"\xc0\x0c\x00\x01\x00\x01",  # a compressed name
        HEADER.pack(7, 0, 1, 0, 0, 0) + b"\x3f" + b"a" * 20,
        HEADER.pack(7, 0, 1, 0, 0, 0) + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        HEADER.pack(7, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 9 + b"\0\0\1\0\1",
    ],
)
def test_what_is_no_question_gets_no_answer(packet: bytes) -> None:
    assert answer(packet, Zone()) is None


@given(st.binary(max_size=100))
def test_no_packet_does_harm(packet: bytes) -> None:
    response = answer(packet, Zone())
    assert response is None or response[:2] == packet[:2]


@pytest.mark.parametrize(
    ("packet", "is_it"),
    [
        (HEADER.pack(7, 0x8500, 0, 0, 0, 0), True),
        (HEADER.pack(8, 0x8500, 0, 0, 0, 0), False),
        (HEADER.pack(7, 0x0500, 0, 0, 0, 0), False),
        (HEADER.pack(7, 0x8505, 0, 0, 0, 0), False),
        (b"", False),
    ],
)
def test_what_is_an_answer(packet: bytes, is_it: bool) -> None:
    assert is_answer(packet, 7) is is_it


@real_time
async def test_rubbish_does_not_stop_the_responder() -> None:
    async with DnsResponder(ports=free_ports(3)) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for rubbish in (b"", b"x", b"\xff" * 600, b"\0" * 12):
                sock.sendto(rubbish, ("127.0.0.1", server.port))
        found = await anyio.to_thread.run_sync(dig, server.port, "x.colony.local", "A")
        assert found == ("NOERROR", ["127.0.0.1"])
