"""How services end: by themselves, when told to, with whatever they have left. Real processes."""

from __future__ import annotations

import os
import signal
import socket

import anyio
import pytest

from actors import StartFailed
from actors.events import LimitReached, Restarting
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceLingers,
    ServiceOutput,
    ServiceReady,
    ServiceRemark,
    ServiceStarted,
    ServiceStopped,
)
from colony.logs import store
from colony.services import RestartService, StartService, StopService, linux, port_actor
from colony.services.control import WriteStdin
from colony.services.holder import Search
from colony.services.plan import DETACH
from netns import sweep
from tests.colony.services.hosting import (
    SERVER,
    colony,
    eventually,
    python,
    server,
    sleeper,
)
from tests.end_to_end.colonies import root_only
from tests.ports import free_port

pytestmark = pytest.mark.real_time

DAEMON = "import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
"""What a program does to become a daemon: its first process ends, with status 0."""

both_networks = pytest.mark.parametrize(
    "isolated", [False, pytest.param(True, marks=root_only)], ids=["host", "namespace"]
)


# By themselves.


async def test_a_crash_is_reported_once_and_the_first_restart_is_made_at_once() -> None:
    async with colony({"web": server(free_port())}) as shop:
        status = await shop.until("web", "ready")
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        status = await shop.until("web", "ready", life=2)
        [exited] = shop.seen(ServiceExited)
        assert (exited.status, exited.orderly, exited.code) == ("killed by SIGKILL", False, None)
        [restarting] = shop.seen(Restarting)
        assert (restarting.count, restarting.delay) == (1, 0.0)
        assert (status.restarts, status.last_exit) == (1, "killed by SIGKILL")


async def test_what_is_told_of_a_life_is_told_before_its_end_and_that_before_the_next() -> None:
    kinds = (ServiceStarted, ServiceOutput, ServiceExited)
    async with colony({"job": {"command": "echo bye; exit 3"}}) as shop:
        await shop.saw(ServiceExited, "job", count=2)
        told = [event for event in shop.events if isinstance(event, kinds)]
        assert [type(event) for event in told] == [*kinds, *kinds]


async def test_the_last_words_that_nobody_has_read_are_told_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "GATHER", 0.3)
    monkeypatch.setattr(store, "SOON", 1000.0)
    kinds = (ServiceStarted, ServiceOutput, ServiceExited)
    say = python("import os; os.write(1, b'bye' + bytes(20000)); os._exit(3)")
    async with colony({"job": {"command": say}}) as shop:
        await shop.saw(ServiceExited, "job", count=2)
        told = [event for event in shop.events if isinstance(event, kinds)]
        assert [type(event) for event in told] == [*kinds, *kinds]
        assert [len(event.data) for event in shop.seen(ServiceOutput)] == [20003] * 2


async def test_who_takes_a_port_in_the_instant_of_a_restart_is_named_once_that_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def just_freed(_site: linux.LinuxSite, port: int) -> bool:
        asked.append(port)
        return len(asked) == 2  # before the second life, and not once that has failed

    monkeypatch.setattr(linux.LinuxSite, "_just_freed", just_freed)
    port = free_port()
    lets_go = python(
        "import os, socket, sys\n"
        "listening = socket.socket()\n"
        "listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        f"listening.bind(('127.0.0.1', {port}))\n"
        "listening.listen()\n"
        "sys.stdin.readline()\n"
        "listening.close()\n"
        "print('closed', flush=True)\n"
        "sys.stdin.readline()\n"
        "os._exit(3)\n"
    )
    async with colony({"web": {"command": lets_go, "port": port}}) as shop:
        await shop.until("web", "ready")
        await shop.control.call(WriteStdin("web", b"\n"))
        await shop.wrote("web", b"closed")
        with socket.create_server(("127.0.0.1", port)):
            await shop.control.call(WriteStdin("web", b"\n"))
            failed = await shop.saw(ServiceFailed, "web")
        assert failed.reason.startswith(f"port {port} is taken by pid {os.getpid()} ")
        assert [event.code for event in shop.seen(ServiceExited)] == [3, 1]
        assert len(shop.seen(ServiceStarted)) == 2


