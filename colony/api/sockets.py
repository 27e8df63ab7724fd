"""The socket of the instance that others join: one for each runtime directory.

Law: who listens there is decided under a lock, by asking. A socket file at which nobody answers
was left by an instance that was killed, and is replaced; one that is answered is left, and the
asker goes on as an instance of its own. Nobody can connect before the file is its owner's alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from colony.paths import SOCKET, make_private
from netns.locks import locked
from proxy.ports import let_go

_LOCK: Final = f"{SOCKET}.lock"
_BACKLOG: Final = 1024
_PATIENCE: Final = 1.0
"""Seconds to wait for a connection to a socket whose owner does not accept."""


class Claim:
    """The socket, listening, and ours until `release`; whoever serves it may close it before."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self._own = sock.dup()

    def __repr__(self) -> str:
        return f"<Claim {self.path}>"

    def release(self) -> None:
        """Closes it and removes its file, unless somebody has put another in its place.

        By asking, as in `claim`: a new file may well have the old one's inode number. Nobody is to
        hear an answer of ours then, not even through the copy of our socket that a process has for
        a moment while it is being started.
        """
        self.sock.close()
        let_go(self._own)
        with _held(self.path.parent):
            if not answers(self.path):
                self.path.unlink(missing_ok=True)


def claim(path: Path) -> Claim | None:
    """Listens there, unless another instance does: then None. Blocks. Raises `OSError`."""
    make_private(path.parent)
    with _held(path.parent):
        if answers(path):
            return None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short(path) as name:
                sock.bind(name)
            os.chmod(path, 0o600)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            return Claim(path, sock)
        except BaseException:
            sock.close()
            raise


def answers(path: Path) -> bool:
    """Whether somebody listens at a socket. Blocks for a moment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short(path) as name:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(name)
        except TimeoutError:
            return True  # its queue is full: there is somebody
        except OSError:
            return False
        return True


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for the path that is short enough for an address, which takes 107 bytes."""
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield str(path)
        return
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Holds the directory's lock for a moment; its file goes with the socket's."""
    lock = directory / _LOCK
    with locked(lock):
        yield
        if not (directory / SOCKET).exists():
            lock.unlink(missing_ok=True)
