"""`colony logs`."""

from __future__ import annotations

import json
import re
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from colony.cli import output as out
from colony.cli.session import (
    Failed,
    Session,
    colony_names,
    json_option,
    pass_session,
    service_names,
)
from colony.client import Unreachable, path_of
from colony.escapes import plain, tame
from colony.exits import Exit
from colony.paths import home_directory

NAME_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """`30s`, `5m`, `1.5h`, or a number of seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)?", value)
        if found is None:
            self.fail(f"a duration is like 30s, 5m or 1.5h, got: {value!r}", param, context)
        return float(found[1]) * _UNITS[found[2] or "s"]


DURATION: Final = Duration()


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=service_names)
@click.option("-c", "--colony", "name", shell_complete=colony_names, help="Of which colony.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "-n", "--tail", type=click.IntRange(0, 10_000), help="Last lines: 100, or all of --since."
)
@click.option("--since", help="Since a time: 5m, today, 22:30; or a cursor.")
@click.option("--grep", metavar="RE", help="Lines that match (RE2).")
@click.option("--until", metavar="RE", help="Follow until any line matches, and end with 0.")
@click.option("--timeout", type=DURATION, help="Give up --until or --follow after this: 30s.")
@click.option("-t", "--timestamps", is_flag=True, help="The time before each line.")
@click.option("--no-prefix", is_flag=True, help="Without the service's name before each line.")
@json_option
@pass_session
def logs(
    session: Session,
    services: tuple[str, ...],
    name: str | None,
    follow: bool,
    tail: int | None,
    since: str | None,
    grep: str | None,
    until: str | None,
    timeout: float | None,
    timestamps: bool,
    no_prefix: bool,
    as_json: bool,
) -> None:
    """Show what services wrote; of all by default.

    With --json a line each: an object with seq, ts, service, stream and text.
    """
    stop = _pattern(until)
    if timeout is not None and until is None and not follow:
        raise Failed(Exit.WRONG, "--timeout is for --until or --follow: nothing is waited for")
    query: dict[str, Any] = {
        "tail": tail,
        "since": _moment(since),
        "grep": _either(grep, until),
        "follow": follow or until is not None,
    }
    with _or_where_files_are(session, name):
        colony, query["service"] = _meant(session, services, name)
        several = len(query["service"] or session.found(colony)["services"]) != 1
    show = Shower(session.colour(), prefix=several and not no_prefix, times=timestamps)
    path = path_of("colonies", colony, "logs")
    if not query["follow"]:
        for line in session.client.get(path, query)["lines"]:
            out.as_line(line) if as_json else show(line)
        show.end()
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    met = _follow(followed(session, path, query, deadline), show, stop, as_json)
    show.end()
    if stop is not None and not met:
        if deadline is not None and time.monotonic() >= deadline:
            raise Failed(Exit.TIMEOUT, f"no line matched {until!r} in {timeout:g} s")
        raise Failed(Exit.FAILED, f"the colony has ended, and no line matched {until!r}")


@contextmanager
def _or_where_files_are(session: Session, colony: str | None) -> Iterator[None]:
    """Without an instance of this machine, says where what was written before is kept."""
    try:
        yield
    except Unreachable as error:
        folder = home_directory() / "logs" / (colony or "")
        if session.client.address.path is None or not folder.is_dir():
            raise
        place = folder / "SERVICE.log" if colony else folder / "COLONY" / "SERVICE.log"
        help = f"what was written before is in {place}"
        raise Failed(Exit.UNREACHABLE, str(error), help) from None


def _follow(
    lines: Iterable[dict[str, Any]], show: Shower, stop: re.Pattern[str] | None, as_json: bool
) -> bool:
    """Shows lines as they come; whether one was met that `stop` matches, which ends it."""
    for line in lines:
        note = line["stream"] == "note"
        if as_json:
            out.as_line(line)
        elif note:
            out.message(f"· {line['text']}")
        else:
            show(line)
        if stop is not None and not note and _matches(stop, line["text"]):
            return True
    return False


def followed(session: Session, path: str, query: dict[str, Any], deadline: float | None) -> Any:
    """The lines as they come, until the colony has ended, or the deadline."""
    import select

    with session.client.stream(path, query) as stream:
        rest = b""
        pieces = iter(stream)
        while True:
            if deadline is not None and not stream.waiting:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([stream], [], [], left)[0]:
                    return
            piece = next(pieces, None)
            if piece is None:
                return
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line:
                    yield json.loads(line)


class Shower:
    """Prints a line as `run` does: the service's name in its colour, and the text in its own.

    The pieces of an overlong line are one line again, unless another one comes in between: then
    what is broken off there ends in an ellipsis.
    """

    def __init__(self, colour: bool, *, prefix: bool, times: bool) -> None:
        self.colour = colour
        self.prefix = prefix
        self.times = times
        self.width = 0
        self.open: tuple[str, int, int] | None = None
        """Of the line that was last printed and goes on: whose, its number, and its next piece."""

    def __call__(self, line: dict[str, Any]) -> None:
        goes_on = (line["service"], line["seq"], line["piece"]) == self.open
        if not goes_on:
            self.end()
        start = "" if goes_on else self._start(line)
        if line.get("dropped"):
            sys.stdout.write(f"{start}… {line['dropped']} lines dropped\n")
        text = tame(line["text"].encode()).decode() if self.colour else plain(line["text"])
        sys.stdout.write(f"{start}{text}" + ("" if line["more"] else "\n"))
        sys.stdout.flush()
        self.open = (line["service"], line["seq"], line["piece"] + 1) if line["more"] else None

    def end(self) -> None:
        """Ends a line that goes on, if one was printed last."""
        if self.open is not None:
            self.open = None
            sys.stdout.write(" …\n")
            sys.stdout.flush()

    def _start(self, line: dict[str, Any]) -> str:
        start = f"{line['ts'][11:23]} " if self.times else ""
        if self.prefix:
            name = line["service"]
            self.width = max(self.width, len(name))
            code = NAME_COLOURS[zlib.crc32(name.encode()) % len(NAME_COLOURS)]
            start += out.paint(f"{name:<{self.width}} |", code, self.colour) + " "
        return start


def _meant(session: Session, services: tuple[str, ...], name: str | None) -> tuple[str, list[str]]:
    """The colony, and the services of it; none for all."""
    if not services:
        return session.colony(name), []
    found = session.targets(services, name)
    owners = sorted({owner for owner, _ in found})
    if len(owners) > 1:
        raise Failed(Exit.WRONG, f"the services are of several colonies: {', '.join(owners)}")
    return owners[0], [service for _, service in found]


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise Failed(
            Exit.WRONG, f"--until: no regular expression: {error}, got: {text!r}"
        ) from None


def _either(grep: str | None, until: str | None) -> str | None:
    """What to ask for: a line that is waited for has to come, whether it is wanted or not."""
    return grep if grep is None or until is None else f"(?:{grep})|(?:{until})"


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a line matches, as written or as a terminal shows it."""
    return pattern.search(text) is not None or pattern.search(plain(text)) is not None


def _moment(since: str | None) -> str | None:
    """A time as people write it as one of ISO 8601; a cursor as it is."""
    if since is None or since.isdigit():
        return since
    from datetime import UTC, datetime

    from colony.records import parse_since

    try:
        then = parse_since(since, time.time())
    except ValueError as error:
        raise Failed(Exit.WRONG, f"--since: no cursor of a page, and no time: {error}") from None
    return datetime.fromtimestamp(then, UTC).isoformat()
