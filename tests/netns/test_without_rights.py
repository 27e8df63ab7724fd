"""What a process without rights asks of the kernel is refused, and no more than that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs rights, to give them up")

ENTER = """
import os, anyio
from netns.thread import NetworkThread, Place

async def main():
    async with NetworkThread() as thread:
        other = os.open("/proc/self/ns/net", os.O_RDONLY)

        def enter():
            with thread.inside(Place(other, MOUNTS)):
                pass

        try:
            await thread.run(enter)
        except OSError as error:
            print(error.strerror)
        print(await thread.run(lambda: "still fit for work"))

anyio.run(main)
"""


@pytest.mark.parametrize("mounts", ["None", "os.open('/proc/self/ns/mnt', os.O_RDONLY)"])
def test_a_thread_that_may_not_enter_is_not_lost(mounts: str) -> None:
    """Entering is refused in words; the thread, which never left, goes on."""
    root = Path(__file__).resolve().parents[2]
    setpriv = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all")
    ran = subprocess.run(
        [*setpriv, sys.executable, "-c", ENTER.replace("MOUNTS", mounts)],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=60,
    )
    refusal = "network" if mounts == "None" else "mount"
    assert ran.stdout.splitlines() == [
        f"entering the {refusal} namespace: Operation not permitted",
        "still fit for work",
    ], ran.stderr
