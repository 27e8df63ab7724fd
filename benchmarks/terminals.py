"""`colony attach` against a raw pty, tmux and (where installed) dtach, in one run.

    python benchmarks/terminals.py [--quick] [--json]

cat         a file of 32 MB in the attached shell, until the next prompt: MB/s, and how many bytes
            really reach the viewer (a multiplexer that repaints lets most of them go)
echo        a key until its echo: median and p99, in µs
Ctrl-C      into a flood of `yes`, until the prompt: ms
beside one  the echo while another session is a flood of `yes`, whose viewer has stopped reading
beside two  the same beside two more floods, at which nobody looks
memory      by how much the instance has grown after so long of that one flood, its session and its
            viewer included: MiB
turn        the longest time for which Colony's event loop was held: it did one thing, or one after
            another, without asking what else there is; ms (`_turns`). Without the time for which
            it was ready and all processors were the floods', and then with that

Each contestant runs the same bash behind a terminal that this program plays.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import _ratio
import _turns

from colony.client import Address, Client, path_of

FIGURES: Final = ("MB/s", "crossed", "echo", "ctrl-c", "one", "three", "memory", "turn", "own")
SHELL: Final = ["bash", "--norc", "--noprofile", "-i"]
PATIENCE: Final = 60.0
PROMPT: Final = b"READY> "
ENVIRONMENT: Final = {"PS1": PROMPT.decode(), "TERM": "xterm-256color", "HISTFILE": ""}


class Other:
    """The sessions beside the one that is looked at, and the process that keeps them all.

    flood
        Starts one that writes without end; what attaches to it.
    keeper
        Its process; None where its memory is not measured.
    """

    def __init__(self, flood: Callable[[], list[str]], keeper: int | None = None) -> None:
        self.flood = flood
        self._keeper = keeper

    def memory(self) -> float:
        """MiB of memory that the keeper has; 0 if that is not measured."""
        if self._keeper is None:
            return 0.0
        pages = int(Path(f"/proc/{self._keeper}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Seat:
    """A terminal that this program plays, with a command on it."""

    def __init__(self, argv: list[str], env: dict[str, str], other: Other | None = None) -> None:
        self.other = other
        """The sessions beside; None where there is no such thing."""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.seen = 0
        self._tail = b""

    def close(self) -> None:
        os.close(self.fd)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def until(self, wanted: bytes) -> None:
        """Reads as fast as it can until this has come."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self._tail:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{wanted!r} did not come; the last was {self._tail[-200:]!r}")
            data = os.read(self.fd, 65536)
            self.seen += len(data)
            self._tail = (self._tail + data)[-4096 - len(wanted) :]
        self._tail = self._tail.partition(wanted)[2]

    def forget(self) -> None:
        """What has come so far does not count."""
        self._tail = b""

    def quiet(self, seconds: float = 0.1) -> None:
        """Reads until nothing has come for a while."""
        while select.select([self.fd], [], [], seconds)[0]:
            self._tail = os.read(self.fd, 65536)[-4096:]


# -- what is measured ------------------------------------------------------------------------------


def cat(seat: Seat, file: Path) -> tuple[float, int]:
    """Seconds, and bytes that crossed."""
    seat.quiet()
    seat.seen = 0
    began = time.perf_counter()
    seat.send(b"cat %b; echo DO''NE\r" % str(file).encode())
    seat.until(b"DONE")
    return time.perf_counter() - began, seat.seen


def echo(seat: Seat, count: int) -> list[float]:
    """Seconds for each key."""
    seat.send(b"stty -icanon; cat >/dev/null\r")
    seat.quiet()
    took = []
    for number in range(count):
        key = b"%c" % b"qzxvwy"[number % 6]  # no escape sequence of a repaint has these
        seat.forget()
        began = time.perf_counter()
        seat.send(key)
        seat.until(key)
        took.append(time.perf_counter() - began)
        time.sleep(0.0005)
    seat.send(b"\x03")
    seat.quiet()
    seat.send(b"stty sane\r")
    seat.quiet()
    return took


