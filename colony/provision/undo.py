"""How a step is taken back, as values: they are written down before the step begins.

The law: an undo is idempotent, and undoing a step that never began changes nothing. So a crash at
any moment, also in the midst of undoing, is answered by undoing again at the next start, by a
process that knows nothing but these values.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec


class RemoveTree(msgspec.Struct, frozen=True, tag="remove_tree"):
    """Removes a folder or file that was not there before."""

    path: str


class RemoveEmpty(msgspec.Struct, frozen=True, tag="remove_empty"):
    """Removes a folder that was not there before, unless somebody else uses it by now."""

    path: str


class RemoveWorktree(msgspec.Struct, frozen=True, tag="remove_worktree"):
    """Removes a git worktree, and the branch that was made for it unless it has commits since."""

    repository: str
    path: str
    branch: str = ""


class ForgetWorkspace(msgspec.Struct, frozen=True, tag="forget_workspace"):
    """Makes a jj repository forget a workspace, and removes its folder."""

    repository: str
    name: str
    path: str


Undo = RemoveTree | RemoveEmpty | RemoveWorktree | ForgetWorkspace


def encode(undos: tuple[Undo, ...]) -> bytes:
    """As the journal keeps them."""
    return msgspec.json.encode(undos)


def decode(data: bytes) -> tuple[Undo, ...]:
    """The same back."""
    return msgspec.json.decode(data, type=tuple[Undo, ...])


def take_back(undo: Undo) -> None:
    """Does one. Blocks. Raises `OSError` if something stays that should go."""
    _TAKE_BACK[type(undo)](undo)


def remove_tree(path: str | Path) -> None:
    """Removes a folder with all in it, or a file; also what is read-only, as Go's modules are."""
    if not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return

    def unlock(function: Callable[..., Any], name: str, _: object) -> None:
        for each in (os.path.dirname(name), name):
            if not os.path.islink(each):
                os.chmod(each, os.stat(each).st_mode | stat.S_IRWXU)
        function(name)

    shutil.rmtree(path, onerror=unlock)


def _remove_tree(undo: RemoveTree) -> None:
    remove_tree(undo.path)


def _remove_empty(undo: RemoveEmpty) -> None:
    try:
        os.rmdir(undo.path)
    except FileNotFoundError:
        return
    except OSError:
        if not os.path.isdir(undo.path) or not os.listdir(undo.path):
            raise


def _remove_worktree(undo: RemoveWorktree) -> None:
    remove_tree(undo.path)
    if not os.path.isdir(undo.repository):
        return
    _quietly("git", "-C", undo.repository, "worktree", "prune")
    if undo.branch:
        # -d and not -D: commits that are nowhere else stay.
        _quietly("git", "-C", undo.repository, "branch", "-d", "--", undo.branch)


def _forget_workspace(undo: ForgetWorkspace) -> None:
    if os.path.isdir(undo.repository):
        _quietly("jj", "-R", undo.repository, "workspace", "forget", undo.name)
    remove_tree(undo.path)


def _quietly(*argv: str) -> None:
    """Runs a command that fails when there is nothing to do for it."""
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise OSError(f"{' '.join(argv)}: {error}") from None


_TAKE_BACK: Final[dict[type, Callable[[Any], None]]] = {
    RemoveTree: _remove_tree,
    RemoveEmpty: _remove_empty,
    RemoveWorktree: _remove_worktree,
    ForgetWorkspace: _forget_workspace,
}
