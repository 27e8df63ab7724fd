"""`colony mcp`: tools for coding agents, on stdio, over the instance's socket.

    agent ── JSON-RPC 2.0, a message a line ──▶ colony mcp ── HTTP ──▶ the instance

Own code, and not the SDK: what a server of tools needs of the protocol is four methods, and the
SDK takes 0.7 s and 67 MiB to say hello. Answers are bounded; a failure comes with the last lines
and with what to do next, for that is what the reader acts on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import quote

from colony.client import Client, ClientError, Problem, path_of
from colony.version import VERSION

PROTOCOLS: Final = ("2025-06-18", "2025-03-26", "2024-11-05")
TEXT_MOST: Final = 16_000
"""Characters of an answer at most; of a longer one the end is kept."""
BODY_MOST: Final = 4096
"""Bytes of a page that `http_get` returns."""

PARSE_ERROR, NO_METHOD, BAD_PARAMS = -32700, -32601, -32602


class Tool(NamedTuple):
    """One tool: what it is for, what it takes (name → JSON Schema), and what does it."""

    description: str
    takes: dict[str, dict[str, Any]]
    needs: tuple[str, ...]
    call: Callable[[Client, dict[str, Any]], Any]
    reads: bool = True

    def listed(self, name: str) -> dict[str, Any]:
        """As `tools/list` says it."""
        schema = {
            "type": "object",
            "properties": self.takes,
            "required": list(self.needs),
            "additionalProperties": False,
        }
        return {
            "name": name,
            "description": self.description,
            "inputSchema": schema,
            "annotations": {"readOnlyHint": self.reads},
        }


# -- what the tools do -----------------------------------------------------------------------------


def _up(client: Client, given: dict[str, Any]) -> Any:
    if not client.answers():
        from colony.daemon import start

        start()
    body: dict[str, Any] = {"env": dict(os.environ), "wait": given.get("wait", True)}
    body["timeout_ms"] = given.get("timeout_s", 60) * 1000
    if "template" in given:
        body |= {"template": given["template"], "name": given.get("name")}
    else:
        path = os.path.abspath(given.get("path", "."))
        body["path"] = os.path.join(path, "colony.toml") if os.path.isdir(path) else path
    return client.post("/api/colonies", {k: v for k, v in body.items() if v is not None})


def _down(client: Client, given: dict[str, Any]) -> Any:
    return client.delete(path_of("colonies", given["colony"]))


def _list(client: Client, given: dict[str, Any]) -> Any:
    return {"colonies": client.get("/api/colonies")}


def _status(client: Client, given: dict[str, Any]) -> Any:
    if "service" in given:
        return client.get(_service(given))
    return client.get(path_of("colonies", given["colony"]))


def _restart(client: Client, given: dict[str, Any]) -> Any:
    client.post(_service(given) + "/restart")
    query = {"timeout_ms": given.get("timeout_s", 60) * 1000}
    return _waited(client, given, query)


def _logs(client: Client, given: dict[str, Any]) -> Any:
    query = {"tail": min(given.get("tail", 50), 500), "grep": given.get("grep")}
    query |= {"since": given.get("since"), "service": given.get("service")}
    page = client.get(path_of("colonies", given["colony"], "logs"), query)
    lines = [f"{line['service']} | {line['text']}" for line in page["lines"]]
    return {"text": "\n".join(lines), "cursor": page["cursor"], "lines": len(lines)}


def _wait(client: Client, given: dict[str, Any]) -> Any:
    pattern = given.get("log")
    query = {"for": "ready" if pattern is None else "log", "pattern": pattern or ""}
    return _waited(client, given, query | {"timeout_ms": given.get("timeout_s", 60) * 1000})


def _waited(client: Client, given: dict[str, Any], query: dict[str, Any]) -> Any:
    waited = client.get(_service(given) + "/wait", query)
    if not waited["met"]:
        state, name = waited["service"]["state"], given["service"]
        detail = waited["service"]["detail"] or waited["service"]["last_exit"] or ""
        raise Failure(f"{name} is {state} {detail}".strip(), _last_lines(client, given))
    return waited


def _exec(client: Client, given: dict[str, Any]) -> Any:
    body = {"argv": ["/bin/sh", "-c", given["command"]]}
    body["timeout_ms"] = given.get("timeout_s", 120) * 1000
    return client.post(path_of("colonies", given["colony"], "exec"), body)


def _http_get(client: Client, given: dict[str, Any]) -> Any:
    body = {"path": given.get("path", "/"), "limit": BODY_MOST}
    return client.post(_service(given) + "/http", body)


def _send(client: Client, given: dict[str, Any]) -> Any:
    if "service" in given:
        return client.post(_service(given) + "/stdin", {"text": given["text"]})
    name = _terminal(client, given) or client.post(_terminals(given), {})["name"]
    text = given["text"].replace("\r\n", "\n").replace("\n", "\r")  # as the Enter key sends it
    return client.post(f"{_terminals(given)}/{name}/input", {"text": text})


def _snapshot(client: Client, given: dict[str, Any]) -> Any:
    name = _terminal(client, given)
    if name is None:
        raise Failure("there is no terminal; terminal_send starts one", [])
    screen = client.get(f"{_terminals(given)}/{name}/screen")
    text = "\n".join(screen["lines"]).rstrip("\n")
    cursor = {"row": screen["cursor_row"], "column": screen["cursor_column"]}
    return {"terminal": name, "text": text, "cursor": cursor, "title": screen["title"]}


def _terminal(client: Client, given: dict[str, Any]) -> str | None:
    """The terminal that is meant, as it stands in a path: the named one, else the first."""
    if "terminal" in given:
        return quote(str(given["terminal"]), safe="")
    found = [each["name"] for each in client.get(_terminals(given)) if not each["service"]]
    return quote(found[0], safe="") if found else None


def _terminals(given: dict[str, Any]) -> str:
    return path_of("colonies", given["colony"], "terminals")


def _doctor(client: Client, given: dict[str, Any]) -> Any:
    from colony.doctor import examine

    found = [each._asdict() for each in examine()]
    healthy = all(each["level"] != "problem" for each in found)
    return {"healthy": healthy, "findings": found}


def _service(given: dict[str, Any]) -> str:
    return path_of("colonies", given["colony"], "services", given["service"])


def _last_lines(client: Client, given: dict[str, Any]) -> list[str]:
    query = {"service": given["service"], "tail": 10}
    page = client.get(path_of("colonies", given["colony"], "logs"), query)
    return [line["text"] for line in page["lines"]]


# -- the table -------------------------------------------------------------------------------------

_COLONY: Final = {"colony": {"type": "string", "description": "The colony's name"}}
_OF: Final = _COLONY | {"service": {"type": "string", "description": "The service's name"}}
_TERMINAL: Final = {"terminal": {"type": "string", "description": "Which one. Default: the first"}}
_TIME: Final = {"timeout_s": {"type": "number", "minimum": 0, "maximum": 3600}}

TOOLS: Final[dict[str, Tool]] = {
    "colony_up": Tool(
        "Start the colony of a colony.toml (path of the file or its folder; default: here) or of a "
        "template, and return once its services are ready. Safe to repeat. Then use http_get.",
        {
            "path": {"type": "string"},
            "template": {"type": "string"},
            "name": {"type": "string", "description": "Needed with template"},
            "wait": {"type": "boolean", "description": "Wait until ready. Default true"},
            **_TIME,
        },
        (),
        _up,
        reads=False,
    ),
    "colony_down": Tool(
        "Stop a colony and everything in it.", _COLONY, ("colony",), _down, reads=False
    ),
    "colony_list": Tool("All colonies with their services, states and URLs.", {}, (), _list),
    "service_status": Tool(
        "How a colony, or one service of it, is now: state, pid, port, URL, last exit.",
        _OF,
        ("colony",),
        _status,
    ),
    "service_restart": Tool(
        "Restart a service and return once it is ready again. After a change of colony.toml use "
        "colony_down and colony_up.",
        _OF | _TIME,
        ("colony", "service"),
        _restart,
        reads=False,
    ),
    "service_logs": Tool(
        "The last lines that services wrote (default 50). Give `cursor` as `since` to get what "
        "came after; `grep` is a regular expression.",
        _OF
        | {
            "tail": {"type": "integer", "minimum": 1, "maximum": 500},
            "grep": {"type": "string"},
            "since": {"type": "string"},
        },
        ("colony",),
        _logs,
    ),
    "wait_ready": Tool(
        "Wait until a service is ready, or with `log` until it has written a line that matches.",
        _OF | {"log": {"type": "string"}} | _TIME,
        ("colony", "service"),
        _wait,
    ),
    "exec": Tool(
        "Run a shell command inside a colony, where localhost is the colony's own; wait for its "
        "end (default at most 120 s). For servers, write a service into colony.toml instead.",
        _COLONY | {"command": {"type": "string"}} | _TIME,
        ("colony", "command"),
        _exec,
        reads=False,
    ),
    "http_get": Tool(
        "GET a path of a service, inside its colony: status, headers and the first 4 kB.",
        _OF | {"path": {"type": "string", "description": "Begins with /. Default /"}},
        ("colony", "service"),
        _http_get,
    ),
    "terminal_send": Tool(
        "Type into the colony's terminal, which is started if need be: a line end is Enter, "
        "\\u0003 is Ctrl-C. With `service`, write to its standard input instead. Then look with "
        "terminal_snapshot or service_logs.",
        _OF | _TERMINAL | {"text": {"type": "string"}},
        ("colony", "text"),
        _send,
        reads=False,
    ),
    "terminal_snapshot": Tool(
        "What the colony's terminal shows now, as lines of text, and where its cursor is.",
        _COLONY | _TERMINAL,
        ("colony",),
        _snapshot,
    ),
    "doctor": Tool(
        "Check this machine when colonies do not start or URLs do not answer: kernel, Caddy, "
        "names, ports, leftovers, disk. Each finding comes with its fix.",
        {},
        (),
        _doctor,
    ),
}


class Failure(Exception):
    """A tool could not do what was asked; with the last lines of whom it was about."""

    def __init__(self, text: str, last_lines: list[str]) -> None:
        self.last_lines = last_lines
        super().__init__(text)


class BadRequest(Exception):
    """A message that is not answered with a result: an error of the protocol."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


