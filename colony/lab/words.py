"""How a scenario's words are read and written: the readers that files and flags share. Pure.

"1m"        always one minute            "5s", "1m30s", 2.5
"1s..5s"    from 1 to 5 seconds, any as likely as the other
"~10m"      at random, ten minutes on the average
"""

from __future__ import annotations

import re
import signal
from decimal import Decimal
from typing import Final

from colony.config import values
from colony.config.values import Reader, Refused
from colony.lab.faults import (
    EVENT_WORDS,
    After,
    Crash,
    Distribution,
    EventWord,
    Exit,
    Exponential,
    Fixed,
    Uniform,
)

LONGEST: Final = 100 * 366 * 24 * 3600.0
"""Seconds that anything may take."""

VERBS: Final[dict[str, EventWord]] = {
    "waits": "waiting",
    "starts": "started",
    "crashes": "crashed",
    "completes": "completed",
    "exits": "exited",
    "ends": "exited",
    "restarts": "restarting",
    "stops": "stopped",
    "fails": "failed",
    **{word: word for word in EVENT_WORDS},
}
"""How a script may say that something happens."""

_WHEN: Final = re.compile(r"\s*(\S+)\s+(?:is\s+|has\s+)?(\S+)\s*")

_DAYS: Final = re.compile(r"(\d+(?:\.\d+)?)\s*d", re.ASCII)


def _with_days(read: Reader) -> Reader:
    """Days as well: what colony.toml has takes none, a simulation takes many."""

    def read_days(value: object) -> float:
        if isinstance(value, str):
            value = _DAYS.sub(lambda days: f"{Decimal(days[1]) * 24:f}h", value)
        found: float = read(value)
        return found

    return read_days


seconds: Final[Reader] = _with_days(values.duration(0, LONGEST))
period: Final[Reader] = _with_days(values.duration(0.001, LONGEST))
"""Seconds between two times of the same, which must not be none."""


def distribution(value: object) -> Distribution:
    """A length of time, or how it is spread."""
    if not isinstance(value, str):
        return Fixed(seconds(value))
    if value.strip().startswith("~"):
        return Exponential(_part(value, value.strip()[1:]))
    low, dots, high = value.partition("..")
    if not dots:
        return Fixed(_part(value, value))
    lowest, highest = _part(value, low), _part(value, high)
    if lowest > highest:
        raise Refused(f"must begin with the shorter one: got {values.quoted(value)}")
    return Uniform(lowest, highest)


def _part(whole: str, text: str) -> float:
    try:
        found: float = seconds(text.strip())
    except Refused:
        raise Refused(
            f"must be a length of time: got {values.quoted(whole)}",
            'as "1m", "1s..5s" (any in between) or "~10m" (at random, on the average)',
        ) from None
    return found


def fatal_signal(value: object) -> int:
    """A signal's number, by its name with or without SIG, or itself."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        name = value.strip().upper().removeprefix("SIG")
        named = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
        number = int(name) if name.isdecimal() and len(name) < 4 else named.get(name)
    if number is None or number not in signal.valid_signals():
        names = [each.name for each in signal.Signals]
        near = values.meant(f"SIG{value}", names) if isinstance(value, str) else ""
        raise Refused(
            f"must be a signal: got {values.described(value)}",
            near or "as in SIGKILL, SIGSEGV, SIGABRT",
        )
    return number


def exit_code(value: object) -> int:
    """An exit code, from 0 to 255."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise Refused(f"must be an exit code from 0 to 255: got {values.described(value)}")
    return value


def end(value: object) -> Crash | Exit:
    """How a life ends: an exit code, or a signal's name."""
    if isinstance(value, str):
        return Crash(fatal_signal(value))
    return Exit(exit_code(value))


def ends(value: object) -> tuple[Crash | Exit, ...]:
    """How lives end, one of them by chance: one or a list."""
    if isinstance(value, list) and value:
        return tuple(end(each) for each in value)
    return (end(value),)


def times(value: object) -> int:
    """How often at most; 1 or more."""
    number = values.count(value)
    if number < 1:
        raise Refused("must be 1 or more: got 0")
    return number


def seed(value: object) -> int:
    """What chance is drawn from: any whole number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Refused(f"must be a whole number from 0 up: got {values.described(value)}")
    return value


def event(service: str, verb: str) -> After:
    """What a fault follows, as `db` and `exits`."""
    word = VERBS.get(verb)
    if word is None:
        near = values.meant(verb, list(VERBS))
        known = "known here: " + ", ".join(EVENT_WORDS)
        raise Refused(
            f"must say what happens to a service: got {values.quoted(verb)}", near or known
        )
    return After(word, service)


def when(value: object) -> After:
    """ "db exits", "web is ready", "api crashed"."""
    match = _WHEN.fullmatch(values.text(value))
    if match is None:
        raise Refused(
            f"must be a service and what happens to it: got {values.described(value)}",
            'as in "db exits" or "web is ready"',
        )
    return event(match[1], match[2])


# -- the other way ---------------------------------------------------------------------------------


def duration_text(length: float) -> str:
    """A length of time that `seconds` reads back: `5s`, `2m`, `1h`."""
    for size, unit in ((3600, "h"), (60, "m")):
        if length and length % size == 0:
            return f"{int(length // size)}{unit}"
    # Never with an exponent, which a length of time is not written with.
    return f"{Decimal(repr(length).removesuffix('.0')):f}s"


def distribution_text(value: Distribution) -> str:
    """What `distribution` reads back to the same."""
    match value:
        case Fixed(each):
            return duration_text(each)
        case Uniform(low, high):
            return f"{duration_text(low)}..{duration_text(high)}"
        case Exponential(mean):
            return f"~{duration_text(mean)}"


def signal_name(number: int) -> str:
    """`SIGKILL`; the number for one without a name, as the real-time ones."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
