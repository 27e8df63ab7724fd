"""Showing again what a terminal showed before: pure.

Two things make old bytes other than new ones. They begin somewhere, perhaps in the middle of a
sequence or a character; and the questions in them (where is the cursor? which terminal are you?)
were answered long ago: asked again, each viewer's terminal would type its answer into the shell.
So NULs stand in their place, which every terminal passes over.

The law: what is shown again is a range of the ring, with something before and after it, and never a
copy. So a viewer who has asked for a megabyte and then stops reading costs nothing, and to join is
done at once. Where the modes at the range's start are not known it begins in those that hold at its
end: a sequence switches a mode to one value whatever it was before, so that the last one in the
range leads to what holds now, and where there is none it holds already.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from colony.terminals.modes import RESET, RESET_HERE, Modes
from colony.terminals.ring import Ring

BOUNDARY: Final = 8 * 1024
"""Bytes in which a line's end is looked for, to begin after it, and not where a sequence does."""

CLEAR: Final = b"\x1b[H\x1b[2J"
"""Not the scrollback of the viewer's own terminal, which is none of ours."""

LONGEST: Final = 4 * 1024
"""Bytes of a question that is cut by a piece's end; a longer one is nobody's."""

_QUESTIONS: Final = re.compile(
    rb"\x1b(?:"
    rb"\[(?:"
    rb"[>=]?[0-9;]*c"  # who are you
    rb"|\??[0-9;]*(?:n|\$p)"  # how are you, where is the cursor; is this mode set
    rb"|>[0-9;]*q"  # which version
    rb"|\?u"  # which keyboard flags
    rb"|(?:1[13-9]|2[01])(?:;[0-9]+)*t)"  # how large is the window
    rb"|\](?:4;[0-9]+|1[0-9]|52;[a-z]*);\?(?:\x07|\x1b\\)"  # which colour, what is copied
    rb"|P[+$]q[^\x1b]*\x1b\\"  # which capability, which setting
    rb")|\x05"
)
_UNFINISHED: Final = re.compile(
    rb"\x1b(?:\[[>=?]?[0-9;]*\$?|\][0-9a-z;?]*\x1b?|P(?:[+$](?:q[^\x1b]*\x1b?)?)?)?\Z"
)


class Replay(NamedTuple):
    """What a fresh viewer is sent before the bytes that are new: `begun`, the ring from `start` to
    `end` without its questions, `after`."""

    begun: bytes
    start: int
    end: int
    after: bytes

    @property
    def size(self) -> int:
        """How many bytes that are."""
        return len(self.begun) + self.end - self.start + len(self.after)


def may_ask(data: bytes) -> bool:
    """Whether there may be a question in it."""
    return b"\x1b" in data or b"\x05" in data


def without_questions(data: bytes) -> bytes:
    """The same with NULs for what a terminal would answer to."""
    if not may_ask(data):
        return data
    return _QUESTIONS.sub(lambda question: bytes(len(question[0])), data)


def whole_questions(data: bytes) -> bytes:
    """The beginning of this, up to what may be a question of which the next piece has the rest."""
    cut = _UNFINISHED.search(data, max(1, len(data) - LONGEST))
    return data if cut is None else data[: cut.start()]


def boundary(ring: Ring, start: int) -> int:
    """Where a safe beginning is from this offset on: at the stream's first byte, after a line's end
    that is near, else where the first sequence begins or the first line ends; the ring's end if
    there is neither."""
    if start == 0:
        return 0
    line = ring.find(b"\n", start, min(start + BOUNDARY, ring.end))
    if line >= 0:
        return line + 1
    escape = ring.find(b"\x1b", start, ring.end)
    line = ring.find(b"\n", start, ring.end if escape < 0 else escape)
    return line + 1 if line >= 0 else escape if escape >= 0 else ring.end


def replay(
    ring: Ring, before: Modes, now: Modes, most: int | None = None, *, clear: bool = True
) -> Replay:
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
    start = ring.start if most is None else max(ring.start, ring.end - most)
    if now.alternate:
        return _beneath(ring, start, before, now, clear)
    begin, modes = _begin(ring, start, before if start == ring.start else now)
    return Replay(_begun(modes, clear), begin, ring.end, b"")


def _begin(ring: Ring, start: int, modes: Modes) -> tuple[int, Modes]:
    """A safe beginning, and the modes there if these are those at `start`."""
    begin, modes = boundary(ring, start), modes.copy()
    # Beyond that many there is no escape: there it would have begun.
    modes.feed(ring.read(start, min(begin - start, BOUNDARY)))
    return begin, modes


def _begun(modes: Modes, clear: bool) -> bytes:
    if clear:
        return RESET + modes.prelude() + CLEAR
    return RESET_HERE + modes.prelude()


def _beneath(ring: Ring, start: int, before: Modes, now: Modes, clear: bool) -> Replay:
    """What the main screen shows while the alternate one is there, as far as it is known."""
    after, beneath = now.prelude() + CLEAR, now.beneath
    if beneath is None or now.entered < start:
        return Replay((RESET if clear else RESET_HERE) + after, ring.end, ring.end, b"")
    begin, modes = _begin(ring, start, before if start == ring.start else beneath)
    begun, begin = _begun(modes, clear), min(begin, now.entered)
    return Replay(begun, begin, now.entered, beneath.leave() + after)
