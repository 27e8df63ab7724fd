"""What an operator does to services, beside starting and stopping them. Real processes."""

from __future__ import annotations

import signal

import anyio
import pytest

from colony.services import GetUsage, NotPossible, SignalService, StopService, WriteStdin
from tests.colony.services.hosting import PATIENCE, colony, eventually, python, sleeper

pytestmark = pytest.mark.real_time

ECHO = python(
    "import sys\nprint('up', flush=True)\nfor line in sys.stdin: print('got', line, flush=True)"
)


async def test_a_signal_reaches_the_process_or_its_whole_group() -> None:
    wait = "echo up; while :; do sleep 0.01; done"
    code = f"trap 'echo parent' USR1; (trap 'echo child' USR1; {wait}) & {wait}"
    async with colony({"web": {"command": code}}) as shop:
        await eventually(lambda: shop.numbers("web")[-1:] == [2])
        await shop.control.call(SignalService("web", signal.SIGUSR1, group=False))
        await shop.wrote("web", b"parent")
        assert b"child" not in [line.data for line in await shop.lines("web")]
        await shop.control.call(SignalService("web", signal.SIGUSR1))
        await shop.wrote("web", b"child")


async def test_input_reaches_a_service_on_a_pipe_and_on_a_terminal() -> None:
    async with colony({"pipe": {"command": ECHO}, "tty": {"command": ECHO, "pty": True}}) as shop:
        for name in ("pipe", "tty"):
            await shop.wrote(name, b"up")
            assert await shop.control.call(WriteStdin(name, b"hello\n")) == 6
            await shop.wrote(name, b"got hello")


async def test_input_that_nobody_reads_is_taken_in_part_and_holds_up_nobody() -> None:
    async with colony({"web": sleeper()}) as shop:
        await shop.until("web", "ready")
        taken = await shop.control.call(WriteStdin("web", b"x" * 2_000_000))
        assert 0 < taken < 2_000_000
        assert await shop.control.call(WriteStdin("web", b"x" * 70_000)) == 0


async def test_what_is_down_takes_neither_signals_nor_input_and_says_so() -> None:
    async with colony({"web": sleeper()}) as shop:
        await shop.until("web", "ready")
        await shop.control.call(StopService("web"))
        for command in (SignalService("web", 1), WriteStdin("web", b"x")):
            with pytest.raises(NotPossible) as refused:
                await shop.control.call(command)
            assert str(refused.value) == "web has no process: it is stopped"
        with pytest.raises(NotPossible) as refused:
            await shop.control.call(SignalService("web", 4711))
        assert str(refused.value) == "there is no signal 4711"


async def test_cpu_and_memory_are_those_of_the_service_and_its_children() -> None:
    async with colony(
        {"busy": {"command": "sh -c 'while :; do :; done' & wait"}, "idle": sleeper()}
    ) as shop:
        await shop.until("idle", "ready")
        await eventually(lambda: len(shop.processes()) == 3)
        first = await shop.board.call(GetUsage())
        assert first["idle"].processes == 1
        assert 0 < first["idle"].memory < 100_000_000
        with anyio.fail_after(PATIENCE):
            while not (usage := await shop.board.call(GetUsage()))["busy"].cpu:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        assert usage["idle"].cpu is not None
        assert usage["busy"].cpu is not None
        assert usage["idle"].cpu < usage["busy"].cpu


async def test_what_a_service_that_waits_is_asked_for_is_refused_in_words() -> None:
    services = {"db": sleeper(ready={"log": "never"}), "web": sleeper(after=["db"])}
    async with colony(services) as shop:
        await shop.until("web", "waiting")
        for command in (WriteStdin("web", b"x"), SignalService("web", signal.SIGHUP)):
            with pytest.raises(NotPossible, match="web has no process: it is waiting"):
                await shop.control.call(command)
