"""The state that a program's output leaves a terminal in, as far as it outlives the text. Pure.

    modes = Modes()
    modes.feed(b"\\x1b[?1049h\\x1b[?25l")
    modes.prelude()             # the same, for a terminal that has just been reset

Whoever attaches later has not seen the sequences that switched to the alternate screen, asked for
mouse reports or hid the cursor: they may have left the ring long ago. The law: feeding a stream in
any pieces leaves the same state as feeding it whole.

No emulator: one regular expression on chunks that hold such an escape at all, 100 times faster.
What is coloured and no more, as most of what is coloured, is not looked through.
"""

from __future__ import annotations

import re
from typing import Final

from colony.terminals.keyboard import Keyboard

DEFAULTS: Final = {
    1: False,  # cursor keys as applications want them
    5: False,  # reverse video
    7: True,  # wrap at the right edge
    9: False,  # mouse, X10
    25: True,  # the cursor is visible
    66: False,  # keypad as applications want it
    69: False,  # margins at the left and right
    1000: False,  # mouse: clicks
    1002: False,  # mouse: drags
    1003: False,  # mouse: all motion
    1004: False,  # focus
    1005: False,  # mouse coordinates: UTF-8
    1006: False,  # mouse coordinates: SGR
    1007: False,  # wheel as arrows in the alternate screen
    1015: False,  # mouse coordinates: urxvt
    1016: False,  # mouse coordinates: pixels
    2004: False,  # bracketed paste
    2031: False,  # reports of a change between light and dark
    2048: False,  # reports of the size
}
"""Private modes that are followed, with how a reset terminal has them."""

ALTERNATE: Final = frozenset({47, 1047, 1049})
"""Three numbers for one thing, the alternate screen."""

LONGEST: Final = 1024
"""Bytes of an unfinished sequence that are kept; a longer one is none that we follow."""

_OFF: Final = b";".join(b"%d" % number for number, on in DEFAULTS.items() if not on)
_SWITCHED: Final = b"\x1b[?%bl\x1b[?7;25h" % _OFF

_PLAIN: Final = b"\x1b[?2026l\x1b>\x1b[4l\x1b7\x1b[r\x1b8\x1b[m\x1b(B\x0f"
"""Nothing held back, keypad, no inserting, no scroll region, colours, characters; in place."""

RESET: Final = b"\x1b[?1049l\x1b[!p" + _SWITCHED + b"\x1b[0 q" + _PLAIN
"""Brings any terminal back to how a shell expects it, without clearing what it shows."""

RESET_HERE: Final = _SWITCHED + b"\x1b[0 q" + _PLAIN
"""The same for one that is on its main screen: the cursor stays where it is."""

_MARKS: Final = (
    *(b"\x1b[?", b" q", b"\x1b]", b"\x1b=", b"\x1b>", b"\x1bc", b"\x1b[!"),
    *(b"\x1b[<", b"\x1b[=", b"\x1b[>"),
)
"""A sequence that we follow begins with one of these, or ends so."""

