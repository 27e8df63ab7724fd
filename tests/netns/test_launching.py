"""The two ways to become a program: with the C library's help on the spot, and without."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from netns import launching
from netns.errors import SpawnError, ThreadClosed
from netns.process import ExitStatus, spawn
from netns.thread import NetworkThread
from tests.netns.test_process import REPORT, run

pytestmark = pytest.mark.real_time


@pytest.fixture(params=["with the C library's help", "without"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "without":
        monkeypatch.setattr(launching, "able", lambda: False)
    return str(request.param)


async def test_both_ways_the_program_finds_the_same(way: str) -> None:
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    async with NetworkThread() as thread:
        for session in (False, True):
            _, text = await run(
                thread, sys.executable, "-c", REPORT, "é", cwd="/usr", session=session,
                env={"LANG": "C.UTF-8", "X": "é=1"},
            )  # fmt: skip
            seen = json.loads(text)
            assert (seen["argv"], seen["cwd"], seen["fds"]) == (["é"], "/usr", [0, 1, 2])
            assert seen["env"] == {"LANG": "C.UTF-8", "X": "é=1"}
            assert (seen["pgid"], seen["blocked"]) == (seen["pid"], 0)
            assert (seen["sid"] == seen["pid"]) is session
    os.close(leaked)


async def test_what_is_kept_of_one_start_is_not_taken_for_another(way: str) -> None:
    async with NetworkThread() as thread:
        for number, place in enumerate(("/usr", "/etc", "/usr", "/usr")):
            word = str(number // 3)
            _, text = await run(
                thread, sys.executable, "-c", REPORT, word, cwd=place, env={"X": word}
            )
            seen = json.loads(text)
            assert (seen["argv"], seen["cwd"], seen["env"]["X"]) == ([word], place, word)


async def test_the_standard_descriptors_may_be_each_others(way: str) -> None:
    code = (
        "import os, sys\n"
        "inodes = [str(os.fstat(n).st_ino) for n in (0, 1, 2)]\n"
        "sys.exit(inodes != sys.argv[1:])"
    )
    inodes = [str(os.fstat(n).st_ino) for n in (2, 0, 1)]
    async with NetworkThread() as thread:
        argv = [sys.executable, "-c", code, *inodes]
        process = await spawn(thread, argv, stdin=2, stdout=0, stderr=1)
        async with process:
            assert await process.wait() == ExitStatus(0)


async def test_a_relative_program_or_place_is_looked_for_from_its_directory(
    way: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "here"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    async with NetworkThread() as thread:
        for word, path in (("./bin/here", "/bin"), ("here", "/nowhere:bin:/bin")):
            status, text = await run(thread, word, cwd=tmp_path, env={"PATH": path})
            assert (status, text) == (ExitStatus(0), f"{tmp_path}\n")


async def test_a_directory_that_may_not_be_entered_is_named(way: str, tmp_path: Path) -> None:
    async with NetworkThread() as thread:
        with pytest.raises(SpawnError) as caught:
            await spawn(thread, ["/no/such"], cwd=tmp_path / "gone")
        words = f"cannot start '/no/such': its working directory {tmp_path}/gone does not exist"
        assert str(caught.value) == words


async def test_a_thread_that_is_closed_starts_nothing(way: str) -> None:
    thread = NetworkThread()
    with pytest.raises(ThreadClosed):
        await spawn(thread, ["true"])


async def test_one_that_is_let_go_of_gets_no_signal(way: str) -> None:
    async with NetworkThread() as thread:
        process = await spawn(thread, ["true"])
        await process.wait()
        await process.aclose()
        assert (process.signal(15), process.signal_group(15)) == (False, False)