@pytest.mark.parametrize(("freed", "looks"), [(1000.0, 1), (0.0, 2)])
async def test_a_port_that_its_service_has_just_left_is_not_looked_at(
    freed: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    holder = Search.holder

    async def counted(search: Search, port: int) -> object:
        looked.append(port)
        return await holder(search, port)

    monkeypatch.setattr(linux, "FREED", freed)
    monkeypatch.setattr(Search, "holder", counted)
    # So that the machine's load has no say in which way is taken.
    monkeypatch.setattr(linux.LinuxSite, "_alone", lambda site: site.process.poll() is not None)
    port = free_port()
    async with colony({"web": server(port)}) as shop:
        status = await shop.until("web", "ready")
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        await shop.until("web", "ready", life=2)
        assert looked == [port] * looks


async def test_what_a_process_left_is_read_to_its_end_however_late_the_reading_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linux, "DRAIN", 0.01)
    monkeypatch.setattr(store, "GATHER", 0.3)
    size = 3 * 65536  # which is more than is read at once
    say = python(f"import os; os.write(1, b'x' * 99 + b'\\n' + b'y' * {size}); os._exit(0)")
    async with colony({"job": {"command": say, "restart": "never"}}) as shop:
        await shop.saw(ServiceExited, "job")
        read = b"".join(event.data for event in shop.seen(ServiceOutput, "job"))
        assert len(read) == 100 + size


async def test_later_restarts_are_put_off_longer_and_longer_and_at_last_given_up() -> None:
    backoff = {"min": 0.01, "max": 0.03, "factor": 2, "reset": 10}
    async with colony(
        {"bad": {"command": "echo no; exit 3", "backoff": backoff}, "good": sleeper()},
        supervision={"intensity": 4, "period": 60},
    ) as shop:
        await shop.top.stopped()
        delays = [event.delay for event in shop.seen(Restarting)]
        assert delays[0] == 0.0
        assert 0.01 <= delays[1] <= 0.011
        assert 0.02 <= delays[2] <= 0.022
        assert 0.03 <= delays[3] <= 0.033
        [limit] = shop.seen(LimitReached)
        assert (limit.child, limit.intensity, str(limit.reason)) == ("bad", 4, "exit code 3")
        assert [event.code for event in shop.seen(ServiceExited)] == [3] * 5
        assert [event.service for event in shop.seen(ServiceStopped)] == ["good"]


async def test_after_a_healthy_life_the_next_restart_is_at_once_again() -> None:
    backoff = {"min": 600, "max": 600, "reset": 0.05}
    async with colony({"web": sleeper(backoff=backoff)}) as shop:
        for life in (1, 2, 3):
            status = await shop.until("web", "ready", life=life)
            assert status.pid is not None
            await anyio.sleep(0.06)
            os.kill(status.pid, signal.SIGKILL)
        await shop.until("web", "ready", life=4)


async def test_what_completes_stays_down() -> None:
    async with colony(
        {
            "once": {"command": ["true"], "restart": "transient"},
            "never": {"command": ["false"], "restart": "temporary"},
        }
    ) as shop:
        assert (await shop.until("once", "completed")).last_exit == "exit code 0"
        assert (await shop.until("never", "failed")).last_exit == "exit code 1"
        assert shop.seen(Restarting) == []


async def test_what_a_short_life_wrote_to_both_streams_stays_in_order() -> None:
    command = "echo one; echo two >&2; echo three; echo four >&2"
    async with colony({"once": {"command": command, "restart": "temporary"}}) as shop:
        await shop.until("once", "completed")
        written = [(line.stream, line.data) for line in await shop.lines("once")]
        assert [data for stream, data in written if stream == "stdout"] == [b"one", b"three"]
        assert [data for stream, data in written if stream == "stderr"] == [b"two", b"four"]
        assert written[0] == ("stdout", b"one")


