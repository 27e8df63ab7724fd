"""A person at `colony attach`: detach, come back, resize, keys, crashes of either side."""

from __future__ import annotations

import json
import os
import shlex
import signal
import termios
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.end_to_end.attaching import (
    COLONY,
    PROMPT,
    at_terminal,
    command,
    detach,
    running,
    shown_by_the_guard,
    status,
)
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Shop, alive, eventually, page, root_only

pytestmark = root_only


def settings(child: Any) -> list[Any]:
    return termios.tcgetattr(child.child_fd)


def echoes(child: Any) -> bool:
    return bool(settings(child)[3] & termios.ECHO)


def is_stopped(child: Any) -> bool:
    """Its terminal is as before already; a SIGCONT that came sooner would be of no effect."""
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def leave_less(child: Any) -> None:
    """Up to the prompt. `less` loses a key that comes together with a SIGWINCH, as of a new viewer;
    one too many is typed at the prompt."""
    for patience in (0.5, 2.0, PATIENCE):
        child.send("q")
        if child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=patience) == 0:
            return
    raise AssertionError(f"less is still there: {child.buffer!r}")


def test_detach_and_come_back(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    assert not echoes(child)
    child.send("X=kept; hostname >/dev/null; echo n-$COLONY_NAME-$TERM\r")
    child.expect_exact(f"n-{colony.name}-xterm-256color\r\n")
    detach(child)
    again = at_terminal(shop, "attach", colony.name, inside=False)
    again.expect_exact(f"n-{colony.name}-xterm-256color\r\n")
    again.expect_exact(PROMPT)
    again.send("echo still-$X; exit 3\r")
    again.expect_exact("still-kept\r\n")
    again.expect_exact("[exited 3]")
    assert status(again) == 3


def test_it_is_inside_the_colonys_network(shop: Shop) -> None:
    colony = shop.colony({"web": page("inside", address="127.0.0.1")}, terminal={})
    run = shop.run(colony, options=EMBEDDED)
    run.ready()
    ran = command(
        shop, "exec", colony.name, "--", "python3", "-c",
        "import urllib.request as u; print(u.urlopen('http://localhost:4001').read().decode())",
    )  # fmt: skip
    assert ran.stdout.startswith(b"inside")


def test_resize_travels_and_the_smallest_viewer_wins(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name, rows=30, columns=100)
    child.send("stty size\r")
    child.expect_exact("30 100\r\n")
    child.setwinsize(33, 90)
    os.kill(child.pid, signal.SIGWINCH)

    def size(who: Any) -> str:
        who.send("stty size\r")
        who.expect(r"(\d+ \d+)\r\n")
        return str(who.match[1].decode())

    eventually(lambda: size(child) == "33 90")
    other = at_terminal(shop, "attach", colony.name, rows=20, columns=120)
    assert size(child) == "20 90"
    detach(other)
    eventually(lambda: size(child) == "33 90")
    detach(child)


def test_two_viewers_and_one_who_only_reads(shop: Shop) -> None:
    colony, _ = running(shop)
    writer = at_terminal(shop, "attach", colony.name)
    reader = at_terminal(shop, "attach", "--read-only", colony.name)
    reader.send("echo no-$((1+1))\r")
    writer.send("echo yes-$((1+1))\r")
    reader.expect_exact("yes-2\r\n")
    assert b"no-2" not in reader.before
    writer.expect_exact("yes-2\r\n")
    detach(reader)
    detach(writer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_terminal_is_as_before_and_the_session_lives(shop: Shop, number: int) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name, inside=False)
    child.expect_exact(PROMPT)
    child.send("\x1b")  # anything
    os.kill(child.pid, number)
    eventually(lambda: echoes(child) and settings(child)[3] & termios.ICANON)
    child.close(force=True)
    again = at_terminal(shop, "attach", colony.name)
    detach(again)


def test_stopped_and_continued(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    os.kill(child.pid, signal.SIGTSTP)
    eventually(lambda: echoes(child) and is_stopped(child))
    os.kill(child.pid, signal.SIGCONT)
    eventually(lambda: not echoes(child))
    child.send("echo on-$((1+1))\r")
    child.expect_exact("on-2\r\n")
    child.send("less colony.toml\r")
    child.expect_exact("\x1b[?1049h")
    child.expect_exact("[colony]")
    os.kill(child.pid, signal.SIGTSTP)
    child.expect_exact("\x1b[?1049l")
    eventually(lambda: echoes(child) and is_stopped(child))
    os.kill(child.pid, signal.SIGCONT)
    child.expect_exact("\x1b[?1049h")  # as it was left: on the other screen, painted again
    child.expect_exact("[colony]")
    leave_less(child)
    detach(child)


def test_the_instances_sudden_death_leaves_the_terminal_sane(shop: Shop) -> None:
    colony, run = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    [listed] = json.loads(command(shop, "terminals", colony.name, "--json").stdout)
    run.send(signal.SIGKILL)
    child.expect_exact("went away")
    assert echoes(child)
    assert status(child) == 4
    eventually(lambda: not alive(listed["pid"]))
    shop.run(colony, options=EMBEDDED).expect(r"✓ web +pid")  # it removes what was left


def test_ctrl_c_and_ctrl_z_reach_the_job(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    child.send("sh -c 'echo go-$((1+1)); exec sleep 1000'\r")
    child.expect_exact("go-2\r\n")
    child.send("\x1a")
    child.expect("Stopped")
    child.send("fg\r")
    child.expect_exact("fg\r\n")
    child.expect_exact("sleep 1000")
    # bash tells of the job before it gives it the terminal: a key in between is not the job's
    for patience in (0.5, 2.0, PATIENCE):
        child.send("\x03")
        if child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=patience) == 0:
            break
    child.send("echo st-$?\r")
    child.expect_exact("st-130\r\n")
    detach(child)


def test_detach_keys_of_ones_own_and_the_first_key_alone(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", "--detach-keys", "ctrl-p,ctrl-q", colony.name)
    child.send("echo a-$((1+1))\r")
    child.expect_exact("a-2\r\n")
    child.send("\x10")  # the line before, in the shell, half a second later
    child.expect_exact("echo a-$((1+1))")
    child.send("\r")
    child.expect_exact("a-2\r\n")
    child.send("\x10\x11")
    child.expect("detached")
    assert status(child) == 0


def test_what_a_program_asks_at_once_is_answered(shop: Shop) -> None:
    colony, _ = running(shop)
    asks = "stty raw -echo; printf '\\033[6n'; head -c 6 | od -An -c; sleep 1000"
    child = at_terminal(shop, "attach", "--new", colony.name, "--", "sh", "-c", asks, inside=False)
    child.expect_exact("\x1b[6n")
    child.send("\x1b[1;1R")
    child.expect(r"033 +\[ +1 +; +1 +R")
    detach(child)
    again = at_terminal(shop, "attach", f"{colony.name}/1", inside=False)
    again.expect(r"033 +\[ +1 +; +1 +R")
    assert b"\x1b[6n" not in again.before
    detach(again)


TOLD_OTHERWISE = "\\033[>4;2m\\033[>1u"
"""Asks for keys to be told otherwise, for `printf`."""


def test_where_keys_are_told_otherwise_one_detaches_and_has_them_back(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    child.send(f"printf '{TOLD_OTHERWISE}\\033]2;of the program\\007go-%s' 2\r")
    child.expect_exact("\x1b[22;2t")  # the title is kept
    child.expect_exact("\x1b[>4;2m\x1b[>1u\x1b]2;of the program\x07go-2")
    child.send("\x1b[93;5u\x1b[93;5:3u\x1b[100;1u")
    child.expect_exact("\x1b[<1u\x1b[>4m")
    child.expect_exact("\x1b[23;2t")
    child.expect_exact("[detached from ")
    assert status(child) == 0
    again = at_terminal(shop, "attach", colony.name, inside=False)
    again.expect_exact("go-2")
    again.expect_exact(PROMPT)
    os.kill(again.pid, signal.SIGKILL)
    shown_by_the_guard(again, b"\x1b[<1u\x1b[>4m")
    eventually(lambda: echoes(again))
    again.close(force=True)


def test_without_a_terminal_what_is_piped_is_typed(shop: Shop) -> None:
    colony, _ = running(shop, terminal={"command": ["/bin/sh"]})
    ran = command(shop, "attach", colony.name, stdin=b"echo got-$((1+1)); exit 5\n")
    assert (ran.returncode, b"got-2" in ran.stdout) == (5, True)
    ran = command(shop, "attach", colony.name, stdin=b"echo got-$((1+2))\n")
    assert (ran.returncode, b"got-3" in ran.stdout) == (0, True)
    assert command(shop, "attach", colony.name).returncode == 0


def test_sessions_of_ones_own_are_listed_captured_and_ended(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(
        shop, "attach", "--new", colony.name, "--", "sh", "-c", "echo one; cat", inside=False
    )
    child.expect_exact("one\r\n")
    [listed] = json.loads(command(shop, "terminals", colony.name, "--json").stdout)
    assert (listed["name"], listed["viewers"], listed["command"][0]) == ("1", 1, "sh")
    assert command(shop, "capture", f"{colony.name}/1").stdout == b"one\n"
    ran = command(shop, "terminals", colony.name, "--end", "1")
    assert ran.stdout == f"{colony.name}/1 is gone\n".encode()
    child.expect("SIGHUP")
    assert status(child) == 129


def test_a_short_command_of_ones_own_is_seen_to_its_end(shop: Shop) -> None:
    colony, _ = running(shop)
    words = ("attach", "--new", colony.name, "--", "sh", "-c", "echo one-$((1+1)); exit 5")
    child = at_terminal(shop, *words, inside=False)
    child.expect_exact("one-2\r\n")
    child.expect_exact("[exited 5]")
    assert status(child) == 5


def test_a_command_of_ones_own_in_the_nearest_colony(shop: Shop) -> None:
    colony, _ = running(shop)
    words = ("attach", "--new", "--", "sh", "-c", 'echo "$COLONY_NAME:$0:$1"', "--", "-n")
    ran = command(shop, "-C", str(colony.file.parent), *words, stdin=b"\n")
    # The echo of what was typed stands before it or behind.
    expected = f"{colony.name}:--:-n\r\n".encode()
    assert (ran.returncode, expected in ran.stdout) == (0, True)
    assert b"\x1b" not in ran.stdout  # what resets a terminal is for one
    ran = command(shop, "-C", str(colony.file.parent), "attach", "--", "true")
    assert (ran.returncode, b"colony attach --new -- COMMAND" in ran.stderr) == (2, True)


def test_a_terminal_is_not_shown_within_itself(shop: Shop) -> None:
    colony, _ = running(shop, network={"policy": {"api": True}})
    child = at_terminal(shop, "attach", colony.name)
    child.send(f"{shlex.join(COLONY)} attach {colony.name}\r")
    child.expect_exact(f"this is {colony.name}/terminal: within itself it would be shown")
    child.expect_exact(PROMPT)
    detach(child)


def test_who_is_not_there(shop: Shop) -> None:
    colony, _ = running(shop)
    near = command(shop, "attach", colony.name[:-1])
    assert near.returncode == 5
    assert f"did you mean '{colony.name}'?" in near.stderr.decode()
    lost = command(shop, "attach", f"{colony.name}/terminl")
    assert lost.returncode == 5
    assert "did you mean 'terminal'?" in lost.stderr.decode()
    keys = command(shop, "attach", "--detach-keys", "hyper-x", colony.name)
    assert (keys.returncode, b"got: 'hyper-x'" in keys.stderr) == (2, True)


def test_a_full_screen_program_is_found_again(shop: Shop) -> None:
    colony, _ = running(shop)
    child = at_terminal(shop, "attach", colony.name)
    (colony.file.parent / "long").write_text("".join(f"line-{n}\n" for n in range(500)))
    child.send("less long\r")
    child.expect_exact("line-20")
    detach(child)
    again = at_terminal(shop, "attach", colony.name, inside=False)
    again.expect_exact("\x1b[?1049h")
    again.expect_exact("line-20")
    leave_less(again)
    detach(again)
