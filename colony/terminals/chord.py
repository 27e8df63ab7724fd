"""Recognising the detach keys among what is typed. Pure; the caller tells the time.

    chord = Chord(parse("ctrl-],d"))
    chord.feed(b"ls\\x1d", now)      # b"ls": the first key is held back
    chord.feed(b"d", now)           # b"", and chord.detached

Law: every byte that is not of a whole chord is passed on, unchanged and in order, in whatever
pieces it is read; and what is pasted (between the brackets of a bracketed paste) is never a chord.
A first key that nothing follows is passed on after `PATIENCE`; typed twice it stands for itself.

A key is not always one byte. A program such as vim or neovim may have asked the terminal to tell
keys otherwise, and then Ctrl-] is `CSI 27;5;93~` (xterm) or `CSI 93;5u` (kitty), perhaps with a
sequence for each key's release, too. They are the same keys to us. An Escape that ends a piece is
passed on at once, for it is most likely the key itself; the rest of a sequence that was cut there
is recognised all the same.
"""

from __future__ import annotations

import re
from typing import Final

DEFAULT: Final = "ctrl-],d"
PATIENCE: Final = 0.5
"""Seconds that a chord's first keys are held back."""

_PASTE_BEGIN: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"

_BEGUN: Final = re.compile(rb"\x1b(?:\[(?:[0-9][0-9:;]{0,40})?)?\Z")
"""What may become a key's sequence."""

_XTERM: Final = re.compile(rb"\x1b\[27;([0-9]+);([0-9]+)~\Z")
_KITTY: Final = re.compile(
    rb"\x1b\[([0-9]+)(?::[0-9]*)?(?::([0-9]*))?(?:;([0-9]*)(?::([0-9]+))?)?(?:;[0-9:]*)?u\Z"
)
_RELEASED: Final = b"3"
_SHIFT, _CTRL, _LOCKS = 1, 4, 64 + 128
_MODIFIERS: Final = frozenset({57358, 57359, 57360, *range(57441, 57455)})
"""Kitty's numbers of Shift, Ctrl and their like, as keys of their own."""
_WITH_CTRL: Final = {32: 64, 45: 95, 50: 64, 54: 94, **{each: each for each in range(64, 96)}}
"""The keys that Ctrl makes another byte of otherwise than by taking 96, on most keyboards."""

NO_KEY: Final = 256
OTHER_KEY: Final = 257
"""What is told of a key that is let go, or of a modifier: nothing was typed. And any key that a
chord cannot have."""


def parse(text: str) -> bytes:
    """`ctrl-],d`, `ctrl-a` or `ctrl-p,ctrl-q` as bytes. Raises `ValueError`."""
    keys = [_key(word.strip()) for word in text.split(",")]
    if not 1 <= len(keys) <= 8 or None in keys:
        raise ValueError(
            f"detach keys are one to eight of a-z, 0-9, ctrl-a to ctrl-z, ctrl-[ ctrl-] ctrl-\\ "
            f"ctrl-^ ctrl-_ ctrl-@, joined by commas, as {DEFAULT}, got: {text!r}"
        )
    return bytes(key for key in keys if key is not None)


def _key(word: str) -> int | None:
    lower = word.lower()
    if lower.startswith("ctrl-") and len(lower) == 6 and lower[5] in "abcdefghijklmnopqrstuvwxyz":
        return ord(lower[5]) - 96
    if lower.startswith("ctrl-") and len(lower) == 6 and lower[5] in "@[\\]^_":
        return ord(lower[5]) - 64
    return ord(word) if len(word) == 1 and word.isascii() and word.isprintable() else None


def spelled(keys: bytes) -> str:
    """For people: `Ctrl-] d`."""
    return " ".join(f"Ctrl-{chr(key + 64)}" if key < 32 else chr(key) for key in keys)


def key_of(sequence: bytes) -> int:
    """Which key a sequence stands for: the byte that it is without a sequence, `NO_KEY` or
    `OTHER_KEY`."""
    if found := _XTERM.match(sequence):
        return _byte(int(found[2]), int(found[1]) - 1)
    if not (found := _KITTY.match(sequence)):
        return OTHER_KEY
    code, modifiers = int(found[1]), int(found[3] or 1) - 1
    if found[4] == _RELEASED or code in _MODIFIERS:
        return NO_KEY
    # A layout without the key, say a Greek one, tells where the key is on one that has it.
    return _byte(int(found[2] or code) if code > 127 else code, modifiers)


