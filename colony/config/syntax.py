"""Text to plain TOML values, with errors that have a place and say what to do.

tomllib reads here, not tomlkit: it accepts TOML 1.0 and nothing else, where tomlkit lets some
documents through that other tools then refuse, and it gives plain values. (tomlkit is for what
rewrites a file and keeps its comments.)
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, NamedTuple, NoReturn

from colony.config.positions import DEEPEST, Positions, Span, scan
from colony.config.problems import ConfigError, Problem
from colony.config.sheet import Sheet, dotted

LARGEST: Final = 256 * 1024
"""Bytes (of a file) or characters (of a text). A colony.toml of 500 services has about 50 KiB."""

_AT: Final = re.compile(r"\s*\((?:at line (\d+), column (\d+)|at end of document)\)$")
_WORD: Final = re.compile(r"[^\s,#\]}]+")


class _Words(NamedTuple):
    """How tomllib's message begins; our words for it; how far before its place the mistake is."""

    said: str
    message: str
    help: str = ""
    back: int = 0


_WORDS: Final = (
    _Words(
        "Invalid value", "there is no value here", 'text goes in quotes: command = "npm run dev"'
    ),
    _Words("Expected '=' after a key", "a key must be followed by `=` and a value"),
    _Words(
        "Expected newline or end of document",
        "there is something left after the end of this line's value",
        "one `key = value` a line; text goes in quotes",
    ),
    _Words("Unterminated string", "this string is not closed", "end it with what it began with"),
    _Words(
        "Found invalid character '\\n'",
        "this string is not closed on its line",
        "end it with what it began with",
    ),
    _Words(
        "Illegal character '\\n'",
        "this string is not closed on its line",
        'end it with what it began with, or begin it with """ for several lines',
    ),
    _Words("Found invalid character", "there is a control character here", "write it as \\uXXXX"),
    _Words("Illegal character", "there is a control character here", "write it as \\uXXXX"),
    _Words(
        "Unclosed array", "this list is not closed", "`]` is missing, or a comma between two values"
    ),
    _Words(
        "Unclosed inline table",
        "this inline table is not closed on its line",
        "`}` is missing, or use a [table] of its own",
    ),
    _Words(
        "Unescaped '\\'",
        "a backslash in a string in double quotes must be followed by an escape letter",
        "write it twice, or put the string in single quotes",
        back=2,
    ),
    _Words("Expected ']", "a table's header must end in `]`", "as in [services.web]"),
    _Words("Invalid initial character for a key", "a key is missing here", "as in [services.web]"),
    _Words("Invalid statement", "a line must begin with a key or a [table]"),
    _Words(
        "Cannot overwrite a value", "this key has been given a value before", "keep one of the two"
    ),
    _Words(
        "Duplicate inline table key",
        "this key has been given a value before",
        "keep one of the two",
    ),
    _Words("Cannot declare", "this table has been defined before", "write its keys in one place"),
    _Words("Cannot mutate immutable", "this table or list has been closed before"),
)


def read(text: str, filename: str) -> tuple[dict[str, Any], Sheet]:
    """The document of a text, and the sheet on which to report about it.

    Raises `ConfigError` with one problem when the text is no TOML, too long or not Unicode.
    """
    if len(text) > LARGEST:
        reject(filename, f"the file is too large: more than {LARGEST // 1024} KiB")
    text = text.removeprefix("\ufeff")
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate is not None:
        legible = text.encode(errors="replace").decode()
        raise at_character(legible, filename, surrogate.start(), "this is no whole character")
    positions = scan(text)
    if positions.too_deep is not None:
        message = f"lists or tables are nested too deeply: more than {DEEPEST} levels"
        raise at_character(text, filename, positions.too_deep, message)
    try:
        return tomllib.loads(text), Sheet(filename, positions)
    except tomllib.TOMLDecodeError as error:
        raise _explained(positions, filename, str(error)) from None
    except RecursionError:  # less than `DEEPEST` is left of the caller's own stack
        reject(filename, "lists or tables are nested too deeply")
    except ValueError as error:  # an integer of more than 4300 digits
        reject(filename, f"a number is too long: {error}".partition(";")[0])


def reject(filename: str, message: str, help: str = "") -> NoReturn:
    """Raises `ConfigError` for a file as a whole."""
    raise ConfigError([Problem(message=message, path=filename, help=help)])


def at_character(
    text: str, filename: str, offset: int, message: str, help: str = ""
) -> ConfigError:
    """The error for one bad character of a text."""
    sheet = Sheet(filename, Positions(text))
    place = sheet.place(sheet.positions.span(offset, offset + 1))
    sheet.report(message, place=place, help=help)
    return ConfigError(sheet.problems)


def _explained(positions: Positions, filename: str, said: str) -> ConfigError:
    """tomllib's complaint in our words, at the place where the person has to look."""
    sheet = Sheet(filename, positions)
    unknown = _Words("", said[:1].lower() + _AT.sub("", said[1:]))
    words = next((words for words in _WORDS if said.startswith(words.said)), unknown)
    if positions.duplicates and said.startswith(("Cannot", "Duplicate")):
        duplicate = positions.duplicates[0]
        name = dotted(duplicate.path)
        sheet.report(
            words.message.replace("this key", f"`{name}`").replace("this table", f"[{name}]"),
            place=sheet.place(duplicate.second),
            help=words.help,
            related=[sheet.place(duplicate.first, "first here")],
        )
    else:
        place = sheet.place(_span(positions, said, words.back))
        sheet.report(words.message, place=place, help=words.help)
    return ConfigError(sheet.problems)


def _span(positions: Positions, said: str, back: int) -> Span:
    """Where tomllib stopped; of what is open at the end of the text, where it began."""
    match = _AT.search(said)
    text = positions.text
    if match is not None and match[1] is not None:
        offset = positions.offset(int(match[1]), int(match[2]) - back)
    elif positions.stuck is not None:
        offset = positions.stuck
    else:
        offset = len(text)
    offset = min(offset, max(len(text.rstrip()) - 1, 0))
    word = _WORD.match(text, offset)
    return positions.span(offset, max(offset + 1, word.end() if word else 0))
