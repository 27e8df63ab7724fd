"""How services start: after whom, in what environment, when they are ready. Real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
from typing import Any

import anyio
import pytest

from actors import Refused
from actors.events import ChildStartFailed
from colony.events import (
    ServiceExited,
    ServiceReady,
    ServiceRemark,
    ServiceStarted,
    ServiceStopped,
    ServiceUnhealthy,
    ServiceWaiting,
)
from colony.logs import Feed, Logs, Stream
from colony.services import (
    GetServices,
    StartService,
    StopService,
    UnknownService,
    WaitUntil,
    WriteStdin,
)
from tests.colony.services.hosting import colony, python, server, sleeper
from tests.ports import free_port

pytestmark = pytest.mark.real_time

ENVIRON = python(
    "import os, json, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(1000)"
)


# After others.


async def test_a_service_starts_once_what_it_comes_after_is_ready() -> None:
    gate = "import os, time\nwhile not os.path.exists('open'): time.sleep(0.01)\n"
    async with colony(
        {
            "web": sleeper(after=["api"]),
            "api": sleeper(after=["db"]),
            "db": server(free_port(), before=gate),
            "other": sleeper(),
        }
    ) as shop:
        await shop.until("other", "ready")
        waiting = await shop.until("web", "waiting")
        assert waiting.detail == "for api to be ready"
        assert waiting.pid is None
        assert (await shop.until("api", "waiting")).detail == "for db to be ready"
        assert (await shop.until("db", "starting")).life == 1
        await anyio.Path(shop.config.workspace, "open").touch()
        await shop.until("web", "ready")
        started = [event.service for event in shop.seen(ServiceStarted)]
        assert started.index("db") < started.index("api") < started.index("web")
        [ready] = shop.seen(ServiceReady, "db")
        [api] = shop.seen(ServiceStarted, "api")
        assert ready.at <= api.at


async def test_a_service_may_wait_until_another_has_completed() -> None:
    async with colony(
        {
            "web": sleeper(after={"migrate": "completed"}),
            "migrate": {"command": python("print('done')"), "restart": "transient"},
        }
    ) as shop:
        await shop.until("web", "ready")
        migrated = await shop.status("migrate")
        assert (migrated.state, migrated.last_exit) == ("completed", "exit code 0")


async def test_what_waits_for_something_that_failed_goes_on_waiting_and_says_so() -> None:
    async with colony(
        {
            "web": sleeper(after={"migrate": "completed"}),
            "migrate": {
                "command": "test -e repaired && until test -e done; do sleep 0.01; done",
                "restart": "temporary",
            },
        }
    ) as shop:
        failed = await shop.until("migrate", "failed")
        assert failed.detail == "exit code 1"
        said = await shop.saw(ServiceRemark, "web")
        again = f"colony start {shop.config.name}/migrate"
        assert said.text == (
            f"waits in vain: migrate has failed (exit code 1); to try again: {again}"
        )
        web = await shop.status("web")
        assert (web.state, web.detail) == ("waiting", said.text)
        await anyio.Path(shop.config.workspace, "repaired").touch()
        await shop.control.call(StartService("migrate"))
        said = await shop.saw(ServiceRemark, "web", 2)
        assert said.text == "waits for migrate to have completed"
        await anyio.Path(shop.config.workspace, "done").touch()
        await shop.until("web", "ready")


async def test_what_was_stopped_while_it_waits_is_not_said_to_wait() -> None:
    async with colony(
        {
            "web": sleeper(after={"migrate": "completed"}),
            "api": sleeper(after={"migrate": "completed"}),
            "migrate": {"command": "exec sleep 1000", "restart": "temporary"},
        }
    ) as shop:
        await shop.until("web", "waiting")
        await shop.control.call(StopService("web"))
        migrate = await shop.until("migrate", "ready")
        assert migrate.pid is not None
        os.kill(migrate.pid, signal.SIGKILL)
        await shop.saw(ServiceRemark, "api")
        assert shop.seen(ServiceRemark, "web") == []
        assert (await shop.status("web")).state == "stopped"


async def test_services_start_and_stop_in_the_order_of_their_dependencies() -> None:
    async with colony({"web": sleeper(after=["db"]), "db": sleeper()}) as shop:
        await shop.until("web", "ready")
    assert [event.service for event in shop.seen(ServiceStopped)] == ["web", "db"]
    assert shop.seen(ServiceWaiting)[0].waits_for == ("db to be ready",)


# What they are given.


async def test_the_environment_is_the_systems_then_ours_then_the_files_then_the_tables() -> None:
    port = free_port()
    async with colony(
        {
            "api-v2": {
                "command": ENVIRON,
                "port": port,
                "ready": "none",
                "env_file": ".env",
                "env": {"OVER": "service", "COLONY_SERVICE": "liar"},
            }
        },
        colony={"name": "envtest", "env": {"OVER": "colony", "SHARED": "yes"}},
        env={"PATH": os.environ["PATH"], "HOME": "/", "OVER": "system", "COLONY_INSTANCE": "no"},
        files={".env": "# comment\nexport FILE='a b'\nOVER=file\nDOUBLE=\"x\\ny\"  # said\n"},
    ) as shop:
        [line] = [await shop.wrote("api-v2", b"{")]
        env = json.loads(line.data)
        assert env == {
            "PATH": os.environ["PATH"],
            "HOME": "/",
            "OVER": "service",
            "SHARED": "yes",
            "FILE": "a b",
            "DOUBLE": "x\ny",
            "PORT": str(port),
            "COLONY_NAME": "envtest",
            "COLONY_SERVICE": "api-v2",
            "COLONY_INSTANCE": shop.instance,
            "COLONY_URL": "http://api-v2.test",
            "COLONY_URL_API_V2": "http://api-v2.test",
            "PYTHONUNBUFFERED": "1",
            "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS": ".colony.local",
            "RAILS_DEVELOPMENT_HOSTS": ".colony.local",
            **{name: env[name] for name in ("LC_CTYPE",) if name in env},
        }


async def test_the_env_file_is_read_anew_for_each_life() -> None:
    command = python("import os, time; print('V', os.environ['V'], flush=True); time.sleep(1000)")
    async with colony(
        {"web": {"command": command, "env_file": ".env"}}, files={".env": "V=1\n"}
    ) as shop:
        await shop.wrote("web", b"V 1")
        await anyio.Path(shop.config.workspace, ".env").write_text("V=2\n")
        pid = (await shop.until("web", "ready")).pid
        assert pid is not None
        os.kill(pid, 9)
        await shop.wrote("web", b"V 2")


async def test_a_terminal_of_its_own() -> None:
    code = "import os, time; print(os.isatty(0), os.isatty(1), os.isatty(2), flush=True)"
    show = f"{code}; print(os.get_terminal_size(), flush=True); time.sleep(1000)"
    async with colony({"web": {"command": python(show), "pty": True}}) as shop:
        await shop.wrote("web", b"True True True")
        await shop.wrote("web", b"columns=120, lines=40")


# When they are ready.


async def test_ready_by_a_line_of_its_output() -> None:
    code = (
        "import sys, time\n"
        "print('booting', flush=True)\n"
        "print('listening on 3', file=sys.stderr, flush=True)\n"
        "time.sleep(1000)"
    )
    async with colony(
        {"web": {"command": python(code), "ready": {"log": r"listening on \d"}}}
    ) as shop:
        await shop.until("web", "ready")
        assert shop.seen(ServiceReady)[0].how == r"a line like listening on \d"


async def test_a_line_is_one_streams_and_its_colours_are_no_words_of_it() -> None:
    code = (
        "import os, time\n"
        "os.write(1, b'listen'); time.sleep(0.1)\n"
        "os.write(2, b'noise\\n'); time.sleep(0.1)\n"
        "os.write(1, b'ing \\x1b[1mon\\x1b[0m 3\\n')\n"
        "time.sleep(1000)"
    )
    async with colony(
        {"web": {"command": python(code), "ready": {"log": r"^listening on \d"}}}
    ) as shop:
        await shop.until("web", "ready")


async def test_ready_by_an_http_answer() -> None:
    code = """