async def test_the_end_of_the_service_that_is_the_point_ends_the_colony() -> None:
    async with colony(
        {
            "test": {"command": "exit 7", "restart": "temporary", "exit_colony": True},
            "web": sleeper(),
        }
    ) as shop:
        await shop.top.stopped()
        assert [event.code for event in shop.seen(ServiceExited)] == [7]
        assert [event.service for event in shop.seen(ServiceStopped)] == ["web"]


async def test_a_restart_takes_its_siblings_along_as_the_strategy_says() -> None:
    async with colony(
        {"a": sleeper(), "b": sleeper(), "c": sleeper()},
        supervision={"strategy": "rest_for_one"},
    ) as shop:
        first = {name: (await shop.until(name, "ready")).pid for name in "abc"}
        assert first["b"] is not None
        os.kill(first["b"], signal.SIGKILL)
        after = {name: await shop.until(name, "ready", life=life) for name, life in _LIVES.items()}
        assert after["a"].pid == first["a"]
        assert [after[name].life for name in "abc"] == [1, 2, 2]
        assert [event.service for event in shop.seen(ServiceStopped)] == ["c"]


_LIVES = {"a": 1, "b": 2, "c": 2}


async def test_no_life_begins_before_all_of_the_last_one_has_ended() -> None:
    port = free_port()
    stray = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SERVER!r}])\n"
    wait = "import time, os\nwhile not os.path.exists('end'): time.sleep(0.01)\n"
    code = f"{stray}{wait}os.remove('end'); os._exit(1)"
    async with colony(
        {"web": {"command": python(code), "port": port}}, supervision={"intensity": 2}
    ) as shop:
        for life in (1, 2, 3):
            await shop.saw(ServiceReady, "web", life)
            await anyio.Path(shop.config.workspace, "end").touch()
        await shop.top.stopped()
        assert [event.code for event in shop.seen(ServiceExited)] == [1, 1, 1]
        assert shop.seen(ServiceFailed) == []
        assert len(shop.seen(ServiceReady)) == 3


# Left behind.


@both_networks
async def test_a_service_that_makes_itself_a_daemon_is_looked_after_by_its_listener(
    isolated: bool,
) -> None:
    async with colony({"web": server(free_port(), DAEMON)}, isolated=isolated) as shop:
        status = await shop.until("web", "detached")
        [detached] = shop.seen(ServiceDetached)
        assert status.pid == detached.pid
        assert shop.seen(ServiceExited) == []
        await eventually(lambda: shop.processes() == [status.pid])  # once those between have gone
        await shop.wrote("web", b"listening")
        os.kill(detached.pid, signal.SIGKILL)
        again = await shop.until("web", "detached", life=2)
        assert again.last_exit == f"its detached server (pid {detached.pid}) has ended"
        stopped = await shop.control.call(StopService("web"))
        assert (stopped.state, shop.processes()) == ("stopped", [])


@root_only
async def test_a_daemon_without_its_mark_is_known_by_its_port_and_stopped_with_its_kin() -> None:
    # As nginx and redis do, which write their title over their environment.
    worker = "import os, time\nif os.fork() == 0: time.sleep(1000)\n"
    bare = (
        "os.execve(sys.executable, [sys.executable, '-I', '-S', '-u', '-c', "
        f"{worker + SERVER!r}], {{'PORT': os.environ['PORT']}})"
    )
    web = {"command": python(DAEMON + bare), "port": free_port()}
    async with colony({"web": web, "other": sleeper()}, isolated=True) as shop:
        status = await shop.until("web", "detached", life=1)
        place = shop.place
        assert place is not None
        inside = sweep.in_namespace(place.inode)
        other = (await shop.until("other", "ready")).pid
        await eventually(lambda: len(list(sweep.find(inside))) == 3)
        await shop.control.call(RestartService("web"))
        again = await shop.until("web", "detached", life=2)
        assert again.pid != status.pid
        assert (again.restarts, again.last_exit) == (0, "exit code 0")
        await shop.control.call(StopService("web"))
        assert list(sweep.find(inside)) == [other]


