"""The files of the event journal: JSON lines, appended to by every instance of a user. Blocks.

    {"ts":"2026-11-26T07:21:52.123Z","at":5123.25,"instance":"4f09c1","type":"service.exited",…}

Law: what is read is whole lines. A line that a crash or a full disk has torn is skipped by whoever
reads, and whoever appends next begins a line of its own.

    events.jsonl ──full──▶ events.jsonl.1 ──▶ events.jsonl.2 ──▶ events.jsonl.3 ──▶ gone

Only the holder of the lock renames. The lock is asked for with a time limit, and whoever does not
get it (its holder is stopped by a debugger, or by Ctrl-Z) appends nevertheless, which O_APPEND
makes safe, and leaves the renaming to the next. Readers take no lock at all: they open the newest
file first, so that one which is renamed meanwhile is met twice, which its inode tells, and not
missed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

SIZE: Final = 8 * 1024 * 1024
"""Bytes after which a file is renamed and a new one begun."""

KEPT: Final = 4
"""Files that are kept, the one that is appended to included."""

PATIENCE: Final = 1.0
"""Seconds to wait for the lock."""

_FLAGS: Final = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class EventFiles:
    """The journal's files in a directory of their own.

    directory
        Made, with mode 0700, at the first line. The files have mode 0600.
    size, kept
        Bytes of one file, and how many files; `SIZE` and `KEPT` by default.
    """

    def __init__(self, directory: Path, *, size: int = SIZE, kept: int = KEPT) -> None:
        self.path = directory / "events.jsonl"
        self.size = size
        self.kept = kept

    def __repr__(self) -> str:
        return f"<EventFiles {self.path}>"

    def append(self, lines: Sequence[bytes]) -> None:
        """Writes lines, each without its line feed. Raises `OSError`; some may be written then."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = b"".join(line + b"\n" for line in lines)
        with self._locked() as ours:
            if ours and self._size() + len(data) > self.size:
                self._rotate()
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | _FLAGS, 0o600)
            try:
                _write(fd, (b"\n" if _torn(fd) else b"") + data)
            finally:
                os.close(fd)

    def lines(self) -> Iterator[bytes]:
        """Every whole line, the oldest first. No files, no lines. Raises `OSError`."""
        with ExitStack() as stack:
            seen: dict[tuple[int, int], int] = {}
            for path in self._paths():
                with suppress(FileNotFoundError):
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, fd)
                    found = os.fstat(fd)
                    seen.setdefault((found.st_dev, found.st_ino), fd)
            for fd in reversed(seen.values()):
                with os.fdopen(fd, "rb", closefd=False) as file:
                    yield from (line[:-1] for line in file if line.endswith(b"\n"))

    def _paths(self) -> list[Path]:
        """The newest first."""
        name = self.path.name
        older = [self.path.with_name(f"{name}.{age}") for age in range(1, self.kept)]
        return [self.path, *older]

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        paths = self._paths()
        for newer, older in zip(reversed(paths[:-1]), reversed(paths[1:]), strict=True):
            with suppress(FileNotFoundError):
                os.replace(newer, older)
        if self.kept == 1:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the lock is ours for the block."""
        fd = os.open(self.path.with_name("lock"), os.O_RDWR | _FLAGS, 0o600)
        try:
            yield _lock(fd, time.monotonic() + PATIENCE)
        finally:
            os.close(fd)


def _lock(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.01)


def _torn(fd: int) -> bool:
    """Whether the last line of a file has no end."""
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
