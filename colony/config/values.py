"""How one TOML value becomes one field's value, or is refused.

Each reader takes what tomllib made and returns the field's value, or raises `Refused` with the
end of a sentence that begins with the field's name: "`port` in [services.web] " + "must be …".
Pure functions; nothing here knows of files or places.
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final

from colony.config.schema import (
    NAME_LENGTH,
    NAME_PATTERN,
    PORT_HIGHEST,
    PORT_LOWEST,
    Command,
)

Reader = Callable[[object], Any]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", re.ASCII)
_NAME: Final = re.compile(NAME_PATTERN)
_LONGEST: Final = 60

_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "the boolean"),  # before int, of which Python makes it a kind
    (int, "the integer"),
    (float, "the float"),
    (str, "the string"),
    (datetime.datetime, "the date and time"),
    (datetime.date, "the date"),
    (datetime.time, "the time"),
)


class Refused(Exception):
    """A value that its reader does not take.

    `part` leads from the value to the element that is meant, `help` says what to do.
    """

    def __init__(self, message: str, help: str = "", part: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.part = part


def plain(text: str) -> str:
    """A text from the file for a message: on one line, printable, and not longer than 60."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: _LONGEST + 1]
    )
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def quoted(text: str) -> str:
    """The same in double quotes."""
    return f'"{plain(text)}"'


def described(value: object) -> str:
    """A value with its TOML type, as a message calls it."""
    if isinstance(value, (list, dict)):
        kind = "array" if isinstance(value, list) else "table"
        return f"{'a' if value and kind == 'table' else 'an'} {'' if value else 'empty '}{kind}"
    for python_type, toml_type in _TYPES:
        if isinstance(value, python_type):
            return f"{toml_type} {_written(value)}"
    return f"a {type(value).__name__}"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    # Python refuses to write an integer of more than 4300 digits, which hexadecimal TOML can hold.
    if isinstance(value, int) and abs(value) >= 10**30:
        return "of more than 30 digits"
    return str(value)


def near(word: str, allowed: list[str]) -> str:
    """The allowed word that was probably meant; "" if none is near."""
    plain = word.strip().lower().replace("-", "_")
    spelled = {known.lower().replace("-", "_"): known for known in allowed}
    found = get_close_matches(plain, list(spelled), n=1, cutoff=0.6)
    return spelled[found[0]] if found else ""


def meant(word: str, allowed: list[str]) -> str:
    """A help text that offers the near miss; "" if none is near."""
    found = near(word, allowed)
    return f"did you mean `{found}`?" if found else ""


def text(value: object) -> str:
    """Any string without NUL, which no process can be given."""
    if not isinstance(value, str):
        raise Refused(f"must be a string: got {described(value)}", _as_string(value))
    if "\0" in value:
        raise Refused("must not hold a NUL character: no process can be given one")
    return value


def _as_string(value: object) -> str:
    if isinstance(value, (int, float)):
        return f'put it in quotes: "{_written(value)}"'
    return ""


def filled(value: object) -> str:
    """A string that says something."""
    result = text(value)
    if not result.strip():
        raise Refused(f"must not be empty: got {quoted(result)}")
    return result


def version(value: object) -> str:
    """A version, which TOML would take for a number without its quotes."""
    result = filled(value)
    if any(character.isspace() or not character.isprintable() for character in result):
        raise Refused(f"must be one word: got {quoted(result)}", 'as in "22" or "3.12"')
    return result


def name(value: object) -> str:
    """The name of a colony or a service."""
    if not isinstance(value, str):
        raise Refused(f"must be a string: got {described(value)}", _as_string(value))
    rule = "must be lower-case letters, digits and hyphens, with no hyphen at either end"
    valid = valid_name(value)
    help = f"for example `{valid}`" if valid else ""
    if not value:
        raise Refused(f"must not be empty: 1 to {NAME_LENGTH} letters, digits and hyphens")
    if not _NAME.fullmatch(value):
        raise Refused(f"{rule}: got {quoted(value)}", help)
    if len(value) > NAME_LENGTH:
        raise Refused(
            f"must have at most {NAME_LENGTH} characters: got {quoted(value)}, which has "
            f"{len(value)}",
            help,
        )
    return value


def valid_name(wish: str) -> str:
    """The valid name nearest to a text; "" if nothing of it can stay."""
    ascii_text = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_text.lower())
    return "-".join(words)[:NAME_LENGTH].strip("-")