import http.server, os
seen = 0
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global seen
        seen += 1
        self.send_response(503 if seen < 3 else 204)
        self.end_headers()
    def log_message(self, *args):
        print(self.path, seen, flush=True)
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
"""
    port = free_port()
    async with colony({"web": {"command": python(code), "port": port, "ready": "/up"}}) as shop:
        await shop.until("web", "ready")
        assert shop.seen(ServiceReady)[0].how == f"GET /up on port {port}"
        await shop.wrote("web", b"/up 3")
        assert [line.data for line in await shop.lines("web")] == [b"/up 1", b"/up 2", b"/up 3"]


async def test_ready_by_a_command_that_runs_beside_it() -> None:
    async with colony(
        {"web": {"command": "sleep 0.1; touch up; sleep 1000", "ready": {"exec": "test -e up"}}}
    ) as shop:
        await shop.until("web", "ready")


async def test_ready_by_its_own_word() -> None:
    code = (
        "import os, socket, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "time.sleep(0.05)\n"
        "s.sendto(b'STATUS=soon\\nREADY=1', os.environ['NOTIFY_SOCKET'])\n"
        "time.sleep(1000)"
    )
    async with colony({"web": {"command": python(code), "ready": "notify"}}) as shop:
        await shop.until("web", "ready")


SAYS = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
def say(*lines): s.send("\\n".join(lines).encode())
"""


