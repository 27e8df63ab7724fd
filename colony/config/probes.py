"""Readers for how a service is started, asked and ended: `after`, `ready`, `stop`. Pure.

As in `values`: each takes what tomllib made and returns the field's value, or raises `Refused`.
"""

from __future__ import annotations

import signal
from typing import Any, Final, get_args

from colony.config import values
from colony.config.schema import Condition
from colony.config.values import Refused, described, meant, quoted
from colony.patterns import WrongPattern, compiled

CONDITIONS: Final = get_args(Condition)

_UNCATCHABLE: Final = {signal.SIGSTOP}


def after(value: object) -> dict[str, str]:
    """The services to wait for: a list of names, one name, or a table from name to condition."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return {_service(index, name): "ready" for index, name in enumerate(value)}
    if not isinstance(value, dict):
        raise Refused(
            f"must be a list of services or a table of conditions: got {described(value)}",
            'as in ["db"], or { db = "ready", migrate = "completed" }',
        )
    return {values.name(key): _condition(key, item) for key, item in value.items()}


def _service(index: int, name: object) -> str:
    try:
        return values.name(name)
    except Refused as refused:
        raise Refused(
            f"must name services: number {index + 1} {refused.message}", refused.help, (index,)
        ) from None


def _condition(key: str, value: object) -> str:
    if value in CONDITIONS:
        return str(value)
    raise Refused(
        f"must have one of {', '.join(CONDITIONS)} for {quoted(key)}: got {described(value)}",
        meant(value, list(CONDITIONS)) if isinstance(value, str) else "",
        (key,),
    )


def lines(value: object) -> tuple[str, ...]:
    """One line for the shell or a list of them."""
    if isinstance(value, str):
        return (values.filled(value),)
    if not isinstance(value, list):
        raise Refused(f"must be a command or a list of commands: got {described(value)}")
    return tuple(values.filled(item) for item in value)


def files(value: object) -> tuple[str, ...]:
    """One path or a list of them."""
    if isinstance(value, str):
        return (values.filled(value),)
    if not isinstance(value, list):
        raise Refused(f"must be a path or a list of paths: got {described(value)}")
    return tuple(values.filled(item) for item in value)


def ready_word(value: object) -> dict[str, Any]:
    """The short form of `ready`: a word, or a path for HTTP."""
    words = {"tcp": {"tcp": True}, "notify": {"notify": True}, "none": {"none": True}}
    if isinstance(value, str) and value.startswith("/"):
        return {"http": values.url_path(value)}
    if isinstance(value, str) and value in words:
        return dict(words[value])
    raise Refused(
        f"must be tcp, notify, none, a path, or a table: got {described(value)}",
        'as in "tcp", "/health", or { log = "listening on", deadline = "60s" }',
    )


def port_or_true(value: object) -> int | bool:
    """A port, or true for the service's own."""
    return True if value is True else values.port(value)


def pattern(value: object) -> str:
    """A regular expression."""
    text = values.filled(value)
    try:
        compiled(text)
    except WrongPattern as error:
        raise Refused(f"must be a regular expression: {error}: got {quoted(text)}") from None
    return text


def signal_number(value: object) -> int:
    """A signal, by its name with or without SIG, or its number."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        name = value.strip().upper().removeprefix("SIG")
        number = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}.get(name)
    if number is None or number not in signal.valid_signals():
        names = [each.name for each in signal.Signals]
        raise Refused(
            f"must be a signal: got {described(value)}",
            (meant(f"SIG{value}", names) if isinstance(value, str) else "")
            or "as in SIGTERM, SIGINT, SIGQUIT; or a number, 1 to 31 or 34 to 64",
        )
    if number in _UNCATCHABLE:
        raise Refused(f"must be a signal that ends a process: got {described(value)}")
    return number


def failures(value: object) -> int:
    """How many; 1 or more."""
    number = values.count(value)
    if number < 1:
        raise Refused(f"must be 1 or more: got {number}")
    return number


def factor(value: object) -> float:
    """A number from 1 to 100."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 100:
        raise Refused(f"must be a number from 1 to 100: got {described(value)}")
    return float(value)


def part(value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise Refused(f"must be a number from 0 to 1: got {described(value)}")
    return float(value)
