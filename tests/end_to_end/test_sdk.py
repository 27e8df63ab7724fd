"""The SDK on real parts: each test on both event loops, with the colony of this process and with
the same one reached over the instance's socket. What is true of one is true of the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

import colony
from colony.paths import SOCKET
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Shop, alive, eventually, page, root_only
from tests.end_to_end.hosted import add, entered, options, until

pytestmark = [root_only, pytest.mark.real_time]

both_ways = pytest.mark.parametrize("way", ["open", "connect"])
SAYS = ["sh", "-c", "echo one; echo two >&2; echo three; exec sleep 1000"]


@asynccontextmanager
async def serving(shop: Shop) -> AsyncIterator[colony.Host]:
    """An instance here whose socket answers."""
    async with entered(shop, msgspec.structs.replace(options(shop, EMBEDDED), serve=True)) as host:
        await host.start()
        yield host


def address(shop: Shop) -> str:
    return f"unix://{shop.runtime / SOCKET}"


@asynccontextmanager
async def running(
    shop: Shop, way: str, services: Mapping[str, Mapping[str, Any]]
) -> AsyncIterator[colony.Colony]:
    """A colony, seen from its own process or over the socket."""
    made = shop.colony(services)
    with anyio.fail_after(PATIENCE):
        async with serving(shop) as host:
            here = await add(shop, host, made)
            if way == "open":
                yield here
                return
            async with colony.connect(address(shop)) as instance:
                yield await instance.colony(made.name)


# -- services --------------------------------------------------------------------------------------


@both_ways
async def test_a_service_is_waited_for_looked_at_and_restarted(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        assert c.services == ("web",)
        web = c.service("web")
        first = await web.ready(PATIENCE)
        assert (first.state, first.ready, first.port) == ("ready", True, 4001)
        assert await web.state() == "ready"
        assert web.url == first.url == c.urls["web"]
        await web.restart()
        second = await web.ready(PATIENCE)
        assert second.pid != first.pid
        assert second.restarts == 0
        assert (await web.stop()).state == "stopped"
        assert (await web.view()).pid is None
        await web.start()
        assert (await c.ready(PATIENCE)).services[0].ready


@both_ways
async def test_a_whole_colony_is_restarted(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        first = await c.service("web").ready(PATIENCE)
        again = await c.restart()
        second = await again.service("web").ready(PATIENCE)
        assert (again.name, second.restarts, second.pid != first.pid) == (c.name, 0, True)
        assert (await c.http("web").get("/")).body.startswith("hello")
        await again.stop()


@both_ways
async def test_a_service_of_another_name_is_a_key_error(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        with pytest.raises(KeyError, match=f"colony {c.name} has no service 'wbe'; it has web"):
            c.service("wbe")


@both_ways
async def test_what_fails_shows_its_last_lines(shop: Shop, way: str) -> None:
    command = ["sh", "-c", "echo no database >&2; exit 3"]
    fails = {"command": command, "port": 4001, "restart": "temporary"}
    async with running(shop, way, {"web": fails}) as c:
        with pytest.raises(colony.ServiceFailed) as caught:
            await c.service("web").ready(PATIENCE)
        assert caught.value.last_lines == ("no database",)
        assert caught.value.service == "web"
        assert str(caught.value).startswith("web did not get ready: ")
        assert isinstance(caught.value, colony.ColonyError)


@both_ways
async def test_what_takes_too_long_shows_its_last_lines(shop: Shop, way: str) -> None:
    late = {"command": SAYS, "port": 4001}
    async with running(shop, way, {"web": late}) as c:
        [_ async for _ in c.logs(until="three")]
        with pytest.raises(TimeoutError, match=r"is not ready after 0\.1 s") as caught:
            await c.service("web").ready(0.1)
        assert isinstance(caught.value, colony.TimedOut)
        assert sorted(caught.value.last_lines) == ["one", "three", "two"]
        with pytest.raises(colony.TimedOut, match=f"web of colony {c.name} not ready after 0.1 s"):
            await c.ready(0.1)


@both_ways
async def test_what_does_not_fit_is_a_conflict(shop: Shop, way: str) -> None:
    async with running(shop, way, {"job": {"command": ["sleep", "1000"]}}) as c:
        with pytest.raises(colony.Conflict, match="job has no port") as caught:
            await c.http("job").get()
        assert caught.value.help == "give it one in colony.toml"
        with pytest.raises(colony.Refused, match="signal"):
            await c.service("job").signal("HUPP")


# -- commands and requests -------------------------------------------------------------------------


@both_ways
async def test_a_command_gives_its_code_and_both_streams(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        done = await c.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
        done = await c.exec("echo $GREETING", env={"GREETING": "hi"})
        assert (done.code, done.stdout) == (0, "hi\n")
        (shop.folder / c.name / "sub").mkdir()
        done = await c.exec(["pwd"], cwd="sub")
        assert done.stdout == f"{shop.folder / c.name / 'sub'}\n"
        with pytest.raises(colony.CommandFailed, match="exit 7 ended with code 7") as caught:
            await c.exec("echo why >&2; exit 7", check=True)
        assert (caught.value.last_lines, caught.value.result.code) == (("why",), 7)
        with pytest.raises(colony.Failed, match="cannot be run"):
            await c.exec(["no-such-program"])


@both_ways
async def test_a_command_is_ended_when_its_time_is_over_or_its_caller_leaves(
    shop: Shop, way: str
) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        done = await c.exec("echo begun; exec sleep 1000", timeout=4.0)
        assert (done.timed_out, done.stdout) == (True, "begun\n")
        file = shop.folder / "pid"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(c.exec, f"echo $$ > {file}.new; mv {file}.new {file}; exec sleep 1000")
            pid = int(await anyio.to_thread.run_sync(lambda: eventually(file.read_text)))
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(lambda: eventually(lambda: not alive(pid)))


@both_ways
async def test_a_service_is_asked_inside_its_network(shop: Shop, way: str) -> None:
    """It listens on the colony's own loopback, to which nothing leads from outside."""
    async with running(shop, way, {"web": page("hello", address="127.0.0.1")}) as c:
        pid = (await c.service("web").ready(PATIENCE)).pid
        answer = await c.http("web").get("/any")
        assert (answer.status, answer.ok, answer.body) == (200, True, f"hello {pid}\n")
        assert answer.headers["content-type"] == "text/plain"
        answer = await c.service("web").http.post("/any", json={"a": 1})
        assert answer.body == f"hello {pid}\n"
        await c.service("web").stop()
        with pytest.raises(colony.Failed, match="web does not answer"):
            await c.http("web").get()


