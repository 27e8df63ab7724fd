"""What the API streams: events, logs, the console; and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from actors.events import HandlerBlocked
from colony import config
from colony.client import Problem, parsed_events, path_of
from tests.colony.api.support import (
    Rig,
    rig,
    unique,
    until,
)

pytestmark = pytest.mark.real_time

SLEEPER = {"command": ["sleep", "1000"]}
TALKER = {"command": "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"}


async def refused(rig: Rig, method: str, path: str, body: Any = None, **query: Any) -> Problem:
    with pytest.raises(Problem) as problem:
        await rig.ask(rig.client.ask, method, path, query, body)
    return problem.value


async def test_events_are_replayed_from_where_a_reader_stopped(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        query = {"since": 0, "follow": False, "colony": colony.name}

        async def seen(since: int) -> list[dict[str, Any]]:
            found = await r.ask(lambda: list(r.client.events({**query, "since": since})))
            # A busy machine may hold somebody up at any moment.
            return [event for event in found if event["type"] != "actor.blocked"]

        events = await seen(0)
        types = [event["type"] for event in events]
        assert types[-1] == "actor.started"
        assert "service.started" in types
        ids = [event["id"] for event in events]
        assert ids == sorted(set(ids))
        assert [event["id"] for event in await seen(ids[1])] == ids[2:]
        chosen = {**query, "type": ["service.started", "service.ready"]}
        found = await r.ask(lambda: list(r.client.events(chosen)))
        assert {event["type"] for event in found} == {"service.started", "service.ready"}


async def test_events_are_followed(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        path = path_of("colonies", colony.name, "services", "web", "stop")

        def follow() -> list[str]:
            seen = []
            with r.client.stream("/api/events", {"colony": colony.name, "since": 0}) as stream:
                for event in parsed_events(stream.lines()):
                    if event["type"] == "service.started":
                        r.client.post(path)
                    seen.append(event["type"])
                    if event["type"] == "service.stopped":
                        return seen
            return seen

        assert (await r.ask(follow))[-1] == "service.stopped"


async def test_logs_have_numbers_and_a_cursor(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "seq 1 9; sleep 1000"}, "b": SLEEPER})
        path = path_of("colonies", colony.name)
        query = {"for": "log", "pattern": "^9$"}
        await r.ask(r.client.get, f"{path}/services/talk/wait", query)
        page = await r.ask(r.client.get, f"{path}/logs", {"tail": 3, "service": ["talk"]})
        assert [line["text"] for line in page["lines"]] == ["7", "8", "9"]
        again = await r.ask(r.client.get, f"{path}/logs", {"since": page["cursor"]})
        assert again["lines"] == []
        some = await r.ask(r.client.get, f"{path}/logs", {"grep": "[13]"})
        assert [line["text"] for line in some["lines"]] == ["1", "3"]
        assert (await refused(r, "GET", f"{path}/logs", grep="(")).status == 422
        assert (await refused(r, "GET", f"{path}/logs", service="nope")).status == 404
        assert (await refused(r, "GET", f"{path}/logs", since="soon")).status == 422


async def test_logs_are_followed_until_the_colony_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": TALKER})
        path = path_of("colonies", colony.name)

        def follow() -> list[dict[str, Any]]:
            lines: list[dict[str, Any]] = []
            with r.client.stream(f"{path}/logs", {"follow": True, "tail": 0}) as stream:
                for line in stream.lines():
                    if line:
                        lines.append(json.loads(line))
                    if len(lines) == 5:
                        r.client.post(f"{path}/stop")
            return lines

        *lines, note = await r.ask(follow)
        assert len(lines) >= 5
        numbers = [line["seq"] for line in lines]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert set(note) == set(lines[0])
        assert (note["stream"], note["service"], note["seq"]) == ("note", "", 0)
        assert note["text"] == f"{colony.name} was stopped"


@pytest.mark.parametrize("shape", ["json", "text"])
async def test_logs_are_followed_over_a_restart_of_the_whole_colony(
    tmp_path: Path, shape: str
) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "echo $$; exec sleep 1000"}})
        path = path_of("colonies", colony.name)

        def follow() -> list[str]:
            said: list[str] = []
            with r.client.stream(f"{path}/logs", {"follow": True, "format": shape}) as stream:
                for line in filter(None, stream.lines()):
                    said.append(json.loads(line)["text"] if shape == "json" else line.decode())
                    if len(said) == 1:
                        r.client.post(f"{path}/restart")
                    elif len(said) == 3:
                        r.client.delete(path)
            return said

        first, note, second, end = await r.ask(follow)
        mark = "· " if shape == "text" else ""
        assert note == f"{mark}{colony.name} is being restarted"
        assert second != first
        assert end == f"{mark}{colony.name} was stopped"


async def test_a_follower_hears_that_a_colony_could_not_be_started_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name = unique()
        file = r.write(name, {"talk": {"command": ["./says"]}})
        program = file.with_name("says")
        program.write_text("#!/bin/sh\necho says\nexec sleep 1000\n")
        program.chmod(0o700)
        colony = await r.host.add(config.load(file))
        path = path_of("colonies", name)

        def follow() -> list[str]:
            said: list[str] = []
            with r.client.stream(f"{path}/logs", {"follow": True}) as stream:
                for line in filter(None, stream.lines()):
                    said.append(json.loads(line)["text"])
                    if len(said) == 1:
                        program.unlink()
                        with pytest.raises(Problem):
                            r.client.post(f"{path}/restart")
            return said

        assert await r.ask(follow) == [
            "says",
            f"{colony.name} is being restarted",
            f"{colony.name} could not be started again",
        ]


async def test_a_follower_hears_why_a_colony_gave_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"sick": {"command": "echo up; read go; exit 3"}})
        path = path_of("colonies", colony.name)

        def follow() -> list[str]:
            said: list[str] = []
            with r.client.stream(f"{path}/logs", {"follow": True}) as stream:
                for line in filter(None, stream.lines()):
                    said.append(json.loads(line)["text"])
                    if said[-1] == "up":
                        r.client.post(f"{path}/services/sick/stdin", {"text": "go\n"})
            return said

        first, second, note = await r.ask(follow)
        assert (first, second) == ("up", "up")
        assert note.startswith(f"{colony.name} gave up: ")


async def test_a_wait_goes_on_over_a_restart_of_the_whole_colony(tmp_path: Path) -> None:
    """A service that is down as its colony is may still become ready, or say it."""
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "echo life; exec sleep 1000"}})
        path = path_of("colonies", colony.name)
        service = f"{path}/services/talk"
        first = await r.ask(r.client.get, service)
        await r.ask(r.client.get, f"{service}/wait", {"for": "log", "pattern": "life"})
        since = (await r.ask(r.client.get, f"{path}/logs"))["cursor"]
        async with anyio.create_task_group() as tasks:
            waits = {"for": "log", "pattern": "life", "since": since}
            met: list[Any] = []

            async def wait() -> None:
                met.append(await r.ask(r.client.get, f"{service}/wait", waits))

            tasks.start_soon(wait)
            await r.ask(r.client.post, f"{path}/restart")
        assert (met[0]["met"], met[0]["line"]) == (True, "life")
        assert met[0]["service"]["pid"] != first["pid"]


async def test_whoever_follows_hears_that_the_instance_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        paths = ["/api/events", path_of("colonies", colony.name, "logs")]
        streams = [await r.ask(r.client.stream, path, {"follow": True}) for path in paths]
    events, logs = [b"".join(stream) for stream in streams]
    for stream in streams:
        stream.close()
    assert events.endswith(b'event: end\ndata: {"why": "the instance is ending"}\n\n')
    assert json.loads(logs.split(b"\n")[-2])["text"] == "the instance is ending"


async def test_a_flood_is_followed_with_every_line_or_its_loss(tmp_path: Path) -> None:
    """100,000 lines at once are more than is kept: what is given and what is lost adds up."""
    async with rig(tmp_path) as r:
        command = "read go; seq 1 100000; echo over; sleep 1000"
        colony = await r.add({"talk": {"command": command}})
        path = path_of("colonies", colony.name)

        def follow() -> tuple[list[int], int]:
            numbers: list[int] = []
            lost = 0
            with r.client.stream(f"{path}/logs", {"follow": True}) as stream:
                r.client.post(f"{path}/services/talk/stdin", {"text": "go\n"})
                for line in stream.lines():
                    if line:
                        read = json.loads(line)
                        numbers.append(read["seq"])
                        lost += read["dropped"]
                        if read["text"] == "over":
                            return numbers, lost
            raise AssertionError("the stream ended")

        numbers, lost = await r.ask(follow)
        assert len(numbers) + lost == 100_001
        assert numbers == sorted(set(numbers))


async def test_a_page_says_what_is_not_kept_any_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"talk": {"command": "seq 1 100000; sleep 1000"}})
        path = path_of("colonies", colony.name)
        query = {"for": "log", "pattern": "^100000$"}
        assert (await r.ask(r.client.get, f"{path}/services/talk/wait", query))["met"]
        page = await r.ask(r.client.get, f"{path}/logs", {"tail": 10_000, "since": "0"})
        assert page["lines"][-1]["seq"] == 100_000
        whole = await r.ask(r.client.get, f"{path}/logs", {"since": "0"})
        assert whole["lines"][0]["seq"] == whole["dropped"]["talk"] + 1
        elsewhere = await r.ask(r.client.get, f"{path}/logs", {"since": "9" * 15})
        assert elsewhere["lines"] == whole["lines"]


async def test_the_console_shows_what_run_shows(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        file = r.write(name := unique(), {"web": {"command": "echo hello; sleep 1000"}})

        def follow() -> str:
            with r.client.stream("/api/console", {"colony": name}) as stream:
                r.client.post("/api/colonies", {"path": str(file)})
                text = b""
                for piece in stream:
                    text += piece
                    if b"web | hello\n" in text and b"ready" in text:
                        break
                r.client.post(path_of("colonies", name, "stop"))
                return (text + b"".join(stream)).decode()

        text = await r.ask(follow)
        assert "✓ web        pid " in text
        assert "web | hello\n" in text
        assert "✓ web        stopped" in text


@pytest.mark.parametrize("debug", [False, True])
async def test_the_console_says_what_blocks_a_colony_to_whom_debugs(
    tmp_path: Path, debug: bool
) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        query = {"colony": colony.name, "debug": debug}
        stream = await r.ask(r.client.stream, "/api/console", query)
        path = f"system/colonies/{colony.name}/services/web"
        stack = '  File "a.py", line 1, in run\n'
        blocked = HandlerBlocked(at=0.0, actor=path, message=None, seconds=0.5, stack=stack)
        r.host.system.publish(blocked)
        await r.ask(r.client.post, path_of("colonies", colony.name, "stop"))
        text = (await anyio.to_thread.run_sync(lambda: b"".join(stream))).decode()
        stream.close()
    said = '· web        held all up for 500 ms: File "a.py", line 1, in run\n'
    assert (said in text) is debug


@pytest.mark.parametrize("instance", [False, True])
async def test_the_console_tells_faults_of_the_instance_to_whom_asks(
    tmp_path: Path, instance: bool
) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        query = {"colony": colony.name, "debug": True, "instance": instance}
        stream = await r.ask(r.client.stream, "/api/console", query)
        stack = '  File "a.py", line 1, in run\n'
        for path in ("system/door", "system/colonies/another/services/web"):
            blocked = HandlerBlocked(at=0.0, actor=path, message=None, seconds=0.5, stack=stack)
            r.host.system.publish(blocked)
        await r.ask(r.client.post, path_of("colonies", colony.name, "stop"))
        text = (await anyio.to_thread.run_sync(lambda: b"".join(stream))).decode()
        stream.close()
    what = 'held all up for 500 ms: File "a.py", line 1, in run\n'
    assert (f"· door       {what}" in text, text.count(what)) == (instance, int(instance))


async def test_streams_end_in_order_with_the_instance(tmp_path: Path) -> None:
    """So a reader can tell that from an instance that was killed."""
    async with rig(tmp_path) as r:
        stream = await r.ask(r.client.stream, "/api/events")
    text = await anyio.to_thread.run_sync(lambda: b"".join(stream))
    stream.close()
    assert text.startswith(b": connected\n\n")


@pytest.mark.backends("asyncio")
async def test_a_reader_that_takes_nothing_costs_little_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colony.api import streams

    monkeypatch.setattr(streams, "WRITE_TIMEOUT", 0.2)
    async with rig(tmp_path) as r:
        colony = await r.add({"flood": {"command": "yes flooding"}})
        path = path_of("colonies", colony.name)
        stream = await r.ask(r.client.stream, f"{path}/logs", {"follow": True})
        await until(lambda: not r.operations.subscribers)
        stream.close()
        assert (await r.ask(r.client.get, path))["state"] == "running"


async def test_an_instance_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": SLEEPER})
        problem = await refused(r, "POST", "/api/stop")
        assert (problem.status, problem.code) == (409, "conflict")
        assert not r.operations.stop_asked.is_set()
        answer = await r.ask(r.client.post, "/api/stop", None, {"force": True})
        assert answer == {"stopping": True, "colonies": 1}
        assert r.operations.stop_asked.is_set()
        file = r.write(unique(), {"web": SLEEPER})
        problem = await refused(r, "POST", "/api/colonies", {"path": str(file)})
        assert problem.status == 503
        assert not colony.ended
