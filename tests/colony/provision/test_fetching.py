"""Registries that break off: what fetches packages is run again, and only then."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colony.provision import StepFailed
from colony.provision.work import TRIES, broke_off
from tests.colony.provision.support import work

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("npm error code EIDLETIMEOUT", True),
        ("npm error code ECONNRESET", True),
        ("ERR_PNPM_META_FETCH_FAIL  GET: ERR_SOCKET_TIMEOUT", True),
        ("pip._vendor.urllib3.exceptions.ProtocolError: IncompleteRead(9 bytes read)", True),
        ("  Caused by: error decoding response body", True),
        ("npm error code E404", False),
        ("npm error code EAI_AGAIN", False),
        ("npm error code ECONNREFUSED", False),
        ("ERROR: No matching distribution found for nothing", False),
    ],
)
def test_what_is_run_again(line: str, broken: bool) -> None:
    assert broke_off(["one", line, "two"]) is broken


PATH = "/it/-/it-1.0.0.tgz"


class Registry:
    """An npm registry with one package, `it`, which breaks off the first times it is sent."""

    def __init__(self, breaks: int) -> None:
        self.breaks = breaks
        self.sent = 0
        self.url = ""
        self.archive = packed({"package.json": json.dumps({"name": "it", "version": "1.0.0"})})

    def about(self) -> bytes:
        digest = base64.b64encode(hashlib.sha512(self.archive).digest()).decode()
        dist = {"tarball": f"{self.url}{PATH}", "integrity": f"sha512-{digest}"}
        version = {"name": "it", "version": "1.0.0", "dist": dist}
        known = {"name": "it", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        return json.dumps(known).encode()

    def answer(self, path: str) -> tuple[int, bytes, int]:
        """The status, the body, and how much of that is really sent."""
        if path == PATH:
            self.sent += 1
            whole = self.sent > self.breaks
            return 200, self.archive, len(self.archive) if whole else 50
        found = self.about() if path == "/it" else b"{}"
        return (200 if path == "/it" else 404), found, len(found)


def packed(files: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()


@contextmanager
def served(registry: Registry) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, much = registry.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:much])

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def fetch(tmp: Path, registry: Registry, package: str) -> Path:
    """Installs a package by the real npm; the folder of its packages."""
    made = work(tmp)
    with served(registry):
        made.environ |= {
            "npm_config_registry": registry.url,
            "npm_config_cache": str(tmp / "cache"),
            "npm_config_offline": "false",
            "npm_config_fetch_retries": "0",
        }
        await made.fetch("npm", "install", "--prefix", str(tmp), package, cwd=tmp)
    return tmp / "node_modules"


@pytest.mark.backends("trio")
async def test_a_registry_that_breaks_off_is_asked_again(tmp_path: Path) -> None:
    registry = Registry(breaks=TRIES - 1)
    assert (await fetch(tmp_path, registry, "it") / "it" / "package.json").is_file()
    assert registry.sent == TRIES


@pytest.mark.backends("trio")
async def test_one_that_always_breaks_off_is_given_up(tmp_path: Path) -> None:
    registry = Registry(breaks=99)
    with pytest.raises(StepFailed) as caught:
        await fetch(tmp_path, registry, "it")
    assert registry.sent == TRIES
    assert broke_off(caught.value.last_lines)


async def test_one_that_says_no_is_asked_once(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as caught:
        await fetch(tmp_path, Registry(breaks=0), "nothing")
    assert (await work(tmp_path).ask("grep", "-c", "^\\$ npm", str(work(tmp_path).log))) == "1"
    assert any("E404" in line for line in caught.value.last_lines)
