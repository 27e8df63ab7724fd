"""Services, against supervisord, circus, honcho, pm2, concurrently, runit and s6, in one run.

    python benchmarks/services.py [--quick] [--json] [--install]

crash → answering   SIGKILL to the server until another one answers on its port, each contestant in
                    turn, beside the raw start of the server
run → first 200     the command until the server answers; cold, and into a running instance
Ctrl-C → gone       SIGINT until no process is left
orphans             what is left of a process and its seven descendants one second after SIGKILL of
                    the supervisor
idle                resident memory of the first colony and of each more, and the CPU they take
logs                a flood through a pipe into `Logs`, beside `cat > /dev/null`

`--install` puts the peers below build/peers. All runs on the host's network: the same for all.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import _peers
import _ratio
import anyio
from _peers import COLONY, Peer

# This folder has an actors.py of its own, which would stand in for the package.
HERE: Final = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

from colony.client import Address, Client  # noqa: E402
from colony.logs import Logs  # noqa: E402
from tests.ports import free_port  # noqa: E402

MARK: Final = "BENCHMARK_SERVICES"
PATIENCE: Final = 30.0
PAUSE: Final = 0.001

FAMILY: Final = (
    "sleep 1000 & sleep 1000 & setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 & "
    "(setsid sleep 1000 &) ; setsid sh -c 'sleep 1000 & exec sleep 1000' & "
    "exec sleep 1000"
)
"""A process with seven descendants, most of which get away from it."""

FLOOD: Final = (
    "yes 'a line of a web server as it may be: GET /index.html 200 12ms' | head -c {size}"
)


def server(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]


def answers(port: int) -> bool:
    """Whether GET / on a port gives 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def until(look: Callable[[], bool], what: str) -> None:
    """Waits. Raises `RuntimeError` if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(PAUSE)


def marked(mark: str, *words: str) -> list[int]:
    """The living processes of a contestant whose command line holds these words."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if not entry.isdigit() or f"{MARK}={mark}" not in _read(entry, "environ"):
                continue
            command = _read(entry, "cmdline")
        except OSError:
            continue
        if command and all(word in command for word in words):
            found.append(int(entry))
    return found


def _read(pid: str, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b"\n").decode(errors="replace")


class Contestant:
    """A supervisor at work in a folder of its own, from `running` to the end of its block."""

    def __init__(self, peer: Peer, folder: Path, command: list[str]) -> None:
        self.peer = peer
        self.folder = folder
        self.command = command
        self.mark = f"{peer.name}-{os.getpid()}-{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            self.peer.prepare(self.folder, self.command),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    @property
    def env(self) -> dict[str, str]:
        """What it runs in."""
        return _peers.environment() | {
            MARK: self.mark,
            "PM2_HOME": str(self.folder / "pm2"),
            "COLONY_HOME": str(self.folder / "home"),
            "COLONY_RUNTIME_DIR": str(self.folder / "runtime"),
        }

    def clear(self) -> None:
        """Kills what is left of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        while left := marked(self.mark):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running(peer: Peer, folder: Path, command: list[str]) -> Iterator[Contestant]:
    contestant = Contestant(peer, folder / f"{peer.name}-{free_port()}", command)
    try:
        contestant.start()
        yield contestant
    finally:
        contestant.clear()


def measure_crashes(folder: Path, peers: list[Peer], rounds: int) -> _ratio.Samples:
    """All supervisors run at once; in turn one's server is killed."""
    samples = _ratio.Samples()
    at_work: dict[str, tuple[Contestant, int]] = {}
    try:
        for peer in peers:
            port = free_port()
            contestant = Contestant(peer, folder / peer.name, server(port))
            at_work[peer.name] = (contestant, port)
            contestant.start()
            until(lambda port=port: answers(port), f"{peer.name} starts")  # type: ignore[misc]
        time.sleep(2.5)  # runit and s6 hold back whatever has run for less than a second
        for name in _ratio.turns(["raw", *at_work], rounds):
            time.sleep(0.2)
            if name == "raw":
                _raw(samples)
            else:
                _crash(name, *at_work[name], samples)
    finally:
        for contestant, _ in at_work.values():
            contestant.clear()
    return samples


