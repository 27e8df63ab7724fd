"""A session in a program's hands, on asyncio and trio.

    async with c.terminal() as t:
        await t.expect(r"\\$ ")
        await t.send("make test\\n")
        found = await t.expect(r"(\\d+) passed")
        print((await t.screen()).text)

Patterns see text: UTF-8 decoded, without colours, cursor movements and carriage returns. What a
full-screen program shows is better asked of `screen`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from colony.terminals import opening
from colony.terminals.hub import Exit, Resync
from colony.terminals.screen import Screen
from colony.terminals.sizes import DEFAULT, Size

if TYPE_CHECKING:
    from colony.running import RunningColony

KEPT: Final = 1024 * 1024
"""Characters that `expect` looks through; older ones are let go."""

_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
    r"|[\x0e\x0f]"
)
_UNFINISHED: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)?\Z"
)
_LONGEST: Final = 256 * 1024
"""Characters of a sequence that is not complete: what is copied, a picture."""


class TerminalEnded(Exception):
    """The program ended while something was expected of it; `exit` says how."""

    def __init__(self, exit: Exit, pattern: str, seen: str) -> None:
        self.exit = exit
        super().__init__(
            f"the terminal's program ended ({exit.reason}) before {pattern!r}; it wrote last: "
            f"{seen[-200:]!r}"
        )


class ExpectTimeout(TimeoutError):
    """What was expected did not come in time. The text shows what did."""


class Terminal:
    """A viewer that types and reads; made by `RunningColony.terminal`. For one task at a time."""

    def __init__(self, attached: opening.Attached, name: str) -> None:
        self.name = name
        self.before = ""
        """What came before the last match."""
        self.exit: Exit | None = None
        """How the program ended; None while it runs."""
        self._attached = attached
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._text = ""

    def __repr__(self) -> str:
        return f"<Terminal {self.name} {self.exit or 'running'}>"

    async def send(self, text: str | bytes) -> None:
        """Types. Enter is a newline; Ctrl-C is "\\x03"."""
        data = text.encode() if isinstance(text, str) else text
        await self._attached.write(data.replace(b"\n", b"\r") if isinstance(text, str) else data)

    async def expect(self, pattern: str | re.Pattern[str], timeout: float = 30.0) -> re.Match[str]:
        """Waits until the output matches, and goes on after the match.

        Raises `ExpectTimeout` after `timeout` seconds, and `TerminalEnded`. Cancelled or failed, it
        has consumed nothing.
        """
        wanted = re.compile(pattern) if isinstance(pattern, str) else pattern
        with anyio.move_on_after(timeout):
            while True:
                found = wanted.search(self._text)
                if found is not None:
                    self.before = self._text[: found.start()]
                    self._text = self._text[found.end() :]
                    return found
                if self.exit is not None:
                    raise TerminalEnded(self.exit, wanted.pattern, self._text)
                await self._more()
        raise ExpectTimeout(
            f"no {wanted.pattern!r} within {timeout:g} s; it wrote last: {self._text[-200:]!r}"
        )

    async def wait(self) -> Exit:
        """Waits for the program's end, reading what it writes."""
        while self.exit is None:
            await self._more()
        return self.exit

    async def screen(self) -> Screen:
        """What it shows now. Raises `NoEmulator` without pyte."""
        return await self._attached.screen()

    async def resize(self, rows: int, columns: int) -> None:
        """Gives it another size, as far as its other viewers agree."""
        self._attached.resize(Size(rows, columns))

    async def _more(self) -> None:
        item = await self._attached.take()
        if isinstance(item, bytes):
            self._add(item)
        elif isinstance(item, Resync):
            self._text = self._unfinished = ""
            self._decoder.reset()
        elif isinstance(item, Exit):
            self.exit = item
        elif item is None and self.exit is None:
            self.exit = Exit(reason="left")

    def _add(self, data: bytes) -> None:
        text = self._unfinished + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
        self._unfinished = unfinished[0] if unfinished else ""
        if unfinished:
            text = text[: unfinished.start()]
        text = _ESCAPES.sub("", text).replace("\r", "")
        self._text = (self._text + text)[-KEPT:]


@asynccontextmanager
async def terminal(
    colony: RunningColony,
    name: str | None = None,
    *,
    argv: Sequence[str] | None = None,
    size: Size = DEFAULT,
    read_only: bool = False,
) -> AsyncIterator[Terminal]:
    """A session for as long as the block, as `RunningColony.terminal` says."""
    lingers = name is not None
    if name is None or argv:
        name, ref = await opening.start(colony, name=name, argv=argv, size=size, lingers=lingers)
        attached = await opening.join(ref, read_only=read_only, size=size)
    else:
        attached = await opening.attach(colony, name, read_only=read_only, size=size)
    try:
        yield Terminal(attached, name)
    finally:
        attached.leave()
        if not lingers and attached.session is not None:
            with anyio.CancelScope(shield=True):
                await colony.system.stop_actor(attached.session)
