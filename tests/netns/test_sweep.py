from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from netns import sweep
from netns.errors import NetnsError
from netns.process import Process, spawn
from netns.thread import NetworkThread
from tests.netns.support import PATIENCE, rig, unique

pytestmark = pytest.mark.real_time

# Descendants that got away, each in its way; the leader stays.
ESCAPE = """
sleep 61 &
setsid sleep 62 &
nohup sleep 63 >/dev/null 2>&1 &
(setsid sh -c 'sleep 64 & sleep 65' &)
env -i setsid -f sleep 66
echo started
exec sleep 60
"""

FORK_TREE = """
import os, time
for _ in range(6):
    os.fork()
os.write(1, b"started\\n")
time.sleep(60)
"""

# A process that is never the same twice: the parent ends as soon as it has a child.
FORK_CHAIN = """
import os
print("started", flush=True)
while True:
    if os.fork():
        os._exit(0)
"""

# The same, each in a session of its own.
FORK_AWAY = FORK_CHAIN + "    os.setsid()\n"


# A process that becomes another program all the time: in between it has no environment.
EXEC_CHAIN = """
import os, subprocess, sys
script = sys.argv[1]
with open(script, "w") as file:
    file.write('#!/bin/sh\\nexec "$0"\\n')
os.chmod(script, 0o700)
os.write(1, b"started\\n")
os.execv(script, [script])
"""


async def started(thread: NetworkThread, *argv: str, **options: object) -> Process:
    """A process that has said that it is ready."""
    readable, writable = os.pipe()
    process = await spawn(thread, argv, stdout=writable, **options)  # type: ignore[arg-type]
    os.close(writable)
    with os.fdopen(readable) as file:
        assert await anyio.to_thread.run_sync(file.readline) == "started\n"
    return process


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 — it is about other processes
            await anyio.sleep(0.01)


def sleepers(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # what made them ends while we look
            name, *words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found += [words[0].decode()] if name == b"sleep" else []
    return sorted(found)


async def test_everybody_in_the_namespace_is_found_and_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space, other = await network.create(unique("a")), await network.create(unique("b"))
        neighbour = await spawn(thread, ["sleep", "60"], namespace=other)
        process = await started(thread, "sh", "-c", ESCAPE, namespace=space)
        expected = ["60", "61", "62", "63", "64", "65", "66"]
        await until(lambda: sleepers(sweep.processes_in(space.inode)) == expected)
        killed = await sweep.kill_all(space.inode)
        assert {k.command for k in killed} <= {"sleep", "sh"}
        assert sorted(k.command for k in killed).count("sleep") == 7
        assert sweep.processes_in(space.inode) == []
        assert (await process.wait()).signal == 9
        assert neighbour.poll() is None
        assert await sweep.kill_all(space.inode) == []
        await process.aclose()
        await neighbour.aclose()
        await network.destroy(space)
        await network.destroy(other)


async def test_the_marked_are_found_wherever_they_are() -> None:
    instance = secrets.token_hex(3)
    async with NetworkThread() as thread:
        # The one that empties its environment bears no mark: only a namespace holds it.
        marked = ESCAPE.replace("env -i setsid -f sleep 66", "")
        process = await started(thread, "sh", "-c", marked, instance=instance)
        expected = ["60", "61", "62", "63", "64", "65"]
        await until(lambda: sleepers(sweep.processes_marked(instance)) == expected)
        killed = await sweep.kill_all(sweep.marked(instance))
        assert len(killed) >= 6
        assert sweep.processes_marked(instance) == []
        await process.aclose()


@pytest.mark.parametrize(
    "program", [FORK_TREE, FORK_CHAIN, FORK_AWAY], ids=["tree", "chain", "away"]
)
async def test_who_forks_while_we_look_does_not_get_away(tmp_path: Path, program: str) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        process = await started(thread, sys.executable, "-c", program, namespace=space)
        await sweep.kill_all(space.inode)
        assert sweep.processes_in(space.inode) == []
        await process.aclose()
        await network.destroy(space)


async def test_who_becomes_another_program_while_we_look_is_known_all_the_time(
    tmp_path: Path,
) -> None:
    instance = secrets.token_hex(3)
    async with NetworkThread() as thread:
        words = (sys.executable, "-c", EXEC_CHAIN, str(tmp_path / "again"))
        async with await started(thread, *words, instance=instance) as process:
            rule = sweep.marked(instance)
            seen = [await anyio.to_thread.run_sync(rule, process.pid) for _ in range(3000)]
            assert [i for i, each in enumerate(seen) if not each] == []
            assert [each.pid for each in await sweep.kill_all(rule)] == [process.pid]


def test_who_is_still_there_after_the_timeout_is_named() -> None:
    # An unreaped child of ours that "belongs" even as a zombie can be killed as often as one likes.
    with subprocess.Popen(["sleep", "60"]) as child, pytest.raises(NetnsError) as caught:
        sweep.kill_all_blocking(lambda pid: pid == child.pid, timeout=0.1)
    words = str(caught.value).partition(" (")[0]
    assert words == f"still running 0.1 seconds after SIGKILL: {child.pid}"


def test_the_rules_of_belonging() -> None:
    here = os.stat("/proc/self/ns/net").st_ino
    me = os.getpid()
    assert sweep.in_namespace(here)(me)
    assert not sweep.in_namespace(here + 1)(me)
    assert not sweep.in_namespace(here)(0)
    assert me not in sweep.processes_in(here)
    assert os.getppid() in sweep.processes_in(here)
    assert sweep.either(lambda _: False, lambda _: True)(me)
    assert not sweep.either()(me)
    assert not sweep.with_variable("COLONY_INSTANCE", "a1b2c3")(me)