def port(value: object) -> int:
    """A port that needs no special right."""
    allowed = f"a whole number from {PORT_LOWEST} to {PORT_HIGHEST}"
    if isinstance(value, bool) or not isinstance(value, int):
        plain = isinstance(value, str) and re.fullmatch(r"\d{1,5}", value, re.ASCII)
        help = f"write it without quotes: {value}" if plain else ""
        raise Refused(f"must be {allowed}: got {described(value)}", help)
    if not PORT_LOWEST <= value <= PORT_HIGHEST:
        low = 0 < value < PORT_LOWEST
        help = "lower ports need root, and a colony's URL needs none of them" if low else ""
        raise Refused(f"must be {allowed}: got {_written(value)}", help)
    return value


def command(value: object) -> Command:
    """A line for the shell, or a list of arguments."""
    if isinstance(value, str):
        if not value.strip():
            raise Refused(
                f"must not be empty: got {quoted(value)}", 'as in "python3 -m http.server 4001"'
            )
        return text(value)
    if not isinstance(value, list):
        raise Refused(f"must be a string or a list of strings: got {described(value)}")
    if not value:
        raise Refused("must not be an empty list", 'as in ["python3", "-m", "http.server"]')
    return tuple(_argument(index, argument) for index, argument in enumerate(value))


def _argument(index: int, value: object) -> str:
    try:
        result = text(value)
    except Refused as refused:
        what = f"must be a list of strings: argument {index + 1} {refused.message}"
        raise Refused(what, refused.help, (index,)) from None
    if index == 0 and not result.strip():
        raise Refused(
            f"must name a program first: got {quoted(result)}",
            'as in ["python3", "-m", "http.server"]',
            (0,),
        )
    return result


def url_path(value: object) -> str:
    """What comes after the host of a URL."""
    result = text(value)
    if not result.startswith("/"):
        whole = re.match(r"[a-z]+://", result)
        help = "only the path, without scheme and host" if whole else f"write /{plain(result)}"
        raise Refused(f"must begin with a slash: got {quoted(result)}", help)
    if any(character.isspace() or not character.isprintable() for character in result):
        raise Refused(
            f"must have no spaces and no control characters: got {quoted(result)}",
            "write a space as %20",
        )
    return result


def variable(value: object) -> str:
    """An environment variable's value: a string, or a whole number for convenience."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        return str(value)
    return text(value)


def variable_name(key: str) -> None:
    """Refuses what cannot be the name of an environment variable."""
    if not key or "=" in key or "\0" in key:
        raise Refused(f"must not be empty and not hold `=` or NUL: got {quoted(key)}")


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        as_text = isinstance(value, str) and value.lower() in ("true", "false")
        help = f"write it without quotes: {str(value).lower()}" if as_text else ""
        raise Refused(f"must be true or false: got {described(value)}", help)
    return value


def count(value: object) -> int:
    """How many; 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value > 10**6:
        raise Refused(f"must be a whole number from 0 to 1000000: got {described(value)}")
    return value


def duration(lowest: float, highest: float) -> Reader:
    """A reader of durations: a number of seconds, or a text as 500ms, 5s, 2m, 1h."""

    def read(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None:
            raise Refused(
                f'must be a number of seconds or a text like "500ms", "5s", "2m": '
                f"got {described(value)}"
            )
        if not lowest <= seconds <= highest:
            raise Refused(
                f"must be from {lowest:g} to {highest:g} seconds: got {described(value)}",
                "a plain number is in seconds" if seconds > highest else "",
            )
        return seconds

    return read


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        if isinstance(value, int):
            return float(value) if abs(value) < 10**12 else math.copysign(math.inf, value)
        return value if not math.isnan(value) else None
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and not _DURATION.sub("", value).strip():
            return math.fsum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return None


def choice(
    *allowed: str,
    aliases: dict[str, str] | None = None,
    later: dict[str, str] | None = None,
) -> Reader:
    """A reader of one word out of a few.

    `aliases` are other spellings of some; `later` are words that are known and do not work yet,
    each with what to do instead.
    """
    known = {**{word: word for word in allowed}, **(aliases or {})}
    listing = ", ".join(allowed)
    others = f" (or {', '.join(aliases)})" if aliases else ""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Refused(f"must be one of {listing}{others}: got {described(value)}")
        if value in (later or {}):
            raise Refused(f"cannot be {quoted(value)} yet: {listing}", (later or {})[value])
        if value not in known:
            raise Refused(
                f"must be one of {listing}{others}: got {quoted(value)}",
                meant(value, list(known)),
            )
        return known[value]

    return read