# -- logs and events -------------------------------------------------------------------------------


@both_ways
async def test_logs_are_read_followed_and_left(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": {"command": SAYS}, "other": page("o")}) as c:
        web = c.service("web")
        seen = [line.text async for line in web.logs(until="^three$")]
        assert seen[-1] == "three"
        assert sorted([*seen, *([] if "two" in seen else ["two"])]) == ["one", "three", "two"]
        lines = [line async for line in c.logs("web", grep="^t", tail=2)]
        assert {line.service for line in lines} == {"web"}
        assert [line.text for line in c_lines(lines, "stdout")] == ["three"]
        async with c.logs(follow=True) as flow:
            assert (await anext(flow)).colony == c.name
        with pytest.raises(StopAsyncIteration):
            await anext(flow)
        with pytest.raises(colony.NotFound, match="wbe"):
            await anext(c.logs("wbe"))
        with pytest.raises(colony.Refused, match="regular expression"):
            await anext(c.logs(grep="("))


def c_lines(lines: list[Any], stream: str) -> list[Any]:
    return [line for line in lines if line.stream == stream]


@both_ways
async def test_a_follower_hears_the_end_of_the_colony(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": {"command": SAYS}}) as c:
        seen = []
        async with c.logs(follow=True) as flow, anyio.create_task_group() as tasks:
            async for line in flow:
                seen.append(line.text)
                if len(seen) == 3:
                    tasks.start_soon(c.stop)
        assert sorted(seen[:3]) == ["one", "three", "two"]
        assert seen[3:] == [f"{c.name} was stopped"]
        with pytest.raises(colony.ServiceFailed):
            await c.service("web").ready()
        assert (await anext(c.logs(follow=True, tail=0))).text == f"{c.name} was stopped"


@both_ways
async def test_a_follower_goes_on_over_a_restart_of_the_whole_colony(shop: Shop, way: str) -> None:
    async with (
        running(shop, way, {"web": {"command": SAYS}}) as c,
        c.logs(follow=True, grep="^three$") as flow,
    ):
        assert (await anext(flow)).text == "three"
        again = await c.restart()
        note = await anext(flow)
        assert (note.stream, note.service) == ("note", "")
        assert (note.text, note.seq) == (f"{c.name} is being restarted", 0)
        assert (await anext(flow)).text == "three"
        await again.stop()
        assert (await anext(flow)).text == f"{c.name} was stopped"
        with pytest.raises(StopAsyncIteration):
            await anext(flow)


@both_ways
async def test_a_flow_that_was_left_or_cancelled_can_go_on(shop: Shop, way: str) -> None:
    waits = {"command": ["sh", "-c", "echo one; read word; echo $word; exec sleep 1000"]}
    async with running(shop, way, {"web": waits}) as c, c.logs(follow=True) as flow:
        assert (await anext(flow)).text == "one"
        with anyio.move_on_after(0.05):
            await anext(flow)
        for _ in range(3):  # left by `break`: nothing is said, nothing stays
            async for line in c.logs(follow=True):
                assert line.text == "one"
                break
        await c.service("web").write("two\n")
        assert (await anext(flow)).text == "two"


@both_ways
async def test_events_tell_what_happens_in_order(shop: Shop, way: str) -> None:
    types = ("service.exited", "supervisor.restarting", "service.ready")
    async with running(shop, way, {"web": page("hello")}) as c:
        await c.service("web").ready(PATIENCE)
        async with c.events(*types) as events:
            with pytest.raises(colony.Failed):
                await c.http("web").get("/crash")
            seen = [await anext(events) for _ in types]
        assert tuple(event.type for event in seen) == types
        assert [event.colony for event in seen] == [c.name] * 3
        assert (seen[0].service, seen[0].data["code"]) == ("web", 3)
        first = seen[0].id
        assert first is not None
        async with c.events(*types, since=first) as events:
            assert [await anext(events), await anext(events)] == seen[1:]


@both_ways
async def test_a_terminal_is_typed_into_and_read_from(shop: Shop, way: str) -> None:
    async with running(shop, way, {"web": page("hello")}) as c:
        async with c.terminal(argv=["sh", "-c", "read a; echo got $a; read b; exit 5"]) as t:
            await t.send("one\n")
            assert (await t.expect(r"got (\w+)\n"))[1] == "one"
            with pytest.raises(TimeoutError):
                await t.expect("never", timeout=0.05)
            await t.resize(30, 100)
            await t.send("two\n")
            assert (await t.wait()).code == 5
        async with c.terminal("terminal", argv=None) as t:
            await t.send("stty size; echo x''y\n")
            await t.expect("24 80")
            await t.expect("xy")
            async with c.terminal("terminal", read_only=True) as reader:
                await reader.send("echo z''q\n")
                await t.send("echo w''v\n")
                await reader.expect("wv")
                assert "zq" not in reader.before
        with pytest.raises(colony.NotFound, match="there is no terminal"):
            async with c.terminal("77"):
                raise AssertionError("there is none")
        with pytest.raises(colony.Failed, match="no such program in PATH"):
            async with c.terminal(argv=["no-such-program"]):
                raise AssertionError("it cannot run")


# -- the instance ----------------------------------------------------------------------------------


async def test_a_colony_is_opened_in_an_instance_and_gone_after_the_block(shop: Shop) -> None:
    made = shop.colony({"web": page("hello")})
    other = shop.name()
    env = shop.environment()
    with anyio.fail_after(PATIENCE):
        async with serving(shop) as host, colony.connect(address(shop)) as instance:
            assert instance.version.pid == os.getpid()
            async with instance.open(made.file, env=env) as c:
                await c.ready()
                async with instance.open(made.file, name=other, env=env) as copy:
                    await copy.ready()  # on the same port
                    assert [each.name for each in await instance.colonies()] == [c.name, other]
                with pytest.raises(colony.Conflict, match="runs already in the instance"):
                    async with instance.open(made.file, env=env):
                        raise AssertionError("this is another's")
                assert await c.service("web").state() == "ready"
                assert await instance.add(made.file, env=env) != c
                assert (await instance.health()).colonies == 1
            assert host.colonies == {}
            with pytest.raises(colony.NotFound, match="there is no colony"):
                await instance.colony(made.name)


async def test_a_cancelled_block_ends_its_colony(shop: Shop) -> None:
    made = shop.colony({"web": page("hello")})
    with anyio.fail_after(PATIENCE):
        async with serving(shop) as host, colony.connect(address(shop)) as instance:
            with anyio.CancelScope() as scope:
                async with instance.open(made.file, env=shop.environment()) as c:
                    await c.ready()
                    scope.cancel()
                    await anyio.sleep_forever()
            assert host.colonies == {}


async def test_a_start_that_is_cancelled_leaves_nothing(shop: Shop) -> None:
    begun = shop.folder / "begun"
    made = shop.colony(
        {"web": page("hello")},
        **{"colony.environment": {"setup": [f"touch {begun}; exec sleep 1000"]}},
    )
    with anyio.fail_after(PATIENCE):
        async with serving(shop) as host, colony.connect(address(shop)) as instance:

            async def start() -> None:
                async with instance.open(made.file, env=shop.environment()):
                    raise AssertionError("it is never ready")

            for before in (lambda: True, begun.exists):  # at once, and in the midst of it
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(start)
                    await until(before)
                    tasks.cancel_scope.cancel()
                assert host.colonies == {}


async def test_every_mistake_of_a_configuration_is_said(shop: Shop) -> None:
    with anyio.fail_after(PATIENCE):
        async with serving(shop), colony.connect(address(shop)) as instance:
            wrong = {"services": {"web": {"command": "", "port": 1}}}
            with pytest.raises(colony.Refused) as caught:
                await instance.add(wrong, name=shop.name(), workspace=shop.folder)
            assert "command" in str(caught.value)
            assert "port" in str(caught.value)


async def test_a_colony_that_cannot_start_says_why(shop: Shop) -> None:
    made = shop.colony(
        {"web": page("hello")},
        **{"colony.environment": {"setup": ["echo no such lock file >&2; exit 9"]}},
    )
    with anyio.fail_after(PATIENCE):
        async with serving(shop) as host, colony.connect(address(shop)) as instance:
            with pytest.raises(colony.ColonyFailed) as caught:
                await instance.add(made.file, env=shop.environment())
            assert caught.value.last_lines[-1] == "no such lock file"
            assert host.colonies == {}


async def test_an_instance_that_goes_away_is_lost(shop: Shop) -> None:
    made = shop.colony({"web": {"command": SAYS}})
    run = shop.run(made, options=EMBEDDED)
    await anyio.to_thread.run_sync(run.expect, "three")
    with anyio.fail_after(PATIENCE):
        async with colony.connect(address(shop)) as instance:
            c = await instance.colony(made.name)
            async with c.logs(follow=True) as flow:
                run.popen.kill()
                with pytest.raises(colony.InstanceLost, match="went away"):
                    [_ async for _ in flow]
            await anyio.to_thread.run_sync(run.wait)
            with pytest.raises(colony.InstanceLost, match="start one: colony run"):
                await c.view()
    next_run = shop.run(made, options=EMBEDDED)  # which clears up what the first could not
    await anyio.to_thread.run_sync(next_run.expect, "three")


async def test_no_instance_is_said_at_once(shop: Shop) -> None:
    with pytest.raises(colony.InstanceLost, match="no instance runs"):
        async with colony.connect(address(shop)):
            raise AssertionError("nobody is there")


# -- in this process -------------------------------------------------------------------------------


async def test_copies_of_one_project_are_opened_under_names_of_their_own(shop: Shop) -> None:
    made = shop.colony({"web": page("hello")})
    chosen = options(shop, EMBEDDED)
    with anyio.fail_after(PATIENCE):
        async with colony.open(made.file, chosen, name=f"{made.name}-b", env={"PATH": "/"}) as c:
            shop.note_instances()
            await c.ready()
            assert c.name == f"{made.name}-b"
            assert f"//{made.name}-b-4001." in c.urls["web"]
            assert c.environ["PATH"] == "/"


async def test_a_colony_is_opened_from_an_object(shop: Shop) -> None:
    said = {"services": {"web": page("hello")}}
    chosen = options(shop, EMBEDDED)
    with anyio.fail_after(PATIENCE):
        async with colony.open(said, chosen, name=shop.name(), workspace=shop.folder) as c:
            shop.note_instances()
            await c.ready()
            assert c.config.workspace == str(shop.folder)


@pytest.mark.parametrize(
    ("source", "name"),
    [({"services": {}}, "x"), ({"servces": {}}, "x"), ("colony.toml", "Not One")],
)
async def test_a_wrong_object_or_name_is_refused(shop: Shop, source: Any, name: str) -> None:
    made = shop.colony({"web": page("hello")})
    wanted = made.file if isinstance(source, str) else source
    with pytest.raises(colony.Refused):
        async with colony.open(wanted, options(shop, EMBEDDED), name=name):
            raise AssertionError("it was opened")
