"""`colony run`: hosts an instance in the foreground until its colonies end or it is told to stop.

first SIGINT or SIGTERM    stops its own colonies in reverse order, politely; so does SIGHUP
second                     kills what is left of them, and stops those that have joined
third                      kills what is left of those, too
a colony gives up          its failing service's last lines, exit status 1

On a terminal a table of the services stands below the lines (`colony.lanes`).

Colonies of other `colony run`s may join the instance (`colony.join`). It stays for them when its
own have ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, Final

import anyio
import anyio.abc
import anyio.to_thread
from msgspec.structs import replace

from actors import Event, Subscription
from colony import aside
from colony.api.owner import ApiOpened
from colony.config import Config
from colony.console import Console
from colony.events import ServiceOutput
from colony.exits import Exit
from colony.host import ColonyFailed, Host, HostFailed, Options, RunningColony, explain
from colony.lanes import Lane, Table, providing, same_terminal, wanted
from colony.modes import Impossible
from colony.preparing import NOT_PROVIDED
from colony.running import announce
from colony.sdk.errors import ColonyError
from colony.signals import ending
from colony.tree import colony_of
from netns import sweep

SIGNALLED: Final = 128
"""Added to a signal's number for the exit status, as shells do."""

BACKLOG: Final = 4 * 1024 * 1024
"""Bytes of output that may wait for a slow terminal; beyond it the oldest are dropped."""

TICK: Final = 1.0
"""Seconds after which the table is looked at anew: its times go on."""

ECHO: Final = 0.3
"""Seconds within which a second signal is taken for an echo of the first."""

GATHER: Final = 0.05
"""Seconds in which what is to be written gathers: fewer than anybody sees, and a thread is woken
once for all that happens at once. A service that crashed is started again meanwhile, and mostly has
the processor to itself until it answers."""

UNMADE: Final = 100
"""Events whose lines may wait to be made."""

SHOWN_LINES: Final = 10
"""Last lines of a failing service that are shown."""


