"""The token for the API over TCP: made once, kept in $COLONY_HOME, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from colony.paths import home_directory

NAME = "token"


def ensure_token() -> str:
    """$COLONY_TOKEN, else the one in $COLONY_HOME, which is made if it is not there.

    Raises `OSError` if it cannot be, and `ValueError` if others may read it.
    """
    if os.environ.get("COLONY_TOKEN"):
        return os.environ["COLONY_TOKEN"]
    path = home_directory() / NAME
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _read(path)
    except FileNotFoundError:
        return _make(path)


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor) as file:
        mode = os.fstat(descriptor).st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"others may read {path}: chmod 600 {path}, or remove it")
        return file.read().strip()


def _make(path: Path) -> str:
    """Written beside and moved, so that nobody ever reads half of it."""
    token = secrets.token_urlsafe(32)
    beside = path.with_name(f"{NAME}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(token + "\n")
    try:
        os.link(beside, path)
    except FileExistsError:
        return _read(path)
    finally:
        os.unlink(beside)
    return token
