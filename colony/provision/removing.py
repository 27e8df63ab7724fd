"""The end of a workspace: what would be lost with it, and its removal. Blocks.

The law: work that is nowhere else is not removed unasked. That is what git calls changed or
untracked, commits that no remote has (of a worktree: that no branch has), and stashes of a clone.
Ignored files are made, and can be made again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from colony.provision.database import database_path
from colony.provision.journal import Journal
from colony.provision.undo import RemoveWorktree, remove_tree, take_back


class Dirty(Exception):
    """A workspace holds what is nowhere else; `lost` has a line for each thing."""

    def __init__(self, path: Path, lost: tuple[str, ...]) -> None:
        self.lost = lost
        super().__init__(f"{path} has work that is nowhere else, {len(lost)} thing(s) listed above")


class NotOurs(Exception):
    """There is no workspace of that name among ours."""


class Workspace(msgspec.Struct, frozen=True):
    """A workspace of ours: `used` is when something in it last changed, `size` its bytes."""

    name: str
    path: str
    source: str
    used: float
    size: int
    lost: tuple[str, ...]


def workspaces(home: Path) -> list[Workspace]:
    """All of them, the longest unused first."""
    folder = home / "workspaces"
    if not folder.is_dir():
        return []
    sources = Journal(home).facts("source")
    found = []
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            used, size = _measured(path)
            source = sources.get(str(path), "")
            found.append(Workspace(path.name, str(path), source, used, size, lost(path)))
    return sorted(found, key=lambda each: each.used)


def _measured(folder: Path) -> tuple[float, int]:
    """The latest change of a file that git would see, and the bytes of all of them."""
    used, size = folder.stat().st_mtime, 0
    for root, _, files in os.walk(folder):
        made = {"node_modules", ".venv", ".git"}.intersection(Path(root).relative_to(folder).parts)
        for name in files:
            try:
                found = os.lstat(os.path.join(root, name))
            except OSError:
                continue
            size += found.st_blocks * 512
            used = used if made else max(used, found.st_mtime)
    return used, size


def lost(path: Path) -> tuple[str, ...]:
    """What would be lost with a workspace, a line for each."""
    if not (path / ".git").exists():
        return tuple(f"file      {each.name}" for each in sorted(path.iterdir()))
    is_worktree = (path / ".git").is_file()
    stashes = "" if is_worktree else _git(path, "stash", "list")
    return (
        *(f"changed   {line[3:]}" for line in _git(path, "status", "--porcelain").splitlines()),
        *(f"commit    {line}" for line in _commits(path, is_worktree=is_worktree)),
        *(f"stash     {line}" for line in stashes.splitlines()),
    )


def _commits(path: Path, *, is_worktree: bool) -> list[str]:
    """Commits that go with the folder. A worktree's branch stays in its repository with all of
    them, unless they are on another one anyway: only what is on no branch is lost there."""
    if not _git(path, "rev-parse", "--verify", "--quiet", "HEAD"):
        return []
    beside = ("--branches", "--remotes") if is_worktree else ("--remotes",)
    mine = ("HEAD",) if is_worktree else ("HEAD", "--branches")
    return _git(path, "log", "--oneline", *mine, "--not", *beside).splitlines()


def remove(home: Path, name: str, *, workspace: bool, force: bool) -> list[str]:
    """Removes what there is of a colony; the paths that are gone.

    Raises `Dirty` before anything is removed, `NotOurs`, and `OSError`.
    """
    journal = Journal(home)
    folder = home / "workspaces" / name
    removed: list[str] = []
    if workspace:
        if not folder.is_dir() or folder.is_symlink():
            raise NotOurs(f"there is no workspace {folder}")
        at_stake = () if force else lost(folder)
        if at_stake:
            raise Dirty(folder, at_stake)
        source = journal.fact(str(folder), "source") or ""
        _remove_workspace(folder, source, name)
        journal.forget(str(folder))
        removed.append(str(folder))
    database = database_path(home, name)
    beside = [Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
    for path in (*beside, home / "provision" / f"{name}.log", home / "logs" / name):
        if path.exists():
            remove_tree(path)
            removed.append(str(path))
    return removed


def _remove_workspace(folder: Path, source: str, name: str) -> None:
    if not (folder / ".git").is_file():
        remove_tree(folder)
        return
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD").strip()
    # Only the branch that was made for it, and only if all its commits are elsewhere, too.
    take_back(RemoveWorktree(source, str(folder), branch if branch == name else ""))


def _git(folder: Path, *args: str) -> str:
    if shutil.which("git") is None:
        raise OSError(2, "git is not installed, so what would be lost is not known", str(folder))
    done = subprocess.run(
        ["git", "-C", str(folder), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""
