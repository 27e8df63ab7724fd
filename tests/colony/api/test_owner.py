"""When the server is loaded: after the first service, and never on the event loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from colony.api.sockets import claim
from tests.colony.api.support import toml, unique

pytestmark = pytest.mark.real_time

PROGRAM = """
import importlib.abc, json, sys, threading
import anyio
from pathlib import Path
from colony import config
from colony.host import Host, Options
from colony.modes import Wishes

loaded = []

class Notes(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            loaded.append(threading.current_thread() is threading.main_thread())
        return None

sys.meta_path.insert(0, Notes())

async def main(folder):
    wishes = Wishes("host", "embedded", "none")
    async with Host(Options(wishes, runtime=folder / "run", serve=True, defer_api=60.0)) as host:
        await host.start()
        for _ in range(20):
            await anyio.sleep(0.01)
        before = "aiohttp" in sys.modules
        await host.add(config.load(folder / "colony.toml"))
        await host.served()
        print(json.dumps({"before": before, "in the main thread": loaded}))

anyio.run(main, Path(sys.argv[1]), backend=sys.argv[2])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_server_is_loaded_after_the_first_service_and_not_by_the_loop(
    tmp_path: Path, backend: str
) -> None:
    (tmp_path / "colony.toml").write_text(toml(unique(), {"web": {"command": "sleep 1000"}}))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), backend],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"before": False, "in the main thread": [False]}


def test_a_released_socket_leaves_no_file_although_a_process_that_starts_has_a_copy(
    tmp_path: Path,
) -> None:
    claimed = claim(tmp_path / "colony.sock")
    assert claimed is not None
    copy = claimed.sock.dup()  # as between fork and exec
    claimed.sock.close()  # as the server does
    claimed.release()
    copy.close()
    assert list(tmp_path.iterdir()) == []
