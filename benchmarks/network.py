"""A colony's network against its limits: a C program that makes the same calls, and its own crowd.

    complete    everything that `Network.create` makes, with 0, 100 and 500 others there, as an
                instance does it: with a namespace made ahead (`Network.prepare`)
    at once     the same right after another one, when none has been made ahead
    bare        namespace, pin, veth pair, addresses, routes, none of it made ahead; beside
                `network_limit.c`, the nine `ip` commands of a tutorial, `unshare -n true`
    others      bubblewrap, runc and podman, where they are installed, each running nothing
    memory      what the kernel holds for one (slab and per-cpu pages), of 200
    crowd       500 colonies with a service each: made, each answered once over HTTP, removed

Needs root, gcc and iproute2. Everything is made under an instance of its own and removed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import _ratio
import anyio
from _containers import GOALS, Others
from network_create import BARE, OWN, ByCommands, run

from netns.capability import probe
from netns.errors import NetnsError
from netns.instance import Instance
from netns.namespace import Namespace
from netns.network import Network
from netns.process import Process, spawn
from netns.thread import NetworkThread

HERE: Final = Path(__file__).parent
PORT: Final = 3000
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
RUNTIME: Final = "/run"  # where an instance of root's has its files
PAUSE: Final = 0.05  # seconds; the kernel is still taking apart what was removed
SETTLED: Final = 2.0  # seconds; by then it has given back what the removed ones had
MEMORY: Final = ("SUnreclaim", "SReclaimable", "Percpu")

# How many there are already; the last is the crowd.
FULL: Final = (0, 100, 500)
QUICK: Final = (0, 10, 50)


def compiled(folder: Path, name: str) -> str:
    run("gcc", "-O2", "-o", str(folder / name), str(HERE / f"{name}.c"))
    return str(folder / name)


def limit_of(argv: tuple[str, ...]) -> float:
    """The median of what the C program prints."""
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return _ratio.spread([float(word) for word in text.split()]).median


def left_of(instance: str) -> list[str]:
    """The links that an instance has left."""
    shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    return [line.split(":")[1] for line in shown.splitlines() if instance in line]


def kernel_memory() -> int:
    """KiB that the kernel holds for itself."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sum(found[name] for name in MEMORY)


class Bench:
    """One run."""

    def __init__(
        self, thread: NetworkThread, network: Network, folder: Path, others: Others, rounds: int
    ) -> None:
        self.thread = thread
        self.network = network
        self.folder = folder
        self.rounds = rounds
        self.samples = _ratio.Samples()
        self.limit = compiled(folder, "network_limit")
        self.page = compiled(folder, "network_page")
        self.others = others.argv

    async def creation(self, existing: int) -> None:
        """Creates and removes one, with so many others there."""
        others = [await self.network.create(f"filler-{OWN}-{n}") for n in range(existing)]
        names = ["colony", "bare", "limit"]
        names += ["ip", "unshare", *self.others] if existing == 0 else []
        for name in _ratio.turns(names, self.rounds):
            if name == "colony":
                await self.network.prepare()
            await anyio.sleep(PAUSE)
            await self._one(name, existing)
        await self.network.destroy(*others)

    async def _one(self, name: str, existing: int) -> None:
        if name == "colony":
            with self.samples.timed(f"complete {existing}"):
                first = await self.network.create(f"bench-{OWN}")
            with self.samples.timed(f"at once {existing}"):
                second = await self.network.create(f"next-{OWN}")
            await self.network.destroy(first, second)
        elif name == "bare":
            space = await self.network.create(f"bench-{OWN}")
            self.samples[f"bare {existing}"].append(sum(space.steps[step] for step in BARE))
            await self.network.destroy(space)
        elif name == "limit":
            argv = (self.limit, "3", str(self.folder))
            self.samples[f"limit {existing}"].append(limit_of(argv))
        elif name in self.others or name == "unshare":
            with self.samples.timed(name):
                run(*self.others.get(name, ["unshare", "-n", "true"]))
        else:
            peer = ByCommands()
            try:
                with self.samples.timed("ip"):
                    peer.bare()
            finally:
                peer.remove()

    async def memory(self, count: int) -> None:
        await anyio.sleep(SETTLED)
        before = kernel_memory()
        spaces = [await self.network.create(f"memory-{OWN}-{n}") for n in range(count)]
        self.samples["memory"].append((kernel_memory() - before) / count)
        await self.network.destroy(*spaces)

    async def crowd(self, count: int) -> None:
        """A service in each, asked once, and all of it removed."""
        spaces: list[Namespace] = []
        services: list[Process] = []
        with self.samples.timed("crowd create", scale=1.0):
            for number in range(count):
                spaces.append(await self.network.create(f"crowd-{OWN}-{number}"))
        with self.samples.timed("crowd start", scale=1.0):
            for space in spaces:
                services.append(await spawn(self.thread, [self.page], namespace=space))
        with self.samples.timed("crowd answer", scale=1.0):
            for space in spaces:
                await self._ask(space)
        with self.samples.timed("crowd remove", scale=1.0):
            for service in services:
                await service.aclose()
            await self.network.destroy(*spaces)

    async def _ask(self, space: Namespace) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                made = await self.thread.connect(space, PORT)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await anyio.sleep(0.002)
        with made:
            made.send(REQUEST)
            await anyio.wait_readable(made)
            if not made.recv(4096).startswith(b"HTTP/1.1 200 "):
                raise NetnsError(f"{space.name} did not answer 200")


