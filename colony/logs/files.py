"""A service's output on disk: one file and its predecessor, both of limited size. Blocks.

    2026-11-26T07:21:52.123456Z out Serving HTTP on 0.0.0.0 port 4001
    2026-11-26T07:21:53.004711Z err 127.0.0.1 - - "GET / HTTP/1.1" 200 -

Each line is preceded by the time at which it was read and its stream, and is otherwise as the
service wrote it, byte for byte; "out+" and "err+" mark the further pieces of an overlong line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from colony.logs.ring import Chunk

SIZE: Final = 5 * 1024 * 1024
"""Bytes after which a file becomes the predecessor and a new one is begun."""

_SHORT: Final = {"stdout": "out", "stderr": "err"}


def as_text(chunk: Chunk) -> bytes:
    """A chunk as it stands in the file."""
    when = datetime.fromtimestamp(chunk.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    prefix = f"{when} {_SHORT[chunk.stream]} ".encode()
    first = prefix[:-1] + b"+ " if chunk.continues else prefix
    body = chunk.data.removesuffix(b"\n").replace(b"\n", b"\n" + prefix)
    return b"".join((first, body, b"\n"))


def gap(lines: int) -> bytes:
    """What stands where lines are missing."""
    return b"# %d lines are missing here: they came faster than they could be kept\n" % lines


class RotatingFile:
    """A file that is appended to, made with its directory (mode 0700) at the first line.

    size
        Bytes after which it is renamed to PATH.1, whose predecessor is lost. Default 5 MiB. What
        was read at once stays together, and may exceed it if it is larger by itself.

    Not kept open between two `append`s: there may be hundreds, and most services are silent.
    """

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self.path = path
        self.size = size

    def __repr__(self) -> str:
        return f"<RotatingFile {self.path}>"

    def append(self, parts: Iterable[bytes]) -> None:
        """Writes what is given. Raises `OSError`."""
        fd = self._open()
        try:
            written = os.fstat(fd).st_size
            for part in parts:
                if written and written + len(part) > self.size:
                    os.close(fd)
                    fd = -1
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(self.path, f"{self.path}.1")
                    fd, written = self._open(), 0
                written += _write(fd, part)
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o600)


def _write(fd: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return len(data)
