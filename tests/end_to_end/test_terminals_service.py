"""`colony attach COLONY/SERVICE`: a service with `pty = true`, over its lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.end_to_end.attaching import COLONY, at_terminal, command, detach, patient, status
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, eventually, root_only

pytestmark = root_only

SHELL = {
    "command": ["sh", "-c", "echo life-$((1+1)); stty size; exec /bin/sh"],
    "pty": True,
    "env": {"PS1": "SERVICE> "},
    "stop": {"grace": 60},
}
PROMPT = "SERVICE> "


def with_shell(shop: Shop, prefix: Sequence[str] = (), **more: Any) -> Colony:
    colony = shop.colony({"web": {**SHELL, **more}, "plain": {"command": ["sleep", "1000"]}})
    run = shop.run(colony, options=EMBEDDED, prefix=prefix)
    run.expect(r"web +pid")
    return colony


def terminals(shop: Shop, colony: Colony) -> Any:
    return json.loads(command(shop, "terminals", colony.name, "--json").stdout)


def attach(shop: Shop, colony: Colony, *options: str, rows: int = 24, columns: int = 80) -> Any:
    words = ("attach", *options, f"{colony.name}/web")
    child = at_terminal(shop, *words, rows=rows, columns=columns, inside=False)
    child.expect_exact(PROMPT)
    return child


def test_it_is_joined_typed_into_left_and_found_again(shop: Shop) -> None:
    colony = with_shell(shop)
    child = attach(shop, colony)
    child.send("X=kept; echo got-$((1+1))\r")
    child.expect_exact("got-2\r\n")
    detach(child)
    again = attach(shop, colony)
    again.expect_exact("got-2\r\n")
    again.send("echo still-$X\r")
    again.expect_exact("still-kept\r\n")
    detach(again)
    logs = command(shop, "logs", f"{colony.name}/web").stdout.decode()
    assert "life-2" in logs
    assert "still-kept" in logs


def test_size_viewers_and_the_list(shop: Shop) -> None:
    colony = with_shell(shop)
    child = attach(shop, colony, rows=30, columns=100)
    assert b"40 120" in child.before  # what it was before anybody looked
    child.send("stty size\r")
    child.expect_exact("30 100\r\n")
    reader = attach(shop, colony, "--read-only")
    reader.send("echo no-$((1+1))\r")
    child.send("echo yes-$((1+1))\r")
    reader.expect_exact("yes-2\r\n")
    assert b"no-2" not in reader.before
    [listed] = terminals(shop, colony)
    assert (listed["name"], listed["service"], listed["viewers"]) == ("web", "web", 2)
    assert (listed["rows"], listed["columns"]) == (30, 100)
    assert f"{colony.name}/web  pid " in command(shop, "terminals", colony.name).stdout.decode()
    detach(reader)
    detach(child)
    eventually(lambda: terminals(shop, colony)[0]["columns"] == 120)


def test_its_viewers_stay_over_restarts_and_are_told(shop: Shop) -> None:
    colony = with_shell(shop, restart="transient")
    child = attach(shop, colony, rows=31, columns=99)
    child.send("vim -u NONE\r")
    child.expect_exact("\x1b[?1049h")
    pid = terminals(shop, colony)[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    child.expect_exact("\x1b[?1049l")  # the screen that the dead program was on is left
    child.expect_exact("[web has ended: killed by SIGKILL]")
    child.expect_exact("[web is started]")
    child.expect_exact("life-2\r\n31 99\r\n")  # its viewers' size, from the first byte
    child.expect_exact(PROMPT)
    child.send("echo new-$((1+1))\r")
    child.expect_exact("new-2\r\n")
    assert command(shop, "stop", f"{colony.name}/web").returncode == 0
    child.expect_exact(f"[web was stopped; to start it: colony start {colony.name}/web]")
    late = at_terminal(shop, "attach", f"{colony.name}/web", inside=False)
    late.expect_exact("[web was stopped")
    detach(late)
    assert terminals(shop, colony)[0]["pid"] == 0
    assert command(shop, "start", f"{colony.name}/web").returncode == 0
    child.expect_exact("[web is started]")
    child.expect_exact(PROMPT)
    assert command(shop, "down", colony.name).returncode == 0
    child.expect_exact("[the colony has ended]")
    assert status(child) == 0
    assert shop.runs[-1].wait() == 0


def test_a_shell_completes_its_name(shop: Shop) -> None:
    colony = with_shell(shop)
    line = f"colony attach {colony.name}/w"
    ran = subprocess.run(
        COLONY,
        capture_output=True,
        cwd=shop.folder,
        env=shop.environment()
        | {"_COLONY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "2"},
        check=False,
    )
    assert ran.stdout.decode().split() == [f"plain,{colony.name}/web"]


def test_ctrl_c_reaches_it_and_the_chord_does_not(shop: Shop) -> None:
    colony = with_shell(shop)
    child = attach(shop, colony)
    child.send("sh -c 'echo go-$((1+1)); exec sleep 1000'\r")
    child.expect_exact("go-2\r\n")  # now the terminal is its, and no longer the shell's
    child.send("\x03")
    child.expect_exact(PROMPT)
    child.send("echo st-$?\r")
    child.expect_exact("st-130\r\n")
    detach(child)


def test_who_has_no_terminal(shop: Shop, tmp_path: Path) -> None:
    colony = with_shell(shop)
    ran = command(shop, "attach", f"{colony.name}/plain")
    assert ran.returncode != 0
    assert "write pty = true in [services.plain]" in ran.stderr.decode()
    near = command(shop, "attach", f"{colony.name}/wob")
    assert (near.returncode, "did you mean 'web'?" in near.stderr.decode()) == (5, True)
    ended = command(shop, "terminals", colony.name, "--end", "web")
    assert f"colony stop {colony.name}/web" in ended.stderr.decode()
    assert b"life-2" in command(shop, "capture", f"{colony.name}/web").stdout


def test_what_is_piped_is_typed_and_ten_megabytes_come_whole(shop: Shop) -> None:
    lines = b"".join(b"%07d\n" % number for number in range(1_250_000))
    colony = with_shell(shop, patient(60.0))
    (colony.file.parent / "big").write_bytes(lines)
    words = [*COLONY, "attach", f"{colony.name}/web"]
    popen = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=shop.folder,
        env=shop.environment(),
    )
    assert popen.stdin is not None
    assert popen.stdout is not None
    popen.stdin.write(b"stty raw; echo BE''GIN; cat big; echo E''ND; stty sane\n")
    popen.stdin.close()  # the end of the input is not the service's
    seen = b""
    while b"END\n" not in seen[-100:]:
        seen += os.read(popen.stdout.fileno(), 1 << 20)
    assert lines in seen[seen.index(b"BEGIN") :]
    assert command(shop, "down", colony.name).returncode == 0
    assert b"was stopped" in popen.stdout.read()
    assert popen.wait() == 0
    assert shop.runs[-1].wait() == 0
    popen.stdout.close()


def test_a_shell_ends_when_it_is_told_to(shop: Shop) -> None:
    """It ignores SIGTERM, and goes with its terminal."""
    colony = with_shell(shop, command=["bash", "--norc", "-i"])
    detach(attach(shop, colony))
    assert command(shop, "stop", f"{colony.name}/web").returncode == 0
    said = command(shop, "events", "--json").stdout.decode()
    [stopped] = [
        event
        for event in map(json.loads, said.splitlines())
        if event["type"] == "service.stopped" and event["service"] == "web"
    ]
    assert (stopped["status"], stopped["killed"]) == ("killed by SIGHUP", False)
