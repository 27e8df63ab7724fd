from __future__ import annotations

import json
import os
import pty
import secrets
import signal
import sys
from pathlib import Path

import anyio
import pytest

from netns import sweep
from netns.errors import SpawnError
from netns.process import ExitStatus, Process, spawn
from netns.thread import NetworkThread
from tests.netns.support import is_there, open_descriptors, rig, unique

pytestmark = pytest.mark.real_time

# glibc's posix_spawn leaves its own two signals, 32 and 33, ignored; no program uses them.
SIGNALS = (1 << 31) - 1

REPORT = """
import json, os, signal
lines = open("/proc/self/status").read().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
print(json.dumps({
    "argv": os.sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ),
    "pid": os.getpid(), "pgid": os.getpgrp(), "sid": os.getsid(0),
    "net": os.stat("/proc/self/ns/net").st_ino, "hosts": open("/etc/hosts").read(),
    "blocked": int(status["SigBlk"], 16), "ignored": int(status["SigIgn"], 16),
    "fds": sorted(int(f) for f in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{f}")),
    "stdin": os.readlink("/proc/self/fd/0"),
}))
"""


async def run(thread: NetworkThread, *argv: str, **options: object) -> tuple[ExitStatus, str]:
    """Starts a program, waits for its end and returns how it ended and what it printed."""
    readable, writable = os.pipe()
    process = await spawn(thread, argv, stdout=writable, **options)  # type: ignore[arg-type]
    os.close(writable)
    async with process:
        with os.fdopen(readable) as file:
            text = await anyio.to_thread.run_sync(file.read)
        return await process.wait(), text


async def test_a_process_starts_clean_and_is_seen_to_end() -> None:
    instance = secrets.token_hex(3)
    async with NetworkThread() as thread:
        status, text = await run(
            thread, sys.executable, "-c", REPORT, "a b", "$HOME",
            cwd="/usr", env={"LANG": "C.UTF-8", "X": "1"}, instance=instance,
        )  # fmt: skip
        assert status == ExitStatus(0)
        assert status.ok
        seen = json.loads(text)
        assert seen["argv"] == ["a b", "$HOME"]
        assert seen["cwd"] == "/usr"
        assert seen["env"] == {"LANG": "C.UTF-8", "X": "1", "COLONY_INSTANCE": instance}
        assert seen["pgid"] == seen["pid"]
        assert seen["sid"] == os.getsid(0)
        assert seen["net"] == os.stat("/proc/self/ns/net").st_ino
        assert seen["blocked"] == 0
        # Python itself ignores SIGPIPE and SIGXFSZ once it runs.
        assert seen["ignored"] & SIGNALS == 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
        assert seen["fds"] == [0, 1, 2]
        assert seen["stdin"] == "/dev/null"


async def test_ignored_signals_are_not_inherited() -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        async with NetworkThread() as thread:
            _, text = await run(thread, "grep", "SigIgn", "/proc/self/status")
            assert int(text.split()[1], 16) & SIGNALS == 0
    finally:
        signal.signal(signal.SIGQUIT, before)


