"""The API on its real socket, on both event loops."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from actors import Event
from actors.events import Started
from colony import config
from colony.api.sockets import claim
from colony.client import Address, Client, Problem, Unreachable, path_of
from colony.host import Host, Options
from colony.paths import SOCKET
from proxy.ports import let_go
from tests.colony.api.support import (
    SERVER,
    WISHES,
    Rig,
    is_alive,
    is_free,
    rig,
    toml,
    unique,
    until,
)
from tests.ports import free_port

pytestmark = pytest.mark.real_time

SLEEPER = {"command": ["sleep", "1000"]}


def server(port: int) -> dict[str, Any]:
    return {"command": [*SERVER, str(port)], "port": port}


async def refused(rig: Rig, method: str, path: str, body: Any = None, **query: Any) -> Problem:
    with pytest.raises(Problem) as problem:
        await rig.ask(rig.client.ask, method, path, query, body)
    return problem.value


# -- the instance ----------------------------------------------------------------------------------


async def test_an_instance_says_who_it_is(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        version = await r.ask(r.client.get, "/api/version")
        health = await r.ask(r.client.get, "/api/health")
    assert version["pid"] == os.getpid()
    assert version["api"] == 1
    assert (health["status"], health["colonies"], health["isolated"]) == ("ok", 0, False)
    assert health["instance"] == version["instance"]


async def test_the_socket_is_its_owners_alone_and_goes_with_the_instance(tmp_path: Path) -> None:
    async with rig(tmp_path):
        assert stat.S_IMODE((tmp_path / "run" / SOCKET).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert list((tmp_path / "run").iterdir()) == []


async def test_a_second_instance_leaves_the_socket_to_the_first(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        first = (await r.ask(r.client.get, "/api/version"))["instance"]
        async with Host(Options(WISHES, runtime=tmp_path / "run", serve=True)) as second:
            await second.start()
            assert not await second.served()
            assert second.parts.api is not None
            assert second.parts.api.socket == second.parts.instance.own / SOCKET
            its_own = Client(Address(second.parts.api.socket))
            found = await r.ask(its_own.get, "/api/version")
            assert found["instance"] == second.parts.instance.id != first
            assert (await r.ask(r.client.get, "/api/version"))["instance"] == first
        assert (await r.ask(r.client.get, "/api/version"))["instance"] == first


def test_a_socket_that_nobody_answers_at_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / SOCKET
    dead = claim(path)
    assert dead is not None
    let_go(dead.sock)  # as a kill leaves it
    claimed = claim(path)
    assert claimed is not None
    dead.release()  # must not take away what is another's now
    assert path.exists()
    assert claim(path) is None
    claimed.release()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_a_long_name_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    claimed = claim(deep / SOCKET)
    assert claimed is not None
    claimed.release()
    with pytest.raises(Unreachable, match="no instance runs"):
        Client(Address(deep / SOCKET)).get("/api/version")


async def test_the_api_comes_back_after_its_actor_was_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        pid = colony.statuses["web"].pid
        before = r.host.history.last_id
        ref = r.host.system.whereis("api")
        assert ref is not None
        r.host.system.kill(ref)
        await until(lambda: ref.incarnation == 2 and r.client.answers())
        found = await r.ask(r.client.get, path_of("colonies", colony.name))
        assert found["services"][0]["pid"] == pid
        assert r.host.history.last_id >= before


# -- colonies --------------------------------------------------------------------------------------


async def test_a_colony_is_added_seen_and_deleted(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, port = unique(), free_port()
        file = r.write(name, {"web": server(port), "job": SLEEPER})
        body = {"path": str(file), "wait": True}
        made = await r.ask(r.client.post, "/api/colonies", body)
        assert (made["name"], made["state"]) == (name, "running")
        assert [(s["name"], s["ready"]) for s in made["services"]] == [("web", True), ("job", True)]
        [listed] = await r.ask(r.client.get, "/api/colonies")
        assert listed["path"] == str(file)
        [route] = await r.ask(r.client.get, "/api/routes")
        assert route["hosts"] == [f"{name}-{port}.colony.local", f"{name}-{port}.colony.localhost"]
        gone = await r.ask(r.client.delete, path_of("colonies", name))
        assert gone["state"] == "stopped"
        assert await r.ask(r.client.get, "/api/colonies") == []
        assert (await refused(r, "GET", path_of("colonies", name))).status == 404


async def test_one_that_is_removed_while_its_actors_start_is_removed_once_they_have(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as r, anyio.create_task_group() as tasks:
        file = r.write(unique(), {"job": SLEEPER})
        name, removed = file.parent.name, anyio.Event()

        async def remove() -> None:
            await r.host.remove(name)
            removed.set()

        def note(event: Event) -> None:
            if isinstance(event, Started) and event.actor.endswith(f"/colonies/{name}/board"):
                assert not r.host.colonies[name].started
                tasks.start_soon(remove)

        r.host.system.events.listen(note, Started)
        colony = await r.host.add(config.load(file))
        await removed.wait()
        assert not colony.ref.alive
        r.host.system.events.release()
        assert colony.state == "stopped"


async def test_the_same_again_is_no_error_and_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"web": SLEEPER})
        first = await r.ask(r.client.post, "/api/colonies", {"path": str(file)})
        second = await r.ask(r.client.post, "/api/colonies", {"path": str(file)})
        assert second["services"][0]["pid"] == first["services"][0]["pid"]


async def test_another_colony_of_that_name_is_a_conflict_that_says_what_differs(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        file = r.write(name, {"web": SLEEPER})
        await r.ask(r.client.post, "/api/colonies", {"path": str(file)})
        r.write(name, {"web": {"command": ["sleep", "2000"]}})
        problem = await refused(r, "POST", "/api/colonies", {"path": str(file)})
        assert (problem.status, problem.code) == (409, "conflict")
        [step] = problem.data["steps"]
        assert step["because"] == "command changed from `sleep 1000` to `sleep 2000`"


async def test_a_colony_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONY_HOME", str(tmp_path / "home"))
    async with rig(tmp_path) as r:
        name = unique()
        body = {"name": name, "config": {"services": {"web": {"command": ["pwd"], "port": None}}}}
        body["config"]["supervision"] = {"intensity": 0}  # type: ignore[index]
        made = await r.ask(r.client.post, "/api/colonies", body)
        assert made["workspace"] == str(tmp_path / "home" / "workspaces" / name)


async def test_the_documents_own_request_makes_a_colony_of_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONY_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "templates" / "rust-api"
    folder.mkdir(parents=True)
    (folder / "colony.toml").write_text(toml("rust-api", {"api": SLEEPER}))
    async with rig(tmp_path) as r:
        name = unique("my-rust-api")
        body = {"name": name, "config": {"template": "rust-api"}}
        made = await r.ask(r.client.post, "/api/colonies", body)
        assert (made["name"], made["services"][0]["name"]) == (name, "api")
        wrong = {"name": unique(), "config": {"template": "rust-apy"}}
        problem = await refused(r, "POST", "/api/colonies", wrong)
        assert problem.data["did_you_mean"] == "rust-api"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "path"),
        ({"path": "a", "config": {}}, 422, "path"),
        ({"path": "relative.toml"}, 422, "path"),
        ({"path": "/nowhere/colony.toml"}, 422, ""),
        ({"nmae": "x"}, 422, "nmae"),
        ({"name": 7, "path": "/x"}, 422, "name"),
        ({"name": "Bad Name", "config": {}}, 422, "name"),
        ({"config": {"services": {"web": {"command": "x"}}}}, 422, "name"),
        ({"name": "x", "config": {"services": {"web": {"comand": "x"}}}}, 422, "config.services"),
        (
            {"name": "x", "config": {"services": {"web": {"command": "x", "port": 80}}}},
            422,
            "config",
        ),
        ({"name": "x", "config": {"services": 7}}, 422, "config.services"),
        ({"name": "x", "config": {"colony": 7}}, 422, "config.colony"),
        ([], 422, ""),
    ],
)
@pytest.mark.backends("asyncio")
async def test_what_is_wrong_with_a_request_is_said_and_nothing_is_changed(
    tmp_path: Path, body: Any, status: int, field: str
) -> None:
    async with rig(tmp_path) as r:
        problem = await refused(r, "POST", "/api/colonies", body)
        assert problem.status == status
        assert problem.data.get("field", "").startswith(field)
        assert await r.ask(r.client.get, "/api/colonies") == []


@pytest.mark.backends("asyncio")
async def test_every_mistake_of_a_file_comes_at_once_with_its_line(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"web": {"command": "x", "port": 80}, "api": {"comand": "y"}})
        problem = await refused(r, "POST", "/api/colonies", {"path": str(file)})
        found = {(each["field"], each["line"]) for each in problem.data["problems"]}
        assert ("services.web.port", 7) in found
        assert ("services.api.comand", 9) in found


async def test_a_service_that_fails_while_waited_for_is_told_with_its_last_lines(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as r:
        services = {"sick": {"command": "echo why; exit 3", "port": free_port()}}
        file = r.write(unique(), services)
        problem = await refused(r, "POST", "/api/colonies", {"path": str(file), "wait": True})
        assert (problem.status, problem.code) == (424, "failed")
        assert problem.data["last_lines"][-1] == "why"
        [listed] = await r.ask(r.client.get, "/api/colonies")
        assert (listed["state"], listed["culprit"]) == ("failed", "sick")


async def test_what_waits_for_something_that_failed_is_not_waited_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        services: dict[str, dict[str, Any]] = {
            "web": {**SLEEPER, "after": ["api"]},
            "api": {**SLEEPER, "after": {"migrate": "completed"}},
            "migrate": {"command": "exit 3", "restart": "never"},
        }
        name = unique()
        body = {"path": str(r.write(name, services)), "wait": True, "timeout_ms": 600_000}
        problem = await refused(r, "POST", "/api/colonies", body)
        assert (problem.status, problem.code) == (424, "failed")
        assert str(problem) == f"migrate of colony {name} did not get ready: exit code 3"
        [listed] = await r.ask(r.client.get, "/api/colonies")
        assert listed["state"] == "running"


async def test_a_wait_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        services = {"slow": {"command": ["sleep", "1000"], "port": free_port()}}
        file = r.write(unique(), services)
        body = {"path": str(file), "wait": True, "timeout_ms": 50}
        problem = await refused(r, "POST", "/api/colonies", body)
        assert (problem.status, problem.code) == (408, "timeout")


async def test_a_colony_that_was_stopped_is_remembered_and_started_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        path = path_of("colonies", colony.name)
        assert (await r.ask(r.client.post, f"{path}/stop"))["state"] == "stopped"
        assert (await r.ask(r.client.get, path))["state"] == "stopped"
        assert (await r.ask(r.client.post, f"{path}/start"))["state"] == "running"
        again = await r.ask(r.client.post, f"{path}/restart")
        assert again["state"] == "running"


async def test_no_secret_of_an_environment_comes_out(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"web": {**SLEEPER, "env": {"TOKEN": "hunter2"}}})
        body = {"path": str(file), "env": {**os.environ, "OTHER": "hunter3"}}
        name = (await r.ask(r.client.post, "/api/colonies", body))["name"]
        shown = [
            await r.ask(r.client.get, path)
            for path in (
                path_of("colonies", name),
                path_of("colonies", name, "config"),
                path_of("colonies", name, "tree"),
                "/api/tree",
            )
        ]
        events = await r.ask(lambda: list(r.client.events({"since": 0, "follow": False})))
        assert "hunter" not in json.dumps([shown, events])
        assert shown[1]["services"]["web"]["env"] == ["TOKEN"]


# -- services --------------------------------------------------------------------------------------


async def test_a_service_is_stopped_started_and_restarted(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER, "other": SLEEPER})
        path = path_of("colonies", colony.name, "services", "web")
        first = await r.ask(r.client.get, path)
        stopped = await r.ask(r.client.post, f"{path}/stop")
        assert (stopped["state"], stopped["pid"]) == ("stopped", None)
        started = await r.ask(r.client.post, f"{path}/start")
        assert started["pid"] not in (None, first["pid"])
        restarted = await r.ask(r.client.post, f"{path}/restart")
        assert restarted["pid"] not in (None, started["pid"])
        assert restarted["restarts"] == 0


async def test_a_signal_arrives(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        command = "trap 'echo got it' HUP; echo trapped; while :; do sleep 0.02; done"
        colony = await r.add({"web": {"command": command}})
        path = path_of("colonies", colony.name, "services", "web")
        await r.ask(r.client.get, f"{path}/wait", {"for": "log", "pattern": "trapped"})
        for name in ("HUP", "SIGHUP", "hup", 1):
            await r.ask(r.client.post, f"{path}/signal", {"signal": name})
        waited = await r.ask(r.client.get, f"{path}/wait", {"for": "log", "pattern": "^got"})
        assert waited["line"] == "got it"
        problem = await refused(r, "POST", f"{path}/signal", {"signal": "HPU"})
        assert (problem.status, problem.data["did_you_mean"]) == (422, "HUP")


async def test_text_reaches_standard_input(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"echo": {"command": ["cat"]}})
        path = path_of("colonies", colony.name, "services", "echo")
        await r.ask(r.client.post, f"{path}/stdin", {"text": "hello\n"})
        waited = await r.ask(r.client.get, f"{path}/wait", {"for": "log", "pattern": "hello"})
        assert (waited["met"], waited["line"]) == (True, "hello")


async def test_waiting_ends_with_the_service_or_with_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        once = {"command": "sleep 0.1", "restart": "temporary"}
        colony = await r.add({"once": once, "web": SLEEPER})
        path = path_of("colonies", colony.name, "services")
        assert (await r.ask(r.client.get, f"{path}/once/wait", {"for": "exit"}))["met"]
        query = {"for": "exit", "timeout_ms": 20}
        assert not (await r.ask(r.client.get, f"{path}/web/wait", query))["met"]
        query = {"for": "log", "pattern": "never", "timeout_ms": 20}
        assert not (await r.ask(r.client.get, f"{path}/web/wait", query))["met"]
        query = {"for": "log", "pattern": "("}
        assert (await refused(r, "GET", f"{path}/web/wait", **query)).status == 422


async def test_names_that_are_not_there_come_with_the_near_miss(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        problem = await refused(r, "GET", path_of("colonies", colony.name[:-1]))
        assert (problem.status, problem.data["did_you_mean"]) == (404, colony.name)
        problem = await refused(r, "GET", path_of("colonies", colony.name, "services", "wbe"))
        assert (problem.status, problem.data["did_you_mean"]) == (404, "web")
        problem = await refused(r, "GET", "/api/colonie")
        assert (problem.status, problem.data["did_you_mean"]) == (404, "/api/colonies")
        problem = await refused(r, "GET", "/api/colonies", tail=3)
        assert (problem.status, problem.data["field"]) == (422, "tail")


async def test_a_method_that_a_path_does_not_take(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        problem = await refused(r, "DELETE", "/api/colonies")
        assert (problem.status, problem.code) == (405, "method_not_allowed")


# -- apply, exec, http -----------------------------------------------------------------------------


async def test_apply_touches_only_what_differs(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        one, two = free_port(), free_port()
        file = r.write(name, {"stays": SLEEPER, "goes": SLEEPER, "changes": server(one)})
        made = await r.ask(r.client.post, "/api/colonies", {"path": str(file), "wait": True})
        before = {s["name"]: s["pid"] for s in made["services"]}
        new = {"stays": SLEEPER, "changes": server(two), "comes": SLEEPER}
        r.write(name, new)
        path = path_of("colonies", name)
        dry = await r.ask(r.client.post, f"{path}/apply", {"dry_run": True})
        assert [(s["action"], s["service"]) for s in dry["steps"]] == [
            ("remove", "goes"),
            ("restart", "changes"),
            ("add", "comes"),
        ]
        assert {s["name"] for s in (await r.ask(r.client.get, path))["services"]} == set(before)
        assert (await r.ask(r.client.post, f"{path}/apply", {}))["steps"] == dry["steps"]
        after = {s["name"]: s for s in (await r.ask(r.client.get, path))["services"]}
        assert list(after) == ["stays", "changes", "comes"]
        assert after["stays"]["pid"] == before["stays"]
        assert after["changes"]["pid"] != before["changes"]
        assert after["changes"]["port"] == two
        assert (await r.ask(r.client.get, f"{path}/services/changes/wait"))["met"]
        [route] = await r.ask(r.client.get, "/api/routes")
        assert route["hosts"][0] == f"{name}-{two}.colony.local"
        assert (await r.ask(r.client.post, f"{path}/apply", {}))["steps"] == []


async def test_what_was_applied_outlives_a_crash_of_the_owners(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        file = r.write(name, {"old": SLEEPER})
        await r.ask(r.client.post, "/api/colonies", {"path": str(file)})
        r.write(name, {"new": SLEEPER})
        await r.ask(r.client.post, path_of("colonies", name, "apply"), {})
        pid = r.host.colonies[name].statuses["new"].pid
        ref = r.host.system.at(f"system/colonies/{name}/routes")
        assert ref is not None
        r.host.system.kill(ref)  # rest_for_one: board, services and control begin anew
        await until(lambda: r.host.colonies[name].statuses["new"].pid not in (pid, None))
        found = await r.ask(r.client.get, path_of("colonies", name, "tree"))
        services = next(each for each in found["children"] if each["id"] == "services")
        assert [each["id"] for each in services["children"]] == ["new"]


async def test_a_command_runs_in_the_colony(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        path = path_of("colonies", colony.name, "exec")
        argv = ["sh", "-c", "pwd; echo $COLONY_NAME $MORE; echo bad >&2; exit 7"]
        done = await r.ask(r.client.post, path, {"argv": argv, "env": {"MORE": "more"}})
        assert done["code"] == 7
        assert done["stdout"].split() == [colony.config.workspace, colony.name, "more"]
        assert done["stderr"] == "bad\n"
        assert not done["timed_out"]
        problem = await refused(r, "POST", path, {"argv": ["no-such-program"]})
        assert problem.status == 424
        assert (await refused(r, "POST", path, {"argv": []})).status == 422


async def test_a_command_is_ended_by_its_time_with_all_that_it_started(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        path = path_of("colonies", colony.name, "exec")
        argv = ["sh", "-c", "sleep 1000 & echo $!; wait"]
        for time_ms in (200, 2000, 20_000):  # a busy machine may not come to its first line in it
            done = await r.ask(r.client.post, path, {"argv": argv, "timeout_ms": time_ms})
            assert done["timed_out"]
            if done["stdout"]:
                break
        assert not is_alive(int(done["stdout"]))


async def test_a_command_ends_when_its_caller_goes_away(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        marker = tmp_path / "pid"
        argv = ["sh", "-c", f"echo $$ > {marker}; exec sleep 1000"]
        path = path_of("colonies", colony.name, "exec")

        def leave() -> None:
            from colony.client import connected, encoded

            with connected(r.client.address) as sock:
                sock.sendall(encoded(r.client.address, "POST", path, None, {"argv": argv}))
                while not (marker.exists() and marker.read_text().strip()):
                    time.sleep(0.01)

        await r.ask(leave)
        pid = marker.read_text().strip()
        await until(lambda: not is_alive(pid))


async def test_a_lot_of_output_is_cut_to_its_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        argv = ["sh", "-c", "yes 0123456789abcdef | head -c 3000000; echo; echo end"]
        path = path_of("colonies", colony.name, "exec")
        done = await r.ask(r.client.post, path, {"argv": argv})
        assert done["truncated"]
        assert len(done["stdout"]) <= 256 * 1024
        assert done["stdout"].endswith("\nend\n")


async def test_a_service_is_asked_inside_its_network(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"web": server(port := free_port()), "none": SLEEPER})
        (file.parent / "index.html").write_text("<h1>hello</h1>")
        body = {"path": str(file), "wait": True}
        name = (await r.ask(r.client.post, "/api/colonies", body))["name"]
        path = path_of("colonies", name, "services", "web", "http")
        answer = await r.ask(r.client.post, path, {"path": "/"})
        assert (answer["status"], answer["body"]) == (200, "<h1>hello</h1>")
        short = await r.ask(r.client.post, path, {"limit": 4})
        assert (short["body"], short["truncated"]) == ("<h1>", True)
        missing = await r.ask(r.client.post, path, {"path": f"/{port}"})
        assert missing["status"] == 404
        none = path_of("colonies", name, "services", "none", "http")
        assert (await refused(r, "POST", none, {})).status == 409
        await r.ask(r.client.post, path_of("colonies", name, "services", "web", "stop"))
        assert (await refused(r, "POST", path, {})).status == 424
        assert (await refused(r, "POST", path, {"headers": {"A": "b\r\nC: d"}})).status == 424


async def test_a_port_is_forwarded_for_as_long_as_somebody_asks(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(unique(), {"web": server(port := free_port())})
        (file.parent / "index.html").write_text("here")
        body = {"path": str(file), "wait": True}
        name = (await r.ask(r.client.post, "/api/colonies", body))["name"]
        path = path_of("colonies", name, "forward")

        def fetch() -> tuple[int, bytes]:
            import http.client

            with r.client.stream(path, method="POST", body={"port": port}) as stream:
                standing = json.loads(next(stream.lines()))
                assert standing["addresses"][0] == "127.0.0.1"
                host_port = standing["host_port"]
                connection = http.client.HTTPConnection("127.0.0.1", host_port, timeout=30)
                connection.request("GET", "/")
                page = connection.getresponse().read()
                connection.close()
            return host_port, page

        host_port, page = await r.ask(fetch)
        assert page == b"here"
        await until(lambda: is_free(host_port))
        taken = await refused(r, "POST", path, {"port": port, "host_port": port})
        assert taken.status == 409
