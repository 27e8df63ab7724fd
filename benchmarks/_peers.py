"""The supervisors that Colony is compared with: how each is installed, told and started.

All are given the same work: a Python HTTP server on a port, to be restarted whenever it ends, with
every delay of theirs that can be switched off switched off. `install` puts them below `build/peers`
and nowhere else on the machine.

The work is one executable file, so that runit and s6 need no shell around it, which costs them a
millisecond that nobody else pays. What it writes goes through a pipe into a file where a supervisor
has that: runit's does by svlogd, as Colony's.
"""

from __future__ import annotations

import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import _ratio

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = ROOT / "build" / "peers"
PYTHON: Final = HOME / "python" / "bin"
NODE: Final = HOME / "node" / "node_modules" / ".bin"
DEBIAN: Final = HOME / "debian"

Prepare = Callable[[Path, list[str], int | None], list[str]]


@dataclass(frozen=True)
class Peer:
    """One supervisor.

    program
        Its file; it is installed if that is there.
    prepare
        Writes what it needs into a folder, for a command and the port of that if it is a server;
        returns its own command line.
    restarts
        Whether it restarts what has crashed.
    """

    name: str
    program: Path
    prepare: Prepare
    restarts: bool = True

    @property
    def installed(self) -> bool:
        return self.program.exists()


def _colony(folder: Path, command: list[str], port: int | None, network: str = "host") -> list[str]:
    toml = [
        f'[colony]\nname = "bench-{os.getpid()}"\n',
        "[services.web]\n",
        f"command = {json.dumps(command)}\n",
        'backoff = { reset = "100ms" }\n',
        "[supervision]\nintensity = 1000\n",
    ]
    if port is not None:
        toml.insert(3, f"port = {port}\n")
    (folder / "colony.toml").write_text("".join(toml))
    options = ["--network", network, "--proxy", "embedded", "--dns", "none"]
    return [sys.executable, "-m", "colony", "run", *options, str(folder / "colony.toml")]


def _python(name: str) -> list[str]:
    """A program of the Python ones. By its own first line it runs where it was installed alone."""
    return [str(PYTHON / "python"), str(PYTHON / name)]


def _supervisord(folder: Path, command: list[str], _port: int | None) -> list[str]:
    file = folder / "supervisord.conf"
    file.write_text(
        "[supervisord]\nnodaemon=true\nuser=root\n"
        f"logfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\n"
        f"[program:web]\ncommand={shlex.join(command)}\nautorestart=true\nstartsecs=0\n"
    )
    return [*_python("supervisord"), "-c", str(file)]


def _circus(folder: Path, command: list[str], _port: int | None) -> list[str]:
    file = folder / "circus.ini"
    sockets = "".join(
        f"{name} = ipc://{folder}/{name}\n" for name in ("endpoint", "pubsub_endpoint")
    )
    file.write_text(
        f"[circus]\ncheck_delay = 0.5\n{sockets}[watcher:web]\ncmd = {shlex.join(command)}\n"
        "copy_env = True\nwarmup_delay = 0\n"
    )
    return [*_python("circusd"), str(file)]


def _honcho(folder: Path, command: list[str], _port: int | None) -> list[str]:
    (folder / "Procfile").write_text(f"web: {shlex.join(command)}\n")
    return [*_python("honcho"), "start"]


def _pm2(folder: Path, command: list[str], _port: int | None) -> list[str]:
    app = {"name": "web", "script": command[0], "args": command[1:], "interpreter": "none"}
    (folder / "web.config.js").write_text(f"module.exports = {{apps: [{json.dumps(app)}]}}\n")
    return [str(NODE / "pm2-runtime"), "start", str(folder / "web.config.js")]


def _concurrently(_folder: Path, command: list[str], _port: int | None) -> list[str]:
    return [str(NODE / "concurrently"), "--restart-tries", "-1", shlex.join(command)]


def _run_file(folder: Path, command: list[str]) -> Path:
    """The service's folder, with its file `run`."""
    service = folder / "services" / "web"
    service.mkdir(parents=True)
    if len(command) == 1:
        (service / "run").symlink_to(command[0])
    else:
        _script(service / "run", f"exec {shlex.join(command)}")
    return service


def _script(file: Path, line: str) -> None:
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)


def _runit(folder: Path, command: list[str], _port: int | None) -> list[str]:
    log = _run_file(folder, command) / "log"
    (log / "main").mkdir(parents=True)
    _script(log / "run", "exec svlogd -tt main")
    return [str(DEBIAN / "usr/bin/runsvdir"), str(folder / "services")]


def _s6(folder: Path, command: list[str], _port: int | None) -> list[str]:
    # s6-svscan looks for its s6-supervise in /usr/bin alone; the latter does the restarting.
    return [str(DEBIAN / "usr/bin/s6-supervise"), str(_run_file(folder, command))]


COLONY: Final = Peer("colony", Path(sys.executable), _colony)
ISOLATED: Final = Peer("colony", Path(sys.executable), partial(_colony, network="namespace"))

PEERS: Final = (
    Peer("runit", DEBIAN / "usr/bin/runsvdir", _runit),
    Peer("s6", DEBIAN / "usr/bin/s6-supervise", _s6),
    Peer("supervisord", PYTHON / "supervisord", _supervisord),
    Peer("circus", PYTHON / "circusd", _circus),
    Peer("honcho", PYTHON / "honcho", _honcho, restarts=False),
    Peer("pm2", NODE / "pm2-runtime", _pm2),
    Peer("concurrently", NODE / "concurrently", _concurrently),
)


def environment() -> dict[str, str]:
    """What every contestant runs in: the Debian ones find their helpers and libraries in it."""
    path = f"{DEBIAN}/usr/bin:{DEBIAN}/bin:{os.environ['PATH']}"
    libraries = ":".join(glob.glob(f"{DEBIAN}/usr/lib/*") + glob.glob(f"{DEBIAN}/lib/*"))
    return _ratio.environment(PATH=path, LD_LIBRARY_PATH=libraries)


def install() -> None:
    """Installs the peers below `build/peers`; what cannot be had is said and left out."""
    HOME.mkdir(parents=True, exist_ok=True)
    _attempt([sys.executable, "-m", "venv", str(HOME / "python")])
    _attempt(
        [str(PYTHON / "pip"), "install", "-q", "setuptools<81", "supervisor", "circus", "honcho"]
    )
    _attempt(["npm", "install", "--silent", "--prefix", str(HOME / "node"), "pm2", "concurrently"])
    DEBIAN.mkdir(exist_ok=True)
    packages = ["runit", "s6", "execline", "libskarnet2.13", "libs6-2.11", "libexecline2.9"]
    for package in packages:
        _attempt(["apt-get", "download", package], DEBIAN)
    for file in glob.glob(f"{DEBIAN}/*.deb"):
        _attempt(["dpkg", "-x", file, str(DEBIAN)])


def _attempt(command: list[str], folder: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        print(f"skipped: {' '.join(command)}: there is no {command[0]}", file=sys.stderr)
    elif subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode:
        print(f"failed: {' '.join(command)}", file=sys.stderr)
