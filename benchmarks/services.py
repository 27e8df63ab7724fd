"""Services, against supervisord, circus, honcho, pm2, concurrently, runit and s6, in one run.

    python benchmarks/services.py [--quick] [--json] [--install] [--only PART...]

crash               SIGKILL to the server until another one answers on its port, each contestant in
                    turn, beside the raw start of the server
level               the same in many rounds of raw, Colony and runit alone, with the interval in
                    which each median lies at 95 %: it takes that to tell 1.02 from 1; and once more
                    with a server that starts in a few milliseconds, behind which nobody's own part
                    disappears
starts              the command until the server answers, cold and into a running instance; and
                    SIGINT until no process is left
orphans             what is left of a process and its seven descendants one second after SIGKILL of
                    the supervisor
idle                resident memory of the first colony and of each more, and the CPU they take
logs                a flood through a pipe into `Logs`, beside `cat > /dev/null`

`--install` puts the peers below build/peers. All runs on the host's network: the same for all. So
is the server: one executable file, which logs each request and answers with its own process's
number; and who asks it, which is a bare socket, five thousand times a second at most.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
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
from _peers import COLONY, ISOLATED, Peer

# This folder has an actors.py of its own, which would stand in for the package.
HERE: Final = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

from colony.client import Address, Client  # noqa: E402
from colony.logs import Logs  # noqa: E402
from tests.ports import free_port  # noqa: E402

MARK: Final = "BENCHMARK_SERVICES"
PARTS: Final = ("crash", "level", "starts", "orphans", "idle", "logs")
PATIENCE: Final = 30.0
SETTLED: Final = 65.0
"""Seconds after which nothing is looked at more often than it ever will be again."""

PAUSE: Final = 0.001
SHORT_PAUSE: Final = 0.0002
REST: Final = 0.2
LIFE: Final = 1.1
"""Seconds before each start, and of each life at least: runit and s6 hold back whatever has run for
less than a second."""

SERVER: Final = """#!{python}
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, format, *values):
        os.write(1, (format % values).encode() + b"\\n")

ThreadingHTTPServer(("127.0.0.1", {port}), Page).serve_forever()
"""

QUICK_SERVER: Final = """#!/usr/bin/perl
use Socket;
socket(my $listening, PF_INET, SOCK_STREAM, 0);
setsockopt($listening, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listening, pack_sockaddr_in({port}, INADDR_LOOPBACK)) or die "bind: $!";
listen($listening, 5);
while (accept(my $asking, $listening)) {{
    sysread($asking, my $request, 4096);
    syswrite(STDOUT, "GET / 200\\n");
    syswrite($asking, "HTTP/1.0 200 OK\\r\\n\\r\\n$$");
    close($asking);
}}
"""
"""The same by Perl, which every Debian has."""

FAMILY: Final = (
    "sleep 1000 & sleep 1000 & setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 & "
    "(setsid sleep 1000 &) ; setsid sh -c 'sleep 1000 & exec sleep 1000' & "
    "exec sleep 1000"
)
"""A process with seven descendants, most of which get away from it."""

FLOOD: Final = (
    "yes 'a line of a web server as it may be: GET /index.html 200 12ms' | head -c {size}"
)


class Server:
    """A server's file in a folder, and its port."""

    def __init__(self, folder: Path, text: str = SERVER) -> None:
        self.port = free_port()
        self.file = folder / f"serve-{self.port}"
        self.file.write_text(text.format(python=sys.executable, port=self.port))
        self.file.chmod(0o755)
        self.command = [str(self.file)]

    def answers(self) -> int:
        """Which process answers 200; 0 if none does."""
        with socket.socket() as asking:
            asking.settimeout(5)
            try:
                asking.connect(("127.0.0.1", self.port))
                asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: asking.recv(4096), b""))
            except OSError:
                return 0
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(body) if b" 200 " in head else 0

    def until_answers(self, who: str, other_than: int = 0) -> int:
        """Waits for a process that answers and is not the one that did before; which it is."""
        found = 0

        def look() -> bool:
            nonlocal found
            found = self.answers()
            return found not in (0, other_than)

        until(look, f"{who} answers", SHORT_PAUSE)
        return found


