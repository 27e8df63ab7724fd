"""The runtimes of `[colony.environment]`: what the machine has, else who can provide it.

    node      PATH ─ mise ─ asdf ─ the npm package `node`
    python    PATH ─ pyenv's ─ mise ─ asdf ─ uv
    ruby      PATH ─ mise ─ asdf
    rust      PATH ─ mise ─ asdf ─ rustup
    npm, …    PATH ─ the npm package of that name

Nothing is downloaded that was not asked for, and nothing is piped into a shell. What is installed
goes to `$COLONY_HOME/runtimes`, where the next colony finds it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from colony.provision.undo import RemoveTree
from colony.provision.versions import number_in, satisfies
from colony.provision.work import OFF_LOOP, Action, Skip, Stage, StepFailed, Work


class Runtime(msgspec.Struct, frozen=True):
    """A runtime: its name, the field that asks for it, its programs, and its name for mise."""

    name: str
    field: str
    programs: tuple[str, ...]
    plugin: str


RUNTIMES: Final = (
    Runtime("node", "node_version", ("node",), "nodejs"),
    Runtime("python", "python_version", ("python3", "python"), "python"),
    Runtime("ruby", "ruby_version", ("ruby",), "ruby"),
    Runtime("rust", "rust_version", ("rustc",), "rust"),
)

Provider = Callable[[Work, Runtime, str], Awaitable[Path | Action | None]]
"""The folder with the runtime's programs, or how to get it there; None if it cannot help."""


def runtime_stages() -> tuple[Stage, ...]:
    """A stage for each runtime, and one for the package manager."""
    return (*(_stage(runtime) for runtime in RUNTIMES), Stage("package manager", _manager))


def _stage(runtime: Runtime) -> Stage:
    async def prepare(work: Work) -> Action | Skip:
        wanted = getattr(work.config.colony.environment, runtime.field)
        if wanted is None:
            return Skip()
        tried = []
        for name, provider in PROVIDERS[runtime.name]:
            found = await provider(work, runtime, wanted)
            if isinstance(found, Action):
                return found
            if found is not None:
                return await _use(work, runtime, found)
            tried.append(name)
        raise StepFailed(
            f"{runtime.name} {wanted} is not to be had here: tried {', '.join(tried)}",
            f"install it, or change {runtime.field} in [colony.environment]",
        )

    return Stage(runtime.name, prepare)


async def _use(work: Work, runtime: Runtime, folder: Path) -> Skip:
    on_path = work.which(runtime.programs[0])
    if on_path is None or Path(on_path).parent != folder:
        work.put_first(folder)
    version = await _version(work, folder, runtime)
    return Skip(f"{runtime.name} {version} in {folder}")


async def _version(work: Work, folder: Path, runtime: Runtime) -> str:
    for program in runtime.programs:
        if os.access(folder / program, os.X_OK):
            return number_in(await work.ask(str(folder / program), "--version"))
    return ""


# -- providers -------------------------------------------------------------------------------------


async def _on_path(work: Work, runtime: Runtime, wanted: str) -> Path | None:
    programs = runtime.programs
    if runtime.name == "python":
        programs = (f"python{'.'.join(wanted.split('.')[:2])}", *programs)
    for program in programs:
        path = work.which(program)
        if path is None:
            continue
        if satisfies(number_in(await work.ask(path, "--version")), wanted):
            return Path(path).parent if program in runtime.programs else await _real(work, path)
    return None


async def _real(work: Work, program: str) -> Path | None:
    """The folder in which `python3` itself is what a `python3.12` elsewhere only leads to."""
    said = await work.ask(program, "-c", "import sys; print(sys.base_prefix)")
    folder = Path(said) / "bin"
    return folder if said and (folder / "python3").exists() else None


async def _pyenv(work: Work, runtime: Runtime, wanted: str) -> Path | None:
    """pyenv's own shims choose by files in the folder; its versions are used directly."""
    root = work.environ.get("PYENV_ROOT") or str(Path(work.environ.get("HOME", "/")) / ".pyenv")
    versions = Path(root) / "versions"
    if not versions.is_dir():
        return None
    fitting = [each for each in versions.iterdir() if satisfies(each.name, wanted)]
    newest = sorted(fitting, key=lambda each: [int(n) for n in number_in(each.name).split(".")])
    found = newest[-1] / "bin" if newest else None
    return found if found is not None and (found / "python3").exists() else None


