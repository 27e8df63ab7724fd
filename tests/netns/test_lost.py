"""Instances that died and whose runtime directory has gone: found and removed, and no living one.

Each test is a process of its own in a network and a /run of its own, so that it finds what it made
and nothing of its neighbours', nor they of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from netns import lost, userns

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or userns.entered(), reason="makes network namespaces: root"
)

WORLD = """
import os, shutil, signal, subprocess, sys
from pathlib import Path
import anyio
from netns import Instance, Network, NetworkThread, linux, lost, nft
from netns.netlink import Netlink
from netns.reap import reap_all

folder = Path(sys.argv[1])

def enter():
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET, "test")
    linux.set_propagation("/", linux.MS_PRIVATE | linux.MS_REC)
    linux.attach(linux.own_tmpfs("16m"), "/run")

async def live(runtime, and_then):
    async with NetworkThread() as thread:
        with Instance.claim(runtime) as instance:
            network = await Network.open(thread, instance)
            space = await network.create("lost" + instance.id)
            print(instance.id, flush=True)
            await and_then(instance)
            await network.destroy(space)
            await network.close()

async def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

async def until_told(_):
    await anyio.to_thread.run_sync(sys.stdin.readline)

def start(what, runtime):
    argv = [sys.executable, __file__, str(runtime), what]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def dead(runtime):
    process = start("die", runtime)
    id = process.stdout.readline().strip()
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()
    process.stdout.close()
    shutil.rmtree(runtime)
    return id

def provable():
    return lost._sees_everybody() and lost.living()[1]

def listed():
    found = lost.lost_instances()
    for each in found:
        each.bury(remove=False)
    return [each.id for each in found]

def tagged(id):
    from netns import names
    with Netlink() as netlink:
        links = [link for link in netlink.links() if link.group == names.link_group(id)]
    with nft.Nft() as filter:
        tables = [name for _, name in filter.tables() if name == names.table_name(id)]
    pins = [each for each in os.listdir("/run/netns")] if os.path.exists("/run/netns") else []
    return len(links), len(tables), len([each for each in pins if each.endswith(id)])

async def reaped(runtime):
    async with NetworkThread() as thread:
        return [each.instance for each in await reap_all(thread, runtime)]
"""


def in_a_world(tmp_path: Path, body: str) -> None:
    script = tmp_path / "world.py"
    script.write_text(
        WORLD
        + "if len(sys.argv) > 2:\n"
        + "    anyio.run(live, folder, die if sys.argv[2] == 'die' else until_told)\n"
        + "    sys.exit()\n"
        + "enter()\n"
        + textwrap.dedent(body)
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_dead_one_without_a_directory_left_is_found_and_removed(tmp_path: Path) -> None:
    in_a_world(
        tmp_path,
        """
        id = dead(folder / "one")
        assert tagged(id) == (1, 1, 1), tagged(id)
        if not provable():
            assert listed() == []
            sys.exit()
        assert listed() == [id]
        assert listed() == [id]  # a look takes nothing
        assert anyio.run(reaped, folder / "other") == [id]
        assert tagged(id) == (0, 0, 0), tagged(id)
        assert listed() == []
        """,
    )


def test_a_living_one_without_a_directory_is_left_alone(tmp_path: Path) -> None:
    in_a_world(
        tmp_path,
        """
        living = start("live", folder / "one")
        id = living.stdout.readline().strip()
        gone = dead(folder / "two")
        shutil.rmtree(folder / "one")
        assert id in lost.living()[0]
        assert anyio.run(reaped, folder / "other") == ([gone] if provable() else [])
        assert tagged(id) == (1, 1, 1), tagged(id)
        living.stdin.write("end\\n")
        living.stdin.close()
        living.wait()
        living.stdout.close()
        assert tagged(id)[:2] == (0, 0)
        """,
    )


def test_one_is_taken_by_one_alone(tmp_path: Path) -> None:
    in_a_world(
        tmp_path,
        """
        id = dead(folder / "one")
        first, second = lost.lost_instances(), lost.lost_instances()
        assert second == []
        assert [each.id for each in first] == ([id] if provable() else [])
        for each in first:
            each.bury(remove=False)
        assert len(lost.lost_instances()) == len(first)
        """,
    )


def test_the_lock_that_this_process_has_is_seen(tmp_path: Path) -> None:
    from netns import Instance

    with Instance.claim(tmp_path) as instance:
        assert instance.id in lost.living()[0]
    assert instance.id not in lost.living()[0]
