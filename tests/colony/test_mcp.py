"""The tools for coding agents: bounded, and with what to do next."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from colony.client import Client
from colony.mcp import TEXT_MOST, TOOLS, answer, serve
from tests.colony.api.support import SERVER, Rig, rig, unique
from tests.ports import free_port

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]


def nobody(tmp_path: Path) -> Client:
    return Client.find(str(tmp_path / "none.sock"))


async def call(r: Rig, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    reply = await r.ask(answer, r.client, message)
    assert reply is not None
    result: dict[str, Any] = reply["result"]
    return result


def test_there_are_twelve_tools_each_described() -> None:
    """A model reads each of them in every conversation."""
    assert list(TOOLS) == [
        *("colony_up", "colony_down", "colony_list", "service_status", "service_restart"),
        *("service_logs", "wait_ready", "exec", "http_get", "terminal_send", "terminal_snapshot"),
        "doctor",
    ]
    for tool in TOOLS.values():
        assert len(tool.description) > 20
        assert set(tool.needs) <= set(tool.takes)


def test_the_protocol_line_by_line(tmp_path: Path) -> None:
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "x"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "two", "method": "ping"},
        {"jsonrpc": "2.0", "id": 3, "method": "resources/list"},
        {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "nope"}},
        {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "colony_down"}},
    ]
    source = io.BytesIO(b"".join(json.dumps(m).encode() + b"\n" for m in messages) + b"{nonsense\n")
    sink = io.BytesIO()
    serve(nobody(tmp_path), source, sink)
    first, ping, unknown, no_tool, missing, broken = map(json.loads, sink.getvalue().splitlines())
    assert first["result"]["protocolVersion"] == "2025-06-18"
    assert first["result"]["serverInfo"]["name"] == "colony"
    assert ping == {"jsonrpc": "2.0", "id": "two", "result": {}}
    assert unknown["error"]["code"] == -32601
    assert no_tool["error"]["code"] == -32602
    assert missing["result"]["isError"]
    assert "colony is needed" in missing["result"]["content"][0]["text"]
    assert broken["error"]["code"] == -32700


def test_without_an_instance_a_tool_says_what_to_do(tmp_path: Path) -> None:
    params = {"name": "colony_list"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    reply = answer(nobody(tmp_path), message)
    assert reply is not None
    assert "colony run" in reply["result"]["content"][0]["text"]


async def test_an_agents_round(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        port = free_port()
        file = r.write(name := unique(), {"web": {"command": [*SERVER, str(port)], "port": port}})
        (file.parent / "index.html").write_text("hello agent")
        up = await call(r, "colony_up", path=str(file.parent))
        assert not up["isError"]
        assert up["structuredContent"]["services"][0]["ready"]
        page = await call(r, "http_get", colony=name, service="web")
        assert page["structuredContent"]["body"] == "hello agent"
        await call(r, "wait_ready", colony=name, service="web", log="GET /")  # it is on its way
        logs = await call(r, "service_logs", colony=name, service="web", grep="GET /")
        assert "GET /" in logs["content"][0]["text"]
        done = await call(r, "exec", colony=name, command="echo $COLONY_NAME; exit 3")
        assert done["structuredContent"]["code"] == 3
        restarted = await call(r, "service_restart", colony=name, service="web")
        assert restarted["structuredContent"]["met"]
        wrong = await call(r, "service_status", colony=name, service="wbe")
        assert "did you mean 'web'?" in wrong["content"][0]["text"]
        down = await call(r, "colony_down", colony=name)
        assert down["structuredContent"]["state"] == "stopped"


async def test_a_failure_comes_with_the_last_lines(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        sick = {"command": "echo because of this; exit 3", "port": free_port()}
        file = r.write(unique(), {"sick": sick})
        failed = await call(r, "colony_up", path=str(file))
        assert failed["isError"]
        assert "  because of this" in failed["content"][0]["text"]


async def test_answers_are_bounded(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        colony = await r.add({"web": {"command": ["sleep", "1000"]}})
        command = f"{sys.executable} -c 'print(\"x\" * 100000)'"
        done = await call(r, "exec", colony=colony.name, command=command)
        assert len(done["content"][0]["text"]) < TEXT_MOST + 100
        assert "structuredContent" not in done