_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[\?([0-9;]{1,128})([hl])|(c)|(\[!p)|([=>])|\[([0-9]?) q"
    rb"|\[([<=>])([0-9;]{0,32})u|\[>4(?:;([0-9]?))?[mn]"
    rb"|\]([0-9]{1,2});([^\x07\x1b]{0,512})(?:\x07|\x1b\\))"
)
_STRING_ENDS: Final = re.compile(rb"[\x07\x18\x1a\x1b]")

_UNFINISHED: Final = re.compile(
    rb"\x1b(?:\[(?:\?[0-9;]{0,128}|[<=>][0-9;]{0,32}|!|[0-9]? ?)"
    rb"|\](?:[0-9]{0,2}|[0-9]{1,2};[^\x07\x1b]{0,512}\x1b?))?\Z"
)


def follows(data: bytes) -> bool:
    """Whether there may be anything in it that is followed."""
    return b"\x1b" in data and any(mark in data for mark in _MARKS)


class Modes:
    """What has been switched, and is still so."""

    __slots__ = (
        "_at",
        "_rest",
        "alternate",
        "beneath",
        "cursor",
        "entered",
        "keyboard",
        "keypad",
        "set",
        "string",
        "string_before",
        "title",
    )

    def __init__(self) -> None:
        self._at = 0
        """How many bytes have been fed."""
        self._rest = b""
        self.keyboard = Keyboard()
        self._clear()
        self.entered = 0
        self.beneath: Modes | None = None
        """Where in the stream the alternate screen was switched to, and the state before that."""
        self.string = -1
        """Where the string (OSC: a title, something to copy) began that the stream is in; -1 for
        none."""
        self.string_before = (0, 0)
        """Where the last one that came in more than one piece began, and ended."""
        self.title = ""
        """The window's title, "" if none was given."""

    def _clear(self) -> None:
        self.set: dict[int, bool] = {}
        """Modes of `DEFAULTS` that are not as there."""
        self.alternate = False
        self.keypad = False
        self.cursor = 0
        """The cursor's shape, as DECSCUSR numbers it; 0 for the terminal's own."""

    def __repr__(self) -> str:
        return f"<Modes {'alternate ' if self.alternate else ''}{sorted(self.set)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Modes) and self._state() == other._state()

    __hash__ = None  # type: ignore[assignment]

    def _state(self) -> tuple[object, ...]:
        keys = self.keyboard.state
        return self._rest, self.set, self.alternate, self.keypad, self.cursor, self.title, keys

    def copy(self) -> Modes:
        """One that goes on by itself."""
        other = Modes()
        other._rest, other.set, other.alternate = self._rest, dict(self.set), self.alternate
        other.keypad, other.cursor, other.title = self.keypad, self.cursor, self.title
        other.keyboard = self.keyboard.copy()
        other.string, other.string_before = self.string, self.string_before
        return other

    def apart(self) -> Modes:
        """A copy that is in the middle of no sequence."""
        other = self.copy()
        other._rest = b""
        return other

    def feed(self, data: bytes) -> None:
        """Takes in the next piece of the stream."""
        begin = self._at - len(self._rest)
        self._at += len(data)
        if self.string >= 0 and (end := _STRING_ENDS.search(data)):
            self.string_before = self.string, self._at - len(data) + end.start()
            self.string = -1
        if not self._rest and b"\x1b" not in data:
            return
        data = self._rest + data
        if follows(data):
            opened = data.rfind(b"\x1b]")
            if opened >= 0 and not _STRING_ENDS.search(data, opened + 2):
                self.string = begin + opened
            for found in _SEQUENCE.finditer(data):
                self._note(found, begin + found.start())
        # No sequence that we follow is longer, so that the search need not begin earlier.
        unfinished = _UNFINISHED.search(data, max(0, len(data) - LONGEST))
        self._rest = unfinished[0] if unfinished else b""

    def _note(self, found: re.Match[bytes], at: int) -> None:
        private, action, full, soft, keypad, cursor, how, flags, level, kind, text = found.groups()
        if private is not None:
            for number in private.split(b";"):
                self._switch(int(number or 0), action == b"h", at)
        elif full is not None:
            used, self.keyboard = self.keyboard.used, Keyboard()
            self.keyboard.used = used
            self._clear()
        elif soft is not None:
            alternate = self.alternate  # a soft reset stays on its screen
            self._clear()
            self.alternate = alternate
        elif keypad is not None:
            self.keypad = keypad == b"="
        elif cursor is not None:
            self.cursor = int(cursor or 0)
        elif how is not None:
            self.keyboard.kitty(how, flags, self.alternate)
        elif kind is None:
            self.keyboard.xterm(int(level or 0))
        elif int(kind) in (0, 2):
            self.title = text.decode("utf-8", "replace")

    def _switch(self, number: int, on: bool, at: int) -> None:
        if number in ALTERNATE:
            if on and not self.alternate:
                self.entered, self.beneath = at, self.copy()
            elif self.alternate and not on:
                self.keyboard.left_alternate()
            self.alternate = on
        elif number in DEFAULTS:
            if DEFAULTS[number] == on:
                self.set.pop(number, None)
            else:
                self.set[number] = on

    def leave(self) -> bytes:
        """What brings a terminal in this state back to how a shell expects it, with the cursor
        where it is. Only what is set: leaving an alternate screen that one is not in moves it."""
        keys = self.keyboard
        parts = [keys.leave(True), b"\x1b[?1049l"] if self.alternate else []
        parts += [keys.leave(False), b"\x1b[>4m" if keys.level else b""]
        for number in sorted(self.set):
            parts.append(b"\x1b[?%d%b" % (number, b"h" if DEFAULTS[number] else b"l"))
        if self.cursor:
            parts.append(b"\x1b[0 q")
        return b"".join(parts) + _PLAIN

    def prelude(self) -> bytes:
        """What brings a terminal that was reset (`RESET`) into this state."""
        parts = [self.keyboard.prelude(False)]
        if self.alternate:
            parts += [b"\x1b[?1049h", self.keyboard.prelude(True)]
        parts.append(self.keyboard.level_prelude())
        for on, letter in ((True, b"h"), (False, b"l")):
            numbers = sorted(number for number, value in self.set.items() if value is on)
            if numbers:
                parts.append(b"\x1b[?%b%b" % (b";".join(b"%d" % each for each in numbers), letter))
        if self.keypad:
            parts.append(b"\x1b=")
        if self.cursor:
            parts.append(b"\x1b[%d q" % self.cursor)
        if self.title:
            parts.append(b"\x1b]2;%b\x1b\\" % self.title.encode())
        return b"".join(parts)
