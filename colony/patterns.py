"""Regular expressions that come from outside: each line is looked at in bounded time.

With backtracking, `(a+)+$` takes longer than anybody lives on a line of forty letters, and Python's
`re` holds the whole process meanwhile. RE2 goes through a line once, whatever the expression, and
lets other threads run. It knows no look-around and no back-references, and refuses what would grow
too large.

    pattern = compiled("GET|POST")
    pattern.search(b"GET /index.html")
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from colony.escapes import plain_bytes

MEMORY: Final = 1024 * 1024
"""Bytes that an expression may take; with these the worst of them takes 0.1 s for 16 KiB."""


class WrongPattern(ValueError):
    """This is no regular expression; the text says why."""


class Pattern(Protocol):
    """Looks for itself in bytes."""

    def search(self, text: bytes) -> object | None:
        """What was found; None if nothing was."""
        ...


@lru_cache(64)
def compiled(pattern: str) -> Pattern:
    """The expression, for bytes, which are taken as UTF-8. Raises `WrongPattern`."""
    import re2  # type: ignore[import-untyped]  # not before somebody looks for something

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        made: Pattern = re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise WrongPattern(_words(error)) from None
    except UnicodeEncodeError:
        raise WrongPattern("it is no text") from None
    return made


def found_in(pattern: Pattern, line: bytes) -> bool:
    """Whether a line of a service's output matches, as written or as a terminal shows it."""
    if pattern.search(line) is not None:
        return True
    return b"\x1b" in line and pattern.search(plain_bytes(line)) is not None


def _words(error: Exception) -> str:
    """RE2's own words, which come as bytes."""
    words = error.args[0] if error.args else ""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    if text.startswith(("invalid perl operator: (?", "invalid escape sequence")):
        text += " (look-around and back-references are not known here)"
    return text
