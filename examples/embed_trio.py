"""Colony embedded in a trio program: two colonies of one project, side by side on one port.

    python examples/embed_trio.py

Each gets a folder with a page of its own; both serve it on port 4001; each answers under its own
name at the front door. When the block ends, nothing is left.
"""

from __future__ import annotations

import http.client
import tempfile
from pathlib import Path

import trio

import colony
from colony import config

TOML = """\
[colony]
name = "{name}"

[services.web]
command = "python3 -m http.server 4001"
port = 4001
"""


def write_project(folder: Path, name: str) -> config.Config:
    """A folder with a page and a colony.toml."""
    folder.mkdir()
    (folder / "index.html").write_text(f"<h1>{name}</h1>\n")
    (folder / "colony.toml").write_text(TOML.format(name=name))
    return config.load(folder / "colony.toml")


def fetch(port: int, host: str) -> str:
    """GET / through the front door."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Host": host})
    body = connection.getresponse().read().decode().strip()
    connection.close()
    return body


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with colony.Host() as host:
            await host.start()
            for name in ("one", "two"):
                running = await host.add(write_project(Path(folder, name), f"trio-{name}"))
                web = running.service("web")
                await web.ready()
                name_at_the_door = f"trio-{name}-4001.colony.local"
                page = await trio.to_thread.run_sync(fetch, host.http_port, name_at_the_door)
                print(f"{web.url} answers {page}")


if __name__ == "__main__":
    trio.run(main)
