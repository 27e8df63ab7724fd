"""A colony ends with the process that asked for it, where that asked so: with real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from actors import Event
from colony.api.bonds import caller_at
from colony.client import Client, path_of
from colony.events import Notice
from tests.colony.api.support import TOKEN, Rig, is_alive, rig, toml, unique, until

pytestmark = pytest.mark.real_time

SLEEPER = {"command": ["sleep", "1000"]}

ASK = """
import json, sys
from colony.client import Client
Client.find(sys.argv[1]).post("/api/colonies", json.loads(sys.argv[2]))
print("made", flush=True)
sys.stdin.read()
"""


@contextmanager
def asks(rig: Rig, body: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that asks for a colony, says so, and stays."""
    words = [sys.executable, "-c", ASK, f"unix://{rig.client.address}", json.dumps(body)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


async def made(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert await anyio.to_thread.run_sync(process.stdout.readline) == b"made\n"


def descriptors(pid: int) -> int:
    """How many of ours stand for this process."""
    found = 0
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        except FileNotFoundError:
            continue
        found += f"Pid:\t{pid}" in lines
    return found


async def test_it_is_stopped_and_forgotten_when_the_process_is_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        other = await r.add({"job": SLEEPER})
        file = r.write(unique(), {"job": SLEEPER})
        notices: list[Event] = []
        r.host.system.events.listen(notices.append, Notice)
        with asks(r, {"path": str(file), "bound": True}) as process:
            await made(process)
            assert (len(r.host.bonds), descriptors(process.pid)) == (1, 1)
            name = file.parent.name
            pid = r.host.colonies[name].statuses["job"].pid
            process.kill()
            await until(lambda: not len(r.host.bonds))
        assert list(r.host.colonies) == [other.name]
        assert (other.state, is_alive(pid or 0)) == ("running", False)
        r.host.system.events.release()
        said = f"the run of {name}, pid {process.pid}, is gone: its colony is stopped"
        assert [each.text for each in notices if isinstance(each, Notice)] == [said]


@pytest.mark.parametrize("body", [{}, {"bound": False}])
async def test_without_the_wish_it_is_bound_to_nobody(
    tmp_path: Path, body: dict[str, bool]
) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"job": SLEEPER})
        with asks(r, {"path": str(file), **body}) as process:
            await made(process)
            assert (len(r.host.bonds), descriptors(process.pid)) == (0, 0)


async def test_over_tcp_it_is_bound_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, tcp=True) as r:
        monkeypatch.setenv("COLONY_TOKEN", TOKEN)
        client = Client.find(f"http://127.0.0.1:{r.tcp}")
        body = {"path": str(r.write(unique(), {"job": SLEEPER})), "bound": True}
        await r.ask(client.post, "/api/colonies", body)
        assert len(r.host.bonds) == 0


async def test_one_that_is_there_already_is_not_bound_to_who_asks_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"job": SLEEPER})
        with asks(r, {"path": colony.config.path, "bound": True}) as process:
            await made(process)
            await until(lambda: not descriptors(process.pid))
            assert len(r.host.bonds) == 0


@pytest.mark.parametrize("how", ["delete", "stop", "give up", "kill the api"])
async def test_the_bond_is_over_with_the_colony(tmp_path: Path, how: str) -> None:
    """Its descriptor is closed, and the process lives on."""
    async with rig(tmp_path) as r:
        # `intensity = 1`: the second end is one too many.
        job = {"command": "test -e ../over || exec sleep 1000"} if how == "give up" else SLEEPER
        file = r.write(unique(), {"job": job})
        path = path_of("colonies", file.parent.name)
        with asks(r, {"path": str(file), "bound": True}) as process:
            await made(process)
            if how == "give up":
                (tmp_path / "over").touch()
                await r.ask(r.client.post, f"{path}/services/job/signal", {"signal": "KILL"})
            elif how == "stop":
                await r.ask(r.client.post, f"{path}/stop")
            else:
                if how == "kill the api":
                    await kill_api(r)
                await r.ask(r.client.delete, path)
            await until(lambda: not len(r.host.bonds))
            assert (descriptors(process.pid), process.poll()) == (0, None)


async def kill_api(rig: Rig) -> None:
    """Kills the API's actor; returns in its next life."""
    ref = rig.host.system.whereis("api")
    assert ref is not None
    rig.host.system.kill(ref)
    await until(lambda: ref.incarnation == 2 and rig.client.answers())


async def test_a_bond_outlives_the_actor_that_waits(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"job": SLEEPER})
        with asks(r, {"path": str(file), "bound": True}) as process:
            await made(process)
            await kill_api(r)
            assert len(r.host.bonds) == 1
            process.kill()
            await until(lambda: not r.host.colonies)


async def test_a_colony_that_is_still_being_provided_for_ends_with_the_process(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        file = r.write(name, {"job": SLEEPER})
        setup = '[colony.environment]\nsetup = "touch begun; sleep 1000"\n'
        file.write_text(toml(name, {"job": SLEEPER}) + setup)
        with asks(r, {"path": str(file), "bound": True}) as process:
            await until((file.parent / "begun").exists)
            assert descriptors(process.pid) == 1
            process.kill()
            await until(lambda: not r.host.colonies and not len(r.host.bonds))


async def test_one_that_cannot_be_started_leaves_no_bond(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        file = r.write(name, {"job": SLEEPER})
        setup = '[colony.environment]\nsetup = "exit 3"\n'
        file.write_text(toml(name, {"job": SLEEPER}) + setup)
        with asks(r, {"path": str(file), "bound": True}) as process:
            assert await anyio.to_thread.run_sync(process.wait) == 1
            await until(lambda: not len(r.host.bonds))
        assert list(r.host.colonies) == []


async def test_an_instance_that_ends_closes_what_is_left(tmp_path: Path) -> None:
    with ExitStack() as stack:
        async with rig(tmp_path) as r:
            body = {"path": str(r.write(unique(), {"job": SLEEPER})), "bound": True}
            process = stack.enter_context(asks(r, body))
            await made(process)
        assert (len(r.host.bonds), descriptors(process.pid), process.poll()) == (0, 0, None)


def test_a_caller_is_one_that_has_not_hung_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = caller_at(ours, os.getpid())
        assert caller is not None
        assert descriptors(os.getpid()) == 1
        caller.close()
        theirs.close()
        assert caller_at(ours, os.getpid()) is None
        assert descriptors(os.getpid()) == 0


def test_a_caller_that_is_no_more_is_none() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert caller_at(ours, process.pid) is None
