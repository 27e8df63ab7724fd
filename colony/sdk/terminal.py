"""A terminal session of a colony of another process: what `RunningColony.terminal` gives, over a
WebSocket.

The reading, the patterns and the waiting are `colony.terminals.driven`'s own; here is only what it
reads from and writes to. docs/terminal-protocol.md has the messages.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast
from urllib.parse import quote

import anyio
import msgspec

from colony.api import terminal_types as tt
from colony.sdk.errors import InstanceLost, NotFound
from colony.sdk.wire import Answer, Wire
from colony.terminals import opening
from colony.terminals.connection import FAREWELL
from colony.terminals.driven import Terminal
from colony.terminals.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    BadFrame,
    FrameReader,
    accept_for,
    masked,
)
from colony.terminals.hub import Exit, Hello, News, Resized, Resync, Viewers
from colony.terminals.screen import Screen

_news: Final = msgspec.json.Decoder(Hello | Resync | Resized | Viewers | Exit)
_SENT_AT_ONCE: Final = 512 * 1024
"""Bytes of a message at most; the instance takes 1 MiB."""


class RemoteAttached:
    """What `opening.Attached` is to a session of this process."""

    def __init__(self, answer: Answer, names: dict[str, str]) -> None:
        self._answer = answer
        self._names = names
        self._frames = FrameReader()
        self._items: deque[bytes | News] = deque()
        self._over = False

    def __repr__(self) -> str:
        return f"<RemoteAttached to {self._names['colony']}/{self._names['terminal']}>"

    async def take(self) -> bytes | News | None:
        """What comes next; None after the end. Raises `InstanceLost`."""
        while not self._items:
            if self._over:
                return None
            piece = await self._answer.piece()
            if piece is None:
                raise self._answer.lost("it has closed the connection")
            await self._sort(piece)
        return self._items.popleft()

    async def write(self, data: bytes) -> None:
        """Types. Waits while the instance takes nothing."""
        for at in range(0, len(data), _SENT_AT_ONCE):
            await self._send(BINARY, data[at : at + _SENT_AT_ONCE])

    async def tell_size(self, rows: int, columns: int) -> None:
        """The viewer's window has another size."""
        said = {"t": "resize", "rows": rows, "columns": columns}
        await self._send(TEXT, msgspec.json.encode(said))

    async def screen(self) -> Screen:
        """What the session shows now. Raises `Failed` if the instance cannot tell."""
        wire = self._answer.wire
        shown = await wire.ask("terminal_screen", self._names, tt.TerminalScreen)
        return msgspec.convert(shown, Screen, from_attributes=True)

    async def leave(self) -> None:
        """Ends the connection, once the instance has taken what was typed."""
        with anyio.move_on_after(FAREWELL, shield=True), suppress(InstanceLost):
            await self._send(CLOSE, b"\x03\xe8")
            while not self._over and (piece := await self._answer.piece()) is not None:
                await self._sort(piece)

    async def _sort(self, data: bytes) -> None:
        try:
            for kind, message in self._frames.feed(data):
                if kind == BINARY:
                    self._items.append(message)
                elif kind == PING:
                    await self._send(PONG, message)
                elif kind == CLOSE:
                    self._over = True
                elif kind == TEXT:
                    with suppress(msgspec.ValidationError):  # of a later version
                        self._items.append(_news.decode(message))
        except BadFrame as error:
            raise self._answer.lost(str(error)) from None

    async def _send(self, kind: int, data: bytes) -> None:
        await self._answer.send(masked(kind, data, os.urandom(4)))


class RemoteTerminal(Terminal):
    """A viewer over the wire."""

    def __init__(self, attached: RemoteAttached, name: str) -> None:
        super().__init__(cast(opening.Attached, attached), name)
        self._remote = attached

    async def resize(self, rows: int, columns: int) -> None:
        """Gives it another size, as far as its other viewers agree."""
        await self._remote.tell_size(rows, columns)


@asynccontextmanager
async def terminal(
    wire: Wire,
    colony: str,
    name: str | None = None,
    *,
    argv: Sequence[str] | None = None,
    size: tuple[int, int] = (24, 80),
    read_only: bool = False,
) -> AsyncIterator[Terminal]:
    """A session for as long as the block, as `Colony.terminal` says."""
    if name is not None:
        async with _attached(wire, colony, name, size, read_only) as one:
            yield one
        return
    rows, columns = size
    wanted = tt.CreateTerminal(argv=tuple(argv or ()), rows=rows, columns=columns)
    made = await wire.ask("create_terminal", {"colony": colony}, tt.Terminal, body=wanted)
    try:
        async with _attached(wire, colony, made.name, size, read_only) as one:
            yield one
    finally:
        names = {"colony": colony, "terminal": made.name}
        with anyio.CancelScope(shield=True), suppress(NotFound, InstanceLost):
            await wire.ask("end_terminal", names, tt.TerminalEnded)


@asynccontextmanager
async def _attached(
    wire: Wire, colony: str, name: str, size: tuple[int, int], read_only: bool
) -> AsyncIterator[RemoteTerminal]:
    key = b64encode(os.urandom(16))
    query: dict[str, Any] = {"rows": size[0], "columns": size[1], "read_only": read_only}
    path = f"/api/colonies/{quote(colony, safe='')}/terminals/{quote(name, safe='')}/attach"
    answer = await wire.upgraded(path, query, key)
    try:
        if answer.headers.get("sec-websocket-accept") != accept_for(key):
            raise answer.lost("it does not speak WebSocket")
        attached = RemoteAttached(answer, {"colony": colony, "terminal": name})
        try:
            yield RemoteTerminal(attached, name)
        finally:
            await attached.leave()
    finally:
        await answer.aclose()
