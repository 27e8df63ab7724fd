"""A colony has the same address in every life: after a restart, after `kill -9`.

On a machine of its own, as far as the network goes: elsewhere another instance may begin between
the lives, and take the addresses that have just become free.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netns.namespace import STEPS
from tests.end_to_end.colonies import EMBEDDED, Run, Shop, eventually, page, root_only
from tests.end_to_end.test_network_coexistence import MACHINE

pytestmark = root_only

SOMEBODY = """
ip link add somebody type dummy 2>/dev/null || ip link add somebody type bridge
ip address add 10.200.7.1/24 dev somebody
ip link set somebody up
"""
"""Somebody's network in the addresses that Colony likes best."""


# `colony run` that kills itself when the network of its colony has got so far.
DYING = """
import os, signal, sys
import msgspec
from netns import namespace

def do(build, wanted=namespace.STEPS[int(sys.argv[1])].do):
    wanted(build)
    os.kill(os.getpid(), signal.SIGKILL)

steps = list(namespace.STEPS)
steps[int(sys.argv[1])] = msgspec.structs.replace(steps[int(sys.argv[1])], do=do)
namespace.STEPS = tuple(steps)
sys.argv[1:5] = []
from colony.__main__ import main
main()
"""


class Machine:
    """A network and a /run that last as long as a process that sleeps in them."""

    def __init__(self, setup: str) -> None:
        words = ("sh", "sh", "-c", "echo ready; exec sleep 1000")
        script = MACHINE.replace("{setup}", setup)
        self._popen = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script, *words],
            stdout=subprocess.PIPE,
        )
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == b"ready\n"
        self.prefix = ["nsenter", "--target", str(self._popen.pid), "--net", "--mount"]

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self.prefix, *words], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def end(self) -> None:
        self._popen.kill()
        self._popen.communicate()


@pytest.fixture
def machine() -> Iterator[Machine]:
    one = Machine(SOMEBODY)
    yield one
    one.end()


def address(run: Run, colony: str) -> str:
    return run.expect(rf"✓ namespace +colony-{colony}, ([0-9.]+)")[1]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_same_address_in_the_next_life(shop: Shop, machine: Machine, end: int) -> None:
    """Also where the network that Colony likes best has become free meanwhile."""
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two", 4002)})
    first = shop.run(one, two, prefix=machine.prefix, options=EMBEDDED)
    first.ready(f"{one.name}/web")
    first.ready(f"{two.name}/web")
    had = address(first, two.name)
    assert had.startswith("10.201.0.")
    assert had != address(first, one.name)
    kept = shop.folder / "home" / "addresses.json"
    eventually(lambda: json.loads(kept.read_text())[""].get(two.name) == had)
    first.send(end)
    first.wait()
    machine("ip", "link", "delete", "somebody")
    second = shop.run(two, prefix=machine.prefix, options=EMBEDDED)
    second.ready()
    assert address(second, two.name) == had
    assert second.stop() == 130


def test_the_same_address_after_a_death_at_any_moment_of_its_making(
    shop: Shop, machine: Machine
) -> None:
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two", 4002)})
    first = shop.run(one, two, prefix=machine.prefix, options=EMBEDDED)
    first.ready(f"{one.name}/web")
    first.ready(f"{two.name}/web")
    had = address(first, two.name)
    assert first.stop() == 130
    for number, step in enumerate(STEPS):
        # The program takes what stands between it and `run` out of its arguments.
        prefix = (*machine.prefix, sys.executable, "-c", DYING, str(number))
        dying = shop.run(two, options=EMBEDDED, prefix=prefix)
        assert dying.wait() == 128 + signal.SIGKILL, step.name
    last = shop.run(two, options=EMBEDDED, prefix=machine.prefix)
    last.ready()
    assert address(last, two.name) == had
    assert last.stop() == 130
    assert machine("ip", "netns", "list") == ""
    assert "vc" not in machine("ip", "-o", "link")
    assert "colony" not in machine("nft", "list", "tables")
    assert shop.leftovers() == []