async def test_a_daemon_may_take_long_until_it_listens_and_be_stopped_before() -> None:
    waits = DAEMON + "import time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    async with colony({"web": server(free_port(), waits)}) as shop:
        await shop.saw(ServiceStarted, "web")
        await anyio.sleep(DETACH + 0.5)
        stopped = await shop.control.call(StopService("web"))
        assert (stopped.state, stopped.last_exit, stopped.life) == ("stopped", "exit code 0", 1)
        await shop.control.call(StartService("web"))
        await anyio.sleep(DETACH + 0.5)
        await anyio.Path(shop.config.workspace, "go").touch()
        status = await shop.until("web", "detached")
        assert (status.life, status.restarts) == (2, 0)


@both_networks
async def test_nothing_that_got_away_from_its_parent_survives_the_stop(isolated: bool) -> None:
    script = (
        "setsid sleep 1001 & nohup sleep 1002 >/dev/null 2>&1 & (setsid sleep 1003 &) ; "
        "setsid sh -c 'trap \"\" TERM; sleep 1004 & exec sleep 1005' & "
        "echo up; exec sleep 1000"
    )
    stop = {"grace": 0.2}
    async with colony({"web": {"command": script, "stop": stop}}, isolated=isolated) as shop:
        await shop.wrote("web", b"up")
        await eventually(lambda: len(shop.processes()) == 6)
        await shop.control.call(StopService("web"))
        assert shop.processes() == []


# Told to stop.


async def test_a_polite_service_gets_its_signal_and_the_time_it_needs() -> None:
    code = (
        "import signal, sys, time\n"
        "def stop(n, f):\n"
        "    print('got', n, flush=True); time.sleep(0.1); print('bye', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    async with colony({"web": {"command": python(code), "stop": {"signal": "SIGINT"}}}) as shop:
        await shop.wrote("web", b"up")
        stopped = await shop.control.call(StopService("web"))
        assert (stopped.state, stopped.last_exit) == ("stopped", "exit code 0")
        assert [line.data for line in await shop.lines("web")] == [b"up", b"got 2", b"bye"]
        [event] = shop.seen(ServiceStopped)
        assert not event.killed


async def test_the_children_of_a_shell_have_time_too() -> None:
    code = (
        "import signal, sys, time\n"
        "def stop(n, f):\n"
        "    time.sleep(0.2); print('bye', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    quoted = " ".join(f"'{word}'" if " " in word else word for word in python("")[:-2])
    async with colony(
        {"web": {"command": f'{quoted} -c "$CODE"; true', "env": {"CODE": code}}}
    ) as shop:
        await shop.wrote("web", b"up")
        await shop.control.call(StopService("web"))
        assert [line.data for line in await shop.lines("web")] == [b"up", b"bye"]


async def test_one_that_does_not_listen_is_killed_after_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Far from the grace: were both over in the same turn of a busy loop, either may come first.
    monkeypatch.setattr(port_actor, "LINGER", 0.2)
    stubborn = "trap '' TERM; echo up; while :; do sleep 1; done"
    async with colony({"web": {"command": stubborn, "stop": {"grace": 1.5}}}) as shop:
        await shop.wrote("web", b"up")
        await shop.control.call(StopService("web"))
        [lingers] = shop.seen(ServiceLingers)
        assert round(lingers.seconds, 3) == 1.3
        [event] = shop.seen(ServiceStopped)
        assert (event.killed, event.status) == (True, "killed by SIGKILL")


async def test_one_that_is_suspended_ends_too() -> None:
    async with colony({"web": sleeper()}) as shop:
        status = await shop.until("web", "ready")
        assert status.pid is not None
        os.kill(status.pid, signal.SIGSTOP)
        await shop.control.call(StopService("web"))
        [event] = shop.seen(ServiceStopped)
        assert (event.killed, event.status) == (False, "killed by SIGTERM")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo no such server >&2; exit 3", "exit code 3: no such server"),
        (["/none/such"], "cannot start '/none/such': /none/such does not exist"),
    ],
)
async def test_after_a_stop_command_that_fails_the_signal_is_sent(
    command: str | list[str], why: str
) -> None:
    job = sleeper(stop={"command": command, "grace": 60})
    async with colony({"job": job}) as shop:
        await shop.until("job", "ready")
        await shop.control.call(StopService("job"))
        stopped = await shop.saw(ServiceStopped, "job")
        assert (stopped.killed, stopped.status) == (False, "killed by SIGTERM")
        [said] = shop.seen(ServiceRemark, "job")
        assert said.text == f"its stop command failed, and the signal is sent instead: {why}"