def _byte(code: int, modifiers: int) -> int:
    held = modifiers & ~_LOCKS
    if held in (_CTRL, _CTRL | _SHIFT) and 0 <= (low := _WITH_CTRL.get(code, code & ~32) - 64) < 32:
        return low
    if held == _SHIFT and 97 <= code <= 122:
        return code - 32
    return code if held in (0, _SHIFT) and code < 128 else OTHER_KEY


class Chord:
    """Follows what is typed. Once `detached` is set, nothing more is passed on."""

    __slots__ = (
        "_first",
        "_held",
        "_held_at",
        "_marker",
        "_matched",
        "_passed",
        "_pasting",
        "_sequence",
        "detached",
        "keys",
    )

    def __init__(self, keys: bytes) -> None:
        self.keys = keys
        self.detached = False
        self._matched = 0
        self._held = b""
        """What was typed of the chord so far."""
        self._first = b""
        """The first of that: what its key is told by."""
        self._held_at = 0.0
        self._sequence = b""
        """A sequence that is not complete; of it, `_passed` bytes are passed on already."""
        self._passed = 0
        self._pasting = False
        self._marker = b""

    def __repr__(self) -> str:
        return f"<Chord {spelled(self.keys)} at {self._matched}>"

    @property
    def due(self) -> float | None:
        """When `expire` is to be called; None if nothing is held back."""
        return self._held_at + PATIENCE if self._waiting else None

    @property
    def _waiting(self) -> bytes:
        return self._held + self._sequence[self._passed :]

    def feed(self, data: bytes, now: float) -> bytes:
        """Takes what was typed and returns what goes to the program."""
        passed = self.expire(now)
        if self._is_plain(data):
            return passed + data
        out = bytearray(passed)
        for byte in data:
            if self.detached:
                break
            self._take(byte, now, out)
        if self._sequence and not self._held and len(self._sequence) <= 2:  # Escape, or Alt-[
            out += self._sequence[self._passed :]
            self._passed = len(self._sequence)
        return bytes(out)

    def expire(self, now: float) -> bytes:
        """Gives up a chord that was begun too long ago: its keys, to be passed on."""
        if not self._waiting or now < self._held_at + PATIENCE:
            return b""
        return self._give_up()

    def _is_plain(self, data: bytes) -> bool:
        idle = not self._matched and not self._marker and not self._sequence
        return idle and b"\x1b" not in data and (self._pasting or self.keys[0] not in data)

    def _give_up(self) -> bytes:
        held = self._waiting
        self._matched, self._held, self._sequence, self._passed = 0, b"", b"", 0
        return held

    def _take(self, byte: int, now: float, out: bytearray) -> None:
        self._follow_paste(byte)
        one = bytes((byte,))
        if self._pasting:
            out += self._give_up() + one
        elif _BEGUN.match(self._sequence + one) and 0x1B not in self.keys:
            self._sequence += one
            self._held_at = self._held_at if self._held else now
        elif len(self._sequence) > 2 and one in b"~u":
            sequence, typed = self._sequence + one, self._sequence[self._passed :] + one
            self._sequence, self._passed = b"", 0
            self._key(key_of(sequence), typed, now, out)
        else:
            if self._sequence:  # which is none, and the byte is one by itself
                out += self._give_up()
            if byte == 0x1B and byte not in self.keys:
                self._sequence = one
            else:
                self._key(byte, one, now, out)

    def _key(self, key: int, typed: bytes, now: float, out: bytearray) -> None:
        if key == NO_KEY and self._held:
            self._held += typed
            return
        if key == self.keys[self._matched]:
            if not self._matched:
                self._first = typed
            self._matched += 1
            self._held += typed
            self._held_at = now
            self.detached = self._matched == len(self.keys)
            return
        if self._matched == 1 and key == self.keys[0]:
            self._give_up()
            out += self._first
            return
        out += self._give_up()
        if key == self.keys[0]:
            self._matched, self._held, self._first = 1, typed, typed
            self._held_at = now
        else:
            out += typed

    def _follow_paste(self, byte: int) -> None:
        wanted = _PASTE_END if self._pasting else _PASTE_BEGIN
        self._marker += bytes((byte,))
        if not wanted.startswith(self._marker):
            self._marker = b"\x1b" if byte == 0x1B else b""
        elif self._marker == wanted:
            self._marker, self._pasting = b"", not self._pasting
