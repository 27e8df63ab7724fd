"""A plain user's colonies go out by slirp4netns, as far as that user could, and not to the host's
own loopback; and where there is no way out, they are told so and are there all the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netns.uplink import SLIRP
from tests.end_to_end.colonies import Run, Shop, alive, answers, children, eventually, host, page
from tests.end_to_end.plain import UID, as_a_user, run_as_a_user

SIZE = 3_000_000

SEND = f"""
import socket, sys, time
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=20) as there:
            there.sendall(bytes({SIZE}))
            there.shutdown(socket.SHUT_WR)
            print(target, "took", there.recv(100).decode(), flush=True)
    except OSError as error:
        print(target, "is not reached", flush=True)
time.sleep(600)
"""

pytestmark = [
    as_a_user,
    pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="needs slirp4netns"),
]


def own_address() -> str:
    """This machine's, as the world sees it. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("198.51.100.1", 9))
        return str(asking.getsockname()[0])


@contextmanager
def counting(address: str) -> Iterator[int]:
    """A server that says how many bytes it got; its port."""
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    count = 0
                    while data := client.recv(1 << 16):
                        count += len(data)
                    client.sendall(str(count).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def sending(*targets: str) -> dict[str, Any]:
    """A service that sends to these and says what became of it."""
    return {"command": [sys.executable, "-Ic", SEND, *targets]}


def helper_of(run: Run) -> int:
    """The process of the way out."""

    def look() -> int | None:
        for pid in children(run.pid):
            with suppress(OSError):  # another child may end just now
                if Path(f"/proc/{pid}/comm").read_text() == "slirp4netns\n":
                    return pid
        return None

    found = eventually(look)
    assert found is not None
    return found


def test_colonies_go_out_but_not_to_the_hosts_loopback(users: Shop) -> None:
    address = own_address()
    with counting(address) as port, counting("127.0.0.1") as secret:
        targets = [f"{address}:{port}", f"{SLIRP[2]}:{secret}", f"127.0.0.1:{secret}"]
        free = users.colony({"out": sending(*targets)})
        shut = users.colony({"out": sending(targets[0])}, network={"egress": "none"})
        listed = users.colony(
            {"out": sending(*targets[:2])},
            **{"network.policy.egress": {"allow": [f"{address}/32:{port}"]}},
        )
        run = run_as_a_user(users, free, shut, listed, how=("tun",))
        run.expect(r"✓ way out +slirp4netns")
        run.expect(rf"{free.name}/out \| {targets[0]} took {SIZE}$")
        run.expect(rf"{free.name}/out \| {targets[1]} is not reached$")
        run.expect(rf"{free.name}/out \| {targets[2]} is not reached$")
        run.expect(rf"{shut.name}/out \| {targets[0]} is not reached$")
        run.expect(rf"{listed.name}/out \| {targets[0]} took {SIZE}$")
        run.expect(rf"{listed.name}/out \| {targets[1]} is not reached$")
        assert run.stop() == 130
    assert users.leftovers() == []


def test_names_are_asked_by_the_way_out(users: Shop) -> None:
    look = {"command": "cat /etc/resolv.conf; exec sleep 600"}
    colony = users.colony({"web": page("hello"), "look": look})
    run = run_as_a_user(users, colony, how=("tun",))
    run.expect(rf"look \| nameserver {SLIRP[3]}$")


def test_a_way_out_that_ends_is_opened_again(users: Shop) -> None:
    colony = users.colony({"web": page("hello")})
    run = run_as_a_user(users, colony, how=("tun",))
    run.ready()
    first = helper_of(run)
    os.kill(first, signal.SIGKILL)
    run.expect(r"✓ way out +slirp4netns", nth=2)
    assert helper_of(run) != first
    assert answers(run.http_port, host(colony), "hello").pid == run.service_pid()


def test_it_ends_with_a_killed_colony(users: Shop) -> None:
    run = run_as_a_user(users, users.colony({"web": page("hello")}), how=("tun",))
    run.ready()
    helper = helper_of(run)
    assert os.stat(f"/proc/{helper}").st_uid == UID
    run.send(signal.SIGKILL)
    run.wait()
    eventually(lambda: not alive(helper))
    following = run_as_a_user(users, users.colony({"web": page("next")}))
    following.ready()


def test_without_a_way_out_the_ways_in_are_there(users: Shop) -> None:
    colony = users.colony({"web": page("hello")})
    run = run_as_a_user(users, colony, how=("no-tun",))
    run.ready()
    answers(run.http_port, host(colony), "hello")
    assert run.err.all() == [
        'note: colonies have no way out, but by egress = "proxy": this user may not open '
        "/dev/net/tun (as root: chmod 666 /dev/net/tun); the ways in are all there"
    ]
