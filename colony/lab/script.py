"""Scenarios as TOML files: what goes wrong, how processes behave, for how long.

    [scenario]
    for = "2h"
    seed = 7

    [[fault]]
    crash = "web"                    # or ["web", "api"]: both at one instant
    every = "30s"
    first = "5s"
    times = 4

    [[fault]]
    exit = "api"
    code = 3
    when = "db crashes"
    delay = "2s"

    [behaviour.db]
    ready = "1m"
    lifetime = "~10m"                # at random, ten minutes on the average

Law: as with colony.toml, all mistakes are found at once, each with its line, and whatever comes out
is a `Script` that can be played. `written` gives the text that reads back to the same scenario.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from colony.config import syntax, values
from colony.config.load import read_text
from colony.config.positions import Path
from colony.config.problems import Place
from colony.config.sheet import Sheet
from colony.config.values import Reader, Refused
from colony.lab import words
from colony.lab.faults import (
    STATES,
    After,
    At,
    Behaviour,
    Crash,
    Daemonise,
    Every,
    Exit,
    Fault,
    Flapping,
    Hang,
    IgnoreStop,
    Lived,
    Moment,
    NeverReady,
    Poisson,
    PortStolen,
    Scenario,
    SlowStart,
    Unstartable,
    What,
)

HORIZON: Final = 3600.0
"""Seconds that are simulated if nobody says how many."""

_HINT: Final = "a scenario is a TOML file of [[fault]] and [behaviour.SERVICE] tables"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says; None where it leaves it to others."""

    faults: tuple[Fault, ...] = ()
    behaviours: dict[str, Behaviour] = {}
    horizon: float | None = None
    seed: int | None = None

    def scenario(self, horizon: float | None = None, seed: int | None = None) -> Scenario:
        """The scenario; what is given here goes before what the file says."""
        return Scenario(
            faults=self.faults,
            behaviours=self.behaviours,
            horizon=_first(horizon, self.horizon, HORIZON),
            seed=int(_first(seed, self.seed, 0)),
        )


def _first(*wishes: float | None) -> float:
    return next(wish for wish in wishes if wish is not None)


# -- the tables ------------------------------------------------------------------------------------


class Kind(msgspec.Struct, frozen=True):
    """A kind of fault: its class, and which fields it must and may have."""

    made: type[Any]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


KINDS: Final[dict[str, Kind]] = {
    "crash": Kind(Crash, may=("signal",)),
    "exit": Kind(Exit, may=("code",)),
    "hang": Kind(Hang),
    "never_ready": Kind(NeverReady),
    "slow_start": Kind(SlowStart, needs=("slower",)),
    "ignore_stop": Kind(IgnoreStop),
    "flapping": Kind(Flapping, needs=("up",), may=("code",)),
    "port_stolen": Kind(PortStolen),
    "unstartable": Kind(Unstartable),
    "daemonise": Kind(Daemonise),
}

FIELDS: Final[dict[str, str]] = {"slower": "seconds"}
"""How a field of a kind is called in its Struct, where not the same."""

MOMENTS: Final[dict[str, tuple[str, ...]]] = {
    "at": (),
    "every": ("first",),
    "poisson": (),
    "when": ("delay",),
}
"""How a fault says when it comes, and what may stand beside that."""


