"""A repository with something of everything, and pictures of folders to compare."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from colony.provision import Journal, Progress, Source, Work

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BIN = str(Path(sys.executable).parent)

COLONY = f"""\
[colony]
name = "original"
[colony.environment]
python_version = "{PYTHON}"
node_version = "latest"
setup = ["echo set up > done.txt"]
[services.web]
command = "python -m http.server {{port}}"
port = 4001
"""
PACKAGE = '{"name": "x", "version": "1.0.0", "dependencies": {"dep": "file:dep"}}'
LOCK = """\
{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
 "packages": {"": {"name": "x", "version": "1.0.0", "dependencies": {"dep": "file:dep"}},
  "dep": {"version": "1.0.0"}, "node_modules/dep": {"resolved": "dep", "link": true}}}
"""
FILES = {
    "colony.toml": COLONY,
    "package.json": PACKAGE,
    "package-lock.json": LOCK,
    "dep/package.json": '{"name": "dep", "version": "1.0.0"}',
    "requirements.txt": "",
    ".gitignore": ".env*\nnode_modules\n.venv\ndone.txt\n",
    ".worktreeinclude": ".env*\n",
}


OWN = {
    *("state.db", "state.db-wal", "state.db-shm"),
    *("locks", "provision", "events", "addresses.json", ".git", "tools"),
}
"""What the journals keep, and what `git_state` and `environ` are for."""


def git(folder: Path, *args: str) -> str:
    config = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *config, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def repository(folder: Path, files: dict[str, str] | None = None) -> Path:
    """A git repository of one commit, with an .env that is not in it."""
    folder.mkdir(parents=True)
    for name, text in (FILES if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    (folder / ".env").write_text("SECRET=1\n")
    return folder


def environ(home: Path) -> dict[str, str]:
    """Enough for the steps, with uv at hand, and nothing of the machine's own settings."""
    # Our own virtual environment's python must not pass for the machine's.
    tools = home / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    uv, link = Path(BIN) / "uv", tools / "uv"
    if uv.exists() and not link.exists():
        link.symlink_to(uv)
    base = str(Path(sys.base_prefix) / "bin")
    return {
        "PATH": f"{tools}:{base}:/usr/local/bin:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/root"),
        "UV_OFFLINE": "1",
        "npm_config_offline": "true",
        "npm_config_update_notifier": "false",
    }


def work(tmp: Path, name: str = "app") -> Work:
    home = tmp / "home"
    return Work(name, home / "workspaces" / name, Journal(home), environ(tmp))


def picture(*folders: Path) -> dict[str, Any]:
    """Every path below some folders with its content; the journal's own files aside."""
    found: dict[str, Any] = {}
    for folder in folders:
        for root, names, files in os.walk(folder):
            for name in (*names, *files):
                path = Path(root) / name
                inside = path.relative_to(folder).parts
                if OWN.intersection(inside):
                    continue
                content = path.read_bytes() if path.is_file() else None
                found[str(path)] = os.readlink(path) if path.is_symlink() else content
    return found


def git_state(repository: Path) -> tuple[str, str, str]:
    """What of a repository a worktree would change."""
    return (
        git(repository, "worktree", "list"),
        git(repository, "branch", "--list"),
        git(repository, "status", "--porcelain"),
    )


class Reports(list[Progress]):
    """What was reported, as `step state`."""

    @property
    def said(self) -> list[str]:
        return [f"{each.step} {each.state}" for each in self]


def local(folder: Path) -> Source:
    return Source(str(folder))


def remote(folder: Path) -> Source:
    return Source(f"file://{folder}")


def is_file(path: str) -> bool:
    return os.path.isfile(path)
