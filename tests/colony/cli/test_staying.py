"""Commands that stay, as processes: over restarts, to the end, and when nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colony.client import path_of
from tests.colony.api.support import PATIENCE, Rig, rig, unique
from tests.colony.cli.support import CLEAN

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]

SLEEPER = {"command": ["sleep", "1000"]}


class Follower:
    """A command in a process of its own, whose lines are read one by one."""

    def __init__(self, r: Rig, *words: str) -> None:
        # With a buffer, as for most people: some machines for tests have none.
        given = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
        env = {name: value for name, value in given.items() if name not in CLEAN}
        env |= {"COLONY_RUNTIME_DIR": str(r.folder / "run"), "COLONY_HOME": str(r.folder / "home")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "colony", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=r.folder,
            env=env,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def leave(self) -> None:
        """Nobody reads any more."""
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self) -> tuple[int, str]:
        """Its exit status and what it said on stderr."""
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        code = self.process.wait(PATIENCE)
        self.process.stderr.close()
        self.leave()
        return code, said


async def following(r: Rig, talk: Callable[[Follower], Any], *words: str) -> Any:
    """Has somebody talk with a command, in a thread."""
    follower = Follower(r, *words)
    try:
        return await r.ask(talk, follower)
    finally:
        with follower.process:
            follower.process.kill()


async def test_logs_are_followed_over_a_restart_and_to_the_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "echo $$; exec sleep 1000"}})
        path = path_of("colonies", colony.name)

        def talk(logs: Follower) -> tuple[str, str, tuple[int, str]]:
            first = logs.line()
            r.client.post(f"{path}/restart")
            second = logs.line()
            r.client.delete(path)
            return first, second, logs.end()

        first, second, end = await following(r, talk, "logs", "-f", "-c", colony.name)
        assert first.strip().isdecimal()
        assert second.strip().isdecimal()
        assert second != first
        said = f"· {colony.name} is being restarted\n· {colony.name} was stopped\n"
        assert end == (0, said)


async def test_a_note_is_no_line_that_until_waits_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "echo up; exec sleep 1000"}})
        path = path_of("colonies", colony.name)

        def talk(logs: Follower) -> tuple[int, str]:
            assert logs.line() == "up\n"
            r.client.delete(path)
            return logs.end()

        words = ("logs", "-c", colony.name, "--until", "stopped")
        assert await following(r, talk, *words) == (
            1,
            f"· {colony.name} was stopped\n"
            "error: the colony has ended, and no line matched 'stopped'\n",
        )


async def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As `colony events -f | head -1` does."""
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        restart = path_of("colonies", colony.name, "services", "web", "restart")

        def talk(events: Follower) -> tuple[int, str]:
            r.client.post(restart)
            assert events.line()
            events.leave()
            r.client.post(restart)
            return events.end()

        words = ("events", "-f", "--since", "0", "-c", colony.name)
        assert await following(r, talk, *words) == (0, "")


@pytest.mark.parametrize("words", [("ls",), ("events",), ("tree",), ("ls", "--json")])
async def test_a_reader_that_never_read_is_no_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    """As `colony ls | true` may do."""
    async with rig(tmp_path) as r:
        await r.add({"web": SLEEPER})

        def talk(listing: Follower) -> tuple[int, str]:
            listing.leave()
            return listing.end()

        assert await following(r, talk, *words) == (0, "")


async def test_what_stays_says_that_the_instance_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        await r.host.add(_config(r, name))
        events = Follower(r, "events", "-f", "-c", name, "--since", "0")
        tree = Follower(r, "tree", "-w")
        assert name in await r.ask(events.line)
        assert await r.ask(tree.line) == "● system  one_for_one\n"
    with events.process, tree.process:
        shown, said = events.process.communicate(timeout=PATIENCE)
        assert (shown.splitlines()[-1], said) == ("· the instance is ending", "")
        _, said = tree.process.communicate(timeout=PATIENCE)
        assert said == "· the instance is ending\n"
    assert (events.process.returncode, tree.process.returncode) == (0, 0)


def _config(r: Rig, name: str) -> Any:
    from colony import config

    return config.load(r.write(name, {"web": SLEEPER}))
