"""Showing again what a terminal showed before: pure.

Two things make old bytes other than new ones. They begin somewhere, perhaps in the middle of a
sequence or a character; and the questions in them (where is the cursor? which terminal are you?)
were answered long ago: asked again, each viewer's terminal would type its answer into the shell.
Nor is what was copied then to be copied again.
"""

from __future__ import annotations

import re
from typing import Final

from colony.terminals.answers import without_questions
from colony.terminals.keyboard import PLAIN
from colony.terminals.modes import DEFAULTS, RESET, RESET_HERE, Modes
from colony.terminals.ring import Ring

BOUNDARY: Final = 64 * 1024
"""Bytes in which a line's end is looked for, to begin after it."""

CLEAR: Final = b"\x1b[H\x1b[2J"
"""Not the scrollback of the viewer's own terminal, which is none of ours."""

_ENTER: Final = re.compile(rb"\x1b\[\?(?:1049|1047|47)h")


def boundary(data: bytes) -> int:
    """Where in data that begins anywhere a safe beginning is: after the string that it begins in (a
    picture, say, which may have lines), after a line's end, else where a sequence or a character
    begins; its end if there is none."""
    escape = data.find(b"\x1b")
    if escape >= 0 and data.startswith(b"\x1b\\", escape):
        return escape + 2
    line = data.find(b"\n", 0, BOUNDARY)
    if line >= 0:
        return line + 1
    return escape if escape >= 0 else len(data)


def beginning(clear: bool) -> bytes:
    """What a viewer is sent before the first byte of all."""
    return _begun(Modes(), Modes(), clear)


def replay(
    ring: Ring, before: Modes, now: Modes, most: int | None = None, *, clear: bool = True
) -> bytes:
    """What a fresh viewer is sent before the bytes from `ring.end` on.

    before, now
        The modes at the ring's start and at its end.
    most
        Bytes of the ring that are shown at most; default all.
    clear
        Whether the viewer's screen is cleared first; else it is on its main one, and goes on where
        its cursor is.

    A full-screen program's old bytes are useless at any other size than theirs: it is asked to
    paint anew instead, on an empty screen, over what the main one shows when it has ended.
    """
    if now.alternate:
        return _beneath(ring, before, now, most, clear) + now.prelude() + CLEAR
    if most is None or ring.end - ring.start <= most:
        start, modes = ring.start, before.copy()
    else:
        start, modes = ring.end - most, now.copy()
    data = ring.read(start, ring.end - start)
    if start > 0:
        cut = boundary(data)
        modes.feed(data[:cut])
        data = data[cut:]
    shown = _begun(modes, now, clear) + without_questions(data)
    # A tail was begun with a guess.
    return shown if start == ring.start else shown + _difference(modes, data, now)


def _begun(modes: Modes, now: Modes, clear: bool) -> bytes:
    return _reset(now, clear) + modes.prelude() + (CLEAR if clear else b"")


def _reset(now: Modes, clear: bool) -> bytes:
    """Some old terminals show what they do not know of keys: only where a program has used it."""
    return (RESET if clear else RESET_HERE) + (PLAIN if now.keyboard.used else b"")


def _beneath(ring: Ring, before: Modes, now: Modes, most: int | None, clear: bool) -> bytes:
    """What the main screen shows while the alternate one is there, as far as it is known."""
    start = ring.start if most is None else max(ring.start, ring.end - most)
    data = ring.read(start, ring.end - start)
    entered = [found.start() for found in _ENTER.finditer(data)]
    if not entered:
        return _reset(now, clear)
    data = data[boundary(data) if start > 0 else 0 : entered[-1]]
    modes = before.copy() if start == ring.start else Modes()
    shown = _begun(modes, now, clear) + without_questions(data)
    modes.feed(data)
    return shown + modes.leave()


def _difference(modes: Modes, data: bytes, now: Modes) -> bytes:
    """What is still to be switched after `data`, if `modes` was its beginning's guess."""
    modes.feed(data)
    parts = []
    if modes.alternate != now.alternate:
        parts.append(b"\x1b[?1049h" if now.alternate else b"\x1b[?1049l")
    for number in sorted({*modes.set, *now.set}):
        if modes.set.get(number) != now.set.get(number):
            on = now.set.get(number, DEFAULTS[number])
            parts.append(b"\x1b[?%d%b" % (number, b"h" if on else b"l"))
    if modes.keyboard.state != now.keyboard.state:
        parts += [modes.keyboard.leave(now.alternate), PLAIN, now.keyboard.prelude(now.alternate)]
        parts.append(b"\x1b[>4;%dm" % now.keyboard.level if now.keyboard.level else b"")
    return b"".join(parts)
