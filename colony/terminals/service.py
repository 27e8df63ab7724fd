"""The terminals of services: what one with `pty = true` shows, over all its lives.

    service ──▶ reader thread ──▶ logs
                      └── tap ──▶ pump, in the event loop ──▶ hub ──▶ viewers
    viewer's keys, its size ──▶ the terminal of the life that runs

Law: a viewer of a service looks at the service and not at one process of it. It stays when that
ends, is told so by a line in brackets within the output, and sees the next life. It is let go when
the colony ends.

The logs read the terminal, whoever looks: what is shown here is tapped there, and is never less
than what was written. If the pump falls `HIGH` bytes behind, the reading is held until it has
caught up, for which a viewer who types has as much time as with a session (`hub`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio

from actors import Actor, Call, Event, OwnedTask, Reason, backend, events, on
from colony.events import ServiceExited, ServiceFailed, ServiceStopped, ServiceWaiting
from colony.logs import Feed, Logs
from colony.terminals.gather import SHARE
from colony.terminals.hub import Exit, Hub
from colony.terminals.pty import UNSEEN, repaint
from colony.terminals.sizes import Size

SIZE: Final = Size(40, 120)
"""Of a service's terminal that nobody looks at: what fits a wide log."""

HIGH: Final = 256 * 1024
"""Bytes that may wait for the pump."""

_PAUSE: Final = 0.001
_PAUSE_MAX: Final = 0.05
"""Seconds between two tries to type into a program that does not read."""


class Life(Protocol):
    """The terminal of one life of a service. Used after its end, it does nothing."""

    def write(self, data: bytes) -> int:
        """Types what is taken at once; how many bytes. Raises `OSError`."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Gives it a size."""
        ...


class ServiceTerminal:
    """What a service shows and takes. Made by `ServiceTerminals`; used in the event loop, apart
    from `tap`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.painting: Callable[[], None] = lambda: None
        self.hub = Hub(SIZE, alone=SIZE, resized=self._resize, repaint=lambda: self.painting())
        self._life: Life | None = None
        self._logs: Logs | None = None
        self._typing = anyio.Lock()
        self._soon = backend.current().call_soon_threadsafe
        self._lock = threading.Lock()
        self._bell = anyio.Event()
        self._rung = False
        self._pending: deque[bytes | str] = deque()
        self._size = 0
        self._held: list[Feed] = []
        self._last = b"\n"

    def __repr__(self) -> str:
        return f"<ServiceTerminal {self.service} {self.hub!r}>"

    # -- the service's side --------------------------------------------------------------------

    def begin(self, life: Life, logs: Logs) -> None:
        """A new life, whose terminal has the size `hub.size`. It may write from now on."""
        if self._life is not None:
            self.remark(f"{self.service} is started")
        self._life, self._logs = life, logs

    def tap(self, feed: Feed, data: bytes) -> None:
        """Takes what the service wrote. On the reader thread."""
        with self._lock:
            self._pending.append(data)
            self._size += len(data)
            if self._size >= HIGH and feed not in self._held and self._logs is not None:
                self._held.append(feed)
                self._logs.hold(feed)
            self._ring()

    def remark(self, text: str) -> None:
        """Has its viewers read something, after what it has written so far."""
        with self._lock:
            self._pending.append(text)
            self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            with suppress(RuntimeError):  # the loop is gone
                self._soon(lambda: self._bell.set())

    async def pump(self) -> None:
        """Hands the hub what was tapped; at the end its viewers are let go."""
        try:
            while True:
                await self._bell.wait()
                self._bell = anyio.Event()
                while count := await self._show():
                    await self.hub.room()
                    await anyio.sleep(UNSEEN if count >= SHARE and not self.hub.followed else 0)
        finally:
            with anyio.CancelScope(shield=True):
                while await self._show():
                    pass
            self.hub.end(Exit(reason="the colony has ended"))

    async def _show(self) -> int:
        """Hands over a share; how many bytes that were, remarks counted as one."""
        taken: list[bytes | str] = []
        count = 0
        with self._lock:
            while self._pending and count < SHARE:
                taken.append(self._pending.popleft())
                count += len(taken[-1]) if isinstance(taken[-1], bytes) else 1
            self._size -= sum(len(each) for each in taken if isinstance(each, bytes))
            self._rung = bool(self._pending)
            released, self._held = (self._held, []) if self._size < HIGH // 2 else ([], self._held)
        for item in _joined(taken):
            data = item if isinstance(item, bytes) else self._remark(item)
            self._last = data[-1:] or self._last
            await self.hub.take_in(data)
        for feed in released:
            assert self._logs is not None
            self._logs.go_on(feed)
        return count

    def _remark(self, text: str) -> bytes:
        """A line of its own, outside of whatever screen and mode the program has left behind."""
        begin = self.hub.modes.leave() + (b"" if self._last == b"\n" else b"\r\n")
        return begin + b"\x1b[2m[" + text.encode() + b"]\x1b[m\r\n"

    # -- the viewers' side ---------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Types, waiting while the program does not read. Of no effect while none runs."""
        async with self._typing:
            pause = _PAUSE
            while data and (life := self._life) is not None:
                try:
                    taken = life.write(data)
                except OSError:
                    return
                data = data[taken:]
                if data:
                    pause = _PAUSE if taken else min(2 * pause, _PAUSE_MAX)
                    await anyio.sleep(pause)

    def left(self) -> None:
        """A viewer has left: all the same to a service."""

    def _resize(self, size: Size) -> None:
        if self._life is not None:
            self._life.resize(size.rows, size.columns)

    async def repaint(self) -> None:
        await repaint(self._resize, self.hub, self._typing)