# -- the protocol ----------------------------------------------------------------------------------


def answer(client: Client, message: Any) -> dict[str, Any] | None:
    """The answer to one message; None to a notification."""
    if not isinstance(message, dict) or "method" not in message:
        return None if isinstance(message, dict) else _error(None, -32600, "this is no request")
    id = message.get("id")
    if id is None:
        return None
    try:
        params = message.get("params") or {}
        return {"jsonrpc": "2.0", "id": id, "result": _result(client, message["method"], params)}
    except BadRequest as error:
        return _error(id, error.code, str(error))


def _result(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[0],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "colony", "version": VERSION},
            "instructions": "Colonies are isolated development environments. Begin with "
            "colony_list or colony_up; look at a page with http_get; on a failure read the lines "
            "that come with it.",
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [tool.listed(name) for name, tool in TOOLS.items()]}
    if method == "tools/call":
        return _called(client, params)
    raise BadRequest(NO_METHOD, f"there is no method {method!r}")


def _called(client: Client, params: dict[str, Any]) -> dict[str, Any]:
    name, given = params.get("name"), params.get("arguments") or {}
    tool = TOOLS.get(str(name))
    if tool is None:
        raise BadRequest(BAD_PARAMS, f"there is no tool {name!r}; there are {', '.join(TOOLS)}")
    wrong = [f"{need} is needed" for need in tool.needs if need not in given]
    wrong += [f"there is no argument {each!r}" for each in given if each not in tool.takes]
    if wrong:
        return _said(f"{'; '.join(wrong)} (it takes {', '.join(tool.takes)})", None, failed=True)
    try:
        value = tool.call(client, given)
    except Failure as failure:
        return _said(_with_lines(str(failure), failure.last_lines, ""), None, failed=True)
    except Problem as problem:
        lines = problem.data.get("last_lines", [])
        return _said(_with_lines(str(problem), lines, problem.help), problem.data, failed=True)
    except (ClientError, TypeError, ValueError) as error:
        return _said(str(error), None, failed=True)
    text = value["text"] if isinstance(value, dict) and "text" in value else json.dumps(value)
    return _said(text, value if isinstance(value, dict) else {"value": value}, failed=False)


def _with_lines(text: str, lines: list[str], help: str) -> str:
    parts = [text]
    if lines:
        parts += ["Its last lines:", *(f"  {line}" for line in lines)]
    if help:
        parts.append(f"What to do: {help}")
    return "\n".join(parts)


def _said(text: str, value: Any, *, failed: bool) -> dict[str, Any]:
    if len(text) > TEXT_MOST:
        text = f"… {len(text) - TEXT_MOST} characters before this\n{text[-TEXT_MOST:]}"
    said: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": failed}
    if value is not None and len(json.dumps(value)) <= 2 * TEXT_MOST:
        said["structuredContent"] = value
    return said


def _error(id: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}


def serve(client: Client, source: BinaryIO | None = None, sink: BinaryIO | None = None) -> None:
    """Answers messages until the input ends. One at a time: blocks."""
    source, sink = source or sys.stdin.buffer, sink or sys.stdout.buffer
    for line in source:
        if not line.strip():
            continue
        try:
            reply = answer(client, json.loads(line))
        except ValueError as error:
            reply = _error(None, PARSE_ERROR, f"this is not JSON: {error}")
        if reply is not None:
            sink.write(json.dumps(reply).encode() + b"\n")
            sink.flush()
