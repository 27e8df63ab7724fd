"""`colony run --attach`: somebody sits in the colony's terminal, and the lines wait meanwhile.

    run shows lines ──▶ services ready ──▶ `colony attach` has our terminal ──▶ run shows lines
                                                    │                             again, first
                                                    └─ left by its keys,          those that waited
                                                       or its program has ended

`colony attach` is a process of its own, as if it had been typed: it reads keys, which a run never
does, and its crash harms no service. It is ended with the run, and restores the terminal then.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Final

from colony.client import Client, path_of

OVER: Final = ("completed", "failed", "stopped")
"""States of a service that will not get ready any more."""

BACKLOG: Final = 4 * 1024 * 1024
"""Bytes of lines that wait at most; beyond it the oldest are let go."""

_LONGEST_MS: Final = 3_600_000


def command(socket: Path | str, colony: str) -> list[str]:
    """What attaches to a colony of the instance at that socket."""
    return [sys.executable, "-m", "colony", "--host", f"unix://{socket}", "attach", colony]


def until_settled(client: Client, colony: str) -> None:
    """Waits until every service is ready, or will not be. Blocks. Raises `ClientError`."""
    for each in client.get(path_of("colonies", colony))["services"]:
        path = path_of("colonies", colony, "services", each["name"], "wait")
        while True:
            waited: dict[str, Any] = client.get(path, {"for": "ready", "timeout_ms": _LONGEST_MS})
            if waited["met"] or waited["service"]["state"] in OVER:
                break


class Seat:
    """One `colony attach` at our terminal, without an event loop."""

    def __init__(self, socket: Path | str, colony: str) -> None:
        self._process = subprocess.Popen(command(socket, colony))

    def __repr__(self) -> str:
        return f"<Seat of process {self._process.pid}>"

    def wait(self) -> None:
        """Waits until it is left. Blocks."""
        self._process.wait()

    def end(self) -> None:
        """Has it left."""
        self._process.terminate()


class Waiting:
    """Lines that wait while somebody sits, each with where it goes."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[BinaryIO, bytes]] = deque()
        self._size = 0

    def __repr__(self) -> str:
        return f"<Waiting {self._size} bytes>"

    def add(self, out: BinaryIO, data: bytes) -> None:
        """Adds some."""
        self._pieces.append((out, data))
        self._size += len(data)
        while self._size > BACKLOG:
            self._size -= len(self._pieces.popleft()[1])

    def take(self) -> list[tuple[BinaryIO, bytes]]:
        """All of them, the oldest first; none wait then."""
        taken = list(self._pieces)
        self._pieces.clear()
        self._size = 0
        return taken