def _targets(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise Refused(
            f"must be a service or a list of them: got {values.described(value)}",
            'as in "web", or ["web", "api"] for both at one instant',
        )
    twice = next((each for each in value if value.count(each) > 1), None)
    if twice is not None:
        raise Refused(f"names {values.quoted(twice)} twice")
    return tuple(value)


_SCENARIO: Final[dict[str, Reader]] = {"for": words.period, "seed": words.seed}

_FAULT: Final[dict[str, Reader]] = {
    **dict.fromkeys(KINDS, _targets),
    "signal": words.fatal_signal,
    "code": words.exit_code,
    "slower": words.seconds,
    "up": words.seconds,
    "at": words.seconds,
    "every": words.period,
    "first": words.seconds,
    "poisson": words.period,
    "when": words.when,
    "delay": words.seconds,
    "times": words.times,
    "until": words.seconds,
    "lasting": words.seconds,
}

_BEHAVIOUR: Final[dict[str, Reader]] = {
    "spawn": words.distribution,
    "ready": words.distribution,
    "lifetime": words.distribution,
    "ends": words.ends,
    "stop": words.distribution,
    "ignores_stop": values.flag,
}

_LIFE: Final[dict[str, Reader]] = {
    "lasts": words.seconds,
    "end": words.end,
    "ready": words.seconds,
    "hangs": words.seconds,
    "cut": values.flag,
}

_SYNONYMS: Final[dict[str, str]] = {
    "duration": "for",
    "horizon": "for",
    "kill": "crash",
    "on": "when",
    "after": "when",
    "rate": "poisson",
    "count": "times",
    "slow": "slow_start",
    "flap": "flapping",
    "unhealthy": "hang",
    "startup": "ready",
    "start": "spawn",
}


# -- reading ---------------------------------------------------------------------------------------


def load_script(path: str, services: Iterable[str]) -> Script:
    """Reads and checks a file. `services` are the colony's.

    Reads from the disk, so an event loop calls it in a thread. Raises `ConfigError` with every
    problem found.
    """
    return parse_script(read_text(path, _HINT), path, services)


def parse_script(text: str, filename: str, services: Iterable[str]) -> Script:
    """Checks a text as if it were the file `filename`. Raises `ConfigError`."""
    document, sheet = syntax.read(text, filename)
    known = list(services)
    for key in document:
        if key not in ("scenario", "fault", "behaviour"):
            _unknown(sheet, (key,), ["scenario", "fault", "behaviour"])
    scenario = _table(sheet, ("scenario",), document.get("scenario", {}), _SCENARIO)
    faults = _faults(sheet, document.get("fault", []), known)
    behaviours = _behaviours(sheet, document.get("behaviour", {}), known)
    sheet.finish()
    return Script(
        faults=tuple(fault for fault in faults if fault is not None),
        behaviours=behaviours,
        horizon=scenario.get("for"),
        seed=scenario.get("seed"),
    )


def _table(sheet: Sheet, path: Path, table: object, readers: dict[str, Reader]) -> dict[str, Any]:
    """The fields of a table that are good; the others are reported."""
    found: dict[str, Any] = {}
    if not isinstance(table, dict):
        shown = title(path)
        message = f"{shown} must be a table: got {values.described(table)}"
        sheet.report(message, path, help=f"write it as {shown}")
        return found
    for key, value in table.items():
        here = (*path, key)
        if key not in readers:
            _unknown(sheet, here, list(readers))
            continue
        try:
            found[key] = readers[key](value)
        except Refused as refused:
            message = f"`{key}` in {title(path)} {refused.message}"
            sheet.report(message, here, help=refused.help)
    return found


def title(path: Path) -> str:
    """A table as messages call it: `[[fault]]`, `[behaviour.db]`."""
    if path[-1:] and isinstance(path[-1], int):
        return f"[[{'.'.join(str(part) for part in path[:-1])}]]"
    return f"[{'.'.join(values.plain(str(part)) for part in path)}]"


def _unknown(sheet: Sheet, path: Path, known: list[str]) -> None:
    key, table = values.plain(str(path[-1])), path[:-1]
    help = values.meant(_SYNONYMS.get(key, key), known) or f"known here: {', '.join(known)}"
    where = f" in {title(table)}" if table else ""
    kind = "key" if table else "table"
    sheet.report(f"unknown {kind} `{key}`{where}", path, place=sheet.key(path), help=help)


def _faults(sheet: Sheet, tables: object, known: list[str]) -> list[Fault | None]:
    if not isinstance(tables, list):
        message = f"`fault` must be an array of tables: got {values.described(tables)}"
        sheet.report(message, ("fault",), help="write each fault below a [[fault]]")
        return []
    return [_fault(sheet, ("fault", i), table, known) for i, table in enumerate(tables)]


def _fault(sheet: Sheet, path: Path, table: object, known: list[str]) -> Fault | None:
    """One fault, or None if there is something wrong with it."""
    before = len(sheet.problems)
    fields = _table(sheet, path, table, _FAULT)
    if not isinstance(table, dict):
        return None
    kind = _one_of(sheet, path, table, list(KINDS), "what goes wrong", 'as in crash = "web"')
    lasts = kind is not None and issubclass(KINDS[kind].made, STATES)
    help = 'as in at = "5s", every = "30s", poisson = "10m" or when = "db exits"'
    moment = _one_of(sheet, path, table, list(MOMENTS), "when", help, needed=not lasts)
    if kind is not None:
        _belongs(sheet, path, table, kind, moment, lasts)
        for name in fields.get(kind, ()):
            service_known(sheet, sheet.value((*path, kind)), name, known)
    if isinstance(fields.get("when"), After):
        place = sheet.value((*path, "when"))
        service_known(sheet, place, fields["when"].service, known)
    if len(sheet.problems) > before or kind is None:
        return None
    return Fault(
        fields[kind],
        _moment(moment, fields),
        made(kind, fields),
        fields.get("times"),
        fields.get("until"),
        fields.get("lasting"),
    )


def made(kind: str, fields: dict[str, Any]) -> What:
    """The fault of a kind with those of the fields that are its own."""
    rule = KINDS[kind]
    own = {FIELDS.get(key, key): fields[key] for key in (*rule.needs, *rule.may) if key in fields}
    what: What = rule.made(**own)
    return what


def _moment(key: str | None, fields: dict[str, Any]) -> Moment:
    match key:
        case "every":
            return Every(fields["every"], fields.get("first"))
        case "poisson":
            return Poisson(fields["poisson"])
        case "when":
            followed: After = fields["when"]
            return msgspec.structs.replace(followed, delay=fields.get("delay", 0.0))
        case _:
            return At(fields.get("at", 0.0))


def _one_of(
    sheet: Sheet,
    path: Path,
    table: dict[str, Any],
    keys: list[str],
    what: str,
    help: str,
    *,
    needed: bool = True,
) -> str | None:
    """The one of some keys that a table has; reports if it has none or several."""
    present = [key for key in table if key in keys]
    if len(present) > 1:
        first, second = present[:2]
        sheet.report(
            f"a [[fault]] says {what} twice: `{first}` and `{second}`",
            (*path, second),
            place=sheet.key((*path, second)),
            related=[place for place in (sheet.key((*path, first), "first here"),) if place],
            help="write a [[fault]] for each",
        )
    elif not present and needed and not any(key not in _FAULT for key in table):
        sheet.report(f"this [[fault]] does not say {what}", path, help=help)
    return present[0] if present else None


def _belongs(
    sheet: Sheet, path: Path, table: dict[str, Any], kind: str, moment: str | None, lasts: bool
) -> None:
    """Reports fields that say nothing of such a fault, and those that it lacks."""
    rule = KINDS[kind]
    for key in rule.needs:
        if key not in table:
            message = f"`{kind}` in a [[fault]] needs `{key}`"
            sheet.report(message, path, help=f'as in {key} = "30s"')
    mine = {kind, *MOMENTS, *KINDS, *rule.needs, *rule.may, "times", "until"}
    mine |= set(MOMENTS.get(moment or "at", ())) | ({"lasting"} if lasts else set())
    for key in table:
        if key in _FAULT and key not in mine:
            here = (*path, key)
            beside = f"`{kind}`" if key in _OF_KINDS else f"`{moment or 'at'}`"
            sheet.report(
                f"`{key}` says nothing beside {beside}",
                here,
                place=sheet.key(here),
                help=f"it belongs to {', '.join(_OWNERS[key])}",
            )


_OF_KINDS: Final = frozenset({"signal", "code", "slower", "up", "lasting"})

_OWNERS: Final[dict[str, tuple[str, ...]]] = {
    **{
        key: tuple(kind for kind, rule in KINDS.items() if key in (*rule.needs, *rule.may))
        for key in ("signal", "code", "slower", "up")
    },
    "lasting": tuple(kind for kind in KINDS if issubclass(KINDS[kind].made, STATES)),
    "first": ("every",),
    "delay": ("when",),
}


def service_known(sheet: Sheet, place: Place | None, name: str, known: list[str]) -> None:
    """Reports a service that the colony does not have."""
    if name not in known:
        help = values.meant(name, known) or f"it has {', '.join(known) or 'none'}"
        sheet.report(f"the colony has no service {values.quoted(name)}", place=place, help=help)


def _behaviours(sheet: Sheet, tables: object, known: list[str]) -> dict[str, Behaviour]:
    found: dict[str, Behaviour] = {}
    if not isinstance(tables, dict):
        message = f"`behaviour` must be a table: got {values.described(tables)}"
        sheet.report(message, ("behaviour",), help="write [behaviour.SERVICE]")
        return found
    for name, table in tables.items():
        path: Path = ("behaviour", name)
        service_known(sheet, sheet.key(path), name, known)
        lives = table.get("lives", []) if isinstance(table, dict) else []
        rest = (
            {k: v for k, v in table.items() if k != "lives"} if isinstance(table, dict) else table
        )
        fields = _table(sheet, path, rest, _BEHAVIOUR)
        found[name] = Behaviour(**fields, lives=_lives(sheet, (*path, "lives"), lives))
    return found


def _lives(sheet: Sheet, path: Path, tables: object) -> tuple[Lived, ...]:
    if not isinstance(tables, list):
        message = f"`lives` must be a list of tables: got {values.described(tables)}"
        sheet.report(message, path, help='as in lives = [{ lasts = "5s", end = 1 }]')
        return ()
    return tuple(Lived(**_table(sheet, (*path, i), table, _LIFE)) for i, table in enumerate(tables))


# -- writing ---------------------------------------------------------------------------------------


def written(scenario: Scenario) -> str:
    """The text that `parse_script` reads back to the same scenario."""
    blocks = [
        [
            "[scenario]",
            f'for = "{words.duration_text(scenario.horizon)}"',
            f"seed = {scenario.seed}",
        ]
    ]
    blocks += [["[[fault]]", *_fault_lines(fault)] for fault in scenario.faults]
    for name, behaviour in scenario.behaviours.items():
        blocks.append([f"[behaviour.{name}]", *_behaviour_lines(behaviour)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


_NAMES: Final[dict[type[Any], str]] = {rule.made: kind for kind, rule in KINDS.items()}


def _fault_lines(fault: Fault) -> list[str]:
    kind = _NAMES[type(fault.what)]
    names = [f'"{name}"' for name in fault.services]
    lines = [f"{kind} = {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}"]
    lines += _what_lines(fault.what)
    lines += _moment_lines(fault.moment)
    if fault.times is not None:
        lines.append(f"times = {fault.times}")
    for key in ("until", "lasting"):
        length: float | None = getattr(fault, key)
        if length is not None:
            lines.append(f'{key} = "{words.duration_text(length)}"')
    return lines


def _what_lines(what: What) -> list[str]:
    match what:
        case Crash(signal):
            return [] if what == Crash() else [f'signal = "{words.signal_name(signal)}"']
        case Exit(code):
            return [f"code = {code}"]
        case SlowStart(seconds):
            return [f'slower = "{words.duration_text(seconds)}"']
        case Flapping(up, code):
            return [f'up = "{words.duration_text(up)}"', f"code = {code}"]
        case _:
            return []


def _moment_lines(moment: Moment) -> list[str]:
    match moment:
        case At(seconds):
            return [f'at = "{words.duration_text(seconds)}"']
        case Every(seconds, first):
            lines = [f'every = "{words.duration_text(seconds)}"']
            return lines if first is None else [*lines, f'first = "{words.duration_text(first)}"']
        case Poisson(mean):
            return [f'poisson = "{words.duration_text(mean)}"']
        case After(event, service, delay):
            lines = [f'when = "{service} {event}"']
            return [*lines, f'delay = "{words.duration_text(delay)}"'] if delay else lines


def _behaviour_lines(behaviour: Behaviour) -> list[str]:
    lines = []
    plain = Behaviour()
    for key in ("spawn", "ready", "lifetime", "stop"):
        value = getattr(behaviour, key)
        if value is not None and value != getattr(plain, key):
            lines.append(f'{key} = "{words.distribution_text(value)}"')
    if behaviour.ends != plain.ends:
        lines.append(f"ends = [{', '.join(map(_end, behaviour.ends))}]")
    if behaviour.ignores_stop:
        lines.append("ignores_stop = true")
    if behaviour.lives:
        lines += ["lives = [", *(f"    {_life(life)}," for life in behaviour.lives), "]"]
    return lines


def _end(end: Crash | Exit) -> str:
    return f'"{words.signal_name(end.signal)}"' if isinstance(end, Crash) else str(end.code)


def _life(life: Lived) -> str:
    parts = []
    if life.lasts is not None:
        parts.append(f'lasts = "{words.duration_text(life.lasts)}"')
    if life.end != Crash():
        parts.append(f"end = {_end(life.end)}")
    if life.ready is not None:
        parts.append(f'ready = "{words.duration_text(life.ready)}"')
    if life.hangs is not None:
        parts.append(f'hangs = "{words.duration_text(life.hangs)}"')
    if life.cut:
        parts.append("cut = true")
    return f"{{ {', '.join(parts)} }}" if parts else "{}"