async def test_inside_a_namespace_it_has_that_network_and_those_files(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (thread, instance, network):
        space = await network.create(name)
        _, text = await run(thread, sys.executable, "-c", REPORT, namespace=space)
        seen = json.loads(text)
        assert seen["net"] == space.inode
        assert f"127.0.0.1 localhost {name}\n" in seen["hosts"]
        assert seen["env"]["COLONY_INSTANCE"] == instance.id
        assert seen["cwd"] == os.getcwd()
        await network.destroy(space)


async def test_only_the_given_descriptors_are_inherited() -> None:
    leaked, passed = os.open("/dev/null", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    async with NetworkThread() as thread:
        _, text = await run(thread, sys.executable, "-c", REPORT, pass_fds=[passed])
        assert json.loads(text)["fds"] == [0, 1, 2, passed]
        assert not os.get_inheritable(passed)
        os.set_inheritable(passed, True)
        _, text = await run(thread, sys.executable, "-c", REPORT, pass_fds=[passed])
        assert json.loads(text)["fds"] == [0, 1, 2, passed]
    os.close(leaked)
    os.close(passed)


async def test_the_standard_descriptors_may_be_any_even_each_others() -> None:
    async with NetworkThread() as thread:
        readable, writable = os.pipe()
        process = await spawn(
            thread,
            ["sh", "-c", "echo out; echo err >&2"],
            stdin=1,
            stdout=writable,
            stderr=writable,
        )
        os.close(writable)
        async with process:
            assert await process.wait() == ExitStatus(0)
        with os.fdopen(readable) as file:
            assert file.read() == "out\nerr\n"


async def test_how_it_ended() -> None:
    async with NetworkThread() as thread:
        assert (await run(thread, "sh", "-c", "exit 7"))[0] == ExitStatus(7)
        assert (await run(thread, "sh", "-c", "kill -TERM $$"))[0] == ExitStatus(None, 15)
    assert str(ExitStatus(7)) == "exit code 7"
    assert str(ExitStatus(None, 9)) == "killed by SIGKILL"
    assert str(ExitStatus(None, 99)) == "killed by signal 99"
    assert str(ExitStatus(None)) == "ended unseen"
    assert not ExitStatus(None, 15).ok
    ends = ExitStatus(0), ExitStatus(7), ExitStatus(None, 9), ExitStatus(None)
    assert [status.shell for status in ends] == [0, 7, 137, 1]


async def test_many_may_wait_and_a_cancelled_wait_changes_nothing() -> None:
    async with NetworkThread() as thread:
        process = await spawn(thread, ["sleep", "60"])
        statuses: list[ExitStatus] = []

        async def waiter() -> None:
            statuses.append(await process.wait())

        async with process, anyio.create_task_group() as tasks:
            assert process.poll() is None
            assert repr(process) == f"<Process {process.pid} sleep running>"
            with anyio.CancelScope() as scope:
                scope.cancel()
                await process.wait()
            for _ in range(3):
                tasks.start_soon(waiter)
            await anyio.wait_all_tasks_blocked()
            assert process.signal(signal.SIGTERM)
        assert statuses == [ExitStatus(None, 15)] * 3
        assert await process.wait() == ExitStatus(None, 15)
        assert repr(process) == f"<Process {process.pid} sleep killed by SIGTERM>"


async def test_the_group_can_be_signalled_after_its_leader_has_ended() -> None:
    async with NetworkThread() as thread:
        readable, writable = os.pipe()
        process = await spawn(thread, ["sh", "-c", "sleep 60 & exit 3"], stdout=writable)
        os.close(writable)
        assert await process.wait() == ExitStatus(3)
        assert process.signal_group(signal.SIGKILL)
        with os.fdopen(readable) as file:
            assert await anyio.to_thread.run_sync(file.read) == ""  # the last writer is gone
        await process.aclose()
        assert not process.signal_group(signal.SIGKILL)
        assert not is_there(f"/proc/{process.pid}")


async def test_aclose_ends_what_still_runs_and_leaves_no_zombie() -> None:
    async with NetworkThread() as thread:
        held = open_descriptors()
        process = await spawn(thread, ["sh", "-c", "trap '' TERM; sleep 60"])
        await process.aclose()
        await process.aclose()
        assert process.poll() == ExitStatus(None, 9)
        assert not is_there(f"/proc/{process.pid}")
        assert open_descriptors() <= held


async def test_a_session_of_its_own_and_a_controlling_terminal() -> None:
    async with NetworkThread() as thread:
        master, slave = pty.openpty()
        script = "test -t 0 && test -t 2 && tty && ps -o sid=,pid= -p $$ && echo hi > /dev/tty"
        process = await spawn(
            thread, ["sh", "-c", script], session=True, controlling_tty=os.ttyname(slave)
        )
        async with process:
            assert (await process.wait()) == ExitStatus(0)
        shown = b""
        while not shown.endswith(b"hi\r\n"):
            shown += await anyio.to_thread.run_sync(os.read, master, 1000)
        assert shown.decode().split() == [
            os.ttyname(slave),
            str(process.pid),
            str(process.pid),
            "hi",
        ]
        os.close(master)
        os.close(slave)
        with pytest.raises(SpawnError, match="needs session=True"):
            await spawn(thread, ["true"], controlling_tty="/dev/pts/0")


async def test_what_cannot_be_started_is_said_in_words(tmp_path: Path) -> None:
    plain, script, text = tmp_path / "plain", tmp_path / "script", tmp_path / "text"
    plain.write_text("#!/bin/sh\n")
    script.write_text("#!/nonexistent/interpreter\n")
    text.write_text("\0\1\2 nothing\n")
    script.chmod(0o755)
    text.chmod(0o755)
    cases = [
        (["no-such-program"], {"env": {"PATH": "/bin"}},
         "cannot start 'no-such-program': no such program in PATH (/bin); install it, or give "
         "its path"),
        (["/no/such"], {}, "cannot start '/no/such': /no/such does not exist"),
        (["./such"], {"cwd": "/usr"}, "cannot start './such': ./such does not exist"),
        ([str(plain)], {},
         f"cannot start '{plain}': {plain} is not executable by this user; try chmod +x {plain}"),
        ([str(tmp_path)], {},
         f"cannot start '{tmp_path}': {tmp_path} is a folder; name a program in it"),
        (["./lib"], {"cwd": "/usr"},
         "cannot start './lib': ./lib is a folder; name a program in it"),
        ([str(script)], {},
         f"cannot start '{script}': the interpreter named in the first line of {script} does not "
         "exist"),
        ([str(text)], {},
         f"cannot start '{text}': {text} is not a program: it has no '#!' line and is no binary"),
        (["true"], {"cwd": "/no/such"},
         "cannot start 'true': its working directory /no/such does not exist"),
        (["true"], {"cwd": str(plain)},
         f"cannot start 'true': its working directory {plain} is not a directory"),
        ([], {}, "a program to start is a non-empty list of words, got: []"),
        (["true", "a\0b"], {}, "cannot start 'true': embedded null byte"),
    ]  # fmt: skip
    async with NetworkThread() as thread:
        held = open_descriptors()
        for argv, options, words in cases:
            with pytest.raises(SpawnError) as caught:
                await spawn(thread, argv, **options)  # type: ignore[arg-type]
            assert str(caught.value) == words
        with pytest.raises(SpawnError, match="a descriptor that it was to be given is closed"):
            await spawn(thread, ["true"], stdout=9999)
        assert open_descriptors() <= held


async def test_a_cancelled_spawn_leaves_no_process() -> None:
    marker = unique("mark")
    async with NetworkThread() as thread:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await spawn(thread, ["sleep", "60"], env={"MARK": marker, "PATH": os.environ["PATH"]})
        assert scope.cancelled_caught
    assert list(sweep.find(sweep.with_variable("MARK", marker))) == []


async def test_kill_and_reap_needs_no_event_loop() -> None:
    async with NetworkThread() as thread:
        process: Process = await spawn(thread, ["sleep", "60"])
        process.kill_and_reap()
        process.kill_and_reap()
        assert process.poll() == ExitStatus(None, 9)
        assert not is_there(f"/proc/{process.pid}")
