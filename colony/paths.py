"""Where Colony keeps what it needs while it runs. Pure, but for the look at the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET: Final = "colony.sock"
"""The name, in the runtime directory, of the socket of the instance that others join."""


def runtime_directory(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """The directory of sockets, locks and files of running instances.

    `$COLONY_RUNTIME_DIR`; else for root `/run/colony`; else `$XDG_RUNTIME_DIR/colony`, or a
    directory of the user's own under /tmp where there is no XDG_RUNTIME_DIR.
    """
    environ = os.environ if environ is None else environ
    uid = os.getuid() if uid is None else uid
    if environ.get("COLONY_RUNTIME_DIR"):
        return Path(environ["COLONY_RUNTIME_DIR"])
    if uid == 0:
        return Path("/run/colony")
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "colony"
    return Path(f"/tmp/colony-{uid}")


def make_private(directory: Path, uid: int | None = None) -> None:
    """Makes a directory that only its owner may enter. Blocks.

    One that is there already stays as it is, for it may be somebody's /tmp; but in one where
    another user could put something in our socket's place nothing is safe. Raises
    `PermissionError`.
    """
    uid = os.getuid() if uid is None else uid
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.stat()
    if found.st_uid not in (uid, 0):
        raise PermissionError(f"{directory} belongs to user {found.st_uid}, not to {uid}")
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(f"others may write in {directory}: chmod 700 {directory}")


def home_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where Colony keeps what outlasts instances: `$COLONY_HOME`, default `~/.colony`."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("COLONY_HOME") or "~/.colony").expanduser()


def socket_path(environ: Mapping[str, str] | None = None) -> Path:
    """The socket of the instance that others join."""
    return runtime_directory(environ) / SOCKET
