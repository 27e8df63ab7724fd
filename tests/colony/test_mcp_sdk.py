"""`colony mcp` as the official SDK's client sees it: a process, spoken to on its stdio."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, InitializeResult, TextContent

from colony.mcp import TOOLS
from colony.version import VERSION
from tests.colony.api.support import PATIENCE, SERVER, Rig, rig, unique
from tests.ports import free_port

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]


@asynccontextmanager
async def session(folder: Path) -> AsyncIterator[tuple[ClientSession, InitializeResult]]:
    """A session with a server of its own, for the instance of a folder's runtime directory."""
    env = {
        **os.environ,
        "COLONY_RUNTIME_DIR": str(folder / "run"),
        "COLONY_HOME": str(folder / "home"),
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "colony", "mcp"], env=env, cwd=folder
    )
    with open(folder / "mcp.log", "w+") as log:  # noqa: ASYNC230 - a small file, in a test
        async with (
            stdio_client(server, log) as (reading, writing),
            ClientSession(reading, writing) as session,
        ):
            yield session, await session.initialize()
        log.seek(0)
        assert log.read() == ""


async def call(session: ClientSession, name: str, **arguments: Any) -> CallToolResult:
    result = await session.call_tool(name, arguments)
    assert isinstance(result, CallToolResult)
    return result


def text(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


def data(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, text(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_it_says_who_it_is_and_what_it_can(tmp_path: Path) -> None:
    async with session(tmp_path) as (client, hello):
        assert (hello.server_info.name, hello.server_info.version) == ("colony", VERSION)
        assert "colony_up" in (hello.instructions or "")
        await client.send_ping()
        listed = (await client.list_tools()).tools
        assert [each.name for each in listed] == list(TOOLS)
        for each in listed:
            assert each.annotations is not None
            assert each.annotations.read_only_hint == TOOLS[each.name].reads
            assert each.input_schema["required"] == list(TOOLS[each.name].needs)


async def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(tmp_path: Path) -> None:
    async with session(tmp_path) as (client, _):
        with pytest.raises(MCPError, match="there is no tool 'nope'"):
            await client.call_tool("nope", {})


async def test_without_an_instance_it_says_what_to_do(tmp_path: Path) -> None:
    async with session(tmp_path) as (client, _):
        result = await call(client, "colony_list")
        assert result.is_error
        assert "colony run" in text(result)
        assert data(await call(client, "doctor"))["findings"][0]["name"] == "network"


async def started(r: Rig, client: ClientSession) -> str:
    """A colony with a page and a service that reads, started by the tool."""
    port = free_port()
    services: dict[str, dict[str, Any]] = {
        "web": {"command": [*SERVER, str(port)], "port": port},
        "echo": {"command": "while read line; do echo got $line; done"},
    }
    file = r.write(name := unique(), services)
    (file.parent / "index.html").write_text("hello agent")
    up = data(await call(client, "colony_up", path=str(file.parent)))
    assert [each["name"] for each in up["services"]] == ["web", "echo"]
    return name


async def test_every_tool_does_what_it_says(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, session(tmp_path) as (client, _):
        name = await started(r, client)
        listed = data(await call(client, "colony_list"))
        assert [each["name"] for each in listed["colonies"]] == [name]
        web = {"colony": name, "service": "web"}
        assert data(await call(client, "service_status", **web))["ready"]
        assert data(await call(client, "wait_ready", **web, timeout_s=20))["met"]
        assert data(await call(client, "http_get", **web))["body"] == "hello agent"
        assert "GET /" in data(await call(client, "wait_ready", **web, log="GET /"))["line"]
        assert data(await call(client, "exec", colony=name, command="exit 3"))["code"] == 3
        data(await call(client, "terminal_send", colony=name, service="echo", text="this\n"))
        waited = await call(client, "wait_ready", colony=name, service="echo", log="^got this$")
        assert data(waited)["line"] == "got this"
        page = data(await call(client, "service_logs", colony=name, grep="^got"))
        assert (page["text"], page["lines"]) == ("echo | got this", 1)
        after = await call(client, "service_logs", colony=name, since=str(page["cursor"]))
        assert data(after)["lines"] == 0
        assert data(await call(client, "service_restart", **web))["met"]
        assert data(await call(client, "doctor"))["findings"]
        assert data(await call(client, "colony_down", colony=name))["state"] == "stopped"


def unwrapped(text: str) -> str:
    return "".join(text.splitlines()).rstrip()


async def test_a_terminal_is_typed_into_and_looked_at(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, session(tmp_path) as (client, _):
        name = await started(r, client)
        none = await call(client, "terminal_snapshot", colony=name)
        assert (none.is_error, text(none)) == (
            True,
            "there is no terminal; terminal_send starts one",
        )

        async def shows(line: str, *ends: str) -> None:
            text = ""
            with anyio.move_on_after(PATIENCE):
                # Its prompt names the folder, and may be too long for one line.
                while not (line in text.splitlines() and unwrapped(text).endswith(ends)):
                    await anyio.sleep(0.01)
                    text = data(await call(client, "terminal_snapshot", colony=name))["text"]
                return
            raise AssertionError(f"no {line!r} and no {ends} in the end, but {text!r}")

        typed = data(await call(client, "terminal_send", colony=name, text="echo $((40+2))\n"))
        await shows("42", "$", "#")  # before it asks, the terminal itself shows what comes next
        again = data(await call(client, "terminal_send", colony=name, text="exit"))
        assert again["name"] == typed["name"]
        await shows("42", "exit")
        named = await call(client, "terminal_snapshot", colony=name, terminal=typed["name"])
        assert data(named)["terminal"] == typed["name"]
        wrong = await call(client, "terminal_snapshot", colony=name, terminal="nope")
        assert (wrong.is_error, "'nope'" in text(wrong)) == (True, True)


async def test_a_failure_comes_with_the_last_lines_and_what_is_meant(tmp_path: Path) -> None:
    async with rig(tmp_path) as r, session(tmp_path) as (client, _):
        sick = {"command": "echo because of this; exit 3", "port": free_port()}
        file = r.write(unique(), {"sick": sick})
        failed = await call(client, "colony_up", path=str(file))
        assert failed.is_error
        assert "  because of this" in text(failed)
        missing = await call(client, "service_status")
        assert missing.is_error
        assert "colony is needed" in text(missing)
