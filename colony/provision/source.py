"""Where a workspace's files come from: a clone, a git worktree, or a jj workspace.

    URL                          git clone into the workspace, and jj beside it where jj is there
    a repository on this disk    git worktree add; jj workspace add if the repository is jj's

A worktree shares the repository's objects, so it costs only its files. It has no ignored files,
such as .env: those that `.worktreeinclude` names (patterns as in .gitignore) are copied.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec

from colony import config as configuration
from colony.config.values import valid_name
from colony.provision.undo import (
    ForgetWorkspace,
    RemoveEmpty,
    RemoveTree,
    RemoveWorktree,
    Undo,
)
from colony.provision.work import OFF_LOOP, Action, Skip, Stage, StepFailed, Work

INCLUDE: Final = ".worktreeinclude"
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|[^/:]+@[^/:]+:")


class Source(msgspec.Struct, frozen=True):
    """A repository, and the branch that is wanted of it; default its own, or a new one that is
    called after the colony for a worktree."""

    repository: str
    branch: str = ""

    @property
    def is_url(self) -> bool:
        """Whether it is elsewhere, and to be cloned."""
        return _URL.match(self.repository) is not None


def name_of(repository: str) -> str:
    """The colony's name that a repository suggests."""
    last = re.split(r"[/:]", repository.rstrip("/"))[-1].removesuffix(".git")
    return valid_name(last)


def source_stages(source: Source) -> tuple[Stage, ...]:
    """The stages that make the files of a workspace, its colony.toml read at the end."""

    async def files(work: Work) -> Action | Skip:
        return await _files(work, source)

    async def include(work: Work) -> Action | Skip:
        return await _include(work, source)

    async def jujutsu(work: Work) -> Action | Skip:
        return await _jujutsu(work, source)

    return (
        Stage("source", files),
        Stage("copy", include),
        Stage("jj", jujutsu),
        Stage("colony.toml", _read),
    )


async def _files(work: Work, source: Source) -> Action | Skip:
    path = work.workspace
    if path.exists():
        # A run that goes on finds it there, and another's is never touched.
        noted = await OFF_LOOP(work.journal.fact, str(path), "source")
        if noted == source.repository:
            return Skip("the workspace is there")
        raise StepFailed(
            f"{path} is there already", f"remove it (colony rm {work.name}), or choose --name"
        )
    made = _folders_to_make(path.parent)
    if source.is_url:
        return _clone(work, source, made)
    repository = Path(source.repository)
    if (repository / ".jj").is_dir() and work.which("jj"):
        return _jj_workspace(work, source, made)
    if not await work.ask("git", "-C", str(repository), "rev-parse", "--git-dir"):
        raise StepFailed(f"{repository} is no git repository", "give the URL or the folder of one")
    return await _worktree(work, source, made)


def _folders_to_make(folder: Path) -> tuple[Undo, ...]:
    """Undo of making a folder and its parents; each goes only if it is left empty."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return tuple(RemoveEmpty(str(each)) for each in reversed(missing))


def _clone(work: Work, source: Source, made: tuple[Undo, ...]) -> Action:
    async def do() -> None:
        work.workspace.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        branch = ("--branch", source.branch) if source.branch else ()
        await work.run(
            "git", "clone", "--progress", *branch, "--", source.repository, str(work.workspace),
            cwd=work.workspace.parent,
        )  # fmt: skip
        await _note(work, source)

    return Action(f"git clone {source.repository}", do, (*made, RemoveTree(str(work.workspace))))


async def _worktree(work: Work, source: Source, made: tuple[Undo, ...]) -> Action:
    repository, path = source.repository, str(work.workspace)
    branch = source.branch or work.name
    known = await work.ask(
        "git", "-C", repository, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"
    )
    new = () if known else ("-b", branch)

    async def do() -> None:
        work.workspace.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        commit = (branch,) if known else ()
        await work.run(
            "git", "-C", repository, "worktree", "add", *new, "--", path, *commit,
            cwd=work.workspace.parent,
        )  # fmt: skip
        await _note(work, source)

    undo = RemoveWorktree(repository, path, "" if known else branch)
    return Action(f"git worktree of {repository}, branch {branch}", do, (*made, undo))


def _jj_workspace(work: Work, source: Source, made: tuple[Undo, ...]) -> Action:
    repository, path = source.repository, str(work.workspace)

    async def do() -> None:
        work.workspace.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        revision = ("--revision", source.branch) if source.branch else ()
        await work.run(
            "jj", "-R", repository, "workspace", "add", "--name", work.name, *revision, path,
            cwd=work.workspace.parent,
        )  # fmt: skip
        await _note(work, source)

    undo = ForgetWorkspace(repository, work.name, path)
    return Action(f"jj workspace of {repository}", do, (*made, undo))


async def _note(work: Work, source: Source) -> None:
    path = str(work.workspace)
    await OFF_LOOP(work.journal.note, path, "source", source.repository)


async def _include(work: Work, source: Source) -> Action | Skip:
    if source.is_url or not (Path(source.repository) / INCLUDE).is_file():
        return Skip()
    repository = Path(source.repository)
    listed = await work.ask(
        "git", "-C", str(repository), "ls-files", "-z", "--others", "--ignored",
        "-X", str(repository / INCLUDE),
    )  # fmt: skip
    names = [name for name in listed.split("\0") if name]
    names = await OFF_LOOP(_missing, work.workspace, names)
    if not names:
        return Skip(f"{INCLUDE} names nothing that is there")

    async def do() -> None:
        await OFF_LOOP(_copy, repository, work.workspace, names)

    undo = tuple(RemoveTree(str(work.workspace / name)) for name in names)
    return Action(f"{len(names)} of {INCLUDE}", do, undo)


def _missing(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if not os.path.lexists(folder / name)]


def _copy(source: Path, target: Path, names: list[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name, follow_symlinks=False)


async def _jujutsu(work: Work, source: Source) -> Action | Skip:
    if not source.is_url or not work.which("jj") or (work.workspace / ".jj").exists():
        return Skip()

    async def do() -> None:
        await work.run("jj", "git", "init", "--colocate")

    return Action("jj git init --colocate", do, (RemoveTree(str(work.workspace / ".jj")),))


async def _read(work: Work) -> Action | Skip:
    """Reads the colony.toml, or writes one for what is in the folder. The name is the caller's."""
    file = work.workspace / "colony.toml"
    if not file.exists():

        async def do() -> None:
            await OFF_LOOP(_init, work)
            work.loaded = await OFF_LOOP(_load, work)

        return Action(
            "written for what is in the folder",
            do,
            (RemoveTree(str(work.workspace / ".colony")), RemoveTree(str(file))),
        )
    work.loaded = await OFF_LOOP(_load, work)
    return Skip()


def _init(work: Work) -> None:
    from colony.init import Folder, detect, text, write

    write(work.workspace, text(detect(Folder(work.workspace)), work.name))


def _load(work: Work) -> configuration.Config:
    try:
        loaded = configuration.load(work.workspace / "colony.toml")
    except configuration.ConfigError as error:
        raise StepFailed(
            f"its colony.toml has {len(error.problems)} mistake(s)",
            last_lines=configuration.render(error.problems).splitlines(),
        ) from None
    colony = msgspec.structs.replace(loaded.colony, name=work.name)
    return msgspec.structs.replace(loaded, colony=colony)
