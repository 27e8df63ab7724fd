"""What terminals take for commands in the output of services: colours, titles, the cursor's moves.

    plain("\\x1b[32mready\\x1b[0m") == "ready"

Whoever looks for words in a line, or writes it where no terminal is, wants it without them: a
program that colours each word for itself has written `ready in` nowhere. On a terminal, beside the
lines of others, a line keeps its colours and nothing else: `tsc --watch` would clear the screen.

    tame(b"\\x1bc\\x1b[32mready") == b"\\x1b[32mready\\x1b[0m"
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = (
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # a control sequence: colours, moves, modes
    r"|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # a string, as that of a title or a link
    r"|[ -/]*[0-~])"  # the rest: character sets, keypads, resets
)
_TEXT: Final = re.compile(_ESCAPE)
_BYTES: Final = re.compile(_ESCAPE.encode())

_RESET: Final = b"\x1b[0m"
_SUSPECT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]")
_WILD: Final = re.compile(
    rb"(\x1b\[[0-9;:]*m)|" + _ESCAPE.encode() + rb"|[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]"
)


def plain(text: str) -> str:
    """The text without escapes."""
    return _TEXT.sub("", text)


def one_line(text: str, longest: int) -> str:
    """The last line of a text that says something, fit to stand in one of ours: a space for what
    cannot be printed, without what a terminal takes for commands, of at most `longest` letters."""
    printed = (c if c.isprintable() or c == "\n" else " " for c in plain(text))
    lines = (" ".join(line.split()) for line in reversed("".join(printed).split("\n")))
    last = next(filter(None, lines), "")
    return last if len(last) <= longest else last[: longest - 1] + "…"


def plain_bytes(data: bytes) -> bytes:
    """The bytes without escapes."""
    return _BYTES.sub(b"", data) if b"\x1b" in data else data


def tame(line: bytes) -> bytes:
    """A line, fit for a terminal where others' lines stand, too: its colours end with it, and what
    would move the cursor, clear the screen, set a title or ring is left out. Of what was written
    over itself, as progress is, the last remains."""
    if _SUSPECT.search(line) is None:
        return line
    if b"\r" in line:
        line = next(filter(None, reversed(line.split(b"\r"))), b"")
    tamed = _WILD.sub(rb"\1", line)
    return tamed + _RESET if b"\x1b" in tamed and not tamed.endswith(_RESET) else tamed
