"""`colony` commands against a run, and a person at a terminal, played by pexpect."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pexpect  # type: ignore[import-untyped]

from tests.end_to_end.colonies import EMBEDDED, PATIENCE, PROGRAMS, Colony, Run, Shop

COLONY = [sys.executable, "-m", "colony"]
PROMPT = "READY> "
TERMINAL = {"command": ["/bin/bash", "--norc", "-i"], "env": {"PS1": PROMPT}}
SLEEPER = {"command": ["sleep", "1000"]}
SHOWN = 10_000
"""Bytes of what a command said that are shown if the test fails."""


def patient(seconds: float) -> tuple[str, ...]:
    """What stands before `colony run`, that it may wait so long for a viewer that is slow."""
    return (sys.executable, str(PROGRAMS / "patient.py"), str(seconds))


def running(
    shop: Shop, *options: str, prefix: Sequence[str] = (), **tables: Any
) -> tuple[Colony, Run]:
    """A colony that runs and has a terminal."""
    colony = shop.colony({"web": SLEEPER}, **{"terminal": TERMINAL, **tables})
    run = shop.run(colony, options=(*EMBEDDED, *options), prefix=prefix)
    run.expect(r"✓ web +pid")
    return colony, run


def command(
    shop: Shop, *words: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A command without a terminal."""
    done = subprocess.run(
        [*COLONY, *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        cwd=shop.folder,
        env=shop.environment(),
        timeout=PATIENCE,
        check=False,
    )
    # Shown by pytest if the test fails.
    print(f"$ colony {shlex.join(words)} → {done.returncode}")
    print(done.stdout[-SHOWN:].decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done


def at_terminal(
    shop: Shop, *words: str, rows: int = 24, columns: int = 80, inside: bool = True
) -> Any:
    """A command at a terminal of its own; waits for the prompt, if there is to be one."""
    child = pexpect.spawn(
        COLONY[0],
        [*COLONY[1:], *words],
        cwd=str(shop.folder),
        env=shop.environment(),
        dimensions=(rows, columns),
        timeout=PATIENCE,
        echo=True,
    )
    if inside:
        child.expect_exact(PROMPT)
    return child


def shown_by_the_guard(child: Any, wanted: bytes) -> None:
    """Waits for what is written to the terminal of a client that was killed: pexpect would take
    its end for that of the output."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([child.child_fd], [], [], PATIENCE)
        assert ready, f"no {wanted!r} in {seen[-SHOWN:]!r}"
        seen += os.read(child.child_fd, 65536)


def detach(child: Any) -> None:
    """Leaves by the keys; the command ends with 0."""
    child.send("\x1d")
    child.send("d")
    child.expect(r"\[detached from ")
    assert status(child) == 0


def status(child: Any) -> int:
    """The exit status, as a shell gives it."""
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)