async def test_a_stop_command_that_worked_may_end_as_it_likes() -> None:
    gone = "until grep -q ^State:.Z /proc/$COLONY_PID/status; do sleep 0.01; done"
    stop = {"command": f"kill -KILL $COLONY_PID; {gone}; exit 52", "grace": 60}
    async with colony({"job": sleeper(stop=stop)}) as shop:
        await shop.until("job", "ready")
        await shop.control.call(StopService("job"))
        await shop.saw(ServiceStopped, "job")
        assert shop.seen(ServiceRemark, "job") == []


async def test_a_stop_command_runs_in_place_of_the_signal() -> None:
    stop = {"command": 'echo "$COLONY_SERVICE" > stopped; kill -QUIT $COLONY_PID'}
    async with colony({"web": sleeper(stop=stop)}) as shop:
        await shop.until("web", "ready")
        await shop.control.call(StopService("web"))
        told = await anyio.Path(shop.config.workspace, "stopped").read_text()
        assert told == "web\n"
        [event] = shop.seen(ServiceStopped)
        assert (event.killed, event.status) == (False, "killed by SIGQUIT")


# Somebody else's port.


async def test_a_port_that_is_taken_fails_the_start_and_names_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(StartFailed) as failed:
            async with colony({"web": server(port)}):
                pass
        assert f"port {port} is taken by pid {os.getpid()} `" in str(failed.value)


async def test_a_port_that_gets_taken_later_is_no_restart_loop() -> None:
    port = free_port()
    async with colony({"web": server(port)}) as shop:
        status = await shop.until("web", "ready")
        assert status.pid is not None
        await shop.control.call(StopService("web"))
        with socket.create_server(("127.0.0.1", port)):
            failed = await shop.control.call(StartService("web"))
            assert failed.state == "failed"
            assert failed.detail.startswith(f"port {port} is taken by pid {os.getpid()} `")
            assert shop.seen(ServiceExited) == []
            assert len(shop.seen(ServiceStarted)) == 1
        assert (await shop.control.call(StartService("web"))).state in ("starting", "ready")
        await shop.until("web", "ready", life=3)


@root_only
async def test_in_a_colony_the_holder_is_named_as_the_service_that_it_is() -> None:
    grab = "import socket, time\ns = socket.create_server(('127.0.0.1', 4001))\n"
    async with colony(
        {
            "thief": {
                "command": python(grab + "print('mine', flush=True)\ntime.sleep(1000)"),
                "ready": {"log": "mine"},
            },
            "web": server(4001, after=["thief"]),
        },
        isolated=True,
    ) as shop:
        thief = await shop.until("thief", "ready")
        failed = await shop.until("web", "failed")
        name = shop.config.name
        assert failed.detail.startswith(f"port 4001 is taken by pid {thief.pid} `")
        assert f"`, service thief of colony {name}; stop that" in failed.detail
        await shop.control.call(StopService("thief"))
        again = await shop.control.call(StartService("web"))
        assert (again.state, again.detail) == ("waiting", "for thief to be ready")


async def test_a_port_that_is_taken_while_it_starts_is_found_out_after_its_crash() -> None:
    port = free_port()
    late = "import time, os\nwhile not os.path.exists('go'): time.sleep(0.005)\n"
    async with colony({"web": server(port, before=late)}) as shop:
        await shop.until("web", "starting")
        with socket.create_server(("127.0.0.1", port)):
            # Our own listener makes it look ready: what counts is that it crashes for want of it.
            await anyio.Path(shop.config.workspace, "go").touch()
            await shop.saw(ServiceExited, "web")
            failed = await shop.until("web", "failed")
            assert failed.detail.startswith(f"port {port} is taken by pid {os.getpid()} `")
