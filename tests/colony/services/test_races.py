"""Dependencies, restarts and stops that meet: each a bug that another supervisor had.

The numbers are process-compose's issues.
"""

from __future__ import annotations

import os
import signal
import socket
from array import array

import anyio
import pytest

from actors.events import Restarting
from colony.events import ServiceExited, ServiceStarted, ServiceStopped
from colony.services import RestartService, StartService, StopService
from tests.colony.services.hosting import colony, python, server, sleeper
from tests.ports import free_port

pytestmark = pytest.mark.real_time

GATE = "import os, time\nwhile not os.path.exists('open'): time.sleep(0.01)\n"
SLOW = {"min": 600, "max": 600, "reset": 600}


async def test_189_a_dependent_of_a_service_that_restarts_starts_once_when_that_is_ready() -> None:
    die_once = "import os\nif not os.path.exists('died'): open('died', 'w'); os._exit(1)\n"
    async with colony(
        {"web": sleeper(after=["db"]), "db": server(free_port(), before=die_once)}
    ) as shop:
        await shop.until("web", "ready")
        assert (await shop.status("db")).life == 2
        assert len(shop.seen(ServiceStarted, "web")) == 1


async def test_274_a_crash_while_it_starts_is_a_crash_and_leaves_dependents_waiting() -> None:
    async with colony(
        {
            "web": sleeper(after=["db"]),
            "db": {"command": "exit 1", "port": free_port(), "backoff": SLOW},
        }
    ) as shop:
        await shop.saw(Restarting, count=2)
        status = await shop.until("db", "backoff", life=2)
        assert status.detail == "exit code 1"
        assert status.due is not None
        assert (await shop.status("web")).state == "waiting"
        assert len(shop.seen(ServiceExited, "db")) == 2


async def test_363_a_stop_while_it_backs_off_is_the_end_of_it() -> None:
    async with colony({"web": {"command": "exit 1", "backoff": SLOW}, "other": sleeper()}) as shop:
        await shop.until("web", "backoff", life=2)
        stopped = await shop.control.call(StopService("web"))
        assert stopped.state == "stopped"
        restarts = len(shop.seen(Restarting))
        started = await shop.control.call(StartService("web"))
        assert started.life == 3
        assert len(shop.seen(Restarting)) >= restarts


async def test_403_a_probe_that_fails_while_it_is_stopped_neither_kills_nor_restarts() -> None:
    health = {"exec": "test ! -e sick", "interval": 0.02, "failures": 1}
    end = "until [ -e sick ]; do sleep 0.01; done; sleep 0.4; echo bye; exit 0"
    slow_end = f"trap '{end}' TERM; echo up; while :; do sleep 0.05; done"
    async with colony({"web": {"command": slow_end, "health": health}}) as shop:
        await shop.wrote("web", b"up")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.control.call, StopService("web"))
            await shop.until("web", "stopping")
            await anyio.Path(shop.config.workspace, "sick").touch()
        [stopped] = shop.seen(ServiceStopped)
        assert (stopped.killed, stopped.status) == (False, "exit code 0")
        assert shop.seen(ServiceExited) == []
        assert (await shop.status("web")).state == "stopped"


async def test_530_a_restart_while_it_waits_makes_one_process_and_no_wedge() -> None:
    async with colony(
        {"web": sleeper(after=["db"]), "db": server(free_port(), before=GATE)}
    ) as shop:
        await shop.until("web", "waiting")
        for _ in range(3):
            assert (await shop.control.call(RestartService("web"))).state == "waiting"
        await anyio.Path(shop.config.workspace, "open").touch()
        await shop.until("web", "ready")
        assert len(shop.seen(ServiceStarted, "web")) == 1
        assert shop.board_waiters() == 0


