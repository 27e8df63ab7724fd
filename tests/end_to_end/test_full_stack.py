"""The full-stack example: a Vite page and an API, two services of one colony, behind Caddy.

Vite listens on the namespace's loopback only, refuses host names that it does not know, and keeps a
WebSocket open to reload the page: all three have to work as a developer expects.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.colonies import (
    PATIENCE,
    ROOT,
    Colony,
    Shop,
    both_doors,
    eventually,
    get,
    host,
    root_only,
)
from tests.end_to_end.colonies import page as page_service
from tests.registries import SLOWLY, npm_install

pytestmark = [
    root_only,
    SLOWLY,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]

FILES = ("api.py", "colony.toml", "index.html", "main.js", "package.json", "vite.config.js")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages installed."""
    folder = tmp_path_factory.mktemp("full-stack")
    for name in FILES:
        shutil.copy(ROOT / "examples" / "full-stack" / name, folder)
    npm_install(folder)
    return folder


@both_doors
def test_a_vite_page_and_its_api(shop: Shop, installed: Path, door: tuple[str, ...]) -> None:
    name = shop.name()
    file = installed / "colony.toml"
    original = (ROOT / "examples" / "full-stack" / "colony.toml").read_text()
    file.write_text(original.replace('name = "full-stack"', f'name = "{name}"'))
    colony = Colony(name, file)
    # The example says `python3`: the one with aiohttp, as in an activated environment.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = shop.run(colony, options=door, env={"PATH": path})
    run.ready("api")
    run.ready("web")

    for suffix in ("colony.local", "colony.localhost"):
        at = host(colony, 5173, suffix)
        page = eventually(lambda at=at: (r := get(run.http_port, at)).status == 200 and r)  # type: ignore[misc]
        assert page
        assert "<h1>A page by Vite</h1>" in page.text
        assert "/@vite/client" in page.text
        assert "fetch(" in get(run.http_port, at, "/main.js").text

        # By Vite's own proxy, as the page does it, and by the API's own name.
        expected = {"message": f"hello from the API of {name}"}
        assert json.loads(get(run.http_port, at, "/api/hello").text) == expected
        at = host(colony, 8000, suffix)
        direct = eventually(
            lambda at=at: (r := get(run.http_port, at, "/api/hello")).status == 200 and r  # type: ignore[misc]
        )
        assert direct
        assert json.loads(direct.text) == expected

    def another_colony_starts() -> None:
        other = shop.run(shop.colony({"web": page_service("other")}))
        other.ready()

    said = asyncio.run(
        hot_reload(run.http_port, host(colony, 5173), installed / "main.js", another_colony_starts)
    )
    assert said[0] == {"type": "connected"}
    assert said[1]["type"] in ("update", "full-reload")
    for other in shop.runs[1:]:
        assert other.stop() == 130
    assert run.stop() == 130


def change(file: Path) -> None:
    file.write_text(file.read_text() + "\n// changed\n")


async def keep_changing(file: Path) -> None:
    """Every second: Vite may not have begun to watch the file at the first time."""
    while True:
        await asyncio.to_thread(change, file)
        await asyncio.sleep(1.0)


async def hot_reload(
    port: int, at: str, file: Path, meanwhile: Callable[[], None]
) -> list[dict[str, Any]]:
    """What Vite says on the WebSocket by which it reloads the page: at first, and when a file was
    changed, after another colony has come to the same front door."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"http://127.0.0.1:{port}/@vite/client", headers={"Host": at}) as r:
            token = (await r.text()).partition('const wsToken = "')[2].partition('"')[0]
        async with session.ws_connect(
            f"http://127.0.0.1:{port}/?token={token}",
            headers={"Host": at, "Origin": f"http://{at}"},
            protocols=["vite-hmr"],
        ) as ws:
            assert ws.protocol == "vite-hmr"
            said = [await ws.receive_json()]
            await asyncio.to_thread(meanwhile)
            await asyncio.sleep(2.0)  # longer than a Caddy that reloads needs to cut it
            changing = asyncio.create_task(keep_changing(file))
            while (message := await ws.receive_json())["type"] == "ping":
                pass
            changing.cancel()
            return [*said, message]
