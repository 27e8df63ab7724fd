"""Showing again what a terminal showed before: pure.

Two things make old bytes other than new ones. They begin somewhere, perhaps in the middle of a
sequence or a character; and the questions in them (where is the cursor? which terminal are you?)
were answered long ago: asked again, each viewer's terminal would type its answer into the shell.
Nor is what was copied then to be copied again. So NULs stand in their place, which every terminal
passes over.

The law: what is shown again is a range of the ring, with something before and after it, and never a
copy. It begins and ends in no string: one that is being written is not shown again, it is new. So a
viewer who has asked for a megabyte and then stops reading costs nothing, and to join is
done at once. Where the modes at the range's start are not known it begins in those that hold at its
end: a sequence switches a mode to one value whatever it was before, so that the last one in the
range leads to what holds now, and where there is none it holds already.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from colony.terminals.keyboard import PLAIN, UNPILED
from colony.terminals.modes import RESET, RESET_HERE, Modes
from colony.terminals.ring import Ring

BOUNDARY: Final = 8 * 1024
"""Bytes in which a line's end is looked for, to begin after it, and not where a sequence does."""

REST: Final = b"\x1b]1337;Rest="
"""Opens a string that no terminal does anything for: what follows is the rest of one of which the
beginning is lost."""

CLEAR: Final = b"\x1b[H\x1b[2J"
"""Not the scrollback of the viewer's own terminal, which is none of ours."""


class Replay(NamedTuple):
    """What a fresh viewer is sent before the bytes that are new: `begun`, the ring from `start` to
    `end` without its questions, `after`."""

    begun: bytes
    start: int
    end: int
    after: bytes
    then: int
    """From where on it is new."""

    @property
    def size(self) -> int:
        """How many bytes that are."""
        return len(self.begun) + self.end - self.start + len(self.after)


def boundary(ring: Ring, start: int) -> int:
    """Where a safe beginning is from this offset on: at the stream's first byte, after the string
    that it begins in (a picture, say, which may have lines), after a line's end that is near, else
    where the first sequence begins or the first line ends; the ring's end if there is neither."""
    if start == 0:
        return 0
    escape = ring.find(b"\x1b", start, ring.end)
    if escape >= 0 and ring.read(escape, 2) == b"\x1b\\":
        return escape + 2
    line = ring.find(b"\n", start, min(start + BOUNDARY, ring.end))
    if line >= 0:
        return line + 1
    line = ring.find(b"\n", start, ring.end if escape < 0 else escape)
    return line + 1 if line >= 0 else escape if escape >= 0 else ring.end


def beginning(clear: bool) -> bytes:
    """What a viewer is sent before the first byte of all."""
    return _begun(Modes(), Modes(), clear)


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
    then = now.string if now.string >= start else ring.end
    modes = before if start == ring.start else now.apart()
    begin, modes = _begin(ring, start, then, before, now, modes)
    keys = now.keyboard
    after = _keys_anew(now) + keys.prelude(False) + keys.level_prelude()
    after = b"" if start == ring.start else after
    begun = _begun(modes, now, clear)
    return Replay(begun, begin, then, after + _rest(now, start), then)


def _rest(now: Modes, start: int) -> bytes:
    return REST if 0 <= now.string < start else b""


def _begin(
    ring: Ring, start: int, end: int, before: Modes, now: Modes, modes: Modes
) -> tuple[int, Modes]:
    """A safe beginning before `end`, and the modes there if `modes` are those at `start`."""
    within = before.string >= 0 if start == ring.start else is_within(now, start)
    begin, modes = min(safe(ring, start, within), end), modes.copy()
    # Beyond that many there is no escape that matters: there it would have begun.
    modes.feed(ring.read(start, min(begin - start, BOUNDARY)))
    return begin, modes


def is_within(now: Modes, start: int) -> bool:
    """Whether this offset is in a string, as far as that is known: of the last long one."""
    began, ended = now.string_before
    return began < start < ended or 0 <= now.string < start


def safe(ring: Ring, start: int, within: bool) -> int:
    """A safe beginning from this offset on, which may be within a string."""
    return (_after_string if within else boundary)(ring, start)


def _after_string(ring: Ring, start: int) -> int:
    """Where the string ends that the ring is in at this offset."""
    found = [ring.find(end, start, ring.end) for end in (b"\x07", b"\x18", b"\x1a", b"\x1b")]
    end = min((each for each in found if each >= 0), default=ring.end)
    if end == ring.end or ring.read(end, 1) != b"\x1b":
        return min(end + 1, ring.end)
    return end + 2 if ring.read(end, 2) == b"\x1b\\" else end


def _begun(modes: Modes, now: Modes, clear: bool) -> bytes:
    return _reset(now, clear) + modes.prelude() + (CLEAR if clear else b"")


def _reset(now: Modes, clear: bool) -> bytes:
    """Some old terminals show what they do not know of keys: only where a program has used it."""
    return (RESET if clear else RESET_HERE) + (PLAIN if now.keyboard.used else b"")


def _keys_anew(now: Modes) -> bytes:
    """Unlike a mode, what holds of keys is pushed and popped: after a range that began with a guess
    the pile is any."""
    return UNPILED + PLAIN if now.keyboard.used else b""


def _beneath(ring: Ring, start: int, before: Modes, now: Modes, clear: bool) -> Replay:
    """What the main screen shows while the alternate one is there, as far as it is known."""
    after, beneath = now.prelude() + CLEAR + _rest(now, start), now.beneath
    then = now.string if now.string >= start else ring.end
    if beneath is None or now.entered < start:
        return Replay(_reset(now, clear) + after, then, then, b"", then)
    modes = before if start == ring.start else beneath.apart()
    begin, modes = _begin(ring, start, now.entered, before, now, modes)
    begun = _begun(modes, now, clear)
    return Replay(begun, begin, now.entered, beneath.leave() + _keys_anew(now) + after, then)
