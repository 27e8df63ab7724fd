"""What a program asks its terminal, and what terminals answer: pure.

A program asks once and reads one answer. Several viewers are several terminals, and each answers;
the second answer would be typed into whatever runs by then, which shows it: `^[[?62;22c`. Law: of
the answers to a question the first is passed on, whoever's it is (one who has stopped answers
nothing), and the others are dropped. Keys are never dropped.

    questions = Questions(now)
    questions.note(b"\\x1b[c", now)               # the program has asked
    questions.answered(b"\\x1b[?62c", now)        # b"\\x1b[?62c": the first
    questions.answered(b"\\x1b[?64;1c", now)      # b""

Only answers that came in one piece are known; terminals write them so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

EXPIRES: Final = 10.0
"""Seconds after which a question is answered no more."""

GRACE: Final = 1.0
"""Seconds in which every answer is passed on: it may be to what was asked of one viewer alone,
before there were two."""

LONGEST: Final = 256
"""Bytes of a question that is cut by the end of a piece."""

CUT: Final = 8 * 1024
"""Bytes that are looked through at once where all pieces are there already: to look takes its
time."""

_END: Final = rb"(?:\x07|\x1b\\)"

_TABLE: Final = (
    # who are you: three ways
    (rb"\x1b(?:\[0?c|Z)", rb"\x1b\[\?[0-9;]*c"),
    (rb"\x1b\[>[0-9;]*c", rb"\x1b\[>[0-9;]*c"),
    (rb"\x1b\[=[0-9;]*c", rb"\x1bP!\|[^\x1b]*\x1b\\"),
    # how are you; where is the cursor
    (rb"\x1b\[5n", rb"\x1b\[[03]n"),
    (rb"\x1b\[6n", rb"\x1b\[[0-9]+;[0-9]+R"),
    (rb"\x1b\[\?6n", rb"\x1b\[\?[0-9;]+R"),
    (rb"\x1b\[\?[0-9;]*n", rb"\x1b\[\?(?!997;)[0-9;]+n"),
    # which version
    (rb"\x1b\[>[0-9;]*q", rb"\x1bP>\|[^\x1b]*\x1b\\"),
    # is this mode set: a private one, another one
    (rb"\x1b\[\?[0-9;]*\$p", rb"\x1b\[\?[0-9]+;[0-9]\$y"),
    (rb"\x1b\[[0-9;]*\$p", rb"\x1b\[[0-9]+;[0-9]\$y"),
    # how are keys told: kitty's way, xterm's
    (rb"\x1b\[\?u", rb"\x1b\[\?[0-9]+u"),
    (rb"\x1b\[\?[0-9]+m", rb"\x1b\[>[0-9;]+m"),
    # how large is the window, what is its title
    (
        rb"\x1b\[(?:1[13-9]|2[01])(?:;[0-9]+)*t",
        rb"\x1b(?:\[(?!48;)[0-9;]+t|\][lL][^\x07\x1b]*" + _END + rb")",
    ),
    # which colours; what is copied
    (rb"\x1b\][45];[0-9]+;\?(?:;[0-9]+;\?)*" + _END, rb"\x1b\][45];[^\x07\x1b]*" + _END),
    (rb"\x1b\]1[0-9];\?(?:;\?)*" + _END, rb"\x1b\]1[0-9];[^\x07\x1b]*" + _END),
    (rb"\x1b\]2[12];[^\x07\x1b]*\?[^\x07\x1b]*" + _END, rb"\x1b\]2[12];[^\x07\x1b]*" + _END),
    (rb"\x1b\]52;[a-z0-7]*;\?" + _END, rb"\x1b\]52;[^\x07\x1b]*" + _END),
    # which capability, which setting
    (rb"\x1bP\+q[^\x1b]*\x1b\\", rb"\x1bP[01]\+r[^\x1b]*\x1b\\"),
    (rb"\x1bP\$q[^\x1b]*\x1b\\", rb"\x1bP[01]\$r[^\x1b]*\x1b\\"),
    # what of graphics
    (rb"\x1b\[\?[0-9]+;[0-9]+(?:;[0-9]+)*S", rb"\x1b\[\?[0-9;]+S"),
    (rb"\x1b_G[^;\x1b]*a=q[^\x1b]*\x1b\\", rb"\x1b_G[^\x1b]*\x1b\\"),
    # parameters, tab stops
    (rb"\x1b\[[01]?x", rb"\x1b\[[23];[0-9;]+x"),
    (rb"\x1b\[[12]\$w", rb"\x1bP[12]\$u[^\x1b]*\x1b\\"),
)
"""A question, and what answers it."""


def _one_of(patterns: Iterable[bytes]) -> re.Pattern[bytes]:
    """They have their first byte in common, by which a search is a hundred times faster."""
    rest = b"|".join(b"(%b)" % each.removeprefix(rb"\x1b") for each in patterns)
    return re.compile(rb"\x1b(?:%b)" % rest)


_QUESTIONS: Final = _one_of(question for question, _ in _TABLE)
_ANSWERS: Final = _one_of(answer for _, answer in _TABLE)

_ONCE: Final = rb"(?:52|5522|9|99|777);|1337;(?:Copy|EndCopy|Request|Report|Steal|Clear)"
"""Of the strings that tell a terminal something: those that copy or notify, or ask."""

_SHOWN_ONCE: Final = re.compile(
    rb"\x1b(?:\[(?:[0-9;]*+(?:[cnx]|\$[pw])|\?[0-9;]*+(?:[nmSu]|\$p)|[>=][0-9;]*+[cq]"
    rb"|(?:1[13-9]|2[01])(?:;[0-9]+)*t)|Z"
    rb"|\](?:(?:[45];[0-9]+|1[0-9]|2[12];[^\x07\x1b;]*);?\?|%b)[^\x07\x18\x1a\x1b]*%b"
    rb"|_G[^;\x1b]*a=q[^\x1b]*\x1b\\|P[+$]q[^\x1b]*\x1b\\)" % (_ONCE, _END)
)
"""All questions; and what acts beside the screen: it copies, or notifies. It begins with Escape as
those do, for it is looked for in the event loop."""

_ACTS: Final = re.compile(rb"\x1b\](?:%b)" % _ONCE)
"""How a string begins that is for once, however long it is."""

_BELL: Final = re.compile(rb"\x1b[\]P_^X][^\x07\x18\x1a\x1b]*\x07|\x07")
"""A bell, or a string that may have one as its end."""

_STRING_ENDS: Final = re.compile(rb"[\x07\x18\x1a\x1b]")

_BEGUN: Final = re.compile(rb"\x1b(?:\[[0-9;?>=$]*|[\]P_][^\x07\x1b]*\x1b?)?\Z")

_KEY: Final = re.compile(rb"\x1b\[1;(?:[2-9]|1[0-6])R\Z")
"""F3 with Shift, Ctrl and their like, which looks like a cursor in the first line."""


def may_ask(data: bytes) -> bool:
    """Whether there may be a question in it, or something that is for once."""
    return b"\x1b" in data or b"\x05" in data or b"\x07" in data


def without_questions(data: bytes) -> bytes:
    """The same with NULs, which every terminal passes over, for what a terminal would answer to,
    and for what is to happen once: to copy something, to notify somebody, to ring."""
    if not may_ask(data):
        return data
    data = _SHOWN_ONCE.sub(lambda found: bytes(len(found[0])), data.replace(b"\x05", b"\0"))
    if b"\x07" in data:
        data = _BELL.sub(lambda found: found[0] if len(found[0]) > 1 else b"\0", data)
    return data


class Silence:
    """`without_questions` of a stream that is read in pieces. Of a string that is longer than a
    piece it is known how it begins, and nothing is kept."""

    __slots__ = ("_dropping", "_within")

    def __init__(self) -> None:
        self._within = False
        """Whether the next piece begins within a string, which goes as its beginning has."""
        self._dropping = False

    def __repr__(self) -> str:
        return f"<Silence{' within a string' if self._within else ''}>"

    def take(self, piece: bytes, last: bool) -> bytes:
        """What is shown of the beginning of this, which is as long as that, and never nothing.

        last
            Whether nothing follows this piece. One that something follows has `CUT` bytes at
            least.
        """
        if self._within:
            return self._string(piece, last)
        if not may_ask(piece):
            return piece
        piece, last = piece[:CUT], last and len(piece) <= CUT
        cut = None if last else _BEGUN.search(piece)
        if cut is None:
            return without_questions(piece)
        if cut.start():
            return without_questions(piece[: cut.start()])
        self._within, self._dropping = True, _ACTS.match(piece) is not None
        return self._shown(piece[:-1] if piece.endswith(b"\x1b") and len(piece) > 1 else piece)

    def _string(self, piece: bytes, last: bool) -> bytes:
        found = _STRING_ENDS.search(piece)
        if found is None:
            return self._shown(piece)
        end = found.start()
        if piece[end] != 0x1B:  # a bell, or what cancels a sequence
            end += 1
        elif piece.startswith(b"\x1b\\", end):
            end += 2
        elif end + 1 == len(piece) and not last and end:  # the rest of the end is in the next
            return self._shown(piece[:end])
        self._within = False
        return self._shown(piece[:end]) if end else self.take(piece, last)

    def _shown(self, piece: bytes) -> bytes:
        return bytes(len(piece)) if self._dropping else piece


class Questions:
    """What was asked of several terminals, and not yet answered by one."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._open: dict[int, int] = {}
        self._asked_at: dict[int, float] = {}
        self._rest = b""

    def __repr__(self) -> str:
        return f"<Questions {sum(self._open.values())} open>"

    def note(self, data: bytes, now: float) -> None:
        """The program has written this."""
        if not self._rest and b"\x1b" not in data:
            return
        data, end = self._rest + data, 0
        for seen in _SHOWN_ONCE.finditer(data):
            end = seen.end()
            found = _QUESTIONS.fullmatch(seen[0])
            if found is not None and found.lastindex is not None:
                fresh = now - self._asked_at.get(found.lastindex, now) < EXPIRES
                before = self._open.get(found.lastindex, 0) if fresh else 0
                self._open[found.lastindex] = before + max(1, found[0].count(b";?"))
                self._asked_at[found.lastindex] = now
        begun = _BEGUN.search(data, max(end, len(data) - LONGEST))
        self._rest = begun[0] if begun else b""

    def answered(self, data: bytes, now: float) -> bytes:
        """What of that which a viewer has typed goes to the program."""
        if b"\x1b" not in data or now - self._since < GRACE:
            return data

        def passed(found: re.Match[bytes]) -> bytes:
            assert found.lastindex is not None
            first = self._take(found.lastindex, now)
            return found[0] if first or _KEY.match(found[0]) else b""

        return _ANSWERS.sub(passed, data)

    def _take(self, kind: int, now: float) -> bool:
        if not self._open.get(kind) or now - self._asked_at[kind] >= EXPIRES:
            return False
        self._open[kind] -= 1
        return True
