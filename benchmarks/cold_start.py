"""From nothing to the first answer: `colony run` against the same command started bare; and the
making of a namespace against the same steps by `ip` commands.

    python benchmarks/cold_start.py [--quick] [--json]

`colony run` is measured as its user sees it: from the start of the process, Python's own start and
imports included, to the first 200 through the front door by the service's URL. Bare is the same
command started by hand, to its first 200 on its port. Needs root.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _ratio
import anyio
import network_create

from tests.ports import free_port

PATIENCE = 60.0
PAUSE = 0.002
ERRORS = "errors.txt"

TOML = """\
[colony]
name = "{name}"

[services.web]
command = "{command}"
port = {port}
"""


def answers(port: int, host: str) -> bool:
    """Whether GET / on a port of this machine gives 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def until_answered(port: int, host: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits for the first 200. Raises `RuntimeError` if the process ends or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not answers(port, host):
        if process.poll() is not None:
            said = Path(folder, ERRORS).read_text(errors="replace")
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not answer within {PATIENCE:g} s")
        time.sleep(PAUSE)


@contextmanager
def started(arguments: list[str], folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen]:  # type: ignore[type-arg]
    """A process for the length of a block, ended by SIGINT."""
    with open(folder / ERRORS, "wb") as errors:
        process = subprocess.Popen(
            arguments, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


class Contest:
    """One way of running the service, in turn with the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"bench-{os.getpid()}"  # another run may have left its namespace
        self.samples = _ratio.Samples()
        (folder / "index.html").write_text("hello\n")

    def bare(self) -> None:
        port = free_port()
        arguments = [sys.executable, "-m", "http.server", str(port)]
        with self.samples.timed("bare"):
            context = started(arguments, self.folder, _ratio.environment())
            process = context.__enter__()
            until_answered(port, "localhost", process, self.folder)
        context.__exit__(None, None, None)

    def colony(self, name: str, *options: str) -> None:
        door, port = free_port(), 4001
        toml = self.folder / "colony.toml"
        command = f"{sys.executable} -m http.server {port}"
        toml.write_text(TOML.format(name=self.name, command=command, port=port))
        arguments = [sys.executable, "-m", "colony", "run", str(toml), "--http-port", str(door)]
        env = _ratio.environment(
            COLONY_RUNTIME_DIR=str(self.folder / "runtime"), COLONY_HOME=str(self.folder / "home")
        )
        with self.samples.timed(name):
            context = started([*arguments, *options], self.folder, env)
            process = context.__enter__()
            until_answered(door, f"{self.name}-{port}.colony.localhost", process, self.folder)
        context.__exit__(None, None, None)


def measure_start(report: _ratio.Report, rounds: int) -> None:
    """`colony run` to the first 200, with Caddy and dnsmasq and with the embedded stand-ins."""
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(Path(folder))
        for name in _ratio.turns(["bare", "caddy", "embedded"], rounds):
            if name == "bare":
                contest.bare()
            elif name == "caddy":
                contest.colony(name, "--proxy", "caddy", "--dns", "dnsmasq")
            else:
                contest.colony(name, "--proxy", "embedded", "--dns", "embedded")
        bare = contest.samples["bare"]
        for name in ("caddy", "embedded"):
            title = f"colony run to the first 200, {name}"
            report.compare(title, contest.samples[name], "the command started bare", bare)
            report.state(f"{title}, alone", contest.samples[name], unit="ms", goal="<= 350")


def main() -> int:
    arguments = _ratio.arguments(__doc__.splitlines()[0])
    if os.geteuid() != 0:
        print("benchmarks/cold_start.py makes network namespaces and so needs root")
        return 1
    report = _ratio.Report()
    measure_start(report, 2 if arguments.quick else 15)
    made = anyio.run(network_create.collect, (0,), 3 if arguments.quick else 30)
    network_create.compare(report, made, 0)
    report.show(json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
