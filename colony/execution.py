"""A command inside a colony: its network, its environment, its folder; waited for to its end."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from typing import Final

import anyio
import anyio.to_thread

from colony.api.types import Exec, Executed
from colony.config.interpolation import Unset
from colony.environment import colony_environment
from colony.running import RunningColony
from netns import ExitStatus, Namespace, Process, spawn
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.errors import SpawnError

KEPT: Final = 256 * 1024
"""Bytes of each stream that are kept: the last ones."""

_CHUNK: Final = 64 * 1024
_GRACE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL for a command whose time is over."""
_DRAIN: Final = 0.5
"""Seconds that what an ended command left in its pipes may take, for a stray may hold them."""


class Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self.truncated = False

    def __repr__(self) -> str:
        return f"<Tail {self._held} bytes>"

    def add(self, data: bytes) -> None:
        """Adds a chunk and lets the oldest go, whole chunks at a time."""
        self._chunks.append(data)
        self._held += len(data)
        while self._held - len(self._chunks[0]) >= KEPT:
            self._held -= len(self._chunks.popleft())
            self.truncated = True

    @property
    def text(self) -> str:
        return b"".join(self._chunks)[-KEPT:].decode("utf-8", "replace")


async def execute(colony: RunningColony, wanted: Exec) -> Executed:
    """Runs a command and waits for its end, or its time's.

    Its process group is ended with it in every case; what has left the group ends with the colony.
    Raises `SpawnError` and `ActorDown`. Cancelling ends the command.
    """
    began = time.monotonic()
    tails = {"stdout": Tail(), "stderr": Tail()}
    pipes = {name: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for name in tails}
    for _, write in pipes.values():
        os.set_blocking(write, True)
    try:
        process = await _spawned(
            colony, wanted, {name: write for name, (_, write) in pipes.items()}
        )
    except BaseException:
        for read, _ in pipes.values():
            os.close(read)
        raise
    finally:
        for _, write in pipes.values():
            os.close(write)
    async with process:
        status, timed_out = await _to_its_end(process, wanted, tails, pipes)
    return Executed(
        code=status.shell,
        stdout=tails["stdout"].text,
        stderr=tails["stderr"].text,
        timed_out=timed_out,
        truncated=any(tail.truncated for tail in tails.values()),
        ms=round((time.monotonic() - began) * 1000, 1),
    )


async def _spawned(colony: RunningColony, wanted: Exec, writes: dict[str, int]) -> Process:
    parts = colony.host.parts
    space: Namespace | None = None
    if colony.isolated:
        owner = colony.system.named(namespace_name(colony.name), NamespaceOwner)
        space = await owner.call(GetNamespace())
    try:
        environment = colony_environment(colony.environ, colony.config, colony.urls)
    except Unset as unset:
        raise SpawnError(str(unset)) from None
    return await spawn(
        parts.thread,
        wanted.argv,
        namespace=space,
        instance=parts.instance.id,
        cwd=os.path.join(colony.config.workspace, wanted.cwd or ""),
        env={**environment, **(wanted.env or {})},
        stdout=writes["stdout"],
        stderr=writes["stderr"],
    )


async def _to_its_end(
    process: Process, wanted: Exec, tails: dict[str, Tail], pipes: dict[str, tuple[int, int]]
) -> tuple[ExitStatus, bool]:
    timed_out = False
    async with anyio.create_task_group() as readers:
        for name, (read, _) in pipes.items():
            readers.start_soon(_read, read, tails[name])
        try:
            with anyio.move_on_after(wanted.timeout_ms / 1000) as patience:
                status = await process.wait()
            if patience.cancelled_caught:
                timed_out = True
                process.signal_group(signal.SIGTERM)
                with anyio.move_on_after(_GRACE):
                    await process.wait()
                process.signal_group(signal.SIGKILL)
                status = await process.wait()
        finally:
            process.signal_group(signal.SIGKILL)
        # The readers end with the pipes, or a moment later if a stray holds them.
        readers.cancel_scope.deadline = anyio.current_time() + _DRAIN
    return status, timed_out


async def _read(fd: int, tail: Tail) -> None:
    try:
        while True:
            await anyio.wait_readable(fd)
            data = os.read(fd, _CHUNK)
            if not data:
                return
            tail.add(data)
    finally:
        anyio.notify_closing(fd)
        os.close(fd)