async def collect(
    sizes: tuple[int, ...], rounds: int, others: Others
) -> tuple[_ratio.Samples, list[str]]:
    """All samples, and what is left afterwards, which should be nothing."""
    with tempfile.TemporaryDirectory(dir=RUNTIME) as folder, Instance.claim(folder) as instance:
        async with NetworkThread() as thread:
            network = await Network.open(thread, instance)
            bench = Bench(thread, network, Path(folder), others, rounds)
            await network.destroy(await network.create(f"warm-up-{OWN}"))
            for existing in sizes:
                await bench.creation(existing)
            await bench.memory(sizes[-1] * 2 // 5)
            await bench.crowd(sizes[-1])
            await network.close()
        return bench.samples, left_of(instance.id)


def conclude(
    report: _ratio.Report, samples: _ratio.Samples, sizes: tuple[int, ...], others: Others
) -> None:
    for existing in sizes:
        title = f"create, complete, {existing} existing"
        report.state(title, samples[f"complete {existing}"], unit="ms", goal="<= 3")
        report.state(f"{title}, right after another", samples[f"at once {existing}"], unit="ms")
    first, last = (samples[f"complete {existing}"] for existing in (sizes[0], sizes[-1]))
    report.compare(f"complete, {sizes[-1]} against none", last, "none", first, goal="<= 1.5")
    for existing in sizes:
        bare, limit = samples[f"bare {existing}"], samples[f"limit {existing}"]
        report.compare(f"bare, {existing} existing", bare, "the same in C", limit, goal="<= 2")
    bare = samples[f"bare {sizes[0]}"]
    report.compare("bare", bare, "nine ip commands", samples["ip"], goal="<= 0.0667")
    report.compare("bare", bare, "unshare -n true", samples["unshare"])
    report.state("kernel memory of one", samples["memory"], unit="KiB", goal="<= 400")
    for phase in ("create", "start", "answer", "remove"):
        report.state(f"{sizes[-1]} colonies: {phase}", samples[f"crowd {phase}"], unit="s")
    complete = samples[f"complete {sizes[0]}"]
    for other, goal in GOALS.items():
        if other in others.argv:
            report.compare("complete", complete, other, samples[other], goal=goal)
        else:
            report.unable(other, others.how(other))


def main(arguments: _ratio.argparse.Namespace) -> int:
    rounds, sizes = (5, QUICK) if arguments.quick else (30, FULL)
    report = _ratio.Report()
    with tempfile.TemporaryDirectory() as folder, Others.prepared(Path(folder)) as others:
        samples, left = anyio.run(collect, sizes, rounds, others)
        conclude(report, samples, sizes, others)
    report.show(json=arguments.json)
    if left:
        sys.exit(f"left behind: {' '.join(left)}")
    return 0 if report.met or arguments.quick else 1


if __name__ == "__main__":
    parsed = _ratio.arguments("A colony's network against its limits")
    if not (able := probe()).namespaces:
        sys.exit(str(able))
    if not (shutil.which("gcc") and shutil.which("ip")):
        sys.exit("this benchmark needs gcc and ip: apt-get install gcc iproute2")
    sys.exit(main(parsed))
