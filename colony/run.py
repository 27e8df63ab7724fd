"""`colony run`: hosts an instance in the foreground until its colonies end or it is told to stop.

first SIGINT or SIGTERM    stops its own colonies in reverse order, politely; so does SIGHUP
second                     kills what is left of them, and stops those that have joined
third                      kills what is left of those, too
a colony gives up          its failing service's last lines, exit status 1

Colonies of other `colony run`s may join the instance (`colony.join`). It stays for them when its
own have ended.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final

import anyio
import anyio.abc
import anyio.to_thread

from actors import Event, Subscription
from colony.config import Config
from colony.console import Console
from colony.exits import Exit
from colony.host import ColonyFailed, Host, HostFailed, Options, RunningColony, explain
from colony.modes import Impossible
from colony.signals import ending
from colony.tree import colony_of
from netns import sweep

SIGNALLED: Final = 128
"""Added to a signal's number for the exit status, as shells do."""

BACKLOG: Final = 4 * 1024 * 1024
"""Bytes of output that may wait for a slow terminal; beyond it the oldest are dropped."""

ECHO: Final = 0.3
"""Seconds within which a second signal is taken for an echo of the first."""

SHOWN_LINES: Final = 10
"""Last lines of a failing service that are shown."""


class Screen:
    """Writes to a terminal, or what stands for it, without ever holding up the event loop."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._more = anyio.Event()
        self._turn = anyio.Lock()
        self.broken = False
        """Whether nobody reads any more."""

    def write(self, data: bytes) -> None:
        """Queues some lines."""
        if not data or self.broken:
            return
        self._waiting.append(data)
        self._size += len(data)
        while self._size > BACKLOG:
            lost = self._waiting.popleft()
            self._size -= len(lost)
            self._dropped += lost.count(b"\n")
        self._more.set()

    async def run(self) -> None:
        """Writes what is queued, until cancelled."""
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Writes all that is queued now. Two flushes at once keep the order."""
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        data, self._size = b"".join(self._waiting), 0
        self._waiting.clear()
        if self._dropped:
            data = b"\xe2\x80\xa6 %d lines dropped\n" % self._dropped + data
            self._dropped = 0
        if data and not self.broken:
            await anyio.to_thread.run_sync(self._put, data)

    def _put(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except (OSError, ValueError):  # nobody reads, the terminal is gone, the disk is full
            self.broken = True


class Run:
    """One `colony run`, from the start of its host to the exit status."""

    def __init__(self, configs: list[Config], options: Options, *, colour: bool) -> None:
        self.configs = configs
        self.host = Host(options)
        self.console = Console(colour=colour, several=len(configs) > 1)
        self.screen = Screen(sys.stdout.buffer)
        self.errors = Screen(sys.stderr.buffer)
        self.colonies: list[RunningColony] = []
        self.own = {config.name for config in configs}
        self.signal: int | None = None
        self.signalled_at = 0.0
        self.asked = anyio.Event()
        self.asked_again = anyio.Event()
        self.starting = anyio.CancelScope()
        self.failed = False
        self.status = 0
        """The exit status if nothing fails: that of a service with `exit_colony`."""

    async def __call__(self) -> int:
        """Runs to the end and returns the exit status."""
        async with anyio.create_task_group() as tasks, _signals(self._signalled):
            tasks.start_soon(self.screen.run)
            tasks.start_soon(self.errors.run)
            try:
                async with self.host:
                    self._listen()
                    await self._up()
                    await self._until_over()
                    await self._down()
                    await self._serve_joined()
            except HostFailed as error:
                self._complain(str(error))
            except Impossible as error:
                self._complain(str(error))
                self.failed, self.status = False, Exit.REFUSED
            await self.screen.flush()
            await self.errors.flush()
            tasks.cancel_scope.cancel()
        if self.signal is not None:
            return SIGNALLED + self.signal
        return Exit.FAILED if self.failed else self.status

    # -- up ------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self.host.system.events.listen(self._note)
        for notice in self.host.modes.notices:
            self._warn(notice)

    def _note(self, event: Event) -> None:
        colony = colony_of(event)
        if colony is None or colony in self.own:
            self.screen.write(self.console.show(event))

    async def _up(self) -> None:
        """Starts everything, or stops trying when asked to stop."""
        with self.starting:
            await self.host.start()
            for config in self.configs:
                urls = self.host.urls(config)
                period = config.supervision.period
                self.console.expect(config.name, urls, list(config.services), period)
                try:
                    self.colonies.append(await self.host.add(config))
                except ColonyFailed as error:
                    self._complain(str(error))
                    for line in error.last_lines:
                        self._message(f"  | {line}")
                    if error.help:
                        self._message(f"  = help: {error.help}")
                    self.asked.set()
                    return

    # -- until ---------------------------------------------------------------------------------

    async def _until_over(self) -> None:
        """Waits until it is told to stop, or every colony has ended, or the whole system has."""
        if self.asked.is_set():
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_colonies, tasks.cancel_scope)
            tasks.start_soon(self._watch_system, tasks.cancel_scope)
            tasks.start_soon(self._watch_operations)
            await self.asked.wait()
            tasks.cancel_scope.cancel()

    async def _watch_colonies(self, over: anyio.CancelScope) -> None:
        async with anyio.create_task_group() as tasks:
            for colony in self.colonies:
                tasks.start_soon(self._watch_colony, colony)
        over.cancel()

    async def _watch_colony(self, colony: RunningColony) -> None:
        """Follows a colony to its end, over the lives that an operator gives it, and says why."""
        while True:
            await colony.stopped()
            successor = await colony.successor()
            if successor is None:
                break
            self.colonies[self.colonies.index(colony)] = colony = successor
        if colony.exit_code is not None:
            self.screen.write(self.console.line("note", colony.name, str(colony.reason)))
            self.status = self.status or colony.exit_code
            return
        if colony.state == "stopped":
            self.screen.write(self.console.line("note", colony.name, "was stopped"))
            return
        if colony.culprit is None:
            self._complain(f"colony {colony.name} has ended: {colony.reason}")
            return
        self._complain(f"colony {colony.name} gave up: {colony.reason}")
        lines = await colony.last_lines(colony.culprit, SHOWN_LINES)
        if lines:
            self._message(f"  the last lines of {colony.culprit}:")
            prefix = self.console.prefix(colony.name, colony.culprit)
            self.errors.write(b"".join(b"  " + prefix + line + b"\n" for line in lines))

    async def _watch_system(self, over: anyio.CancelScope) -> None:
        reason = await self.host.stopped()
        self._complain(f"the instance has ended: {self.host.failures.first or explain(reason)}")
        over.cancel()

    async def _watch_operations(self) -> None:
        """Somebody may ask for the end of the instance over the API."""
        if self.host.parts.api is not None:
            await self.host.parts.api.operations.stop_asked.wait()
            self.asked.set()
            self.asked_again.set()

    # -- down ----------------------------------------------------------------------------------

    async def _down(self) -> None:
        """Stops the colonies in reverse order; a further signal kills what is left of them."""
        for colony in reversed(self.colonies):
            if not colony.ended:
                line = self.console.line("ending", colony.name, "stopping (Ctrl-C again to kill)")
                self.screen.write(line)
                await colony.stop()

    async def _serve_joined(self) -> None:
        """Stays until the colonies of others have ended, or it is told again."""
        with self.host.system.events.subscribe() as stream:
            said = False
            while not self.asked_again.is_set() and (names := self._joined()):
                if not said:
                    text = f"still here for {', '.join(names)} (Ctrl-C again to stop all)"
                    self.screen.write(self.console.line("note", "colony", text))
                    said = True
                await self._something(stream)

    def _joined(self) -> list[str]:
        return [
            name
            for name, colony in self.host.colonies.items()
            if name not in self.own and not colony.ended
        ]

    async def _something(self, stream: Subscription) -> None:
        """Waits for the next event, or to be told."""

        async def next_event(scope: anyio.CancelScope) -> None:
            await anext(stream)
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next_event, tasks.cancel_scope)
            await self.asked_again.wait()
            tasks.cancel_scope.cancel()

    async def _signalled(self, number: int) -> None:
        """The first signal asks, each further one kills what it finds still there.

        A wrapper that passes a signal on to us, whom it has reached already as one of the process
        group, does not mean it twice: hence `ECHO`.
        """
        now = anyio.current_time()
        if self.signal is None:
            self.signal, self.signalled_at = number, now
            self.starting.cancel()
            self.asked.set()
            return
        if now - self.signalled_at < ECHO:
            return
        # One that was being started when the first signal came is not among `colonies`, and may
        # have processes all the same.
        cut_off = len(self.colonies) < len(self.configs)
        if cut_off or any(not colony.ended for colony in self.colonies):
            await self._kill(self.own)
        elif self.asked_again.is_set():
            await self._kill(set(self._joined()))
        self.asked_again.set()

    async def _kill(self, names: Iterable[str]) -> None:
        self.screen.write(self.console.line("ending", "colony", "killing what is left"))
        for name in names:
            await sweep.kill_all(sweep.colony_of(self.host.parts.instance.id, name))

    # -- words ---------------------------------------------------------------------------------

    def _complain(self, text: str) -> None:
        self.failed = True
        self._message(f"{self.console.paint(31, 'error')}: {text}")

    def _warn(self, text: str) -> None:
        self._message(f"{self.console.paint(33, 'note')}: {text}")

    def _message(self, text: str) -> None:
        self.errors.write(text.encode() + b"\n")


@asynccontextmanager
async def _signals(handle: Callable[[int], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Calls `handle` with each signal in the block that means the end."""

    async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            with anyio.open_signal_receiver(*ending()) as received:
                task_status.started()
                async for number in received:
                    tasks.start_soon(handle, int(number))
        finally:
            # asyncio has put Python's own handler there, whatever was there before; one more Ctrl-C
            # while the loop closes would end in a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    async with anyio.create_task_group() as tasks:
        await tasks.start(listen)
        yield
        tasks.cancel_scope.cancel()


def run(configs: list[Config], options: Options, *, colour: bool) -> int:
    """Hosts these colonies in the foreground; returns the exit status. Blocks."""

    async def main() -> int:
        return await Run(configs, options, colour=colour)()

    return anyio.run(main)
