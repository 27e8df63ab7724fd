"""`colony exec`: streams byte for byte, signals, exit statuses."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.end_to_end.attaching import COLONY, at_terminal, command, running, status
from tests.end_to_end.colonies import PATIENCE, Shop, alive, eventually, root_only


@root_only
def test_streams_apart_byte_for_byte_and_the_status(shop: Shop) -> None:
    colony, _ = running(shop)
    every = bytes(range(256)) * 4096
    ran = command(shop, "exec", colony.name, "--", "cat", stdin=every)
    assert (ran.returncode, ran.stdout == every, ran.stderr) == (0, True, b"")
    ran = command(shop, "exec", colony.name, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"out\n", b"err\n")
    ran = command(shop, "exec", colony.name, "--", "sh", "-c", "echo $COLONY_NAME; pwd; kill -9 $$")
    folder = os.path.realpath(colony.file.parent)
    assert (ran.returncode, ran.stdout) == (137, f"{colony.name}\n{folder}\n".encode())
    ran = command(shop, "exec", colony.name, "--", "sh", "-c", "sleep 1000 & echo up")
    assert (ran.returncode, ran.stdout) == (0, b"up\n")


@root_only
def test_on_the_hosts_network_beside_others_that_have_their_own(shop: Shop) -> None:
    colony, _ = running(shop, network={"mode": "host"})
    ran = command(shop, "exec", colony.name, "--", "readlink", "/proc/self/ns/net")
    here = os.readlink("/proc/self/ns/net")
    assert (ran.returncode, ran.stdout.decode().strip(), ran.stderr) == (0, here, b"")


@root_only
@pytest.mark.parametrize(
    ("closed", "out", "err"),
    [
        ("<&-", b"out\n", b"err\n"),
        (">&-", b"", b"err\n"),
        ("2>&-", b"out\n", b""),
        ("<&- >&- 2>&-", b"", b""),
    ],
)
def test_closed_streams_are_none_of_the_connections(
    shop: Shop, closed: str, out: bytes, err: bytes
) -> None:
    colony, _ = running(shop)
    script = "cat; echo out; echo err >&2; exit 7"
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "-", *COLONY, "exec", colony.name, "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=shop.folder,
        env=shop.environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, out, err)


@root_only
@pytest.mark.parametrize("words", ["exec NAME -- echo", "attach --new NAME -- echo hi", "ls"])
def test_a_full_disk_is_the_users_to_mend(shop: Shop, words: str) -> None:
    colony, _ = running(shop)
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*COLONY, *words.replace("NAME", colony.name).split()],
            input=b"\n",
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=shop.folder,
            env=shop.environment(),
            timeout=PATIENCE,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"error: ")
    assert ran.stderr.endswith(b": No space left on device\n")


@root_only
def test_what_cannot_be_run(shop: Shop) -> None:
    colony, _ = running(shop)
    (colony.file.parent / "plain").write_text("#!/bin/sh\n")
    missing = command(shop, "exec", colony.name, "--", "no-such")
    assert (missing.returncode, b"no such program" in missing.stderr) == (127, True)
    plain = command(shop, "exec", colony.name, "--", "./plain")
    assert (plain.returncode, b"not executable" in plain.stderr) == (126, True)
    only = command(shop, "-C", str(colony.file.parent), "exec", colony.name)
    assert only.returncode == 127
    assert only.stderr.endswith(f"= help: colony exec {colony.name} -- COMMAND...\n".encode())
    near = command(shop, "exec", colony.name[:-1], "--", "true")
    assert (near.returncode, f"did you mean '{colony.name}'" in near.stderr.decode()) == (5, True)
    no_tty = command(shop, "exec", "-t", colony.name, "--", "true")
    assert (no_tty.returncode, b"-t needs a terminal" in no_tty.stderr) == (2, True)


@root_only
def test_signals_are_passed_on_and_a_lost_caller_ends_it(shop: Shop) -> None:
    colony, _ = running(shop)
    script = "trap 'echo got-int; exit 9' INT; echo $$; while :; do sleep 0.05; done"
    words = [*COLONY, "exec", colony.name, "--", "sh", "-c", script]

    def start() -> tuple[subprocess.Popen[bytes], int]:
        popen = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=shop.folder,
            env=shop.environment(),
        )
        assert popen.stdout is not None
        return popen, int(popen.stdout.readline())

    popen, _ = start()
    popen.send_signal(signal.SIGINT)
    out, _ = popen.communicate()
    assert (popen.returncode, out) == (9, b"got-int\n")
    popen, pid = start()
    popen.kill()
    popen.communicate()
    eventually(lambda: not alive(pid))


@root_only
def test_on_a_terminal(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(
        shop,
        *("exec", "-t", colony.name, "--", "sh", "-c", "stty size; read x; echo got $x; exit 3"),
        rows=31,
        columns=97,
        inside=False,
    )
    child.expect_exact("31 97\r\n")
    assert child.before == b""  # not even a cleared screen
    child.send("abc\r")
    child.expect_exact("got abc")
    assert status(child) == 3
    assert command(shop, "terminals", colony.name, "--json").stdout == b"[]\n"
