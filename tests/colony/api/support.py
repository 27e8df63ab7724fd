"""An instance with its API in the test's own event loop, on the host's network: fast to start."""

from __future__ import annotations

import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread

from colony import config
from colony.api.operations import Operations
from colony.api.owner import Listen
from colony.client import Address, Client
from colony.host import Host, Options
from colony.modes import Wishes
from colony.paths import SOCKET
from colony.running import RunningColony
from tests.ports import free_port

T = TypeVar("T")

TOKEN = "t" * 40
WISHES = Wishes("host", "embedded", "none")

SERVER = [sys.executable, "-I", "-m", "http.server", "--bind", "127.0.0.1"]
"""A server; its port is to be added."""

PATIENCE = 30.0
"""Seconds after which a test gives up waiting; nothing is asserted about how long it took."""


def unique(prefix: str = "t") -> str:
    """A colony's name that nobody else has."""
    return f"{prefix}-{secrets.token_hex(4)}"


def toml(name: str, services: Mapping[str, Mapping[str, Any]]) -> str:
    """A colony.toml. Strings, numbers and arrays are JSON's here."""
    lines = ["[colony]", f'name = "{name}"', "[supervision]", "intensity = 1"]
    for service, entries in services.items():
        lines.append(f"[services.{service}]")
        lines += [f"{key} = {_value(value)}" for key, value in entries.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


class Rig(NamedTuple):
    """A host that serves, and a client of it."""

    host: Host
    client: Client
    folder: Path
    tcp: int | None

    @property
    def operations(self) -> Operations:
        api = self.host.parts.api
        assert api is not None
        return api.operations

    def write(self, name: str, services: Mapping[str, Mapping[str, Any]]) -> Path:
        """A colony.toml in a folder of its own."""
        file = self.folder / name / "colony.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(toml(name, services))
        return file

    async def add(self, services: Mapping[str, Mapping[str, Any]]) -> RunningColony:
        """A colony that runs."""
        return await self.host.add(config.load(self.write(unique(), services)))

    async def ask(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Calls a blocking function, such as a method of the client, in a thread."""
        with anyio.fail_after(PATIENCE):
            return await anyio.to_thread.run_sync(
                lambda: function(*args, **options), abandon_on_cancel=True
            )


@asynccontextmanager
async def rig(folder: Path, *, tcp: bool = False) -> AsyncIterator[Rig]:
    """Opens an instance, and closes it."""
    port = free_port() if tcp else None
    listen = None if port is None else Listen("127.0.0.1", port, TOKEN)
    runtime = folder / "run"
    async with Host(Options(WISHES, runtime=runtime, serve=True, listen=listen)) as host:
        await host.start()
        yield Rig(host, Client(Address(runtime / SOCKET)), folder, port)


async def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, which is asked in a thread."""
    with anyio.fail_after(PATIENCE):
        while not await anyio.to_thread.run_sync(holds):  # noqa: ASYNC110 - nobody tells us
            await anyio.sleep(0.01)


def is_alive(pid: str | int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False