def interrupt(seat: Seat) -> float:
    """Seconds from Ctrl-C in a flood to the prompt."""
    seat.quiet()
    seat.send(b"yes\r")
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        os.read(seat.fd, 65536)
    began = time.perf_counter()
    seat.send(b"\x03")
    seat.forget()
    seat.until(PROMPT)
    return time.perf_counter() - began


def beside(
    seat: Seat, other: Other, keys: int, seconds: float, env: dict[str, str]
) -> dict[str, list[float]]:
    """The echo beside one flood and beside three; what the first has cost after some seconds."""
    before, until = other.memory(), time.monotonic() + seconds
    stopped = Seat(other.flood(), env)
    try:
        # What this has asked for, it never reads; two screens of it show that it is attached.
        while stopped.seen < 8192:
            stopped.seen += len(os.read(stopped.fd, 4096))
        one = echo(seat, keys)
        time.sleep(max(0.0, until - time.monotonic()))
        grown = other.memory() - before
        for _ in range(2):
            other.flood()
        return {"one": one, "three": echo(seat, keys), "memory": [grown] if before else []}
    finally:
        stopped.close()


# -- the contestants -------------------------------------------------------------------------------


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COLONY_") and k != "TMUX"}
    places = {"COLONY_RUNTIME_DIR": str(folder / "run"), "COLONY_HOME": str(folder / "home")}
    return {**kept, **ENVIRONMENT, **places}


@contextmanager
def raw_pty(folder: Path) -> Iterator[Seat]:
    yield Seat(SHELL, environment(folder))


@contextmanager
def tmux(folder: Path) -> Iterator[Seat]:
    name = f"bench-{os.getpid()}"
    begin = ["tmux", "-L", name, "-f", "/dev/null"]

    def flood() -> list[str]:
        new = [*begin, "new-session", "-d", "-P", "-F", "#{session_name}", "yes"]
        ran = subprocess.run(new, env=environment(folder), check=True, capture_output=True)
        return [*begin, "attach", "-t", f"={ran.stdout.decode().strip()}"]

    try:
        yield Seat([*begin, "new-session", *SHELL], environment(folder), Other(flood))
    finally:
        subprocess.run([*begin, "kill-server"], check=False, capture_output=True)


@contextmanager
def dtach(folder: Path) -> Iterator[Seat]:
    yield Seat(["dtach", "-A", str(folder / "dtach"), "-r", "none", *SHELL], environment(folder))


def turns_of(folder: Path) -> Path:
    """The file of the long turns of the instance there."""
    return folder / "turns"


@contextmanager
def colony(folder: Path) -> Iterator[Seat]:
    """Through a whole instance: actor, ring, WebSocket, client."""
    file = folder / "colony.toml"
    shell = ", ".join(f'"{word}"' for word in SHELL)
    file.write_text(
        f'[colony]\nname = "bench-{os.getpid()}"\n[services.web]\ncommand = ["sleep", "10000"]\n'
        f'[terminal]\ncommand = [{shell}]\nenv = {{ PS1 = "{PROMPT.decode()}" }}\n'
    )
    command = [sys.executable, "-m", "colony"]
    watched = [sys.executable, _turns.__file__, str(turns_of(folder))]
    options = ("--network", "host", "--proxy", "embedded", "--dns", "none", "--separate")
    run = subprocess.Popen(
        [*watched, "run", *options, str(file)],
        stdout=subprocess.PIPE,
        env=environment(folder) | {"PYTHONUNBUFFERED": "1"},
    )
    assert run.stdout is not None
    try:
        for line in run.stdout:
            if re.search(rb"web +pid", line):
                break
        client = Client(Address(folder / "run" / "colony.sock"))
        path = path_of("colonies", f"bench-{os.getpid()}", "terminals")

        def flood() -> list[str]:
            made = client.post(path, {"argv": ["yes"]})
            return [*command, "attach", f"{made['colony']}/{made['name']}"]

        attach = [*command, "-C", str(folder), "attach"]
        yield Seat(attach, environment(folder), Other(flood, run.pid))
    finally:
        run.send_signal(signal.SIGINT)
        run.stdout.read()
        run.wait()
        run.stdout.close()