def _raw(samples: _ratio.Samples) -> None:
    port = free_port()
    with samples.timed("raw"):
        process = subprocess.Popen(
            server(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        until(lambda: answers(port), "the server starts")
    process.kill()
    process.wait()


def _crash(name: str, contestant: Contestant, port: int, samples: _ratio.Samples) -> None:
    [victim] = marked(contestant.mark, "http.server", f"\n{port}\n", "--bind")[-1:]
    with samples.timed(name):
        os.kill(victim, signal.SIGKILL)
        until(lambda: answers(port), f"{name} restarts")


def measure_starts(folder: Path, peers: list[Peer], rounds: int) -> tuple[_ratio.Samples, ...]:
    """The command to the first 200, and SIGINT to nobody left."""
    starts, stops = _ratio.Samples(), _ratio.Samples()
    by_name = {peer.name: peer for peer in peers}
    for name in _ratio.turns(["raw", *by_name], rounds):
        if name == "raw":
            _raw(starts)
            continue
        port = free_port()
        contestant = Contestant(by_name[name], folder / f"{name}-{port}", server(port))
        try:
            with starts.timed(name):
                contestant.start()
                until(lambda port=port: answers(port), f"{name} starts")  # type: ignore[misc]
            assert contestant.process is not None
            if name == COLONY.name:
                _join(contestant, starts)
                with stops.timed(name):
                    contestant.process.send_signal(signal.SIGINT)
                    contestant.process.wait(PATIENCE)
                assert marked(contestant.mark) == []
        finally:
            contestant.clear()
    return starts, stops


def _join(host: Contestant, starts: _ratio.Samples) -> None:
    """A second colony into the running instance."""
    port = free_port()
    folder = host.folder / "second"
    folder.mkdir()
    toml = f'[colony]\nname = "second"\n[services.web]\ncommand = {server(port)!r}\nport = {port}\n'
    (folder / "colony.toml").write_text(toml)
    until(lambda: _api_answers(host), "the API answers")
    arguments = [sys.executable, "-m", "colony", "run", str(folder / "colony.toml")]
    with starts.timed("colony, joining"):
        process = subprocess.Popen(
            arguments, env=host.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: answers(port), "the second colony starts")
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)


def _api_answers(host: Contestant) -> bool:
    """Whether the instance runs in full: until then a command waits for it."""
    return Client(Address(host.folder / "runtime" / "colony.sock")).answers()


def count_orphans(folder: Path, peers: list[Peer], report: _ratio.Report) -> None:
    """What is left one second after SIGKILL of the supervisor."""
    script = folder / "family"
    script.write_text(FAMILY + "\n")
    for peer in peers:
        with running(peer, folder, ["/bin/sh", str(script)]) as contestant:
            until(lambda mark=contestant.mark: len(marked(mark, "sleep\n1000")) >= 7, peer.name)  # type: ignore[misc]
            time.sleep(0.2)
            assert contestant.process is not None
            contestant.process.kill()
            contestant.process.wait()
            time.sleep(1.0)
            left = len(marked(contestant.mark, "sleep\n1000"))
            goal = "== 0" if peer is COLONY else None
            name = f"orphans 1 s after SIGKILL of {peer.name}, of 7 and their parent"
            report.state(name, left, unit="processes", goal=goal)


def measure_idle(folder: Path, report: _ratio.Report, seconds: float) -> None:
    """Memory of one colony and of ten more, and the CPU that all take."""
    with running(COLONY, folder, ["sleep", "1000"]) as contestant:
        pid = _instance(contestant, 1)
        first = _resident(pid)
        report.state("idle, the first colony", first, unit="MiB", goal="<= 60")
        more = [_another(contestant, index) for index in range(10)]
        _instance(contestant, 11)
        each = (_resident(pid) - first) / len(more)
        report.state("idle, each more", each, unit="MiB", goal="<= 0.5")
        before = _cpu(pid)
        time.sleep(seconds)
        used = (_cpu(pid) - before) / seconds * 100
        report.state("idle, CPU with 11 colonies", used, unit="%", goal="<= 0.2")
        for process in more:
            process.kill()
            process.wait()


def _instance(contestant: Contestant, services: int) -> int:
    until(lambda: len(marked(contestant.mark, "sleep\n1000")) == services, "the colony starts")
    until(lambda: _api_answers(contestant), "the API answers")
    time.sleep(1.0)
    assert contestant.process is not None
    return contestant.process.pid


def _another(host: Contestant, index: int) -> subprocess.Popen[bytes]:
    folder = host.folder / f"more-{index}"
    folder.mkdir()
    name = f"more-{os.getpid()}-{index}"
    toml = f'[colony]\nname = "{name}"\n[services.web]\ncommand = ["sleep", "1000"]\n'
    (folder / "colony.toml").write_text(toml)
    return subprocess.Popen(
        [sys.executable, "-m", "colony", "run", str(folder / "colony.toml")],
        env=host.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_logs(folder: Path, report: _ratio.Report, rounds: int, size: int) -> None:
    """A flood read, kept and written, beside `cat > /dev/null` from the same pipe."""
    samples = _ratio.Samples()
    for name in _ratio.turns(["cat", "logs"], rounds):
        read, write = os.pipe2(os.O_CLOEXEC)
        began = time.perf_counter()
        flood = subprocess.Popen(["sh", "-c", FLOOD.format(size=size)], stdout=write)
        os.close(write)
        if name == "cat":
            subprocess.run("cat >/dev/null", shell=True, stdin=read, check=True)
            os.close(read)
        else:
            anyio.run(_read_flood, folder / "logs", read)
        samples[name].append(size / (time.perf_counter() - began) / 1e6)
        flood.wait()
    title = "logs, a flood read and kept"
    report.compare(title, samples["logs"], "cat", samples["cat"], unit="MB/s", goal=">= 0.5")


async def _read_flood(directory: Path, read: int) -> None:
    logs = Logs(directory)
    await logs.start(lambda event: None)
    try:
        await logs.attach("bench", "web", "stdout", read).ended.wait()
    finally:
        await logs.close()


def tell(report: _ratio.Report, crashes: _ratio.Samples, starts: _ratio.Samples) -> None:
    """Colony's figures beside each peer's."""
    extra = [ours - _ratio.spread(crashes["raw"]).median for ours in crashes["colony"]]
    report.state("crash → answering, beyond a raw start", extra, unit="ms", goal="<= 10")
    for name in (name for name in crashes if name not in ("colony", "raw")):
        goal = "<= 1" if name == "runit" else None
        report.compare("crash → answering", crashes["colony"], name, crashes[name], goal=goal)
    for ours in ("colony", "colony, joining"):
        limit = "<= 350" if ours == "colony" else "<= 120"
        report.state(f"run → first 200, {ours}", starts[ours], unit="ms", goal=limit)
    for name in (name for name in starts if not name.startswith("colony")):
        report.compare("run → first 200", starts["colony"], name, starts[name])


def main() -> int:
    arguments = _ratio.arguments(__doc__.splitlines()[0])
    if arguments.install:
        _peers.install()
    report = _ratio.Report()
    peers = [peer for peer in _peers.PEERS if peer.installed]
    for peer in _peers.PEERS:
        if not peer.installed:
            report.missing(peer.name, "benchmarks/services.py --install")
    quick = arguments.quick
    with tempfile.TemporaryDirectory(prefix="colony-bench-") as name:
        folder = Path(name)
        restarting = [COLONY, *(peer for peer in peers if peer.restarts)]
        crashes = measure_crashes(folder, restarting, 3 if quick else 11)
        starts, stops = measure_starts(folder, [COLONY, *peers], 2 if quick else 7)
        tell(report, crashes, starts)
        report.state("Ctrl-C → gone", stops["colony"], unit="ms", goal="<= 150")
        count_orphans(folder, [COLONY, *peers], report)
        measure_idle(folder, report, 2.0 if quick else 10.0)
        measure_logs(folder, report, 2 if quick else 5, 200_000_000 if quick else 1_000_000_000)
    report.show(json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
