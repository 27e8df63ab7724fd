"""What does not get in, on the wire."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from colony.api import security
from colony.api.page import page
from colony.api.routes import ROUTES
from colony.api.tokens import ensure_token
from colony.client import Client, Problem
from colony.http1 import Body, Head, ResponseParser
from tests.colony.api.support import PATIENCE, TOKEN, Rig, rig, toml

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]

GOOD = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}"}


def connect(r: Rig) -> socket.socket:
    """A connection to the TCP door."""
    return socket.create_connection(("127.0.0.1", r.tcp or 0), timeout=PATIENCE)


def answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Reads one answer."""
    parser = ResponseParser()
    head, body = Head(0, {}), b""
    while not parser.complete:
        data = sock.recv(65536)
        if not data:
            break
        for event in parser.feed(data):
            if isinstance(event, Head):
                head = event
            elif isinstance(event, Body):
                body += event.data
    return head.status, head.headers, body


def raw(r: Rig, headers: dict[str, str], line: str = "GET /api/health HTTP/1.1") -> int:
    """The status that a request with just these headers gets; 0 if the connection ends."""
    text = "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
    with connect(r) as sock:
        sock.sendall(text.encode())
        return answer(sock)[0]


async def test_over_tcp_the_token_is_needed_always(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:
        assert await r.ask(raw, r, GOOD) == 200
        assert await r.ask(raw, r, {"Host": "localhost"}) == 401
        assert await r.ask(raw, r, GOOD | {"Authorization": "Bearer nonsense"}) == 401
        for path in ("/api/openapi.json", "/api/events", "/nothing", "/"):
            assert await r.ask(raw, r, {"Host": "localhost"}, f"GET {path} HTTP/1.1") == 401


async def test_the_documentation_alone_is_readable_without_a_token(tmp_path: Path) -> None:
    """So that a browser can; Host and Origin are looked at all the same."""
    async with rig(tmp_path, tcp=True) as r:
        line = "GET /api/docs HTTP/1.1"
        assert await r.ask(raw, r, {"Host": "localhost"}, line) == 200
        assert await r.ask(raw, r, {"Host": "evil.example"}, line) == 421
        evil = {"Host": "localhost", "Origin": "http://evil.example"}
        assert await r.ask(raw, r, evil, line) == 403
        assert [route.name for route in ROUTES if route.public] == ["docs"]


async def test_the_documentation_may_fetch_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:

        def ask() -> tuple[int, dict[str, str], bytes]:
            with connect(r) as sock:
                sock.sendall(b"GET /api/docs HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return answer(sock)

        status, headers, body = await r.ask(ask)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert headers["content-security-policy"].startswith("default-src 'none';")
        assert body.decode() == page()


async def test_the_client_brings_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(tmp_path, tcp=True) as r:
        monkeypatch.setenv("COLONY_TOKEN", TOKEN)
        client = Client.find(f"http://127.0.0.1:{r.tcp}")
        assert (await r.ask(client.get, "/api/health"))["status"] == "ok"
        monkeypatch.setenv("COLONY_TOKEN", "x" * 40)
        with pytest.raises(Problem) as problem:
            await r.ask(Client.find(f"http://127.0.0.1:{r.tcp}").get, "/api/health")
        assert (problem.value.status, problem.value.code) == (401, "unauthorized")


async def test_a_name_rebound_to_us_is_misdirected(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:
        assert await r.ask(raw, r, GOOD | {"Host": f"evil.example:{r.tcp}"}) == 421


async def test_a_page_of_another_origin_gets_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:
        assert await r.ask(raw, r, GOOD | {"Origin": "http://evil.example"}) == 403
        assert await r.ask(raw, r, GOOD | {"Sec-Fetch-Site": "cross-site"}) == 403
        assert await r.ask(raw, r, GOOD | {"Origin": f"http://localhost:{r.tcp}"}) == 200


async def test_no_page_is_told_that_it_may(tmp_path: Path) -> None:
    """A preflight gets neither a 2xx nor an Access-Control header."""
    async with rig(tmp_path, tcp=True) as r:

        def preflight() -> tuple[int, dict[str, str], bytes]:
            lines = [
                "OPTIONS /api/colonies HTTP/1.1",
                "Host: localhost",
                "Origin: http://evil.example",
                "Access-Control-Request-Method: POST",
                "",
                "",
            ]
            with connect(r) as sock:
                sock.sendall("\r\n".join(lines).encode())
                return answer(sock)

        status, headers, _ = await r.ask(preflight)
        assert status == 403
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", [{}, {"Origin": "http://evil.example"}])
async def test_a_websocket_needs_the_token_with_or_without_an_origin(
    tmp_path: Path, origin: dict[str, str]
) -> None:
    upgrade = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    }
    async with rig(tmp_path, tcp=True) as r:
        status = await r.ask(raw, r, upgrade | origin, "GET /api/events HTTP/1.1")
        assert status == (403 if origin else 401)


async def test_a_form_cannot_post(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:

        def post(kind: str) -> int:
            body = b'{"path": "/x"}'
            lines = [
                "POST /api/colonies HTTP/1.1",
                *(f"{name}: {value}" for name, value in GOOD.items()),
                f"Content-Type: {kind}",
                f"Content-Length: {len(body)}",
                "",
                "",
            ]
            with connect(r) as sock:
                sock.sendall("\r\n".join(lines).encode() + body)
                return answer(sock)[0]

        assert await r.ask(post, "text/plain") == 415
        assert await r.ask(post, "application/x-www-form-urlencoded") == 415
        assert await r.ask(post, "application/json") == 422


async def test_a_body_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:

        def post(extra: str, body: bytes) -> int:
            head = "POST /api/colonies HTTP/1.1\r\nContent-Type: application/json\r\n" + extra
            with connect(r) as sock:
                sock.sendall(head.encode() + body)
                return answer(sock)[0]

        good = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
        size = security.BODY_MAX + 1
        assert await r.ask(post, f"{good}Content-Length: {size}\r\n\r\n", b"") == 413
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        assert await r.ask(post, f"{good}Transfer-Encoding: chunked\r\n\r\n", chunk) == 413


async def test_a_head_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:
        long = "x" * (security.LINE_MAX + 100)
        assert await r.ask(raw, r, GOOD | {"X": long}) == 400
        assert await r.ask(raw, r, GOOD, f"GET /{long} HTTP/1.1") == 400


async def test_a_head_that_does_not_arrive_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "HEADER_TIMEOUT", 0.1)
    async with rig(tmp_path, tcp=True) as r:

        def drip(start: bytes) -> bytes:
            with connect(r) as sock:
                sock.sendall(start)
                return sock.recv(100)

        assert await r.ask(drip, b"GET /api/health HTTP/1.1\r\nHost: loc") == b""
        assert await r.ask(drip, b"") == b""


async def test_a_body_that_does_not_arrive_is_a_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "BODY_TIMEOUT", 0.1)
    async with rig(tmp_path, tcp=True) as r:

        def drip() -> int:
            fields = GOOD | {"Content-Type": "application/json", "Content-Length": "100"}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            with connect(r) as sock:
                sock.sendall(f"POST /api/colonies HTTP/1.1\r\n{head}\r\n{{".encode())
                return answer(sock)[0]

        assert await r.ask(drip) == 408


async def test_a_hundred_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as r:
        idle = [connect(r) for _ in range(100)]
        try:
            assert await r.ask(raw, r, GOOD) == 200
        finally:
            for sock in idle:
                sock.close()


async def test_the_token_is_never_in_a_log_nor_in_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with rig(tmp_path, tcp=True) as r:
        await r.ask(raw, r, GOOD)
        await r.ask(raw, r, GOOD | {"Authorization": f"Bearer {TOKEN}x"})
        seen = await r.ask(lambda: list(r.client.events({"since": 0, "follow": False})))
        tree = await r.ask(r.client.get, "/api/tree")
    assert TOKEN not in caplog.text
    assert TOKEN not in json.dumps([seen, tree])


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/usr/bin/python3"),
    reason="becomes another user, who can reach the system's Python alone: root",
)
async def test_another_user_is_refused_also_where_the_file_would_let_him_in(
    tmp_path: Path,
) -> None:
    runtime = Path("/tmp") / f"colony-test-{os.getpid()}-{secrets.token_hex(4)}"
    async with rig(runtime, tcp=False) as r:
        path = runtime / "run" / "colony.sock"
        for each in (runtime, runtime / "run"):
            each.chmod(0o755)
        program = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'GET /api/health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(999))"
        )

        def ask() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["/usr/bin/python3", "-I", "-S", "-c", program, str(path)],
                user=65534,
                capture_output=True,
                text=True,
                cwd="/",
            )

        assert "PermissionError" in (await r.ask(ask)).stderr
        path.chmod(0o666)
        assert "HTTP/1.1 403" in (await r.ask(ask)).stdout
    (runtime / "run").rmdir()
    runtime.rmdir()


