"""`colony attach` at a terminal that takes nothing: it is left all the same, by any way out."""

from __future__ import annotations

import fcntl
import os
import select
import shlex
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.end_to_end.attaching import (
    COLONY,
    PROMPT,
    at_terminal,
    detach,
    running,
    shown_by_the_guard,
    status,
)
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Shop, alive, eventually, root_only

pytestmark = root_only


COOKED = termios.ECHO | termios.ICANON
_TIOCGPTN = 0x80045430


def name_of(child: Any) -> str:
    """The path of its terminal, whether or not it still runs."""
    [number] = struct.unpack("I", fcntl.ioctl(child.child_fd, _TIOCGPTN, bytes(4)))
    return f"/dev/pts/{number}"


def takes(child: Any) -> bool:
    """Whether the child's terminal takes anything now."""
    slave = os.open(name_of(child), os.O_WRONLY | os.O_NOCTTY)
    try:
        return bool(select.select([], [slave], [], 0)[1])
    finally:
        os.close(slave)


def flooded(shop: Shop, colony: Colony) -> Any:
    """Somebody at a terminal that is full, for nobody reads it."""
    child = at_terminal(shop, "attach", colony.name)
    child.send("printf '\\033[?1049hin-%s' between; exec yes\r")
    child.expect_exact("in-between")
    eventually(lambda: not takes(child))
    return child


def ended(child: Any) -> bytes:
    """Waits for its end without reading; what can be read then. The terminal is as it was."""
    keep = os.open(name_of(child), os.O_RDWR | os.O_NOCTTY)
    try:
        eventually(lambda: not alive(child.pid))
        assert termios.tcgetattr(keep)[3] & COOKED == COOKED
    finally:
        os.close(keep)
    child.expect(pexpect.EOF)
    shown: bytes = child.before
    return shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (0, 0)])
def test_a_terminal_that_takes_nothing_is_left(shop: Shop, number: int, code: int) -> None:
    colony, _ = running(shop)
    child = flooded(shop, colony)
    if number:
        os.kill(child.pid, number)
    else:
        child.send("\x1dd")
    shown = ended(child)
    left = shown.rindex(b"\x18\x1b[?1049l")
    assert b"[detached from " in shown[left:]
    assert status(child) == code
    again = at_terminal(shop, "attach", colony.name, inside=False)
    again.expect_exact("\x1b[?1049h")  # it lives, and nobody was asked to wait
    detach(again)


def test_the_guard_restores_one_that_takes_nothing(shop: Shop) -> None:
    colony, _ = running(shop)
    child = flooded(shop, colony)
    keep = os.open(name_of(child), os.O_RDWR | os.O_NOCTTY)
    try:
        os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: termios.tcgetattr(keep)[3] & termios.ECHO)
    finally:
        os.close(keep)
    shown_by_the_guard(child, b"\x18\x1b[?1049l")
    child.close(force=True)


def test_a_session_that_ends_ends_it_though_nobody_reads(shop: Shop) -> None:
    colony, _ = running(shop)
    much = "head -c 300000 /dev/zero | tr '\\0' x; exit 5"
    words = ("attach", "--new", colony.name, "--", "sh", "-c", much)
    child = at_terminal(shop, *words, inside=False)
    assert b"x" in ended(child)
    assert status(child) == 5


def test_what_a_slow_reader_has_not_read_is_kept_for_it(shop: Shop) -> None:
    colony, _ = running(shop)
    much = "head -c 300000 /dev/zero | tr '\\0' x; read line; exit 5"
    words = ("attach", "--new", colony.name, "--", "sh", "-c", much)
    child = at_terminal(shop, *words, inside=False)
    eventually(lambda: not takes(child))
    child.expect_exact("x" * 300_000)
    child.send("\r")
    child.expect_exact("[exited 5]")
    assert status(child) == 5


def test_the_instances_end_ends_it_though_nobody_reads(shop: Shop) -> None:
    colony, run = running(shop)
    child = flooded(shop, colony)
    run.send(signal.SIGKILL)
    ended(child)
    assert status(child) == 4
    shop.run(colony, options=EMBEDDED).expect(r"✓ web +pid")  # it removes what was left


@contextmanager
def unread(shop: Shop, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`colony exec -T` whose output nobody reads any more once the first line is there, which is
    its command's process."""
    with subprocess.Popen(
        [*COLONY, "exec", "-T", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=shop.folder,
        env=shop.environment(),
    ) as popen:
        assert popen.stdout is not None
        try:
            pid = int(popen.stdout.readline())
            writing = os.open(f"/proc/{popen.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
            try:
                eventually(lambda: not select.select([], [writing], [], 0)[1])
            finally:
                os.close(writing)
            yield popen, pid
        finally:
            popen.kill()


def test_a_command_is_ended_though_nobody_takes_its_output(shop: Shop) -> None:
    colony, _ = running(shop)
    script = "echo $$; exec yes"
    with unread(shop, colony.name, "--", "sh", "-c", script) as (popen, pid):
        popen.send_signal(signal.SIGTERM)
        eventually(lambda: not alive(pid))
        assert popen.wait(PATIENCE) == 128 + signal.SIGTERM


def test_what_a_command_has_written_waits_for_its_reader(shop: Shop) -> None:
    colony, _ = running(shop)
    script = "echo $$; head -c 300000 /dev/zero | tr '\\0' x; echo; echo last >&2; exit 7"
    with unread(shop, colony.name, "--", "sh", "-c", f"exec 2>&1; {script}") as (popen, _):
        assert popen.stdout is not None
        assert popen.stdout.read() == b"x" * 300_000 + b"\nlast\n"
        assert popen.wait(PATIENCE) == 7


def test_in_the_background_a_signal_ends_it(shop: Shop) -> None:
    colony, _ = running(shop)
    shell = pexpect.spawn(
        "bash",
        ["--norc", "-i"],
        cwd=str(shop.folder),
        env=shop.environment() | {"PS1": "OUTER> "},
        timeout=PATIENCE,
    )
    shell.expect_exact("OUTER> ")
    shell.send(f"{shlex.join([*COLONY, 'attach', colony.name])}\r")
    shell.expect_exact(PROMPT)
    client = os.tcgetpgrp(shell.child_fd)
    os.killpg(client, signal.SIGTSTP)
    shell.expect_exact("Stopped")
    shell.expect_exact("OUTER> ")
    shell.send("kill %1\r")
    shell.expect_exact("[detached from ")
    shell.send("echo sane-$((1+1))\r")
    shell.expect_exact("sane-2")
    shell.close(force=True)