CONTESTANTS: Final[dict[str, Callable[[Path], object]]] = {
    "raw pty": raw_pty,
    "tmux": tmux,
    "dtach": dtach,
    "colony": colony,
}


def present() -> list[str]:
    return [name for name in CONTESTANTS if name in ("raw pty", "colony") or shutil.which(name)]


def measured(quick: bool) -> dict[str, dict[str, list[float]]]:
    """By contestant and figure. They take turns, a round each."""
    rounds, size = (1, 8) if quick else (4, 32)
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="colony-bench-") as place:
        big = Path(place) / "big"
        line = b"%07d the quick brown fox jumps over the lazy dog and so on for eighty columns\n"
        big.write_bytes(b"".join(line % n for n in range(size * 1_000_000 // 80)))
        for number, name in enumerate(_ratio.turns(present(), rounds)):
            folder = Path(place) / str(number)
            folder.mkdir()
            found = figures.setdefault(name, {key: [] for key in FIGURES})
            began = time.monotonic()
            with CONTESTANTS[name](folder) as seat:  # type: ignore[attr-defined]
                try:
                    seat.until(PROMPT)
                    began = time.monotonic()
                    one_round(seat, folder, big, quick, found)
                finally:
                    over = time.monotonic()
                    seat.close()
            if turns_of(folder).exists():
                turns = [
                    turn for turn in _turns.read(turns_of(folder)) if began <= turn.began <= over
                ]
                longest = max((turn.took for turn in turns), default=_turns.LONG)
                own = max((turn.took - turn.waited for turn in turns), default=_turns.LONG)
                found["turn"].append(longest * 1e3)
                found["own"].append(own * 1e3)
    return figures


def one_round(
    seat: Seat, folder: Path, big: Path, quick: bool, found: dict[str, list[float]]
) -> None:
    """All that one contestant is asked, once."""
    keys, seconds = (200, 1.0) if quick else (1000, 30.0)
    took, crossed = cat(seat, big)
    found["MB/s"].append(big.stat().st_size / 1e6 / took)
    found["crossed"].append(crossed / 1e6)
    found["echo"] += [each * 1e6 for each in echo(seat, keys)]
    found["ctrl-c"] += [interrupt(seat) * 1e3 for _ in range(3)]
    if seat.other is None:
        return
    measure_memory = seat.other.memory() and not found["memory"]  # once: it takes its time
    seconds = seconds if measure_memory else 0.0
    noted = beside(seat, seat.other, keys, seconds, environment(folder))
    for name in ("one", "three"):
        found[name] += [each * 1e6 for each in noted[name]]
    found["memory"] += noted["memory"] if measure_memory else []


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> None:
    arguments = _ratio.arguments("colony attach, against a raw pty, tmux and dtach")
    figures = measured(arguments.quick)
    report = _ratio.Report()
    mine = figures["colony"]
    for peer in (name for name in figures if name != "colony"):
        other = figures[peer]
        goal = ">= 1" if peer == "tmux" else None
        for key, beside_what in (("one", "one flood"), ("three", "three floods")):
            if other[key]:
                both = [p99(mine[key])], [p99(other[key])]
                name = f"echo beside {beside_what}, p99"
                report.compare(name, both[0], peer, both[1], unit="µs", goal="<= 1")
        for name, unit, wanted in (
            ("MB/s", "MB/s", goal),
            ("crossed", "MB", goal),
            ("echo", "µs", None),
            ("ctrl-c", "ms", None),
        ):
            report.compare(f"{name}", mine[name], peer, other[name], unit=unit, goal=wanted)
    report.state("echo, p99", p99(mine["echo"]), unit="µs", goal="<= 1000")
    report.state("echo beside one flood, p99", p99(mine["one"]), unit="µs", goal="<= 5000")
    report.state("ctrl-c in a flood, worst", max(mine["ctrl-c"]), unit="ms", goal="<= 20")
    report.state("longest turn of the event loop", max(mine["own"]), unit="ms", goal="<= 5")
    report.state("the same with waiting for a processor", max(mine["turn"]), unit="ms")
    report.state("memory grown in a flood", max(mine["memory"]), unit="MiB", goal="< 2")
    report.show(json=arguments.json)


if __name__ == "__main__":
    main()