class Screen:
    """Writes to a terminal, or what stands for it, without ever holding up the event loop.

    `table` stands below what is written, where there is one.
    """

    def __init__(self, out: BinaryIO, table: Table | None = None) -> None:
        self.table = table
        self._out = out
        self._waiting: deque[bytes] = deque()
        self._unmade: list[Callable[[], bytes]] = []
        self._size = 0
        self._dropped = 0
        self._more = anyio.Event()
        self._turn = anyio.Lock()
        self._held = False
        self.broken = False
        """Whether nobody reads any more."""

    def later(self, make: Callable[[], bytes]) -> None:
        """Queues lines that are made once it is their turn: what they are about, such as a
        service's restart, need not wait for it."""
        self._unmade.append(make)
        if len(self._unmade) >= UNMADE:
            self.settle()
        self._more.set()

    def settle(self) -> None:
        """Makes what is not made yet."""
        unmade, self._unmade = self._unmade, []
        for make in unmade:
            self.write(make())

    def write(self, data: bytes) -> None:
        """Queues some lines."""
        if self._unmade:
            self.settle()
        if not data or self.broken:
            return
        self._waiting.append(data)
        self._size += len(data)
        while self._size > BACKLOG:
            lost = self._waiting.popleft()
            self._size -= len(lost)
            self._dropped += lost.count(b"\n")
        self._more.set()

    def stir(self) -> None:
        """What the table shows may have changed."""
        if self.table is not None:
            self._more.set()

    async def run(self) -> None:
        """Writes what is queued, until cancelled; with a table, at least once a second."""
        while True:
            with anyio.move_on_after(float("inf") if self.table is None else TICK):
                await self._more.wait()
                await anyio.sleep(GATHER)
            self._more = anyio.Event()
            await self.flush()

    async def end(self) -> None:
        """Takes the table away for good, and writes what is queued."""
        self.settle()
        if self.table is not None:
            taken = self.table.end()
            self._waiting.appendleft(taken)
            self._size += len(taken)
        await self.flush()

    async def hold(self) -> None:
        """Writes what is queued, takes the table away, and writes no more until `go_on`."""
        async with self._turn:
            self.settle()
            if self.table is not None:
                self._waiting.appendleft(
                    self.table.hide()
                )  # first: it stands below what was written
            await self._flush(alone=True)
            self._held = True

    def go_on(self) -> None:
        """Writes what has been queued since, and goes on."""
        self._held = False
        self._more.set()

    async def flush(self) -> None:
        """Writes all that is queued now. Two flushes at once keep the order."""
        async with self._turn:
            if not self._held:
                await self._flush()

    async def _flush(self, alone: bool = False) -> None:
        self.settle()
        data, self._size = b"".join(self._waiting), 0
        self._waiting.clear()
        if self._dropped:
            data = b"\xe2\x80\xa6 %d lines dropped\n" % self._dropped + data
            self._dropped = 0
        if self.table is not None and not alone:
            data = self.table.around(data)
        if data and not self.broken:
            await anyio.to_thread.run_sync(self._put, data)

    def _put(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except (OSError, ValueError):  # nobody reads, the terminal is gone, the disk is full
            self.broken = True
            self._to_nobody()

    def _to_nobody(self) -> None:
        """What is still buffered goes nowhere: Python writes it at its end, and the exit status is
        120 if it cannot."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.dup2(nowhere, self._out.fileno())
            finally:
                os.close(nowhere)


class Run:
    """One `colony run`, from the start of its host to the exit status."""

    def __init__(
        self,
        configs: list[Config],
        options: Options,
        *,
        colour: bool,
        keep: bool = False,
        attach: bool = False,
        debug: bool = False,
    ) -> None:
        # Their files are asked for as long as we run, and the folder that we are in may be removed.
        self.configs = [replace(each, path=os.path.abspath(each.path)) for each in configs]
        self.keep = keep
        self.attach = attach
        self.host = Host(options, log_crashes=False)
        self.console = Console(colour=colour, several=len(configs) > 1, debug=debug)
        table = Table(self._lanes, colour=colour) if wanted() else None
        self.screen = Screen(sys.stdout.buffer, table)
        shared = table is not None and same_terminal(sys.stdout, sys.stderr)
        self.errors = self.screen if shared else Screen(sys.stderr.buffer)
        self.colonies: list[RunningColony] = []
        self.own = dict.fromkeys(config.name for config in configs)
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
            for screen in {self.screen, self.errors}:
                tasks.start_soon(screen.run)
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
            await self.screen.end()
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
        api = self.host.parts.api
        if isinstance(event, ApiOpened) and api is not None and not api.claimed:
            # Commands find the other instance, unless they are told.
            text = f"another instance runs; this one answers to: colony --host unix://{api.socket}"
            self.screen.write(self.console.line("note", "colony", text))
        if colony is None or colony in self.own:
            if self.console.shows(event):
                self.screen.later(partial(self.console.show, event))
            self.screen.stir()
            if isinstance(event, ServiceOutput):  # of which so much may come as to take its time
                self.screen.settle()

    def _lanes(self) -> list[Lane]:
        """The services of our own colonies, for the table."""
        now, lanes = self.host.system.now(), []
        for name in self.own:
            colony = self.host.colonies.get(name)
            if colony is not None and (step := colony.step) is not None:
                for_it = (step.step, step.detail, step.percent, now - colony.step_began)
                lanes.append(providing(name, *for_it))
            for each in () if colony is None else colony.statuses.values():
                lane = Lane(
                    self.console.name(name, each.service),
                    each.state,
                    each.port,
                    each.url,
                    each.restarts,
                    now - each.since if each.since else None,
                    each.detail,
                )
                lanes.append(lane)
        return lanes

    async def _up(self) -> None:
        """Starts everything, or stops trying when asked to stop."""
        with self.starting:
            await self.host.start()
            for config in self.configs:
                announce(self.console, config, self.host.urls(config))
                try:
                    self.colonies.append(await self.host.add(config, keep=self.keep))
                except ColonyFailed as error:
                    self._complain(str(error))
                    if error.code == NOT_PROVIDED:
                        self.failed, self.status = False, Exit.NOT_PROVIDED
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
            tasks.start_soon(self.host.settle)
            if self.attach:
                tasks.start_soon(self._sit)
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
            self.errors.write(self.console.lines(colony.name, colony.culprit, lines, b"  "))

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

    async def _sit(self) -> None:
        """Once its services are ready: the first colony's terminal, until it is left."""
        colony, api = self.colonies[0], self.host.parts.api
        for name in colony.services:
            with suppress(ColonyError):
                await colony.service(name).ready()
        assert api is not None
        await self.host.served()
        if api.socket is None:
            self._warn("not attached: the API is not served")
            return
        screens = {self.screen, self.errors}
        for screen in screens:
            await screen.hold()
        try:
            words = aside.command(api.socket, colony.name)
            process = await anyio.open_process(words, stdin=None, stdout=None, stderr=None)
            try:
                await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                with anyio.CancelScope(shield=True):
                    await process.wait()
        finally:
            for screen in screens:
                screen.go_on()

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


def run(
    configs: list[Config],
    options: Options,
    *,
    colour: bool,
    keep: bool = False,
    attach: bool = False,
    debug: bool = False,
) -> int:
    """Hosts these colonies in the foreground; returns the exit status. Blocks.

    With `keep` what was provided for a colony stays when it cannot be started. With `attach` we
    sit in the first one's terminal once its services are ready (`colony.aside`). With `debug`
    faults of Colony's own are shown with their tracebacks.
    """

    async def main() -> int:
        one = Run(configs, options, colour=colour, keep=keep, attach=attach, debug=debug)
        return await one()

    return anyio.run(main)