async def _mise(work: Work, runtime: Runtime, wanted: str) -> Path | Action | None:
    if work.which("mise") is None:
        return None
    tool = f"{runtime.name}@{wanted}"
    there = await work.ask("mise", "where", tool)
    if there:
        return Path(there) / "bin"

    async def do() -> None:
        await work.run("mise", "install", "--yes", tool)
        work.put_first(Path(await work.ask("mise", "where", tool)) / "bin")

    return Action(f"mise install {tool}", do)


async def _asdf(work: Work, runtime: Runtime, wanted: str) -> Path | Action | None:
    if work.which("asdf") is None:
        return None
    there = await work.ask("asdf", "where", runtime.plugin, wanted)
    if there:
        return Path(there) / "bin"
    exact = await work.ask("asdf", "latest", runtime.plugin, wanted)
    if not exact:
        return None

    async def do() -> None:
        await work.run("asdf", "install", runtime.plugin, exact)
        work.put_first(Path(await work.ask("asdf", "where", runtime.plugin, exact)) / "bin")

    return Action(f"asdf install {runtime.plugin} {exact}", do)


async def _uv(work: Work, runtime: Runtime, wanted: str) -> Path | Action | None:
    if work.which("uv") is None:
        return None
    found = await work.ask("uv", "python", "find", "--no-project", wanted)
    if found:
        return await OFF_LOOP(_folder_of, found)

    async def do() -> None:
        await work.run("uv", "python", "install", wanted)
        work.put_first(await OFF_LOOP(_folder_of, await work.ask("uv", "python", "find", wanted)))

    return Action(f"uv python install {wanted}", do)


def _folder_of(program: str) -> Path:
    return Path(program).resolve().parent


async def _rustup(work: Work, runtime: Runtime, wanted: str) -> Path | Action | None:
    if work.which("rustup") is None:
        return None
    found = await work.ask("rustup", "which", "--toolchain", wanted, "rustc")
    if found:
        return Path(found).parent

    async def do() -> None:
        # Updating rustup itself, as it does unasked, is not ours, and fails where it is packaged.
        options = ("--profile", "minimal", "--no-self-update")
        await work.run("rustup", "toolchain", "install", *options, wanted)
        work.put_first(
            Path(await work.ask("rustup", "which", "--toolchain", wanted, "rustc")).parent
        )

    return Action(f"rustup toolchain install {wanted}", do)


async def _npm_package(work: Work, runtime: Runtime, wanted: str) -> Path | Action | None:
    return await _from_npm(work, runtime.name, wanted)


async def _from_npm(work: Work, package: str, wanted: str) -> Path | Action | None:
    """A program that npm knows as a package, in a folder of its own among our runtimes."""
    folder = work.home / "runtimes" / f"{package}-{wanted}"
    programs = folder / "node_modules" / ".bin"
    if (programs / package).exists():
        return programs
    if work.which("npm") is None:
        return None

    async def do() -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        await work.fetch(
            "npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder),
            f"{package}@{wanted}", cwd=folder,
        )  # fmt: skip
        work.put_first(programs)

    return Action(f"npm install {package}@{wanted}", do, (RemoveTree(str(folder)),))


PROVIDERS: Final[dict[str, tuple[tuple[str, Provider], ...]]] = {
    "node": (("PATH", _on_path), ("mise", _mise), ("asdf", _asdf), ("npm", _npm_package)),
    "python": (
        ("PATH", _on_path),
        ("pyenv", _pyenv),
        ("mise", _mise),
        ("asdf", _asdf),
        ("uv", _uv),
    ),
    "ruby": (("PATH", _on_path), ("mise", _mise), ("asdf", _asdf)),
    "rust": (("PATH", _on_path), ("mise", _mise), ("asdf", _asdf), ("rustup", _rustup)),
}


async def _manager(work: Work) -> Action | Skip:
    """The package manager that is wanted, or that the lock file needs."""
    from colony.provision.dependencies import node_lock

    lock = node_lock(work)
    wanted = work.config.colony.environment.package_manager or (lock.manager if lock else "")
    if not wanted or work.which(wanted) is not None:
        return Skip()
    found = await _from_npm(work, wanted, "latest")
    if isinstance(found, Action):
        return found
    if found is None:
        raise StepFailed(
            f"{wanted} is not installed, and without npm it cannot be",
            "install it, or change package_manager in [colony.environment]",
        )
    work.put_first(found)
    return Skip(f"{wanted} in {found}")
