"""Where `/` is a shared mount, as systemd makes it, no colony keeps another's namespace alive."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from netns import hostwide, pins
from netns.namespace import Namespace
from netns.thread import NetworkThread
from tests.netns.support import output, rig, unique

SHARED = (
    "(umount --lazy /run/netns || :) 2>/dev/null && "
    'mount -t tmpfs none /run && mount --make-rshared / && exec "$@"'
)
"""For a mount namespace of its own: another /run, so that the machine's own stays out of it."""

AS_IPROUTE2 = (
    "mkdir /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns"
)
"""The pins' directory is its parent's peer then, as on any machine where `ip netns add` ran."""


async def copies(thread: NetworkThread, space: Namespace) -> list[str]:
    def look() -> list[str]:
        with thread.inside(space):
            return pins._mounted(hostwide.PIN_DIRECTORY)

    return await thread.run(look)


async def show(runtime: Path) -> None:
    """Prints how many copies of pins a colony has: of a neighbour's made before it, and once that
    and one made after it are gone.

    None of them is let out: that this machine forwards is written down in the /run that all its
    other instances share, and this one has another.
    """
    async with rig(runtime) as (thread, _, network):
        before = await network.create(unique("n"), egress="none")
        space = await network.create(unique("s"), egress="none")
        print(len(await copies(thread, space)))
        after = await network.create(unique("n"), egress="none")
        await network.destroy(before)
        await network.destroy(after)
        print(len(await copies(thread, space)))
        await network.destroy(space)


@pytest.mark.parametrize("before", ["", AS_IPROUTE2], ids=["ours", "iproute2's"])
def test_a_colony_keeps_no_copies_of_its_neighbours_pins(tmp_path: Path, before: str) -> None:
    runtime = tmp_path / "run"
    script = SHARED if not before else SHARED.replace("exec", f"{before} && exec")
    here = f"from tests.netns import test_shared_mounts as t; t.main({str(runtime)!r})"
    found = output(
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        script,
        "sh",
        sys.executable,
        "-c",
        here,
    )
    assert found == "0\n0\n"


def main(runtime: str) -> None:
    anyio.run(show, Path(runtime))