def until(look: Callable[[], bool], what: str, pause: float = PAUSE) -> None:
    """Waits. Raises `RuntimeError` if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(pause)


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

    def __init__(
        self, peer: Peer, folder: Path, command: list[str], port: int | None = None
    ) -> None:
        self.peer = peer
        self.folder = folder
        self.command = command
        self.port = port
        self.mark = f"{peer.name}-{os.getpid()}-{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            self.peer.prepare(self.folder, self.command, self.port),
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


def measure_crashes(
    folder: Path, peers: list[Peer], rounds: int, text: str = SERVER
) -> _ratio.Samples:
    """All supervisors run at once; in turn one's server is killed."""
    samples = _ratio.Samples()
    at_work: dict[str, Server] = {}
    contestants = []
    try:
        for peer in peers:
            server = at_work[peer.name] = Server(folder, text)
            contestant = Contestant(peer, folder / peer.name, server.command, server.port)
            contestants.append(contestant)
            contestant.start()
            server.until_answers(peer.name)
        began = dict.fromkeys(at_work, time.monotonic())
        for name in _ratio.turns(["raw", *at_work], rounds):
            if name == "raw":
                time.sleep(REST)
                _raw(folder, samples, text)
                continue
            time.sleep(max(REST, began[name] + LIFE - time.monotonic()))
            _crash(name, at_work[name], samples)
            began[name] = time.monotonic()
    finally:
        for contestant in contestants:
            contestant.clear()
    return samples


def _raw(folder: Path, samples: _ratio.Samples, text: str = SERVER) -> None:
    server = Server(folder, text)
    environment = _peers.environment()
    with samples.timed("raw"):
        process = subprocess.Popen(
            server.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
        )
        server.until_answers("raw")
    process.kill()
    process.wait()


def _crash(name: str, server: Server, samples: _ratio.Samples) -> None:
    victim = server.until_answers(name)  # 0, nobody's number, would be this process's own group
    with samples.timed(name):
        os.kill(victim, signal.SIGKILL)
        server.until_answers(name, other_than=victim)


