"""A command without a terminal: what happens to whoever waits when its input is closed."""

from __future__ import annotations

import os
from contextlib import suppress

import anyio
import pytest

from actors import backend
from colony.terminals.hub import Exit
from colony.terminals.streamed import STDOUT, Streamed
from netns import NetworkThread, spawn

pytestmark = pytest.mark.real_time

PATIENCE = 30.0
MORE_THAN_A_PIPE = b"x" * (1 << 20)


async def started(thread: NetworkThread, *argv: str) -> Streamed:
    theirs, stdin = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    stdout, their_output = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(theirs, True)
    try:
        process = await spawn(thread, argv, stdin=theirs, stdout=their_output)
    finally:
        os.close(theirs)
        os.close(their_output)
    return Streamed(process, stdin, {STDOUT: stdout})


def opened() -> set[str]:
    """What this process has open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return found


@pytest.mark.parametrize("how", ["end_input", "the end"])
async def test_who_writes_to_one_that_takes_nothing_is_free_when_the_input_is_closed(
    how: str,
) -> None:
    async with NetworkThread() as thread:
        command = await started(thread, "sleep", "600")
        pipe, written = os.readlink(f"/proc/self/fd/{command._stdin}"), list[str]()

        async def write() -> None:
            await command.write(MORE_THAN_A_PIPE)
            written.append("free")

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(command.run)
                tasks.start_soon(write)
                await backend.until_idle()
                assert written == []
                assert pipe in opened()
                if how == "end_input":
                    await command.end_input()
                else:
                    await command.signal(9)
                    assert await command.take() == Exit(None, 9, "killed by SIGKILL")
                while not written:  # noqa: ASYNC110
                    await anyio.sleep(0.001)
                assert pipe not in opened()
                await command.write(b"more")
                await command.end_input()
                tasks.cancel_scope.cancel()


async def test_what_is_written_arrives_whole_and_then_its_end() -> None:
    async with NetworkThread() as thread:
        command = await started(thread, "cat")
        took = b""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(command.run)

                async def write() -> None:
                    await command.write(MORE_THAN_A_PIPE)
                    await command.end_input()

                tasks.start_soon(write)
                while isinstance(piece := await command.take(), bytes):
                    assert piece[:1] == STDOUT
                    took += piece[1:]
        assert took == MORE_THAN_A_PIPE
        assert piece == Exit(0, None, "exit code 0")
