"""Making a colony's network, against the same steps by `ip` commands.

    complete    everything: namespace, pin, veth pair, addresses, routes, settings, the inner packet
                rules, an own hosts and resolv.conf, the way out; the peer runs `ip`, `sysctl` and
                `nft` for it (and has no mount namespace: `ip netns exec` makes one each time)
    bare        namespace, pin, veth pair, addresses, routes, as a tutorial does it in nine commands

Each with no other colony there, and with a hundred. Needs root, iproute2 and nftables. Everything
is made under an instance of its own and removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

import _ratio
import anyio

from netns.capability import probe
from netns.instance import Instance
from netns.namespace import Namespace
from netns.network import Network
from netns.thread import NetworkThread

OWN: Final = os.getpid()
"""In the names of what is made: another run of this, or a dead one, has others."""

BARE: Final = ("namespace", "pin", "link", "host side", "inside", "routes")

# The numbers of the peer's namespaces; 198.18/15 is set aside for benchmarks.
_numbers: Final = count(1)
_RULES: Final = (
    "add table inet colony; "
    "add chain inet colony pre { type nat hook prerouting priority dstnat; }; "
    "add rule inet colony pre iifname eth0 fib daddr type local meta l4proto { tcp, udp } "
    "dnat ip to 127.0.0.1"
)


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class ByCommands:
    """One namespace of the peer's."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name, self.link = f"bench-{OWN}-{number}", f"b{OWN}n{number}"
        self.address = f"198.18.{number >> 6}.{(number & 63) * 4 + 2}"
        self.gateway = f"198.18.{number >> 6}.{(number & 63) * 4 + 1}"

    def bare(self) -> None:
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", f"{self.link}p")
        run("ip", "link", "set", f"{self.link}p", "netns", self.name)
        run("ip", "address", "add", f"{self.gateway}/30", "dev", self.link)
        run("ip", "link", "set", self.link, "up")
        inside = ("ip", "netns", "exec", self.name)
        run(*inside, "ip", "address", "add", f"{self.address}/30", "dev", f"{self.link}p")
        run(*inside, "ip", "link", "set", "lo", "up")
        run(*inside, "ip", "link", "set", f"{self.link}p", "up")
        run(*inside, "ip", "route", "add", "default", "via", self.gateway)

    def complete(self) -> None:
        """The same with the better forms of `ip`: the peer made in its place, no `exec`."""
        inside = ("ip", "-n", self.name)
        run("ip", "netns", "add", self.name)
        peer = ("peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "add", self.link, "type", "veth", *peer)
        run("ip", "link", "set", self.link, "alias", "bench", "group", "199", "up")
        run("ip", "address", "add", f"{self.gateway}/32", "dev", self.link)
        run("ip", "route", "add", f"{self.address}/32", "dev", self.link, "proto", "199")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "address", "add", f"{self.address}/32", "dev", "eth0")
        run(*inside, "route", "add", f"{self.gateway}/32", "dev", "eth0")
        run(*inside, "route", "add", "default", "via", self.gateway)
        exec_inside = ("ip", "netns", "exec", self.name)
        settings = ("net.ipv4.conf.eth0.route_localnet=1", "net.ipv4.ip_unprivileged_port_start=0")
        run(*exec_inside, "sysctl", "-qw", *settings)
        run(*exec_inside, "nft", _RULES)

    def remove(self) -> None:
        run("ip", "link", "delete", self.link)
        run("ip", "netns", "delete", self.name)


async def measure(network: Network, existing: int, rounds: int, samples: _ratio.Samples) -> None:
    fillers = [await network.create(f"filler-{OWN}-{number}") for number in range(existing)]
    contestants: dict[str, Callable[[ByCommands], None]] = {
        "ip bare": ByCommands.bare,
        "ip complete": ByCommands.complete,
    }
    for name in _ratio.turns(["colony", *contestants], rounds):
        if name == "colony":
            await measure_ours(network, existing, samples)
        else:
            peer = ByCommands()
            try:
                with samples.timed(f"{name} {existing}"):
                    contestants[name](peer)
            finally:
                peer.remove()
        await anyio.sleep(0.05)  # the kernel is still taking apart what was removed
    await network.destroy(*fillers)


async def measure_ours(network: Network, existing: int, samples: _ratio.Samples) -> None:
    with samples.timed(f"complete {existing}"):
        space: Namespace = await network.create(f"bench-{OWN}")
    samples[f"bare {existing}"].append(sum(space.steps[step] for step in BARE))
    with samples.timed(f"destroy {existing}"):
        await network.destroy(space)


async def collect(crowd: Iterable[int], rounds: int) -> _ratio.Samples:
    """Measures with each of these numbers of other colonies, in an instance of its own."""
    samples = _ratio.Samples()
    with tempfile.TemporaryDirectory() as runtime, Instance.claim(runtime) as instance:
        async with NetworkThread() as thread:
            network = await Network.open(thread, instance)
            await network.destroy(await network.create(f"warm-up-{OWN}"))
            for existing in crowd:
                await measure(network, existing, rounds, samples)
            await network.close()
    return samples


def compare(report: _ratio.Report, samples: _ratio.Samples, existing: int) -> None:
    """Our figures beside those of the commands."""
    for part in ("complete", "bare"):
        ours, peer = f"{part} {existing}", f"ip {part} {existing}"
        title = f"create, {part}, {existing} existing"
        report.compare(title, samples[ours], "ip commands", samples[peer], goal="<= 0.2")


def main(arguments: _ratio.argparse.Namespace) -> int:
    rounds, crowd = (6, (0, 20)) if arguments.quick else (40, (0, 100))
    samples, report = anyio.run(collect, crowd, rounds), _ratio.Report()
    for existing in crowd:
        compare(report, samples, existing)
        report.state(f"destroy, {existing} existing", samples[f"destroy {existing}"], unit="ms")
    first, last = (samples[f"complete {existing}"] for existing in crowd)
    title = f"create, complete, {crowd[1]} existing against none"
    report.compare(title, last, "none existing", first, goal="<= 1.5")
    report.show(json=arguments.json)
    return 0 if report.met or arguments.quick else 1


if __name__ == "__main__":
    parsed = _ratio.arguments("Making a colony's network, against the same steps by `ip` commands")
    if not (able := probe()).namespaces:
        sys.exit(str(able))
    if not (shutil.which("ip") and shutil.which("nft")):
        sys.exit("this benchmark compares with `ip` and `nft`: apt-get install iproute2 nftables")
    sys.exit(main(parsed))