async def test_what_it_says_of_itself_is_seen_and_heard_until_it_has_ended() -> None:
    code = """
import signal
def end(*_):
    for n in range(500): say("STOPPING=1", f"STATUS=closing {n}")
    print("closed", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("STATUS=warming up")
time.sleep(0.05)
say("READY=1")
say("STATUS=serves \\x1b[1m3\\x1b[0m clients")
time.sleep(1000)
"""
    async with colony(
        {"web": {"command": python(SAYS + code), "ready": "notify", "stop": {"grace": 60}}}
    ) as shop:
        await shop.until("web", "ready")
        count = 1
        while (await shop.saw(ServiceRemark, "web", count)).text != "serves 3 clients":
            count += 1
        assert (await shop.status("web")).detail == "serves 3 clients"
        stopped = await shop.control.call(StopService("web"))
        assert (stopped.state, stopped.last_exit) == ("stopped", "exit code 0")


async def test_it_may_ask_for_more_time_to_be_ready() -> None:
    code = """
say("EXTEND_TIMEOUT_USEC=60000000")
print("asked", flush=True)
sys.stdin.readline()
say("READY=1")
time.sleep(1000)
"""
    ready = {"notify": True, "deadline": 3}
    async with colony({"web": {"command": python(SAYS + code), "ready": ready}}) as shop:
        await shop.wrote("web", b"asked")
        life = (await shop.status("web")).life
        await anyio.sleep(3.2)
        await shop.control.call(WriteStdin("web", b"\n"))
        assert (await shop.until("web", "ready")).life == life


async def test_it_is_told_when_to_say_that_it_lives_and_may_say_that_it_is_not_well() -> None:
    code = """
say("READY=1")
print(os.environ["WATCHDOG_USEC"], flush=True)
sys.stdin.readline()
say("WATCHDOG=trigger")
time.sleep(1000)
"""
    health = {"notify": True, "interval": 90}
    async with colony(
        {"web": {"command": python(SAYS + code), "ready": "notify", "health": health}}
    ) as shop:
        await shop.until("web", "ready")
        await shop.wrote("web", b"90000000")
        await shop.control.call(WriteStdin("web", b"\n"))
        status = await shop.until("web", "ready", life=2)
        assert status.last_exit == "unhealthy: by its own word (WATCHDOG=trigger)"


async def test_why_it_is_not_ready_is_known() -> None:
    code = """
import os, socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(os.environ["PORT"]))); s.listen(50)
while True:
    c, _ = s.accept()
    c.recv(1000); c.send(b"HTTP/1.1 503 Later\\r\\n\\r\\n"); c.close()
"""
    port = free_port()
    web = {"command": python(code), "port": port, "ready": {"http": "/up", "deadline": 2}}
    async with colony({"web": web}, supervision={"intensity": 100}) as shop:
        count = 1
        why = f"not ready within 2 s: GET /up on port {port} answers 503"
        while (await shop.saw(ServiceExited, "web", count)).status != why:
            count += 1


