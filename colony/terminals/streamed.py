"""One command without a terminal: its three streams apart, byte for byte, at its caller's pace.

It is its caller's alone: when that one goes, so do the command and its process group. A caller that
takes nothing makes the command wait, as a pipe would.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from colony.environment import colony_environment
from colony.terminals.hub import Exit
from netns import Namespace, Process, spawn
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.closing import Closing

if TYPE_CHECKING:
    from colony.running import RunningColony

STDOUT: Final = b"\x01"
STDERR: Final = b"\x02"
"""The first byte of each piece says which stream it is of."""

DRAIN: Final = 0.5
"""Seconds of silence after which an ended command's pipes are given up: a stray may hold them."""

_CHUNK: Final = 64 * 1024


class Streamed:
    """A command from `start` to `close`; between the two `run` has to run."""

    def __init__(self, process: Process, stdin: int, outputs: dict[bytes, int]) -> None:
        self.process = process
        self._stdin = stdin
        self._input = Closing(partial(os.close, stdin))
        self._outputs = outputs
        self._ended = False
        self._waits: set[anyio.CancelScope] = set()
        self._give, self._take = anyio.create_memory_object_stream[bytes | Exit](0)

    def __repr__(self) -> str:
        return f"<Streamed {self.process!r}>"

    async def run(self) -> None:
        """Reads what it writes and waits for its end. Cancelled, it ends the command."""
        try:
            async with self._give, anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as readers:
                    for mark, fd in self._outputs.items():
                        readers.start_soon(self._read, mark, fd)
                    status = await self.process.wait()
                    self.process.signal_group(signal.SIGKILL)
                    self._note_end()
                await self._give.send(Exit(status.code, status.signal, str(status)))
                tasks.cancel_scope.cancel()
        finally:
            self.process.signal_group(signal.SIGKILL)
            await self.process.aclose()
            self._input.close()
            self._take.close()

    def _note_end(self) -> None:
        self._ended = True
        for scope in self._waits:
            scope.deadline = anyio.current_time() + DRAIN

    async def _read(self, mark: bytes, fd: int) -> None:
        try:
            while await self._readable(fd):
                data = os.read(fd, _CHUNK)
                if not data:
                    return
                await self._give.send(mark + data)
        finally:
            anyio.notify_closing(fd)
            os.close(fd)

    async def _readable(self, fd: int) -> bool:
        deadline = anyio.current_time() + DRAIN if self._ended else math.inf
        with anyio.CancelScope(deadline=deadline) as scope:
            self._waits.add(scope)
            try:
                await anyio.wait_readable(fd)
            finally:
                self._waits.discard(scope)
        return not scope.cancelled_caught

    async def take(self) -> bytes | Exit | None:
        """A piece of output, the first byte of which says of which stream; the exit; then None."""
        try:
            return await self._take.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return None

    async def write(self, data: bytes) -> None:
        """Writes to its standard input, waiting while it takes nothing. Of no effect once it has
        closed that."""
        while data and not self._input.closed:
            try:
                data = data[os.write(self._stdin, data) :]
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError), self._input.waiting():
                    await anyio.wait_writable(self._stdin)
            except BrokenPipeError:
                self._input.close()

    async def end_input(self) -> None:
        """There is no more for its standard input."""
        self._input.close()

    async def signal(self, number: int) -> None:
        """Passes a signal on to the command and what it runs in the foreground: its group."""
        self.process.signal_group(number)


async def start(
    colony: RunningColony,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: bool = True,
) -> Streamed:
    """Starts a command in a colony: its network, its environment, its folder.

    stdin
        Whether it has an input; else /dev/null.

    Raises `SpawnError` and `ActorDown`. What it gives is to be `run` at once.
    """
    parts, space = colony.host.parts, await _namespace(colony)
    environment = colony_environment(colony.environ, colony.config, colony.urls)
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (their_input, our_input), (our_output, their_output), (our_errors, their_errors) = pipes
    try:
        process = await spawn(
            parts.thread,
            argv,
            namespace=space,
            instance=parts.instance.id,
            cwd=os.path.join(colony.config.workspace, cwd or ""),
            env={**environment, **(env or {})},
            stdin=their_input if stdin else None,
            stdout=their_output,
            stderr=their_errors,
        )
    except BaseException:
        _close(our_input, our_output, our_errors)
        raise
    finally:
        _close(their_input, their_output, their_errors)
    os.set_blocking(our_input, False)
    return Streamed(process, our_input, {STDOUT: our_output, STDERR: our_errors})


async def _namespace(colony: RunningColony) -> Namespace | None:
    """The colony's own; None where it is on the host's network."""
    if not colony.isolated:
        return None
    owner = colony.system.named(namespace_name(colony.name), NamespaceOwner)
    return await owner.call(GetNamespace())


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


def code_of_refusal(text: str) -> int:
    """A shell's exit status for a command that cannot be executed: 126, 127 if it is not there."""
    forbidden = ("not executable", "is not a program", "may not be entered", "too long")
    return 126 if any(words in text for words in forbidden) else 127
