"""One policy in many variants: `--sweep services.web.backoff.max=1s,5s,30s`.

    sweeps = [
        parse_sweep("services.web.backoff.max=1s,5s,30s"),
        parse_sweep("supervision.intensity=3,10"),
    ]
    for point in points(text, "colony.toml", sweeps):       # six of them
        point.settings      # (("services.web.backoff.max", "1s"), ("supervision.intensity", "3"))
        point.config        # as if the file said so

Law: a point is what the file would be with those lines in it. It is read by the very reader of
colony.toml, so that what is refused there is refused here, in the same words.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from colony.config import Config, ConfigError, Problem, parse
from colony.config.values import meant

MOST: Final = 500
"""Points that one sweep may have, so that a typing error does not take the night."""

FORM: Final = "--sweep is KEY=VALUE,VALUE,…, as services.web.backoff.max=1s,5s,30s"


class SweepError(ValueError):
    """A sweep that cannot be made: what is wrong with it, in one line, and what to do."""

    def __init__(self, text: str, help: str = "") -> None:
        super().__init__(text)
        self.help = help


class Sweep(msgspec.Struct, frozen=True):
    """A key of colony.toml, dotted, and the values that it takes, as they were written."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


class Point(msgspec.Struct, frozen=True):
    """One of the variants: which values its keys have, and the whole configuration."""

    settings: tuple[tuple[str, str], ...]
    config: Config

    def __str__(self) -> str:
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.settings)


def parse_sweep(text: str) -> Sweep:
    """Reads a sweep as it stands on the command line. Raises `SweepError`.

    A value is TOML, or a text without its quotes: `5s` is `"5s"`, `3` the integer, `[1, 2]` a list.
    """
    key, equals, listed = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(part.strip() for part in key.split(".")):
        raise SweepError(f"{FORM}: got {text!r}")
    values = tuple(_split(listed))
    if not all(values):
        raise SweepError(f"--sweep {key}: a value is empty: got {text!r}", FORM)
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise SweepError(f"--sweep {key}: the value {twice} stands there twice: got {text!r}")
    return Sweep(key, values)


def _split(listed: str) -> list[str]:
    """Cuts at the commas that are inside no quotes and no brackets."""
    parts, depth, quote = [""], 0, ""
    for character in listed:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def points(
    text: str, filename: str, sweeps: Sequence[Sweep], *, workspace: str | None = None
) -> list[Point]:
    """Every combination of the sweeps' values, the last one varying fastest.

    text, filename, workspace
        As for `colony.config.parse`; the text has to be valid by itself.

    Raises `ConfigError` for a bad file, and `SweepError` for a bad key or value or for more than
    `MOST` combinations.
    """
    base = parse(text, filename, workspace=workspace)
    count = 1
    for sweep in sweeps:
        _check_service(sweep, base)
        count *= len(sweep.values)
    twice = [sweep.key for sweep in sweeps]
    if len(set(twice)) < len(twice):
        key = next(key for key in twice if twice.count(key) > 1)
        raise SweepError(f"--sweep {key}: the key is swept twice; give all its values at once")
    if count > MOST:
        raise SweepError(f"the sweeps have {count} combinations; at most {MOST} are tried at once")
    return [
        Point(settings, _variant(text, filename, settings, workspace))
        for settings in itertools.product(
            *([(sweep.key, value) for value in sweep.values] for sweep in sweeps)
        )
    ]


def _check_service(sweep: Sweep, base: Config) -> None:
    """A service that is not there would be made by setting its key, and then lack a command."""
    first, *rest = sweep.key.split(".")
    if first == "services" and rest and rest[0] not in base.services:
        known = ", ".join(base.services)
        raise SweepError(
            f"--sweep {sweep.key}: there is no service {rest[0]!r}",
            meant(rest[0], list(base.services)) or f"there are {known}",
        )


def _variant(
    text: str, filename: str, settings: Sequence[tuple[str, str]], workspace: str | None
) -> Config:
    changed = text
    for key, value in settings:
        changed = with_value(changed, key, value)
    try:
        return parse(changed, filename, workspace=workspace)
    except ConfigError as error:
        raise _refused(error.problems, settings) from None


def _refused(problems: Sequence[Problem], settings: Sequence[tuple[str, str]]) -> SweepError:
    """The problem of the key that was set, if it is there, in terms of the command line."""
    for problem in problems:
        for key, value in settings:
            if problem.key and (key == problem.key or key.startswith(f"{problem.key}.")):
                return SweepError(f"--sweep {key}={value}: {problem.message}", problem.help)
    shown = ", ".join(f"{key}={value}" for key, value in settings)
    return SweepError(f"--sweep {shown}: {problems[0].message}", problems[0].help)


def with_value(text: str, key: str, value: str) -> str:
    """A TOML text in which a key has another value. Raises `SweepError` if it cannot have one."""
    document = tomlkit.parse(text)
    *path, last = key.split(".")
    table: Any = document
    for part in path:
        if part not in table:
            table[part] = tomlkit.table()
        table = table[part]
        if not isinstance(table, dict):
            raise SweepError(f"--sweep {key}: {part} is no table")
    try:
        table[last] = _toml(value)
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise SweepError(f"--sweep {key}={value}: {error}") from None


def _toml(value: str) -> Any:
    """A value as TOML has it; what is no TOML is a text."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value
