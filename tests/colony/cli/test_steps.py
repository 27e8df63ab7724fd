"""How the steps of `colony new` are shown."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from colony.lanes import bar
from colony.provision.work import percentage, tail
from tests.colony.provision.support import repository


@pytest.mark.parametrize(
    ("written", "percent"),
    [
        (b"", None),
        (b"Cloning into 'x'...\n", None),
        (b"a\nReceiving objects:  45% (1/2)\rReceiving objects:  46% (1/2)\r", 46),
        (b"Receiving objects: 100% (2/2), done.\nResolving deltas:   7% (1/14)\r", 7),
        (b"50%\nother\n", None),
        (b"999%", 100),
    ],
)
def test_percentage(written: bytes, percent: int | None) -> None:
    assert percentage(written) == percent


def test_bar() -> None:
    assert bar(45) == "▕█████████           ▏  45 %  "
    assert len(bar(0)) == len(bar(100))


def test_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == b""
    (tmp_path / "log").write_bytes(b"x" * 1000 + b"end")
    assert tail(tmp_path / "log").endswith(b"xend")


def test_on_a_terminal_the_running_step_is_drawn_over(tmp_path: Path) -> None:
    text = '[colony.environment]\nsetup = "echo 45%; sleep 0.5"\n[services.web]\ncommand = "x"\n'
    repository(tmp_path / "app", {"colony.toml": text})
    main, theirs = pty.openpty()
    env = {**os.environ, "COLONY_HOME": str(tmp_path / "home"), "COLONY_AGENT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "colony", "new", str(tmp_path / "app"), "--name", "x", "--yes"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**env, "COLONY_RUNTIME_DIR": str(tmp_path / "run")},
    )
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([main], [], [], 0)[0]:
        if select.select([main], [], [], 0.05)[0]:
            try:
                shown += os.read(main, 65536)
            except OSError:
                break
    assert process.wait() == 0, shown
    os.close(main)
    drawn = shown.decode()
    assert "█" in drawn
    assert "  45 %" in drawn
    lines = [line.rpartition("\r\x1b[K")[2] for line in drawn.splitlines()]
    assert any("✓" in line and "setup" in line for line in lines)
