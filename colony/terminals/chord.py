"""Recognising the detach keys among what is typed. Pure; the caller tells the time.

    chord = Chord(parse("ctrl-],d"))
    chord.feed(b"ls\\x1d", now)      # b"ls": the first key is held back
    chord.feed(b"d", now)           # b"", and chord.detached

Law: every byte that is not of a whole chord is passed on, unchanged and in order, in whatever
pieces it is read; and what is pasted (between the brackets of a bracketed paste) is never a chord.
A first key that nothing follows is passed on after `PATIENCE`; typed twice it stands for itself.
"""

from __future__ import annotations

from typing import Final

DEFAULT: Final = "ctrl-],d"
PATIENCE: Final = 0.5
"""Seconds that a chord's first keys are held back."""

_PASTE_BEGIN: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"


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


class Chord:
    """Follows what is typed. Once `detached` is set, nothing more is passed on."""

    __slots__ = ("_held_at", "_marker", "_matched", "_pasting", "detached", "keys")

    def __init__(self, keys: bytes) -> None:
        self.keys = keys
        self.detached = False
        self._matched = 0
        self._held_at = 0.0
        self._pasting = False
        self._marker = b""

    def __repr__(self) -> str:
        return f"<Chord {spelled(self.keys)} at {self._matched}>"

    @property
    def due(self) -> float | None:
        """When `expire` is to be called; None if nothing is held back."""
        return self._held_at + PATIENCE if self._matched else None

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
        return bytes(out)

    def expire(self, now: float) -> bytes:
        """Gives up a chord that was begun too long ago: its keys, to be passed on."""
        if not self._matched or now < self._held_at + PATIENCE:
            return b""
        return self._give_up()

    def _is_plain(self, data: bytes) -> bool:
        idle = not self._matched and not self._marker
        return idle and b"\x1b" not in data and (self._pasting or self.keys[0] not in data)

    def _give_up(self) -> bytes:
        held, self._matched = self.keys[: self._matched], 0
        return held

    def _take(self, byte: int, now: float, out: bytearray) -> None:
        self._follow_paste(byte)
        if self._pasting:
            out += self._give_up()
            out.append(byte)
            return
        if byte == self.keys[self._matched]:
            self._matched += 1
            self._held_at = now
            self.detached = self._matched == len(self.keys)
            return
        if self._matched == 1 and byte == self.keys[0]:
            self._matched = 0
            out.append(byte)
            return
        out += self._give_up()
        if byte == self.keys[0]:
            self._matched, self._held_at = 1, now
        else:
            out.append(byte)

    def _follow_paste(self, byte: int) -> None:
        wanted = _PASTE_END if self._pasting else _PASTE_BEGIN
        self._marker += bytes((byte,))
        if not wanted.startswith(self._marker):
            self._marker = b"\x1b" if byte == 0x1B else b""
        elif self._marker == wanted:
            self._marker, self._pasting = b"", not self._pasting
