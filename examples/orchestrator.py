"""An orchestrator: five agents work on five copies of one project, each on the same port.

    python examples/orchestrator.py                     # in this process, which is all there is
    python examples/orchestrator.py --connect           # in the instance that runs already

Each agent has a copy of the project and a colony for it: a network of its own, in which port 4001
is free and `localhost` is its own server. It edits, restarts, looks at the result as a client
would, and runs the project's check; what it breaks is broken for nobody else. One agent is no good:
its server does not come up again, and the error that it gets carries the server's last words, which
is what an agent needs for its next attempt.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

import colony
from colony import config

PROJECT = {
    "colony.toml": """\
[colony]
name = "greeter"

[services.web]
command = "python3 -u app.py"
port = 4001
restart = "temporary"
""",
    "app.py": """\
from http.server import BaseHTTPRequestHandler, HTTPServer

GREETING = "hello"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(GREETING.encode())


HTTPServer(("127.0.0.1", 4001), Handler).serve_forever()
""",
    "check.py": """\
import sys, urllib.request

said = urllib.request.urlopen("http://localhost:4001/").read().decode()
sys.exit(0 if said == sys.argv[1] else f"expected {sys.argv[1]!r}, got {said!r}")
""",
}

WORDS = ("bonjour", "hola", "ciao", "salve", 'ahoj"')
"""What each agent wants the project to say; the last one does not know how to quote."""

Open = Callable[[Path, str], AbstractAsyncContextManager[colony.Colony]]


async def agent(c: colony.Colony, folder: Path, word: str) -> str:
    """One agent's work. It sees no more than its colony, wherever that runs."""
    web = c.service("web")
    await web.ready(timeout=60)
    source = anyio.Path(folder, "app.py")
    await source.write_text((await source.read_text()).replace('"hello"', f'"{word}"'))
    await web.restart()
    try:
        await web.ready(timeout=60)
        answer = await web.http.get("/")
        await c.exec(["python3", "check.py", word], timeout=60, check=True)
    except (colony.ServiceFailed, colony.CommandFailed) as failed:
        return f"failed: {failed.last_lines[-1]}"
    return f"done: its server says {answer.body}"


@asynccontextmanager
async def opener(connect: bool) -> AsyncIterator[Open]:
    """What opens a colony: in the instance that runs already, or in one of our own."""
    if connect:
        async with colony.connect() as there:
            yield lambda file, name: there.open(file, name=name)
        return
    async with colony.Host() as host:
        await host.start()

        @asynccontextmanager
        async def open(file: Path, name: str) -> AsyncIterator[colony.Colony]:
            loaded = await anyio.to_thread.run_sync(config.load, file)
            named = msgspec.structs.replace(loaded.colony, name=name)
            c = await host.add(msgspec.structs.replace(loaded, colony=named))
            try:
                yield c
            finally:
                await c.stop()

        yield open


async def work(open: Open, project: Path, number: int, word: str) -> None:
    """A copy of the project, a colony for it, an agent in it; and all of it gone again."""
    copy = project.with_name(f"copy-{number}")
    await anyio.to_thread.run_sync(shutil.copytree, project, copy)  # or: git worktree add
    name = f"agent-{number}-{secrets.token_hex(2)}"
    async with open(copy / "colony.toml", name) as c:
        print(f"agent {number} {await agent(c, copy, word)}", flush=True)


def write_project(folder: str) -> Path:
    """The project that the agents get copies of."""
    project = Path(folder, "project")
    project.mkdir()
    for file, text in PROJECT.items():
        (project / file).write_text(text)
    return project


async def main(connect: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = write_project(folder)
        async with opener(connect) as open, anyio.create_task_group() as agents:
            for number, word in enumerate(WORDS, 1):
                agents.start_soon(work, open, project, number, word)


if __name__ == "__main__":
    anyio.run(main, "--connect" in sys.argv)