def measure_starts(folder: Path, peers: list[Peer], rounds: int) -> tuple[_ratio.Samples, ...]:
    """The command to the first 200, and SIGINT to nobody left."""
    starts, stops = _ratio.Samples(), _ratio.Samples()
    by_name = {peer.name: peer for peer in peers}
    for name in _ratio.turns(["raw", *by_name], rounds):
        if name == "raw":
            _raw(folder, starts)
            continue
        server = Server(folder)
        at = folder / f"{name}-{server.port}"
        contestant = Contestant(by_name[name], at, server.command, server.port)
        try:
            with starts.timed(name):
                contestant.start()
                server.until_answers(name)
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
    folder = host.folder / "second"
    folder.mkdir()
    server = Server(folder)
    toml = '[colony]\nname = "second"\n[services.web]\ncommand = {!r}\nport = {}\n'
    (folder / "colony.toml").write_text(toml.format(server.command, server.port))
    until(lambda: _api_answers(host), "the API answers")
    arguments = [sys.executable, "-m", "colony", "run", str(folder / "colony.toml")]
    with starts.timed("colony, joining"):
        process = subprocess.Popen(
            arguments, env=host.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        server.until_answers("the second colony")
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
        with _more(contestant, 10):
            each = (_resident(pid) - first) / 10
            report.state("idle, each more", each, unit="MiB", goal="<= 0.5")
            used = _used(pid, seconds)
            report.state("idle, CPU with 11 colonies", used, unit="%", goal="<= 0.2")


def measure_idle_isolated(folder: Path, report: _ratio.Report, rest: float, seconds: float) -> None:
    """The CPU of eleven colonies, each in a namespace of its own, after some seconds of rest.

    What listens there is looked for every two seconds in the first minute after a change, and every
    five from then on; whether the network is as it should be, less and less often as well.
    """
    name = "idle, CPU with 11 colonies in namespaces"
    if os.geteuid():
        report.unable(name, "is measured by root alone")
        return
    with running(ISOLATED, folder, ["sleep", "1000"]) as contestant:
        assert contestant.process is not None
        try:
            pid = _instance(contestant, 1)
            with _more(contestant, 10):
                time.sleep(rest)
                report.state(name, _used(pid, seconds), unit="%", goal="<= 0.2")
        finally:  # killed, it would leave its namespace
            contestant.process.send_signal(signal.SIGINT)
            contestant.process.wait(PATIENCE)


@contextmanager
def _more(host: Contestant, count: int) -> Iterator[None]:
    """More colonies in a running instance, until the end of the block."""
    joined = [_another(host, index) for index in range(count)]
    try:
        _instance(host, 1 + count)
        yield
    finally:
        for process in joined:
            process.send_signal(signal.SIGINT)
        for process in joined:
            process.wait(PATIENCE)


def _used(pid: int, seconds: float) -> float:
    """Percent of a processor that a process takes from now on."""
    before = _cpu(pid)
    time.sleep(seconds)
    return (_cpu(pid) - before) / seconds * 100


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
    """Seconds that all threads of a process have run. Of /proc/PID/stat's hundredths of a second
    0.2 % is two in ten seconds."""
    clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
    return time.clock_gettime(clock)


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


def tell_crashes(report: _ratio.Report, crashes: _ratio.Samples) -> None:
    """Colony's restart beside each peer's."""
    for name in (name for name in crashes if name not in ("colony", "raw")):
        report.compare("crash → answering", crashes["colony"], name, crashes[name])


def tell_level(report: _ratio.Report, crashes: _ratio.Samples, server: str) -> None:
    """What each takes beyond a raw start of the same round, and whether they are level; `server`
    says of what."""
    raw, what = _ratio.sure(crashes["raw"]), f"crash → answering, {server}"
    report.state(f"raw start → answering, {server}", raw, unit="ms")
    for name in ("colony", "runit"):
        if name not in crashes:
            continue
        beyond = [its - raw for its, raw in zip(crashes[name], crashes["raw"], strict=True)]
        goal = "<= 10" if name == "colony" else None
        report.state(f"{what}, {name} beyond raw", _ratio.sure(beyond), unit="ms", goal=goal)
    if "runit" in crashes:
        pairs = zip(crashes["colony"], crashes["runit"], strict=True)
        ratio = _ratio.sure([ours / theirs for ours, theirs in pairs])
        report.state(f"{what}, colony over runit, by round", ratio, unit="")
        report.compare(what, crashes["colony"], "runit", crashes["runit"], goal="<= 1")


def tell_starts(report: _ratio.Report, starts: _ratio.Samples, stops: _ratio.Samples) -> None:
    """From the command to the first answer, and from Ctrl-C to the end."""
    for ours in ("colony", "colony, joining"):
        limit = "<= 350" if ours == "colony" else "<= 120"
        report.state(f"run → first 200, {ours}", starts[ours], unit="ms", goal=limit)
    for name in (name for name in starts if not name.startswith("colony")):
        report.compare("run → first 200", starts["colony"], name, starts[name])
    report.state("Ctrl-C → gone", stops["colony"], unit="ms", goal="<= 150")


def main() -> int:
    only = {"nargs": "+", "choices": PARTS, "default": PARTS, "help": "measure these parts alone"}
    arguments = _ratio.arguments(__doc__.splitlines()[0], only=only)
    if arguments.install:
        _peers.install()
    report = _ratio.Report()
    peers = [peer for peer in _peers.PEERS if peer.installed]
    for peer in _peers.PEERS:
        if not peer.installed:
            report.missing(peer.name, "benchmarks/services.py --install")
    with tempfile.TemporaryDirectory(prefix="colony-bench-") as name:
        for part in arguments.only:
            _measure(part, Path(name), peers, report, arguments.quick)
    report.show(json=arguments.json)
    return 0


def _measure(
    part: str, folder: Path, peers: list[Peer], report: _ratio.Report, quick: bool
) -> None:
    match part:
        case "crash":
            restarting = [COLONY, *(peer for peer in peers if peer.restarts)]
            tell_crashes(report, measure_crashes(folder, restarting, 3 if quick else 11))
        case "level":
            two = [COLONY, *(peer for peer in peers if peer.name == "runit")]
            rounds = 8 if quick else 80
            tell_level(report, measure_crashes(folder, two, rounds), "server in Python")
            if shutil.which("perl") is None:
                report.unable("crash → answering, quick server", "needs perl")
                return
            quickly = measure_crashes(folder, two, rounds, QUICK_SERVER)
            tell_level(report, quickly, "quick server")
        case "starts":
            tell_starts(report, *measure_starts(folder, [COLONY, *peers], 2 if quick else 7))
        case "orphans":
            count_orphans(folder, [COLONY, *peers], report)
        case "idle":
            measure_idle(folder, report, 2.0 if quick else 10.0)
            measure_idle_isolated(folder, report, *((1.0, 2.0) if quick else (SETTLED, 30.0)))
        case "logs":
            size = 200_000_000 if quick else 1_000_000_000
            measure_logs(folder, report, 2 if quick else 5, size)


if __name__ == "__main__":
    sys.exit(main())
