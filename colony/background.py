"""What the process in the background does: an instance that has no colony of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime

import anyio

from actors import Event
from colony.api.owner import ApiOpened
from colony.console import Console
from colony.exits import Exit
from colony.host import Host, HostFailed, Options, explain
from colony.modes import Impossible
from colony.signals import ending
from colony.tree import colony_of


class Background:
    """One instance, from its start to the exit status."""

    def __init__(self, options: Options) -> None:
        self.host = Host(options, log_crashes=False)
        self.console = Console(colour=False, several=True, debug=True)

    def __repr__(self) -> str:
        return f"<Background {self.host!r}>"

    async def __call__(self) -> int:
        # Listened to from the first moment: a signal before that would leave things behind.
        try:
            with anyio.open_signal_receiver(*ending()) as signals:
                async with self.host:
                    return await self._serve(signals)
        except (HostFailed, Impossible) as error:
            _say(f"error: {error}")
            return Exit.REFUSED if isinstance(error, Impossible) else Exit.FAILED

    async def _serve(self, signals: AsyncIterator[signal.Signals]) -> int:
        host = self.host
        host.system.events.listen(self._note)
        for notice in host.modes.notices:
            _say(f"note: {notice}")
        await host.start()
        api = host.parts.api
        assert api is not None, "a daemon serves the API"
        if not await host.served():
            _say("error: another instance runs here already; see: colony daemon status")
            return Exit.CONFLICT
        await host.settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_signalled, signals, tasks.cancel_scope)
            tasks.start_soon(self._until_ended, tasks.cancel_scope)
            await api.operations.stop_asked.wait()
            tasks.cancel_scope.cancel()
        _say("ending")
        return Exit.FAILED if host.failures.first else Exit.OK

    async def _until_signalled(
        self, signals: AsyncIterator[signal.Signals], over: anyio.CancelScope
    ) -> None:
        number = await anext(signals)
        _say(f"told to end by {number.name}")
        over.cancel()

    async def _until_ended(self, over: anyio.CancelScope) -> None:
        reason = await self.host.stopped()
        _say(f"error: the instance has ended: {self.host.failures.first or explain(reason)}")
        over.cancel()

    def _note(self, event: Event) -> None:
        """The log has what happens, but not what services write: they have logs of their own."""
        api = self.host.parts.api
        if isinstance(event, ApiOpened) and api is not None and api.claimed:
            more = f" and {event.listen}" if event.listen else ""
            _say(f"the API is served at {event.socket}{more}")
        colony = self.host.colonies.get(colony_of(event) or "")
        if colony is not None:
            colony.announce(self.console)
        lines = self.console.show(event) if type(event).__name__ != "ServiceOutput" else b""
        for line in lines.decode("utf-8", "replace").splitlines():
            _say(line)


def _say(text: str) -> None:
    """One line with the time. The log is a file: to write to it does not wait."""
    now = datetime.now().isoformat(sep=" ", timespec="milliseconds")
    print(f"{now} {text}" if not text.startswith("error: ") else text, file=sys.stderr, flush=True)