async def test_530_a_stop_while_it_waits_is_done_at_once_and_for_good() -> None:
    async with colony(
        {"web": sleeper(after=["db"]), "db": server(free_port(), before=GATE)}
    ) as shop:
        await shop.until("web", "waiting")
        assert (await shop.control.call(StopService("web"))).state == "stopped"
        await anyio.Path(shop.config.workspace, "open").touch()
        await shop.until("db", "ready")
        assert shop.seen(ServiceStarted, "web") == []
        await shop.control.call(StartService("web"))
        await shop.until("web", "ready", life=2)


async def test_544_one_that_comes_late_starts_although_what_it_is_after_was_down_a_while() -> None:
    async with colony({"web": sleeper(after=["db"]), "db": server(free_port())}) as shop:
        await shop.until("web", "ready")
        await shop.control.call(StopService("web"))
        await shop.control.call(StopService("db"))
        assert (await shop.control.call(StartService("web"))).state == "waiting"
        await shop.control.call(StartService("db"))
        await shop.until("web", "ready")


async def test_a_stopped_service_is_not_brought_back_by_its_siblings_restart() -> None:
    async with colony(
        {"a": sleeper(), "b": sleeper()}, supervision={"strategy": "one_for_all"}
    ) as shop:
        status = await shop.until("a", "ready")
        assert status.pid is not None
        await shop.control.call(StopService("b"))
        os.kill(status.pid, signal.SIGKILL)
        await shop.until("a", "ready", life=2)
        assert (await shop.status("b")).state == "stopped"


async def test_an_operators_restart_is_not_counted() -> None:
    async with colony({"web": sleeper()}, supervision={"intensity": 1}) as shop:
        for life in range(2, 6):
            await shop.control.call(RestartService("web"))
            await shop.until("web", "ready", life=life)
        assert (await shop.status("web")).restarts == 0


async def test_commands_for_one_service_are_carried_out_one_after_the_other() -> None:
    async with colony({"web": sleeper(), "slow": {"command": _STUBBORN}}) as shop:
        await shop.wrote("slow", b"up")
        async with anyio.create_task_group() as tasks:
            for command in (StopService, RestartService, StopService, RestartService):
                tasks.start_soon(shop.control.call, command("slow"))
            # A slow stop of one keeps nobody from another.
            assert (await shop.control.call(StopService("web"))).state == "stopped"
        await shop.control.call(StartService("slow"))
        started = [event.at for event in shop.seen(ServiceStarted, "slow")]
        stopped = [event.at for event in shop.seen(ServiceStopped, "slow")]
        assert len(started) == len(stopped) + 1
        assert sorted(started + stopped)[::2] == started


_STUBBORN = "trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.05; done"


async def test_a_temporary_service_that_has_ended_can_be_started_again() -> None:
    async with colony({"job": {"command": ["true"], "restart": "temporary"}}) as shop:
        await shop.until("job", "completed", life=1)
        await shop.control.call(StartService("job"))
        await shop.until("job", "completed", life=2)


async def test_a_service_dies_while_it_is_being_stopped() -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(15, lambda *a: os._exit(9))\n"
        "print('up', flush=True)\n"
        "time.sleep(99)"
    )
    async with colony({"web": {"command": python(code)}}) as shop:
        await shop.wrote("web", b"up")
        stopped = await shop.control.call(StopService("web"))
        assert (stopped.state, stopped.last_exit) == ("stopped", "exit code 9")
        assert shop.seen(ServiceExited) == []


async def test_a_listener_that_is_nobodys_is_one_that_is_closing_and_is_waited_for() -> None:
    """So is a dead process's for a moment: its files have gone, and its socket has not."""
    port = free_port()
    here, there = socket.socketpair()
    with here, there, socket.create_server(("127.0.0.1", port)) as listening:
        here.sendmsg(
            [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [listening.fileno()]))]
        )
        listening.close()  # on its way through `there`, it is in nobody's table of files
        async with anyio.create_task_group() as tasks:

            async def closes_soon() -> None:
                await anyio.sleep(0.2)
                there.close()

            tasks.start_soon(closes_soon)
            async with colony({"web": server(port)}) as shop:
                status = await shop.until("web", "ready")
                assert (status.life, there.fileno()) == (1, -1)
