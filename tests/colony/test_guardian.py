"""The guardian: what it ends, what it leaves alone, and that it goes when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors import Supervisor, System
from colony.console import Console
from colony.guardian import GUARDIAN, PROGRAM, Guardian, GuardianPid
from netns import NetworkThread
from netns.names import new_instance
from netns.sweep import find, kill_all_blocking, marked
from tests.end_to_end.colonies import alive, eventually

SHELL = (
    "setsid sleep 1000 & "
    "nohup sleep 1000 >/dev/null 2>&1 & "
    "(setsid sh -c 'sleep 1000 & exec sleep 1000' &) ; "
    "trap '' TERM HUP INT; exec sleep 1000"
)
"""A process that ignores signals, and four descendants that have got away from it."""


@contextmanager
def guardian(instance: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM), instance], stdin=subprocess.PIPE, env={}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def family(instance: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {"COLONY_INSTANCE": instance, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(["sh", "-c", SHELL], env=env)
    try:
        eventually(lambda: sleepers(instance) == 5)
        yield process
    finally:
        kill_all_blocking(marked(instance))
        process.wait()


def sleepers(instance: str) -> int:
    """How many of the family have become what they stay."""
    return sum(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in find(marked(instance)))


def environment(pid: int) -> bytes:
    """A process's environment: it has none for a moment while it becomes another program."""
    file = Path(f"/proc/{pid}/environ")
    assert eventually(lambda: file.read_bytes() != b"")
    return file.read_bytes()


def test_when_its_input_ends_every_marked_process_is_killed_and_it_goes() -> None:
    instance, other = new_instance(), new_instance()
    with guardian(instance) as guard, family(instance) as ours, family(other) as theirs:
        assert guard.stdin is not None
        guard.stdin.close()
        assert guard.wait() == 0
        assert list(find(marked(instance))) == []
        assert ours.wait() == -signal.SIGKILL
        assert theirs.poll() is None
        assert len(list(find(marked(other)))) == 5


def test_after_a_bye_it_goes_without_doing_anything() -> None:
    instance = new_instance()
    with guardian(instance) as guard, family(instance):
        assert guard.stdin is not None
        guard.stdin.write(b"+1\n-1\nbye\n")
        guard.stdin.flush()
        assert guard.wait() == 0
        assert len(list(find(marked(instance)))) == 5


def test_no_signal_but_the_kill_ends_it() -> None:
    with guardian(new_instance()) as guard:
        caught = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGHUP - 1)
        status = Path(f"/proc/{guard.pid}/status")

        def ignores() -> bool:
            line = next(each for each in status.read_text().splitlines() if "SigIgn" in each)
            return int(line.split()[1], 16) & caught == caught

        assert eventually(ignores)


def test_it_outruns_whoever_does_nothing_but_fork() -> None:
    instance = new_instance()
    code = "import os\nwhile True:\n    pid = os.fork()\n    if pid: os._exit(0)"
    env = {"COLONY_INSTANCE": instance}
    with guardian(instance) as guard:
        first = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], env=env)
        first.wait()
        try:
            assert guard.stdin is not None
            guard.stdin.close()
            assert guard.wait() == 0
            left = list(find(marked(instance)))
        finally:
            kill_all_blocking(marked(instance))
        assert left == []


@pytest.mark.real_time
async def test_its_actor_starts_it_and_takes_it_down_with_a_bye() -> None:
    instance = new_instance()
    async with NetworkThread() as thread, System() as system:
        ref = await system.start(Guardian.spec(instance, thread, {}).options(name=GUARDIAN))
        pid = await ref.call(GuardianPid())
        assert environment(pid) == f"COLONY_GUARDIAN={instance}\0".encode()
        assert pid not in list(find(marked(instance)))
        with family(instance):
            await system.stop()
            assert not alive(pid)
            assert len(list(find(marked(instance)))) == 5


@pytest.mark.real_time
async def test_it_is_started_again_when_it_was_killed() -> None:
    async with NetworkThread() as thread, System() as system:
        spec = Guardian.spec(new_instance(), thread, {}).options(id="g", name=GUARDIAN)
        await system.start(Supervisor.spec([spec]))
        first = await system.named(GUARDIAN, Guardian).call(GuardianPid())
        os.kill(first, signal.SIGKILL)
        shown, console = b"", Console(colour=False)
        with system.events.subscribe() as events:
            async for event in events:
                shown += console.show(event)
                if type(event).__name__ == "Started":
                    break
        # No fault of ours: whoever killed it knows.
        assert shown.startswith("✗ g          the guardian process ended with signal 9; ".encode())
        assert b"a fault of Colony" not in shown
        second = await system.named(GUARDIAN, Guardian).call(GuardianPid())
        assert second != first
        assert alive(second)
        await system.stop()
        assert not alive(second)
