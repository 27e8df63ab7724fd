"""An instance is killed at every moment of its life; the next one removes what it left."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netns.errors import ThreadClosed
from netns.instance import Instance, dead_instances
from netns.namespace import STEPS
from netns.process import spawn
from netns.reap import Reaped, reap, reap_all
from netns.sweep import processes_marked
from netns.thread import NetworkThread
from tests.netns.support import entries, rig, traces, unique

pytestmark = pytest.mark.real_time

# argv: the runtime directory, the colony, the moment to die at.
LIFE = """
import os, signal, sys
import anyio
from netns import namespace
from netns.errors import ThreadClosed
from netns.instance import Instance
from netns.network import Network
from netns.process import spawn
from netns.thread import NetworkThread

runtime, colony, moment = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def on_step(step, _):
    if step == moment:
        die()

async def life():
    async with NetworkThread() as thread:
        instance = Instance.claim(runtime)
        print(instance.id, flush=True)
        network = await Network.open(thread, instance)
        if moment == "opened":
            die()
        if moment == "prepared":
            await network.prepare()
            die()
        if moment == "pin reserved":
            namespace.pins.mount = die
        if moment == "link made":
            namespace.messages.add_altname = die
        space = await network.create(colony, on_step=on_step)
        script = "sleep 60 & setsid sleep 60 & (setsid nohup sleep 60 >/dev/null 2>&1 &) ; wait"
        await spawn(thread, ["sh", "-c", script], namespace=space)
        await spawn(thread, ["sleep", "60"], instance=instance.id)
        if moment == "running":
            die()
        if moment == "unpinned":
            namespace.pins.remove = lambda *c, f=namespace.pins.remove: (f(*c), die())
        if moment == "dismantled":
            Network._await_end = die
        await network.destroy(space)
        die()

anyio.run(life)
"""

MOMENTS = [
    "opened",
    "prepared",
    *(step.name for step in STEPS),
    "pin reserved",
    "link made",
    "running",
    "unpinned",
    "dismantled",
    "destroyed",
]


async def reaped_here(thread: NetworkThread, runtime: Path, *own: str) -> list[Reaped]:
    """What is reaped of these. What another test has left without a runtime directory is, too."""
    return [each for each in await reap_all(thread, runtime) if each.instance in own]


def live_and_die(runtime: Path, colony: str, moment: str) -> str:
    """Lives in a process of its own until the moment; the id of the dead instance."""
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(runtime), colony, moment],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    return done.stdout.strip()


@pytest.mark.backends("asyncio")  # each moment costs a Python's start; the backend plays no part
@pytest.mark.parametrize("moment", MOMENTS)
async def test_nothing_of_a_killed_instance_is_left(tmp_path: Path, moment: str) -> None:
    colony = unique()
    async with rig(tmp_path) as (thread, instance, network):
        living = await network.create(unique("living"))
        id = live_and_die(tmp_path, colony, moment)
        assert traces(id, tmp_path / "instances" / id, colony) != []
        (reaped,) = await reaped_here(thread, tmp_path, id)
        assert reaped
        assert traces(id, tmp_path / "instances" / id, colony) == []
        assert processes_marked(id) == []
        # The living one is as it was, and can take the name.
        assert os.stat(f"/run/netns/{living.name}").st_ino == living.inode
        assert await reaped_here(thread, tmp_path, id, instance.id) == []
        await network.destroy(await network.create(colony))
        await network.destroy(living)
    assert entries(tmp_path) == []


async def test_what_was_removed_is_told(tmp_path: Path) -> None:
    colony = unique()
    id = live_and_die(tmp_path, colony, "running")
    async with NetworkThread() as thread:
        (dead,) = dead_instances(tmp_path)
        reaped = await reap(thread, dead)
    assert reaped.instance == id
    assert {killed.command for killed in reaped.processes} <= {"sh", "sleep", "setsid", "nohup"}
    assert len(reaped.processes) >= 2  # of five, if the shell came so far
    assert reaped.namespaces == (f"colony-{colony}",)
    assert reaped.links == (f"vc{id}000001",)
    assert [route.partition("/")[2] for route in reaped.routes] == ["16", "48"]
    assert reaped.tables == (f"colony_{id}",)
    assert f"namespace colony-{colony}" in reaped.words()
    assert f"packet rules colony_{id}" in reaped.words()
    assert len(reaped.words()) >= 7
    assert not Reaped(id)


async def test_a_living_instances_things_are_not_touched(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, instance, network):
        space = await network.create(unique())
        process = await spawn(thread, ["sleep", "60"], namespace=space)
        before = traces(instance.id, tmp_path, space.colony)
        assert await reaped_here(thread, tmp_path, instance.id) == []
        assert traces(instance.id, tmp_path, space.colony) == before
        assert process.poll() is None
        await process.aclose()
        await network.destroy(space)


async def test_what_cannot_be_removed_stays_for_the_next_attempt(tmp_path: Path) -> None:
    async with NetworkThread() as thread:
        id = secrets.token_hex(3)
        (tmp_path / "instances" / id).mkdir(parents=True)
        (dead,) = dead_instances(tmp_path)
        with pytest.raises(ThreadClosed):
            await reap(NetworkThread(), dead)
        assert await reaped_here(thread, tmp_path, id) == [Reaped(id)]
    assert entries(tmp_path) == []


def test_the_instance_of_this_process_is_never_dead(tmp_path: Path) -> None:
    with Instance.claim(tmp_path):
        assert dead_instances(tmp_path) == []
