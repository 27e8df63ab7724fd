"""What a terminal shows, as text: for `capture`, agents and tests. Emulated by pyte, when asked.

The emulator gets the bytes that the ring has. It knows one screen; what an alternate screen showed
is cut out once that is left, and stands alone while it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from unicodedata import combining

import msgspec

from colony.terminals.answers import without_questions
from colony.terminals.modes import Modes
from colony.terminals.replay import is_within, safe
from colony.terminals.ring import Ring
from colony.terminals.sizes import Size

EMULATED: Final = 128 * 1024
"""Bytes that are emulated at most: a tenth of a second."""

_SWITCH: Final = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_UNKNOWN: Final = re.compile(rb"\x1b\[(?:[<=>][0-9;]*.|\?[0-9;]*[^hl0-9;])")
"""Sequences that pyte takes for others."""


class Screen(msgspec.Struct, frozen=True):
    """What a terminal shows. Lines are without the spaces at their ends; the cursor counts from
    0."""

    rows: int
    columns: int
    lines: tuple[str, ...]
    cursor_row: int
    cursor_column: int
    cursor_visible: bool
    alternate: bool
    title: str

    @property
    def text(self) -> str:
        """All lines, without the empty ones at the end."""
        return "\n".join(self.lines).rstrip("\n")


class NoEmulator(Exception):
    """pyte is not installed; the text says how to install it."""


def recent(ring: Ring, modes: Modes) -> bytes:
    """The last bytes, of which is made up what is shown now."""
    start = max(ring.start, ring.end - EMULATED)
    start = safe(ring, start, is_within(modes, start))
    if modes.alternate:
        start = max(start, modes.entered)
    return ring.read(start, ring.end - start)


def on_one_screen(data: bytes) -> bytes:
    """What the main screen showed, without what the alternate one did meanwhile; without all that
    comes before it was left, if it was there from the beginning."""
    shown: list[bytes] = []
    since, entered = 0, -1
    for found in _SWITCH.finditer(data):
        if found[1] == b"h":
            if entered < 0:
                entered = found.start()
                shown.append(data[since:entered])
        else:
            if entered < 0:
                shown.clear()
            since, entered = found.end(), -1
    return b"".join((*shown, data[since if entered < 0 else entered :]))


def emulated(data: bytes, size: Size, modes: Modes) -> Screen:
    """The screen after these bytes. A microsecond a byte: for a thread. Raises `NoEmulator`."""
    try:
        import pyte
    except ImportError:
        raise NoEmulator("the screen as text needs pyte: pip install pyte") from None
    screen: Any = pyte.Screen(size.columns, size.rows)
    if not modes.alternate:
        data = on_one_screen(data)
    text = _UNKNOWN.sub(b"", without_questions(data)).decode("utf-8", "replace")
    pyte.Stream(screen).feed(text.translate(_undrawable(text, pyte.screens.wcwidth)))
    return Screen(
        rows=size.rows,
        columns=size.columns,
        lines=tuple(line.rstrip() for line in screen.display),
        cursor_row=screen.cursor.y,
        cursor_column=min(screen.cursor.x, size.columns - 1),
        cursor_visible=modes.set.get(25, True),
        alternate=modes.alternate,
        title=modes.title,
    )


def _undrawable(text: str, width: Callable[[str], int]) -> dict[int, None]:
    """Characters that take no place and are no accents: joiners, the selectors of an emoji's look.
    At one of these pyte forgets the rest of what it draws."""
    foreign = (each for each in set(text) if each >= "\xa0")
    return {ord(each): None for each in foreign if width(each) <= 0 and not combining(each)}
