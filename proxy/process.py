"""A program that runs beside us: started, watched by pidfd, its last words kept, ended for certain.

    start ──► alive ──wait──► ended            wait_readable(pidfd), no polling, no SIGCHLD
                │
                └──stop──► SIGTERM ─grace─► SIGKILL ──► reaped, every descriptor closed

The law: whoever starts a program ends it, and when `stop` returns there is no process, no thread
and no descriptor of it. Its output goes to a socket pair that a thread empties into a bounded tail:
a pipe that nobody reads would stop the program when it is full, and a file would grow for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

import anyio
import anyio.to_thread

from proxy.errors import BinaryNotFound, StartFailed

_TAIL_BYTES: Final = 16 * 1024
_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(binary: str, hint: str) -> str:
    """The program's absolute path, also where only root's PATH leads. Raises `BinaryNotFound`."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
    found = which(binary, path=path)
    if found is None:
        raise BinaryNotFound(binary, hint)
    return os.path.abspath(found)


class Tail:
    """The last of what a program wrote, kept by a thread that ends with the program.

    `sink` is the program's end of the socket pair.
    """

    def __init__(self, name: str) -> None:
        self._source, self.sink = socket.socketpair()
        self._source.shutdown(socket.SHUT_WR)
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._thread = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        self._thread.start()

    def text(self) -> str:
        return b"".join(tuple(self._chunks)).decode(errors="replace")

    def close(self, patience: float = 0.5) -> None:
        """Ends the thread. Waits `patience` seconds for what is still under way to be read.

        A descendant that kept the sink open does not keep us: the source is shut under the reader.
        """
        self.sink.close()
        self._thread.join(patience)
        with contextlib.suppress(OSError):
            self._source.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._source.close()

    def _read(self) -> None:
        while chunk := self._source.recv(4096):
            self._chunks.append(chunk)
            self._size += len(chunk)
            while self._size > _TAIL_BYTES:
                self._size -= len(self._chunks.popleft())


class _Started(NamedTuple):
    popen: subprocess.Popen[bytes]
    pidfd: int
    tail: Tail


def _spawn(
    name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: bytes
) -> _Started:
    tail = Tail(name)
    try:
        # A file and not a pipe: a pipe takes 64 KiB at a time and would need a writer.
        source = os.memfd_create(f"{name}-stdin")
        try:
            os.write(source, stdin)
            os.lseek(source, 0, os.SEEK_SET)
            popen = subprocess.Popen(
                argv,
                stdin=source,
                stdout=tail.sink.fileno(),
                stderr=tail.sink.fileno(),
                env=dict(env),
                cwd=cwd,
                process_group=0,
            )
        finally:
            os.close(source)
        tail.sink.close()
        return _Started(popen, os.pidfd_open(popen.pid), tail)
    except BaseException:
        tail.close(patience=0)
        raise


class Program:
    """A started program. Made by `Program.start`."""

    def __init__(self, name: str, started: _Started) -> None:
        self.name = name
        self.pid = started.popen.pid
        self.status: int | None = None
        """The exit status once it has ended; negative for a signal."""
        self.stopping = False
        """Whether `stop` was called: its end is then no accident."""
        self._popen, self._pidfd, self._tail = started
        self._ended = anyio.Event()
        self._watching = False

    def __repr__(self) -> str:
        state = "running" if self.status is None else f"ended with {self.status}"
        return f"<Program {self.name} pid={self.pid} {state}>"

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: bytes = b"",
    ) -> Program:
        """Starts `argv` in its own process group, with that environment and no other descriptors.

        `stdin` is what it reads there. Raises `OSError` if it cannot be executed.
        """
        started: list[_Started] = []

        def spawn() -> None:
            started.append(_spawn(name, argv, env, cwd, stdin))

        try:
            await anyio.to_thread.run_sync(spawn)
        except BaseException:
            for one in started:
                await cls(name, one).stop(grace=0)
            raise
        return cls(name, started[0])

    def tail(self) -> str:
        """The last 16 KiB of what it wrote."""
        return self._tail.text()

    async def wait(self) -> int:
        """Returns its exit status when it has ended. Several may wait; cancelling leaves it be."""
        while self.status is None:
            if self._watching:
                await self._ended.wait()
                continue
            self._watching = True
            try:
                await anyio.wait_readable(self._pidfd)
                await self._reap()
            finally:
                self._watching = False
                self._ended.set()
                self._ended = anyio.Event()
        return self.status

    async def ready(self, probe: Callable[[], Awaitable[object]], seconds: float) -> bool:
        """Waits until `probe` returns. False: it ended before, or that took more than `seconds`."""
        ready = False
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:

                async def until_it_ends() -> None:
                    await self.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_it_ends)
                await probe()
                ready = self.status is None
                tasks.cancel_scope.cancel()
        return ready

    async def start_failed(self) -> StartFailed:
        """The error for a program that did not become ready; ends it if it has not ended."""
        alive = self.status is None
        status = await self.stop(grace=0)
        return StartFailed(self.name, status=None if alive else status, tail=self.tail())

    async def stop(self, grace: float = 5.0) -> int:
        """SIGTERM, `grace` seconds, SIGKILL, to its whole process group. Returns the exit status.

        Not cut short by cancel; may be called again, and after it has ended.
        """
        self.stopping = True
        with anyio.CancelScope(shield=True):
            if grace > 0:
                self._signal(signal.SIGTERM)
                with anyio.move_on_after(grace):
                    await self.wait()
            self._signal(signal.SIGKILL)
            await self.wait()
        assert self.status is not None
        return self.status

    def _signal(self, number: signal.Signals) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def _reap(self) -> None:
        with anyio.CancelScope(shield=True):
            self._signal(signal.SIGKILL)  # what it left in its group, before its id is free again
            status = self._popen.wait()  # it has ended: this does not wait
            await anyio.to_thread.run_sync(self._tail.close)
            os.close(self._pidfd)
            self.status = status
