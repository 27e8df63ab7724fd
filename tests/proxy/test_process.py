"""Programs beside us: started, watched, ended for certain."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from proxy.errors import BinaryNotFound
from proxy.process import Program, find
from tests.proxy.support import PATIENCE, alive, eventually, held, script

pytestmark = pytest.mark.real_time

ENV = {"PATH": os.defpath}
FOREVER = "while :; do sleep 0.01; done"


async def start(path: Path, *lines: str, stdin: bytes = b"") -> Program:
    return await Program.start(
        "test", [script(path / "program", *lines)], env=ENV, cwd=path, stdin=stdin
    )


@pytest.mark.parametrize(
    ("line", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
async def test_the_exit_status_is_told(line: str, status: int, tmp_path: Path) -> None:
    before = held()
    program = await start(tmp_path, line)
    assert await program.wait() == status
    assert await program.wait() == status
    assert await program.stop() == status
    assert held() <= before


async def test_all_who_wait_are_told(tmp_path: Path) -> None:
    program = await start(tmp_path, "sleep 0.05", "exit 3")
    seen: list[int] = []

    async def wait() -> None:
        seen.append(await program.wait())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        with anyio.move_on_after(0.01):
            await program.wait()
    assert seen == [3, 3, 3]


async def test_what_it_wrote_last_is_kept(tmp_path: Path) -> None:
    program = await start(tmp_path, "seq 1 20000; echo the end >&2")
    await program.wait()
    assert program.tail().endswith("20000\nthe end\n")
    assert len(program.tail()) <= 16 * 1024


async def test_a_large_input_is_read_to_its_end(tmp_path: Path) -> None:
    program = await start(tmp_path, "wc -c", stdin=b"x" * 3_000_000)
    await program.wait()
    assert program.tail().strip() == "3000000"


async def test_stop_asks_first(tmp_path: Path) -> None:
    program = await start(tmp_path, "trap 'exit 5' TERM", "echo ready", FOREVER)
    await eventually(lambda: "ready" in program.tail())
    assert await program.stop(grace=PATIENCE) == 5
    assert program.stopping is True


async def test_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    program = await start(tmp_path, "trap '' TERM", "echo ready", FOREVER)
    await eventually(lambda: "ready" in program.tail())
    assert await program.stop(grace=0.05) == -signal.SIGKILL
    assert not alive(program.pid)


async def test_its_whole_group_ends_with_it(tmp_path: Path) -> None:
    """Also one that would have gone on, and holds the output open."""
    program = await start(tmp_path, "sleep 99 & echo $!", "exit 0")
    assert await program.wait() == 0
    child = int(program.tail())
    await eventually(lambda: not alive(child) or _is_zombie(child))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_stop_is_not_cut_short(tmp_path: Path) -> None:
    before = held()
    program = await start(tmp_path, "trap '' TERM", "echo ready", FOREVER)
    await eventually(lambda: "ready" in program.tail())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await program.stop(grace=0.05)
    assert program.status == -signal.SIGKILL
    assert held() <= before


async def test_what_cannot_be_executed_leaves_nothing(tmp_path: Path) -> None:
    before = held()
    with pytest.raises(FileNotFoundError):
        await Program.start("test", [str(tmp_path / "nope")], env=ENV, cwd=tmp_path)
    with pytest.raises(PermissionError):
        await Program.start("test", [str(tmp_path)], env=ENV, cwd=tmp_path)
    assert held() <= before


async def test_only_its_own_descriptors_are_open_in_it(tmp_path: Path) -> None:
    program = await start(tmp_path, "exec ls /proc/self/fd")
    await program.wait()
    assert program.tail().split() == ["0", "1", "2", "3"]  # 3 is the directory itself


async def test_a_program_is_found_or_named() -> None:
    assert os.path.isabs(find("sh", "no hint"))
    with pytest.raises(BinaryNotFound) as caught:
        find("no-such-program", "install it")
    assert str(caught.value) == "'no-such-program' was not found on PATH: install it"
