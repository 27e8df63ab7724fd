"""Errors as RFC 9457 problems: one class, and a table of kinds.

A problem says what is wrong with which value, what is allowed, and what to do. Names come with the
near miss: `no colony "blgo"; did you mean "blog"?`
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec

from colony.api.types import Advice, Problem, Step

T = TypeVar("T")

KINDS: Final[dict[str, tuple[int, str]]] = {
    "invalid_request": (400, "The request cannot be read"),
    "unauthorized": (401, "A token is needed"),
    "forbidden": (403, "Not from there"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "Not with this method"),
    "timeout": (408, "It took too long"),
    "conflict": (409, "It does not fit what is there"),
    "too_large": (413, "Too large"),
    "unsupported_media_type": (415, "JSON is needed"),
    "misdirected": (421, "This is not my name"),
    "invalid": (422, "The values are wrong"),
    "too_many": (429, "Too many"),
    "fault": (500, "A fault of Colony"),
    "failed": (424, "It did not work"),
    "not_provided": (424, "What the colony needs could not be provided"),
    "stopping": (503, "The instance is ending"),
}
"""By code: status and title."""


class ApiError(Exception):
    """An answer that is a problem. Changes nothing; raised by operations and by the server."""

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        status, title = KINDS[code]
        self.problem = Problem(f"/api/problems/{code}", title, status, detail, code, **more)
        super().__init__(detail)

    def __repr__(self) -> str:
        return f"<ApiError {self.problem.status} {self.problem.detail}>"


def unknown(what: str, name: str, known: Iterable[str], **more: Any) -> ApiError:
    """There is no colony, service or template of this name."""
    names = tuple(known)
    near = near_miss(name, names)
    help = (
        f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else "there is none"
    )
    detail = f"there is no {what} {name!r}"
    if near is not None:
        return ApiError(
            "not_found", f"{detail}; did you mean {near!r}?", help=help, did_you_mean=near, **more
        )
    return ApiError("not_found", detail, help=help, **more)


def conflict(detail: str, help: str, steps: tuple[Step, ...] = ()) -> ApiError:
    """What is there stands in the way."""
    return ApiError("conflict", detail, help=help, steps=steps)


def invalid(problems: Iterable[Advice], help: str = "") -> ApiError:
    """Values that are wrong, all at once; the first of them makes the summary."""
    all_ = tuple(problems)
    first = all_[0]
    more = f" (and {len(all_) - 1} more)" if len(all_) > 1 else ""
    where = f"{first.field}: " if first.field else ""
    options: dict[str, Any] = {"field": first.field, "problems": all_}
    if first.did_you_mean is not None:
        options["did_you_mean"] = first.did_you_mean
    if help or first.help:
        options["help"] = help or first.help
    return ApiError("invalid", f"{where}{first.message}{more}", **options)


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """What was probably meant."""
    close = get_close_matches(name, tuple(known), n=1, cutoff=0.6)
    return close[0] if close else None


def listed(names: Iterable[str], most: int = 10) -> str:
    """`a, b, c and 4 more`."""
    all_ = tuple(names)
    if len(all_) <= most:
        return ", ".join(all_)
    return f"{', '.join(all_[:most])} and {len(all_) - most} more"


# -- values from outside ---------------------------------------------------------------------------

_UNKNOWN: Final = re.compile(
    r"Object contains unknown field `(.*?)`(?: - at `\$\.?(.*)`)?$", re.DOTALL
)
_PLACED: Final = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)


def decoded(data: bytes, kind: type[T]) -> T:
    """A JSON body as a value. Raises `ApiError`: 400 if it is no JSON, 422 if no `kind`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise invalid([advice(str(error), kind)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        help = 'send a JSON object with "Content-Type: application/json"'
        raise ApiError("invalid_request", f"the body is not JSON: {error}", help=help) from None


def converted(values: dict[str, Any], kind: type[T]) -> T:
    """A query's parameters as a value. Raises `ApiError` (422)."""
    try:
        return msgspec.convert(values, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid([advice(str(error), kind)]) from None


def advice(message: str, kind: Any) -> Advice:
    """What msgspec says, as a field, words and the near miss."""
    found = _UNKNOWN.match(message)
    if found:
        name, place = found[1], found[2] or ""
        field = f"{place}.{name}" if place else name
        fields = _fields(kind)
        near = near_miss(name, fields)
        words = f"unknown field {name!r}"
        words += f"; did you mean {near!r}?" if near else f"; known are {listed(fields)}"
        return Advice(field, words, near)
    placed = _PLACED.match(message)
    assert placed is not None
    missing = re.match(r"Object missing required field `(.*?)`", message)
    if missing:
        return Advice(missing[1], "this field is needed")
    return Advice(placed[2] or "", _in_words(placed[1]))


_WORDS: Final = (
    (r"Expected `int` <= (\S+)", r"this must be a whole number, at most \1"),
    (r"Expected `int` >= (\S+)", r"this must be a whole number, at least \1"),
    (r"Expected `float` <= (\S+)", r"this must be a number, at most \1"),
    (r"Expected `float` >= (\S+)", r"this must be a number, at least \1"),
    (r"Expected `str` of length <= (\d+)", r"this must have at most \1 characters"),
    (r"Expected `str` of length >= 1", r"this must not be empty"),
)
"""What msgspec says, and how a person would."""

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
}


def _in_words(message: str) -> str:
    for pattern, words in _WORDS:
        if re.fullmatch(pattern, message):
            return re.sub(pattern, words, message)
    found = re.fullmatch(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`", message)
    if found is not None and {found[1], found[2]} <= set(_KINDS):
        return f"this must be {_KINDS[found[1]]}, got {_KINDS[found[2]]}"
    return message[:1].lower() + message[1:]


def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))
