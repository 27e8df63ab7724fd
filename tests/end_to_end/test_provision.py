"""From a git remote to an answer through the front door: real npm, real uv, real Vite.

Each built-in template is started on a project that fits it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.colonies import (
    ROOT,
    Colony,
    Run,
    Shop,
    answers,
    eventually,
    get,
    host,
    root_only,
)

pytestmark = [
    root_only,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NODE = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
NODE = NODE.strip().lstrip("v").partition(".")[0]

SERVER = """\
const http = require("http");
const port = Number(process.env.PORT);
http.createServer((_, answer) => answer.end(process.argv[2] + " " + process.version + "\\n"))
    .listen(port, "127.0.0.1");
"""
ASGI = """\
import os
import sqlite3

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    sqlite3.connect(os.environ["COLONY_DATABASE"]).close()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = "asgi " + os.environ["VIRTUAL_ENV"]
    await send({"type": "http.response.body", "body": body.encode()})
"""


def remote(folder: Path, files: dict[str, str]) -> str:
    """A git repository of one commit, as a URL."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *identity, *args], check=True)
    return f"file://{folder}"


def environment(shop: Shop) -> dict[str, str]:
    """Our own virtual environment's Python must not pass for the machine's; its uv may."""
    tools = shop.folder / "tools"
    tools.mkdir(exist_ok=True)
    uv = Path(sys.executable).parent / "uv"
    if uv.exists() and not (tools / "uv").exists():
        (tools / "uv").symlink_to(uv)
    path = f"{tools}:{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {"PATH": path}


def new(shop: Shop, url: str, name: str, *options: str) -> Colony:
    """`colony new`, to the colony.toml in the workspace."""
    done = subprocess.run(
        [sys.executable, "-m", "colony", "new", url, "--name", name, *options],
        capture_output=True,
        text=True,
        check=False,
        env=shop.environment() | environment(shop),
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    workspace = Path(done.stdout.strip())
    assert workspace == shop.folder / "home" / "workspaces" / name
    return Colony(name, workspace / "colony.toml")


def run(shop: Shop, colony: Colony) -> Run:
    return shop.run(colony, env=environment(shop))


def template(name: str, template: str, more: str = "") -> str:
    return f'[colony]\nname = "{name}"\ntemplate = "{template}"\n{more}'


def package(**scripts: str) -> str:
    return json.dumps({"name": "x", "version": "1.0.0", "scripts": scripts})


def test_a_vite_page_and_an_aiohttp_api_from_a_remote(shop: Shop) -> None:
    """Vite by npm, aiohttp by uv and requirements.txt."""
    name, source = shop.name(), ROOT / "examples" / "full-stack"
    files = {
        each: (source / each).read_text()
        for each in ("api.py", "index.html", "main.js", "package.json", "vite.config.js")
    }
    original = (
        (source / "colony.toml").read_text().replace('name = "full-stack"', f'name = "{name}"')
    )
    more = (
        f'\n[colony.environment]\nnode_version = "{NODE}"\npackage_manager = "npm"\n'
        f'python_version = "{PYTHON}"\nsetup = "echo ready > .setup"\n'
    )
    files |= {"colony.toml": original + more, "requirements.txt": "aiohttp>=3.9\n"}
    colony = new(shop, remote(shop.folder / "remote", files), name, "--yes")
    folder = colony.file.parent
    assert (folder / "node_modules/vite/package.json").is_file()
    assert (folder / ".venv/bin/python").exists()
    assert (folder / ".setup").read_text() == "ready\n"

    running = run(shop, colony)
    running.ready("api")
    running.ready("web")
    # Nothing is installed a second time.
    assert not [line for line in running.own_lines() if "npm " in line or "uv pip" in line]
    at = host(colony, 8000)
    api = eventually(lambda: (r := get(running.http_port, at, "/api/hello")).status == 200 and r)
    assert api
    assert json.loads(api.text) == {"message": f"hello from the API of {name}"}
    page = eventually(lambda: (r := get(running.http_port, host(colony, 5173))).status == 200 and r)
    assert page
    assert "<h1>A page by Vite</h1>" in page.text
    assert running.stop() == 130


def test_web_app_as_it_is(shop: Shop) -> None:
    """Node.js 22 and bun, which this machine may not have: npm provides them."""
    name = shop.name()
    files = {
        "colony.toml": template(name, "web-app"),
        "package.json": package(dev="node server.js page"),
        "server.js": SERVER,
    }
    colony = new(shop, remote(shop.folder / "remote", files), name)
    running = run(shop, colony)
    running.ready("web")
    answers(running.http_port, host(colony, 5173), "page v22.")
    assert running.stop() == 130


@pytest.mark.parametrize(
    ("kind", "services"),
    [
        ("api-service", {"api": (3000, "the API")}),
        ("full-stack", {"web": (5173, "the page"), "api": (3000, "the API")}),
    ],
)
def test_node_templates(shop: Shop, kind: str, services: dict[str, tuple[int, str]]) -> None:
    name = shop.name()
    more = f'[colony.environment]\nnode_version = "{NODE}"\npackage_manager = "npm"\n'
    files = {
        "colony.toml": template(name, kind, more),
        "package.json": package(
            dev="node server.js 'the page'",
            start="node server.js 'the API'",
            server="node server.js 'the API'",
        ),
        "server.js": SERVER,
    }
    colony = new(shop, remote(shop.folder / "remote", files), name)
    running = run(shop, colony)
    for service, (port, text) in services.items():
        running.ready(service)
        answers(running.http_port, host(colony, port), f"{text} v{NODE}.")
    assert running.stop() == 130


def test_python_app(shop: Shop) -> None:
    name = shop.name()
    files = {
        "colony.toml": template(
            name, "python-app", f'[colony.environment]\npython_version = "{PYTHON}"\n'
        ),
        "requirements.txt": "uvicorn\n",
        "main.py": ASGI,
    }
    colony = new(shop, remote(shop.folder / "remote", files), name)
    running = run(shop, colony)
    running.ready("web")
    answers(running.http_port, host(colony, 8000), f"asgi {colony.file.parent}/.venv")
    assert running.stop() == 130


def test_a_run_provides_what_is_missing_and_takes_it_back_if_it_cannot_start(shop: Shop) -> None:
    """Without `colony new`: the environment of a folder of one's own, at its first start."""
    name = shop.name()
    folder = shop.folder / name
    text = (
        f'[colony]\nname = "{name}"\n[colony.environment]\npython_version = "{PYTHON}"\n'
        'setup = ["test -e fixed"]\n[services.web]\ncommand = "python serve.py"\nport = 4001\n'
    )
    colony = Colony(name, shop.write(text, name))
    (folder / "serve.py").write_text(
        "import http.server, os, sys\n"
        "class Here(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        "        self.wfile.write(sys.prefix.encode())\n"
        "http.server.HTTPServer(('', int(os.environ['PORT'])), Here).serve_forever()\n"
    )
    failed = run(shop, colony)
    failed.expect("✗ setup")
    failed.expect("■ venv +taken back")
    assert failed.wait() == 7
    assert "setup: `test -e fixed` failed: exit code 1; all is as it was before" in (
        failed.transcript()
    )
    assert sorted(os.listdir(folder)) == ["colony.toml", "serve.py"]

    (folder / "fixed").touch()
    running = run(shop, colony)
    running.expect("✓ venv ")
    running.ready("web")
    answers(running.http_port, host(colony), str(folder / ".venv"))
    assert running.stop() == 130
