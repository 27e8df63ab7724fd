"""By which program ever a plain user's colonies go out: IPv4 and IPv6, and nothing comes in.
On a machine with an outside (`outside`); by pasta, too, where there is one from 2024 on."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import Any

import pytest

from colony.machine import ways_out
from netns.uplink import SLIRP, SLIRP6
from tests.end_to_end.colonies import Shop, eventually, page
from tests.end_to_end.outside import (
    GATEWAY4,
    GATEWAY6,
    OUTSIDE4,
    OUTSIDE6,
    PORT,
    SECRET,
    outside,
)
from tests.end_to_end.plain import as_a_user, going_out_by, run_as_a_user

pytestmark = [
    as_a_user,
    pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="needs slirp4netns"),
]

by_each_program = pytest.mark.parametrize("program", ways_out())

INWARD = {
    "slirp4netns": (str(SLIRP[2]), str(SLIRP6)),
    "pasta": (GATEWAY4, GATEWAY6),
}
"""Where each program would have the host's own loopback, if it was let."""


SIZE = 30_000  # what pasta takes at once: of more it may take seconds

SEND = f"""
import socket, sys, time
for target in sys.argv[2:]:
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=float(sys.argv[1])) as there:
            there.sendall(bytes({SIZE}))
            there.shutdown(socket.SHUT_WR)
            print(target, "took", there.recv(100).decode(), flush=True)
    except OSError as error:
        print(target, "is not reached", flush=True)
time.sleep(600)
"""


def sending(*targets: str, patience: float = 20) -> dict[str, Any]:
    """A service that sends to these and says what became of it. `patience` in seconds."""
    return {"command": [sys.executable, "-Ic", SEND, str(patience), *targets]}


@by_each_program
def test_both_families_go_out_and_none_comes_in(users: Shop, program: str) -> None:
    out4, out6 = f"{OUTSIDE4}:{PORT}", f"{OUTSIDE6}:{PORT}"
    inward = [f"{address}:{SECRET}" for address in (*INWARD[program], "127.0.0.1", "::1")]
    free = users.colony({"out": sending(out4, out6), "in": sending(*inward, patience=2)})
    shut = users.colony({"out": sending(out4, out6)}, network={"egress": "none"})
    listed = users.colony(
        {"out": sending(out4, out6)},
        **{"network.policy.egress": {"allow": [f"{OUTSIDE4}/32:{PORT}"]}},
    )
    env = going_out_by(program, users)
    with outside() as there:
        run = run_as_a_user(users, free, shut, listed, how=("tun",), before=there.prefix, env=env)
        run.expect(rf"✓ way out +{program}")
        for target in (out4, out6):
            run.expect(rf"{free.name}/out \| {target} took {SIZE}$")
            run.expect(rf"{shut.name}/out \| {target} is not reached$")
        for target in inward:
            run.expect(rf"{free.name}/in +\| {target} is not reached$")
        run.expect(rf"{listed.name}/out \| {out4} took {SIZE}$")
        run.expect(rf"{listed.name}/out \| {out6} is not reached$")
        assert run.stop() == 130
    assert users.leftovers() == []


@by_each_program
def test_a_machine_without_ipv6(users: Shop, program: str) -> None:
    """The colony has no way that would lead nowhere: a client is told so at once."""
    look = "ip -6 route show default | grep -c . || true; exec sleep 600"
    out = sending(f"{OUTSIDE4}:{PORT}", f"{OUTSIDE6}:{PORT}")
    colony = users.colony({"out": out, "look": {"command": look}})
    env = going_out_by(program, users)
    with outside(ipv6=False) as there:
        run = run_as_a_user(users, colony, how=("tun",), before=there.prefix, env=env)
        run.expect(rf"out +\| {OUTSIDE4}:{PORT} took {SIZE}$")
        run.expect(rf"out +\| {OUTSIDE6}:{PORT} is not reached$")
        run.expect(r"look +\| 0$")
        assert run.stop() == 130


@by_each_program
def test_the_program_ends_with_a_killed_colony(users: Shop, program: str) -> None:
    env = going_out_by(program, users)
    run = run_as_a_user(users, users.colony({"web": page("hello")}), how=("tun",), env=env)
    run.ready()
    run.expect(rf"✓ way out +{program}")
    run.send(signal.SIGKILL)
    run.wait()
    eventually(lambda: users.processes() == [])
    following = run_as_a_user(users, users.colony({"web": page("next")}))
    following.ready()
    assert following.stop() == 130
