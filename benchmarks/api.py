"""The API and the command line: what a question costs.

    python benchmarks/api.py [--quick] [--json]

- a GET over the unix socket on a connection that is kept, beside a bare aiohttp handler with
  the same answer, in the same process;
- `colony version` and `colony ls`, whole processes, beside `python -c pass`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _ratio
from aiohttp import web

from colony.host import Host, Options
from colony.http1 import ResponseParser
from colony.modes import Wishes

GET = b"GET %b HTTP/1.1\r\nHost: colony\r\n\r\n"


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> bytes:
    """One request and its answer."""
    writer.write(GET % path)
    parser, body = ResponseParser(), b""
    while not parser.complete:
        data = await reader.read(65536)
        body += data
        for _ in parser.feed(data):
            pass
    return body


async def questions(samples: _ratio.Samples, rounds: int) -> None:
    """Asks both servers in turn."""
    with tempfile.TemporaryDirectory() as folder:
        wishes = Wishes("host", "embedded", "none")
        async with Host(Options(wishes, runtime=Path(folder), serve=True)) as host:
            await host.start()
            reader, writer = await asyncio.open_unix_connection(f"{folder}/colony.sock")
            body = (await one(reader, writer, b"/api/version")).partition(b"\r\n\r\n")[2]

            async def bare(_: web.Request) -> web.Response:
                return web.Response(body=body, content_type="application/json")

            app = web.Application()
            app.router.add_get("/api/version", bare)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.UnixSite(runner, f"{folder}/bare.sock").start()
            peer = await asyncio.open_unix_connection(f"{folder}/bare.sock")
            for name in _ratio.turns(["colony", "aiohttp"], rounds):
                pair = (reader, writer) if name == "colony" else peer
                with samples.timed(name):
                    await one(*pair, b"/api/version")
            for each in (writer, peer[1]):
                each.close()
            await runner.cleanup()


def processes(samples: _ratio.Samples, rounds: int) -> None:
    """Runs whole commands in turn, against an instance in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        env = _ratio.environment(COLONY_RUNTIME_DIR=f"{folder}/run", COLONY_HOME=f"{folder}/home")
        colony = [sys.executable, "-m", "colony"]
        options = ["--network=host", "--proxy=embedded", "--dns=none"]
        start = [*colony, "daemon", "start", *options]
        subprocess.run(start, env=env, check=True, stdout=subprocess.DEVNULL)
        try:
            commands = {
                "version": [*colony, "version"],
                "ls": [*colony, "ls"],
                "pass": [sys.executable, "-c", "pass"],
            }
            for name in _ratio.turns(list(commands), rounds):
                began = time.perf_counter()
                subprocess.run(commands[name], env=env, check=True, stdout=subprocess.DEVNULL)
                samples[name].append((time.perf_counter() - began) * 1000)
        finally:
            stop = [*colony, "daemon", "stop", "--force"]
            subprocess.run(stop, env=env, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    arguments = _ratio.arguments("The API beside bare aiohttp, commands beside `python -c pass`")
    samples, report = _ratio.Samples(), _ratio.Report()
    asyncio.run(questions(samples, 300 if arguments.quick else 3000))
    processes(samples, 10 if arguments.quick else 40)
    report.compare(
        "GET /api/version over the socket",
        samples["colony"],
        "a bare aiohttp handler",
        samples["aiohttp"],
        goal="<= 1.5",
    )
    report.state("the same, alone", samples["colony"], unit="ms", goal="<= 0.3")
    for name, limit in (("version", 60), ("ls", 90)):
        ours, bare = samples[name], samples["pass"]
        report.compare(f"colony {name}, whole process", ours, "python -c pass", bare)
        report.state(f"colony {name}", ours, unit="ms", goal=f"<= {limit}")
    report.show(json=arguments.json)


if __name__ == "__main__":
    main()