def _joined(items: Sequence[bytes | str]) -> list[bytes | str]:
    """The same with pieces that follow each other made one: a terminal is read in small ones."""
    made: list[bytes | str] = []
    pieces: list[bytes] = []
    for item in (*items, ""):
        if isinstance(item, bytes):
            pieces.append(item)
            continue
        if pieces:
            made.append(b"".join(pieces))
            pieces.clear()
        if item:
            made.append(item)
    return made


class TerminalOf(Call["ServiceTerminals", ServiceTerminal], frozen=True):
    """The terminal of a service, the object itself: neither keys nor output go by messages."""

    service: str


class ServiceTerminals(Actor):
    """Keeps the terminals of a colony's services. It stands before the services, whose output it
    shows from the first byte.

    services
        Those that have one. Others are added when they are asked for.
    supervisor
        The path of the supervisor of the services.
    """

    def __init__(self, colony: str, services: Sequence[str], supervisor: str) -> None:
        self.colony = colony
        self.services = tuple(services)
        self.supervisor = supervisor
        self.terminals: dict[str, ServiceTerminal] = {}
        self.painting: dict[str, OwnedTask] = {}
        self._leave: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<ServiceTerminals of {self.colony}: {', '.join(self.terminals) or 'none'}>"

    async def start(self) -> None:
        for service in self.services:
            self._made(service)
        self._leave = self.ctx.system.events.listen(self._note)

    async def stopping(self, reason: Reason) -> None:
        self._leave()

    @on(TerminalOf)
    def _terminal_of(self, msg: TerminalOf) -> ServiceTerminal:
        return self.terminals.get(msg.service) or self._made(msg.service)

    def _made(self, service: str) -> ServiceTerminal:
        made = self.terminals[service] = ServiceTerminal(service)
        made.painting = lambda: self._paint(made)
        self.ctx.run(made.pump)
        return made

    def _paint(self, terminal: ServiceTerminal) -> None:
        before = self.painting.get(terminal.service)
        if before is not None:
            before.cancel()
        self.painting[terminal.service] = self.ctx.run(terminal.repaint)

    def _note(self, event: Event) -> None:
        words = REMARKS.get(type(event))
        if words is None:
            return
        about: Any = event
        if isinstance(event, events.Restarting):
            service, mine = event.child, event.supervisor == self.supervisor
        else:
            service, mine = about.service, about.colony == self.colony
        terminal = self.terminals.get(service) if mine else None
        text = words(about)
        if terminal is not None and text:
            terminal.remark(text)


def _again(event: events.Restarting) -> str:
    return f"{event.child} is started again in {event.delay:.2g} s" if event.delay else ""


REMARKS: Final[dict[type, Callable[[Any], str]]] = {
    ServiceWaiting: lambda it: f"{it.service} waits for {', '.join(it.waits_for)}",
    ServiceExited: lambda it: f"{it.service} has ended: {it.status}",
    ServiceStopped: lambda it: (
        f"{it.service} was stopped; to start it: colony start {it.colony}/{it.service}"
    ),
    ServiceFailed: lambda it: f"{it.service} cannot run: {it.reason}",
    events.Restarting: _again,
}
"""What the viewers of a service read of it; "" for nothing."""


def terminals_of_services(colony: str) -> str:
    """The name of the keeper of the services' terminals in the system."""
    return f"service terminals {colony}"
