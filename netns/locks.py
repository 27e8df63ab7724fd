"""Lock files: a lock held for a lifetime, and a lock held for a moment.

Law: locks that belong to the open file, because the kernel lets go of them however their holder
dies, and because they exclude two holders in one process as well. A lock file that is removed may
be locked by one who opened it before: `locked` looks again after it has the lock.

Whether somebody lives is asked without taking his lock (`F_OFD_GETLK`). With `flock` one can only
try to have it, and whoever comes at that moment to reap a dead one finds it held. It is taken as
well, and tried on a file without our mark, since a Colony of before, which has that one only, may
run on the same machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netns.errors import NetnsError

_PATIENCE: Final = 5.0  # seconds; such a lock is held for microseconds
_PAUSE: Final = 0.002
_MARK: Final = b"2"
_FLOCK: Final = "hhqqi4x"  # type, whence, start, length, pid


def hold(path: Path) -> int | None:
    """Locks the file for as long as the returned descriptor is open; None if another holds it."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
        os.pwrite(fd, _MARK, 0)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether a living process holds the lock (this one counts)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
        if int(struct.unpack(_FLOCK, answer)[0]) != fcntl.F_UNLCK:
            return True
        if os.pread(fd, 1, 0) == _MARK:
            return False
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _request(kind: int) -> bytes:
    """A lock of the whole file, as the kernel's `struct flock` says it."""
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds the lock for a moment; gives the descriptor. The body may replace or remove the file.

    Blocks, five seconds at most; raises `NetnsError` after that.
    """
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = _open(path)
        except FileNotFoundError:  # its last user removed the directory under us
            continue
        except FileExistsError:  # or just as `mkdir` looked whether it is one
            if _is_no_directory(path.parent):
                raise
            continue
        try:
            _wait_for(fd, path)
            if _is_at(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _is_no_directory(path: Path) -> bool:
    """Whether there is something else, for sure."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _wait_for(fd: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise NetnsError(
                    f"{path} has been locked for {_PATIENCE:g} seconds by another process; "
                    f"see which: fuser {path}"
                ) from None
            time.sleep(_PAUSE)
        else:
            return


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
