"""A colony has the same address in every life: after a restart, after `kill -9`.

On a machine of its own, as far as the network goes: elsewhere another instance may begin between
the lives, and take the addresses that have just become free.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from netns.namespace import STEPS
from tests.end_to_end.colonies import EMBEDDED, Run, Shop, eventually, page, root_only
from tests.end_to_end.outside import There, outside

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


def address(run: Run, colony: str) -> str:
    return run.expect(rf"✓ namespace +colony-{colony}, ([0-9.]+)")[1]


@pytest.fixture
def there() -> Iterator[There]:
    """A network of the test's own: beside others the pool of each life depends on who is there."""
    with outside(ipv6=False) as machine:
        yield machine


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_same_address_in_the_next_life(shop: Shop, there: There, end: int) -> None:
    """Also where the network that Colony likes best has become free meanwhile."""
    there.run("sh", "-c", SOMEBODY)
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two", 4002)})
    first = shop.run(one, two, options=EMBEDDED, prefix=there.prefix)
    first.ready(f"{one.name}/web")
    first.ready(f"{two.name}/web")
    had = address(first, two.name)
    assert had.startswith("10.201.0.")
    assert had != address(first, one.name)
    kept = shop.folder / "home" / "addresses.json"
    eventually(lambda: json.loads(kept.read_text())[""].get(two.name) == had)
    first.send(end)
    first.wait()
    there.run("ip", "link", "delete", "somebody")
    second = shop.run(two, options=EMBEDDED, prefix=there.prefix)
    second.ready()
    assert address(second, two.name) == had
    assert second.stop() == 130


def test_the_same_address_after_a_death_at_any_moment_of_its_making(
    shop: Shop, there: There
) -> None:
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two", 4002)})
    first = shop.run(one, two, options=EMBEDDED, prefix=there.prefix)
    first.ready(f"{one.name}/web")
    first.ready(f"{two.name}/web")
    had = address(first, two.name)
    assert first.stop() == 130
    for number, step in enumerate(STEPS):
        # The program takes what stands between it and `run` out of its arguments.
        prefix = (*there.prefix, sys.executable, "-c", DYING, str(number))
        dying = shop.run(two, options=EMBEDDED, prefix=prefix)
        assert dying.wait() == 128 + signal.SIGKILL, step.name
    last = shop.run(two, options=EMBEDDED, prefix=there.prefix)
    last.ready()
    assert address(last, two.name) == had
    assert last.stop() == 130
    assert there.run("ip", "netns", "list") == ""
    assert "vc" not in there.run("ip", "-o", "link")
    assert "colony" not in there.run("nft", "list", "tables")
    assert shop.leftovers() == []
