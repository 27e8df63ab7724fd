"""The instance in the background: `colony daemon`, and what `colony up -d` starts.

    start()     a process of its own session, its output in $COLONY_HOME/daemon.log; returns once
                it answers
    run()       what that process does: an instance without a colony of its own, until SIGTERM,
                `colony daemon stop`, or the end of the system

`start` imports no event loop: it is part of `colony up`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from colony.client import Client, ClientError
from colony.exits import Exit
from colony.paths import home_directory

if TYPE_CHECKING:
    from colony.host import Options

LOG: Final = "daemon.log"
LOG_MOST: Final = 1024 * 1024
"""Bytes of the log at which a start begins a new one; the old one is kept beside it."""

PATIENCE: Final = 30.0
_PAUSE: Final = 0.02


class NotStarted(ClientError):
    """The instance did not come up; the text says why, `status` is what it ended with."""

    def __init__(self, text: str, status: int = Exit.FAILED) -> None:
        super().__init__(text)
        self.status = status


def log_path() -> Path:
    """Where the instance in the background writes what it has to say."""
    return home_directory() / LOG


def start(options: list[str] | None = None) -> int:
    """Starts an instance in the background and waits until it answers; its process.

    `options` are those of `colony daemon start`. Raises `NotStarted`.
    """
    path = log_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_MOST:
        path.replace(path.with_suffix(".log.1"))
    with open(path, "ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "colony", "daemon", "start", "--foreground", *(options or ())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    _await(process, path, began)
    return process.pid


def _await(process: subprocess.Popen[bytes], path: Path, began: int) -> None:
    client = Client.find()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if client.answers():
            # It outlives us; nobody has to wait for it here.
            process.returncode = 0
            return
        if process.poll() is not None:
            words = f"the instance ended at once: {_last_words(path, began)}"
            raise NotStarted(words, process.returncode)
        time.sleep(_PAUSE)
    process.kill()
    process.wait()
    raise NotStarted(f"the instance did not answer in {PATIENCE:g} s; see {path}")


def _last_words(path: Path, began: int) -> str:
    with open(path, "rb") as log:
        log.seek(began)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"see {path}"


def run(options: Options) -> int:
    """Hosts an instance without a colony, until it is told to end. Blocks; the exit status."""
    import anyio

    from colony.background import Background

    async def main() -> int:
        return await Background(options)()

    os.umask(0o077)
    return anyio.run(main) or Exit.OK