async def test_one_that_is_not_ready_in_time_has_crashed() -> None:
    async with colony(
        {"web": {"command": "sleep 1000", "port": free_port(), "ready": {"deadline": 0.05}}},
        supervision={"intensity": 1},
    ) as shop:
        await shop.saw(ServiceStarted, "web", 2)
        restarted = await shop.until("web", "starting", "backoff", "failed", life=2)
        assert restarted.last_exit.startswith("not ready within 0.05 s: ")
        await shop.top.stopped()


async def test_one_that_gets_sick_is_ended_and_restarted() -> None:
    async with colony(
        {"web": sleeper(health={"exec": "test ! -e sick", "interval": 0.02, "failures": 2})}
    ) as shop:
        await shop.until("web", "ready")
        await anyio.Path(shop.config.workspace, "sick").touch()
        second = await shop.saw(ServiceUnhealthy, "web", 2)
        assert (second.failures, second.allowed) == (2, 2)
        await shop.saw(ServiceStarted, "web", 2)
        await anyio.Path(shop.config.workspace, "sick").unlink()
        status = await shop.until("web", "ready", life=2)
        assert status.last_exit.startswith("unhealthy: 'test ! -e sick': exit code 1")


async def test_a_probe_that_fails_is_quoted_and_may_say_as_much_as_it_likes() -> None:
    flood = "head -c 300000 /dev/zero | tr '\\0' x; echo; "
    last = r"printf '\033[31mno\tserver\033[0m\000\n\n' >&2; exit 3"
    health = {"exec": ["/bin/sh", "-c", flood + last], "interval": 0.02, "failures": 1}
    async with colony({"web": sleeper(health=health)}, supervision={"intensity": 100}) as shop:
        unhealthy = await shop.saw(ServiceUnhealthy, "web")
        assert unhealthy.reason.endswith(": exit code 3: no server")


async def test_who_holds_on_to_what_a_probe_writes_to_is_not_waited_for() -> None:
    ready = {"exec": "sleep 1000 & test -e ready", "deadline": 60}
    async with colony({"web": sleeper(ready=ready)}) as shop:
        await shop.until("web", "starting")
        await anyio.Path(shop.config.workspace, "ready").touch()
        await shop.until("web", "ready")


async def test_one_that_does_not_say_that_it_lives_is_restarted() -> None:
    code = (
        "import os, socket, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
        "time.sleep(1000)"
    )
    health = {"notify": True, "interval": 0.05, "failures": 1}
    async with colony(
        {"web": {"command": python(code), "ready": "notify", "health": health}}
    ) as shop:
        await shop.saw(ServiceStarted, "web", 2)


# Asking.


async def test_the_board_tells_of_all_in_the_files_order_and_refuses_unknown_names() -> None:
    async with colony({"b": sleeper(), "a": sleeper(after=["b"])}) as shop:
        listed = await shop.board.call(GetServices())
        assert [status.service for status in listed] == ["b", "a"]
        with pytest.raises(UnknownService) as unknown:
            await shop.status("nope")
        name = shop.config.name
        assert str(unknown.value) == f"colony {name} has no service 'nope'; it has b, a"
        with pytest.raises(UnknownService):
            await shop.control.call(StopService("nope"))
        with pytest.raises(Refused):
            await shop.board.call(WaitUntil("a", "happy"))  # type: ignore[arg-type]
        assert (await shop.board.call(WaitUntil("a", "ready"))).state == "ready"


class Deaf(Logs):
    """One that has no descriptor left to read with, from the second life on."""

    lives = 0

    def attach(
        self, colony: str, service: str, stream: Stream, fd: int, *args: Any, **more: Any
    ) -> Feed:
        self.lives += stream == "stdout"
        if self.lives > 1:
            os.close(fd)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().attach(colony, service, stream, fd, *args, **more)


async def test_a_process_whose_output_cannot_be_read_is_not_left_alone() -> None:
    service = sleeper(backoff={"min": 60, "max": 60})
    async with colony({"web": service}, logs=Deaf()) as shop:
        os.kill((await shop.until("web", "ready")).pid or 0, signal.SIGKILL)
        await shop.saw(ChildStartFailed)
        assert shop.processes() == []
