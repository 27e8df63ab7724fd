"""Faults as flags of a command line: the same as `script` reads, in a few characters.

    --crash web@5s                    once, 5 s after the start
    --crash api@every:30s             every 30 s; `,first=5s` for the first time
    --crash api@poisson:10m           at random, 10 min apart on the average
    --exit db@1m:0                    with exit code 0
    --crash web+api@on:db.exits+2s    both at one instant, 2 s after db has ended
    --slow-start db:1m                every start takes a minute longer; `@10m` from then on
    --flapping web@1m:3s,lasting=5m   for 5 minutes, each life ends after 3 s

    SERVICE[+SERVICE…] [@WHEN] [:VALUE] [,times=N] [,until=TIME] [,first=TIME] [,lasting=TIME]

Law: what a flag can say, a file can, and `script.written` says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from colony.config import values
from colony.config.positions import Positions
from colony.config.problems import ConfigError, Place, Problem
from colony.config.sheet import Sheet
from colony.config.values import Reader, Refused
from colony.lab import words
from colony.lab.faults import STATES, After, At, Behaviour, Every, Fault, Moment, Poisson
from colony.lab.script import KINDS, made, service_known

_SHAPE: Final = re.compile(
    r"(?P<targets>[^@:,]*)"
    r"(?:@(?:(?P<word>every|poisson|on):)?(?P<when>[^:,]*))?"
    r"(?::(?P<value>[^,]*))?"
    r"(?P<options>(?:,[^,]*)*)"
)
_EVENT: Final = re.compile(r"(?P<service>[^.+]+)\.(?P<verb>[^.+]+)(?:\+(?P<delay>.*))?")
_PART: Final = re.compile(r"[^,]+")

_VALUES: Final[dict[str, tuple[str, Reader]]] = {
    "crash": ("signal", words.fatal_signal),
    "exit": ("code", lambda text: words.exit_code(_whole(text))),
    "slow_start": ("slower", words.seconds),
    "flapping": ("up", words.seconds),
}
"""What the value after the colon is, by the kind of fault."""

_OPTIONS: Final[dict[str, Reader]] = {
    "times": lambda text: words.times(_whole(text)),
    "until": words.seconds,
    "first": words.seconds,
    "lasting": words.seconds,
}

_BEHAVIOUR: Final[dict[str, Reader]] = {
    "spawn": words.distribution,
    "ready": words.distribution,
    "lifetime": words.distribution,
    "ends": lambda text: words.ends([_whole(each) for each in str(text).split("|")]),
    "stop": words.distribution,
    "ignores_stop": lambda text: values.flag({"true": True, "false": False}.get(str(text), text)),
}

EXAMPLES: Final[dict[str, str]] = {
    "crash": "web@5s",
    "exit": "db@1m:0",
    "hang": "web@1m",
    "never_ready": "db",
    "slow_start": "db:1m",
    "ignore_stop": "web",
    "flapping": "web:3s",
    "port_stolen": "web@1m",
    "unstartable": "web@1m",
    "daemonise": "web@1m",
}
"""A use of each flag, for its help and for errors."""


def _whole(text: object) -> object:
    """A whole number as one; anything else as it is, for its reader to refuse."""
    plain = str(text).strip()
    return int(plain) if plain.isascii() and plain.isdecimal() and len(plain) < 20 else text


def parse_flags(
    faults: Iterable[tuple[str, str]],
    behaviours: Iterable[str],
    services: Iterable[str],
    base: Mapping[str, Behaviour] | None = None,
) -> tuple[tuple[Fault, ...], dict[str, Behaviour]]:
    """Faults by their kinds, as ("crash", "web@5s"), and behaviours, as "db:ready=1m". What these
    say of a service changes what `base` says of it.

    Raises `ConfigError` with the problems of them all.
    """
    known, problems = list(services), list[Problem]()
    found = [_Flag(kind, text, known, problems).fault() for kind, text in faults]
    behaved = dict(base or {})
    for text in behaviours:
        _Flag("behaviour", text, known, problems).behave(behaved)
    if problems:
        raise ConfigError(problems)
    return tuple(fault for fault in found if fault is not None), behaved


class _Part(NamedTuple):
    """A piece of a flag's text, and where it begins."""

    text: str
    start: int


