"""The others that put a program in a network of its own: bubblewrap, runc and podman, each told to
run nothing, with a root of one program that is linked statically, so that the time is theirs.

podman makes a bridge, packet rules, settings and mounts where it runs, and keeps them. So it has a
machine of its own, as far as these go: namespaces that go with the benchmark. Entering them costs
1 to 2 of its some 400 ms.

Where a process may not raise its limits (in many a container, on a VM of a farm), the limits that
podman gives a container are refused by the kernel: it is told to give less. crun wants a machine
with cgroups of one kind; so the first of podman's runtimes that works is taken.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

GOALS: Final[Mapping[str, str | None]] = {"bwrap": None, "runc": None, "podman": "<= 0.02"}
"""All of them, with the goal of our complete network against theirs."""

_PACKAGES: Final = {"bwrap": "bubblewrap"}
_TRUE: Final = "int main(void) { return 0; }"
_RUNTIMES: Final = ("crun", "runc")
_LIMITS: Final = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_FEW: Final = 1024
_PATIENCE: Final = 30.0


class Others:
    """Those that run here: `argv` of each by name; of the rest `why_not`."""

    def __init__(self, argv: dict[str, list[str]], why_not: dict[str, str]) -> None:
        self.argv = argv
        self.why_not = why_not

    @classmethod
    @contextmanager
    def prepared(cls, folder: Path) -> Iterator[Others]:
        """Each tried once, in a folder that is theirs."""
        root = folder / "root"
        root.mkdir(parents=True)
        source = folder / "true.c"
        source.write_text(_TRUE)
        subprocess.run(["gcc", "-static", "-o", str(root / "true"), str(source)], check=True)
        with _machine() as machine:
            argv: dict[str, list[str]] = {}
            why_not: dict[str, str] = {}
            for name in GOALS:
                words = "is not installed"
                for told in _ways(name, folder, root, machine):
                    if not (words := _refusal(told)):
                        argv[name] = told
                        break
                else:
                    why_not[name] = words
            yield cls(argv, why_not)

    def how(self, name: str) -> str:
        """What to do about one that is missing."""
        return f"{self.why_not[name]}; apt-get install {_PACKAGES.get(name, name)}"


def _ways(name: str, folder: Path, root: Path, machine: int) -> Iterator[list[str]]:
    """How it may be told to run nothing, the best first; none if it is not installed."""
    if not shutil.which(name):
        return
    if name == "bwrap":
        yield ["bwrap", "--unshare-net", "--bind", str(root), "/", "/true"]
    elif name == "runc":
        _write_bundle(folder)
        yield ["runc", "run", "--bundle", str(folder), f"bench-{os.getpid()}"]
    else:
        there = ["nsenter", f"--target={machine}", "--net", "--mount", "--"]
        for runtime in filter(shutil.which, _RUNTIMES):
            for limits in ([], _own_limits()):
                podman = [*_podman(folder), "--runtime", runtime, "run", "--rm", *limits]
                yield [*there, *podman, "--rootfs", str(root), "/true"]


def _podman(folder: Path) -> list[str]:
    """podman with its state below the folder."""
    return ["podman", "--root", f"{folder}/storage", "--runroot", f"{folder}/run"]


def _own_limits() -> list[str]:
    """Options that keep a container's limits within this process's."""
    hard = {name: resource.getrlimit(kind)[1] for name, kind in _LIMITS.items()}
    few = {n: _FEW if v == resource.RLIM_INFINITY else min(v, _FEW) for n, v in hard.items()}
    return [f"--ulimit={name}={value}:{value}" for name, value in few.items()]


def _write_bundle(folder: Path) -> None:
    """What runc runs."""
    subprocess.run(["runc", "spec", "--bundle", str(folder)], check=True)
    spec = json.loads((folder / "config.json").read_text())
    spec["process"] |= {"args": ["/true"], "terminal": False}
    del spec["process"]["rlimits"]
    spec["root"] = {"path": "root", "readonly": True}
    (folder / "config.json").write_text(json.dumps(spec))


def _refusal(argv: list[str]) -> str:
    """Why it does not work here, in its own last words; "" if it does."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"had not ended after {_PATIENCE:g} s"
    return "" if done.returncode == 0 else f"says {(done.stderr.splitlines() or ['nothing'])[-1]}"


@contextmanager
def _machine() -> Iterator[int]:
    """A process in namespaces of its own, which go with it."""
    told = ["unshare", "--net", "--mount", "--", "sh", "-c", "echo; exec sleep infinity"]
    held = subprocess.Popen(told, stdout=subprocess.PIPE)
    assert held.stdout is not None
    held.stdout.readline()  # it is inside
    try:
        yield held.pid
    finally:
        held.kill()
        held.wait()
        held.stdout.close()