def test_the_token_is_made_once_and_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COLONY_TOKEN", raising=False)
    token = ensure_token()
    assert len(token) >= security.TOKEN_LEAST
    assert ensure_token() == token
    file = tmp_path / "home" / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    file.chmod(0o644)
    with pytest.raises(ValueError, match="others may read"):
        ensure_token()


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""What makes a request a WebSocket's; the key is that of RFC 6455."""


def upgraded(r: Rig, path: str, headers: dict[str, str]) -> int:
    """The status that a WebSocket's request gets; the connection is closed then."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with connect(r) as sock, sock.makefile("rb") as answered:
        sock.sendall(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        return int(answered.readline().split()[1])


ATTACH = ["attach", "terminals/terminal/attach"]
"""The routes of WebSockets: one command, and a session."""


@pytest.mark.parametrize("route", ATTACH)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (GOOD, 101),
        (GOOD | {"Origin": "http://localhost:{port}"}, 101),
        ({"Host": "localhost"}, 401),
        ({"Host": "localhost", "Origin": "http://localhost:{port}"}, 401),
        (GOOD | {"Authorization": f"Bearer {TOKEN}x"}, 401),
        (GOOD | {"Origin": "http://evil.example"}, 403),
        (GOOD | {"Origin": "null"}, 403),
        (GOOD | {"Sec-Fetch-Site": "cross-site"}, 403),
        (GOOD | {"Host": "evil.example"}, 421),
    ],
)
async def test_a_websocket_is_let_in_as_any_request_is(
    tmp_path: Path, headers: dict[str, str], status: int, route: str
) -> None:
    async with rig(tmp_path, tcp=True) as r:
        colony = await r.add({"web": {"command": "sleep 1000"}})
        sent = {name: value.format(port=r.tcp) for name, value in (headers | UPGRADE).items()}
        path = f"/api/colonies/{colony.name}/{route}"
        assert await r.ask(upgraded, r, path, sent) == status


@pytest.mark.parametrize("route", ATTACH)
@pytest.mark.parametrize(
    "wrong",
    [
        {"Upgrade": ""},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "short"},
    ],
    ids=str,
)
async def test_what_is_no_handshake_is_refused_and_starts_nothing(
    tmp_path: Path, wrong: dict[str, str], route: str
) -> None:
    async with rig(tmp_path, tcp=True) as r:
        colony = await r.add({"web": {"command": "sleep 1000"}})
        path = f"/api/colonies/{colony.name}/{route}"
        assert await r.ask(upgraded, r, path, GOOD | UPGRADE | wrong) == 400
        assert await r.ask(r.client.get, f"/api/colonies/{colony.name}/terminals") == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nope/terminals/terminal/attach", 404),
        ("nope/attach", 404),
        ("{colony}/terminals/nope/attach", 404),
        ("{colony}/terminals/terminal/attach?since=-1", 422),
        ("{colony}/terminals/terminal/attach?what=1", 422),
        ("{ended}/terminals/terminal/attach", 409),
        ("{ended}/attach", 409),
    ],
)
async def test_a_websocket_that_cannot_be_is_a_problem_before_it_is_one(
    tmp_path: Path, path: str, status: int
) -> None:
    async with rig(tmp_path, tcp=True) as r:
        colony = await r.add({"web": {"command": "sleep 1000"}})
        ended = await r.add({"web": {"command": "sleep 1000"}})
        await ended.stop()
        whole = "/api/colonies/" + path.format(colony=colony.name, ended=ended.name)
        assert await r.ask(upgraded, r, whole, GOOD | UPGRADE) == status


@pytest.mark.parametrize(
    ("message", "code"),
    [(b"\x81\x84\0\0\0\0nope", 1008), (b"\x82\xff" + b"\0\0\0\0\0\x20\0\0", 1009)],
)
async def test_a_session_is_closed_on_a_message_that_is_wrong_or_too_long(
    tmp_path: Path, message: bytes, code: int
) -> None:
    async with rig(tmp_path, tcp=True) as r:
        colony = await r.add({"web": {"command": "sleep 1000"}})
        path = f"/api/colonies/{colony.name}/terminals/terminal/attach"
        assert await r.ask(closed_with, r, path, message + b"\0\0\0\0") == code


def closed_with(r: Rig, path: str, message: bytes) -> int:
    """The code with which a WebSocket is closed on a message."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in (GOOD | UPGRADE).items())
    with connect(r) as sock, sock.makefile("rb") as answered:
        sock.sendall(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
        assert answered.readline().split()[1] == b"101"
        while answered.readline().strip():
            pass
        sock.sendall(message)
        while True:
            kind, length = answered.read(2)
            if length == 126:
                length = int.from_bytes(answered.read(2), "big")
            elif length == 127:
                length = int.from_bytes(answered.read(8), "big")
            data = answered.read(length)
            if kind == 0x88:
                return int.from_bytes(data[:2], "big")


async def test_the_documents_own_curl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word but for the port, and the header that brings the token."""
    home = tmp_path / "home"
    monkeypatch.setenv("COLONY_HOME", str(home))
    folder = home / "templates" / "rust-api"
    folder.mkdir(parents=True)
    (folder / "colony.toml").write_text(toml("rust-api", {"api": {"command": "sleep 1000"}}))
    async with rig(tmp_path, tcp=True) as r:
        curl = [
            *("curl", "-sS", "-X", "POST", f"http://localhost:{r.tcp}/api/colonies"),
            *("-H", "Content-Type: application/json"),
            *("-d", '{"name": "my-rust-api", "config": {"template": "rust-api"}}'),
            *("-w", "\n%{http_code}"),
        ]
        token = ["-H", f"Authorization: Bearer {TOKEN}"]
        options = {"capture_output": True, "text": True, "check": True}
        refused = await r.ask(subprocess.run, curl, **options)
        assert refused.stdout.splitlines()[-1] == "401"
        done = await r.ask(subprocess.run, [*curl, *token], **options)
        body, status = done.stdout.splitlines()
        assert status == "201"
        created = json.loads(body)
        assert (created["name"], created["services"][0]["name"]) == ("my-rust-api", "api")
        assert created["services"][0]["state"] in ("starting", "running", "ready")