class _Flag:
    """One flag's text under inspection."""

    def __init__(self, kind: str, text: str, known: list[str], problems: list[Problem]) -> None:
        self.kind = kind
        self.text = text
        self.known = known
        self.sheet = Sheet(f"--{kind.replace('_', '-')}", Positions(text))
        self.sheet.problems = problems
        self.before = len(problems)

    def place(self, part: _Part) -> Place:
        span = self.sheet.positions.span(part.start, part.start + max(1, len(part.text)))
        return self.sheet.place(span)

    def report(self, message: str, part: _Part, help: str = "") -> None:
        self.sheet.report(message, place=self.place(part), help=help)

    def read(self, what: str, reader: Reader, part: _Part) -> Any:
        """A part's value; None, and reported, if its reader refuses it."""
        try:
            return reader(part.text)
        except Refused as refused:
            self.report(f"{what} {refused.message}", part, refused.help)
            return None

    # -- a fault -------------------------------------------------------------------------------

    def fault(self) -> Fault | None:
        match = _SHAPE.fullmatch(self.text)
        if match is None or not match["targets"]:
            example = f"as in --{self.kind.replace('_', '-')} {EXAMPLES[self.kind]}"
            self.report("this does not say to whom it happens", _Part(self.text, 0), example)
            return None
        parts = {
            name: _Part(text, match.start(name))
            for name, text in match.groupdict().items()
            if text is not None
        }
        targets = self.targets(parts["targets"])
        options = self.options(parts["options"], _OPTIONS)
        moment = self.moment(parts, options)
        fields = self.value(parts.get("value"))
        if len(self.sheet.problems) > self.before or moment is None:
            return None
        limits = (options.get(name) for name in ("times", "until", "lasting"))
        return Fault(targets, moment, made(self.kind, fields), *limits)

    def targets(self, part: _Part) -> tuple[str, ...]:
        at = part.start
        found: list[str] = []
        for name in part.text.split("+"):
            service_known(self.sheet, self.place(_Part(name, at)), name, self.known)
            if name in found:
                self.report(f"{values.quoted(name)} stands here twice", _Part(name, at))
            found.append(name)
            at += len(name) + 1
        return tuple(found)

    def moment(self, parts: dict[str, _Part], options: dict[str, Any]) -> Moment | None:
        when = parts.get("when")
        word = parts["word"].text if "word" in parts else ""
        if "first" in options and word != "every":
            self.report("`first` says nothing without `every`", parts["options"])
        if when is None:
            return self.at_once()
        if word == "on":
            return self.event(when)
        # `web@evry:30s` reads as a time and a value.
        near = values.near(when.text, ["every", "poisson", "on"]) if "value" in parts else ""
        if not word and near:
            self.report(
                f"a time cannot be {values.quoted(when.text)}", when, f"did you mean `{near}`?"
            )
            return None
        length = self.read("when it happens", words.period if word else words.seconds, when)
        if length is None:
            return None
        if word == "every":
            return Every(length, options.get("first"))
        return Poisson(length) if word == "poisson" else At(length)

    def at_once(self) -> Moment | None:
        if issubclass(KINDS[self.kind].made, STATES):
            return At(0.0)
        help = "as in web@5s, web@every:30s, web@poisson:10m, web@on:db.exits"
        self.report("this does not say when it happens", _Part(self.text, 0), help)
        return None

    def event(self, part: _Part) -> Moment | None:
        match = _EVENT.fullmatch(part.text)
        if match is None:
            help = "as in on:db.exits, on:web.ready+2s"
            self.report("after `on:` comes a service and what happens to it", part, help)
            return None
        service = _Part(match["service"], part.start)
        service_known(self.sheet, self.place(service), service.text, self.known)
        verb = _Part(match["verb"], part.start + match.start("verb"))
        after = self.read("after the dot", lambda text: words.event(service.text, str(text)), verb)
        delay: float | None = 0.0
        if match["delay"] is not None:
            later = _Part(match["delay"], part.start + match.start("delay"))
            delay = self.read("what comes after `+`", words.seconds, later)
        if not isinstance(after, After) or delay is None:
            return None
        return msgspec.structs.replace(after, delay=delay)

    def value(self, part: _Part | None) -> dict[str, Any]:
        """What stands after the colon, as a field."""
        rule = _VALUES.get(self.kind)
        example = f"as in --{self.kind.replace('_', '-')} {EXAMPLES[self.kind]}"
        if part is None:
            if KINDS[self.kind].needs:
                self.report("a length of time is missing here", _Part(self.text, 0), example)
            return {}
        if rule is None:
            self.report("there is nothing to say after a colon here", part, example)
            return {}
        name, reader = rule
        return {name: self.read("what comes after the colon", reader, part)}

    def options(self, part: _Part, readers: dict[str, Reader]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for match in _PART.finditer(part.text):
            start = part.start + match.start()
            name, equals, text = match[0].partition("=")
            if name not in readers or not equals:
                help = values.meant(name, list(readers)) or f"known here: {', '.join(readers)}"
                self.report(f"{values.quoted(match[0])} is no option", _Part(match[0], start), help)
                continue
            value = _Part(text, start + len(name) + 1)
            if name == "lasting" and not issubclass(KINDS[self.kind].made, STATES):
                self.report("this happens at one instant and does not last", _Part(name, start))
            found[name] = self.read(f"`{name}`", readers[name], value)
        return found

    # -- a behaviour ---------------------------------------------------------------------------

    def behave(self, found: dict[str, Behaviour]) -> None:
        """Adds what the flag says of one service to what is known of it."""
        name, colon, rest = self.text.partition(":")
        if not colon:
            self.report("this says nothing of a service", _Part(self.text, 0), "as in db:ready=1m")
            return
        service_known(self.sheet, self.place(_Part(name, 0)), name, self.known)
        fields = self.options(_Part(rest, len(name) + 1), _BEHAVIOUR)
        if len(self.sheet.problems) == self.before:
            found[name] = msgspec.structs.replace(found.get(name, Behaviour()), **fields)
