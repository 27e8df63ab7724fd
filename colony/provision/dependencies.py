"""The dependencies of a workspace, by the lock file that is found in it.

The law: what is installed is what the lock file says, and while its hash is the one that was
installed last, and what that made is still there, nothing is run at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from colony.provision.undo import RemoveTree
from colony.provision.versions import NODE_LOCK_OF, OTHER_LOCKS, Lock, node_install
from colony.provision.work import OFF_LOOP, Action, Skip, Stage, Work

VENV: Final = ".venv"
PYTHON_FILES: Final = ("uv.lock", "requirements.txt", "pyproject.toml")


def dependency_stages() -> tuple[Stage, ...]:
    """The virtual environment and each ecosystem's packages."""
    return (
        Stage("venv", _venv),
        Stage("python packages", _python),
        Stage("node packages", _node),
        *(_other(lock) for lock in OTHER_LOCKS),
    )


def node_lock(work: Work) -> Lock | None:
    """How the JavaScript dependencies are to be installed, if they are."""
    environment = work.config.colony.environment
    if environment.node_version is None and environment.package_manager is None:
        return None
    present = {each.name for each in work.workspace.iterdir()}
    return node_install(present, environment.package_manager)


async def _node(work: Work) -> Action | Skip:
    lock = node_lock(work)
    if lock is None:
        return Skip()
    return await _install(
        work, "node packages", lock, ("package.json", *NODE_LOCK_OF[lock.manager])
    )


def _other(lock: Lock) -> Stage:
    name = f"{lock.manager} packages"
    field = {"bundle": "ruby_version", "cargo": "rust_version"}[lock.manager]

    async def prepare(work: Work) -> Action | Skip:
        wanted = getattr(work.config.colony.environment, field)
        if wanted is None or not (work.workspace / lock.file).exists():
            return Skip()
        if lock.manager == "bundle":
            work.put("BUNDLE_PATH", str(work.workspace / lock.makes))
        return await _install(work, name, lock, (lock.file,))

    return Stage(name, prepare)


async def _install(work: Work, step: str, lock: Lock, inputs: Sequence[str]) -> Action | Skip:
    makes = work.workspace / lock.makes if lock.makes else None
    return await _unless_unchanged(work, step, lock.file, inputs, lock.argv, makes)


async def _unless_unchanged(
    work: Work,
    fact: str,
    shown: str,
    inputs: Sequence[str],
    argv: tuple[str, ...],
    makes: Path | None,
) -> Action | Skip:
    """Runs the command unless its inputs are those of last time and what it made is there."""
    fingerprint = await OFF_LOOP(_hash, work.workspace, inputs, argv[0])
    place = str(work.workspace)
    last = await OFF_LOOP(work.journal.fact, place, fact)
    if last == fingerprint and (makes is None or await OFF_LOOP(makes.exists)):
        return Skip(f"{shown} is unchanged")

    async def do() -> None:
        await work.fetch(*argv)
        # What it wrote itself counts: a lock file that it has made is no change.
        done = await OFF_LOOP(_hash, work.workspace, inputs, argv[0])
        await OFF_LOOP(work.journal.note, place, fact, done)

    undo = await OFF_LOOP(_fresh, work.workspace, argv, makes)
    return Action(" ".join(argv), do, undo)


def _fresh(workspace: Path, argv: tuple[str, ...], makes: Path | None) -> tuple[RemoveTree, ...]:
    """Undo of what an installation makes and was not there."""
    made = [workspace / each for each in _made_by(argv)] + ([makes] if makes else [])
    return tuple(RemoveTree(str(each)) for each in made if not each.exists())


def _made_by(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The lock files that an installation without one leaves."""
    return NODE_LOCK_OF.get(argv[0], ())


def _hash(workspace: Path, inputs: Sequence[str], manager: str) -> str:
    """Of the inputs and of who installs them. Not of the whole command: without a lock file it is
    another one than with the one that it leaves."""
    digest = hashlib.sha256(manager.encode())
    for name in dict.fromkeys(inputs):
        try:
            content = (workspace / name).read_bytes()
        except OSError:
            content = b""
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


# -- Python ----------------------------------------------------------------------------------------


async def _venv(work: Work) -> Action | Skip:
    """A virtual environment in the workspace, of the Python that was wanted; by uv where it is."""
    if work.config.colony.environment.python_version is None:
        return Skip()
    folder = work.workspace / VENV
    work.put("VIRTUAL_ENV", str(folder))
    python = work.which("python3") or work.which("python") or "python3"
    there = (folder / "bin" / "python").exists()
    work.put_first(folder / "bin")
    if there:
        return Skip("it is there")

    async def do() -> None:
        if work.which("uv"):
            await work.run("uv", "venv", "--no-project", "--python", python, str(folder))
        else:
            await work.run(python, "-m", "venv", str(folder))

    return Action(f"virtual environment of {python}", do, (RemoveTree(str(folder)),))


async def _python(work: Work) -> Action | Skip:
    if work.config.colony.environment.python_version is None:
        return Skip()
    present = [name for name in PYTHON_FILES if (work.workspace / name).exists()]
    if not present:
        return Skip()
    argv = _python_command(work, present[0])
    if not argv:
        return Skip()
    return await _unless_unchanged(
        work, "python packages", present[0], present, argv, work.workspace / VENV
    )


def _python_command(work: Work, file: str) -> tuple[str, ...]:
    has_uv = work.which("uv") is not None
    python = str(work.workspace / VENV / "bin" / "python")
    pip = (
        ("uv", "pip", "install", "--python", python) if has_uv else (python, "-m", "pip", "install")
    )
    if file == "uv.lock":
        return ("uv", "sync", "--frozen") if has_uv else (*pip, "-e", ".")
    if file == "requirements.txt":
        return (*pip, "-r", file)
    # A pyproject.toml without [project] configures tools and installs nothing.
    text = (work.workspace / file).read_text("utf-8", errors="replace")
    return (*pip, "-e", ".") if "[project]" in text else ()
