"""What stands for something else in a text of colony.toml. Pure.

    {colony}  {service}  {port}    what the file itself says, put in when it is read
    ${NAME}                        a variable, put in when the process is started
    ${NAME:-text}                  the same, with what it is when NAME is not set or empty

The words in braces are known in `command`, `path`, `env`, `ready`, `health` and `stop`. Other
braces are left alone, so are those of a shell's `${port}`; `{{port}}` is `{port}` itself.

Variables are known in `env`, where a value sees the layers beneath it (the system, the env_file,
the colony) and what stands above it in its own table, and in the arguments of a list. In a line
for the shell they are the shell's business. `$${NAME}` is `${NAME}` itself; other forms, such as
`$NAME`, stay as they are. What is put in is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from colony.config.positions import Path
from colony.config.schema import Colony, Health, Ready, Service, Stop, Terminal
from colony.config.sheet import Sheet, table_name

WORDS: Final = ("colony", "service", "port")

_WORD: Final = re.compile(r"\{\{(colony|service|port)\}\}|(?<![${])\{(colony|service|port)\}")
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Unset(ValueError):
    """A variable is asked for that is not set and has no default. The text says by whom."""


class _Absent(Exception):
    """A word stands for something that is not there."""


# -- words of the file -----------------------------------------------------------------------------

_IN_SERVICE: Final[dict[str, type[msgspec.Struct] | None]] = {
    "command": None,
    "path": None,
    "env": None,
    "stop": Stop,
    "ready": Ready,
    "health": Health,
}
_IN_PROBE: Final = ("exec", "http", "command")


def with_words(sheet: Sheet, colony: Colony, services: dict[str, Service]) -> dict[str, Service]:
    """The services with every word put in; one that stands for nothing is reported."""
    return {name: _service(sheet, colony, service) for name, service in services.items()}


def colony_with_words(sheet: Sheet, colony: Colony) -> Colony:
    """The colony's own variables with every word put in; they know `{colony}` alone."""
    words = {"colony": colony.name}
    return msgspec.structs.replace(colony, env=_put(sheet, ("colony", "env"), colony.env, words))


def terminal_with_words(sheet: Sheet, colony: Colony, terminal: Terminal) -> Terminal:
    """The terminal's command and variables, likewise."""
    words = {"colony": colony.name}
    return msgspec.structs.replace(
        terminal,
        command=_put(sheet, ("terminal", "command"), terminal.command, words),
        env=_put(sheet, ("terminal", "env"), terminal.env, words),
    )


def _service(sheet: Sheet, colony: Colony, service: Service) -> Service:
    words = {"colony": colony.name, "service": service.name}
    if service.port is not None:
        words["port"] = str(service.port)
    here: Path = ("services", service.name)
    found: dict[str, Any] = {}
    for field, kind in _IN_SERVICE.items():
        value = getattr(service, field)
        if kind is None:
            found[field] = _put(sheet, (*here, field), value, words)
        elif value is not None:
            inner = {
                name: _put(sheet, (*here, field, name), getattr(value, name), words)
                for name in _IN_PROBE
                if name in kind.__struct_fields__
            }
            found[field] = msgspec.structs.replace(value, **inner)
    return msgspec.structs.replace(service, **found)


def _put(sheet: Sheet, path: Path, value: Any, words: Mapping[str, str]) -> Any:
    """A text, the texts of a tuple or the values of a table, with the words put in."""
    if isinstance(value, dict):
        return {name: _put(sheet, (*path, name), item, words) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_put(sheet, (*path, i), item, words) for i, item in enumerate(value))
    if not isinstance(value, str):
        return value
    try:
        return put_words(value, words)
    except _Absent as absent:
        _report_absent(sheet, path, str(absent))
        return value


def put_words(text: str, words: Mapping[str, str]) -> str:
    """One text with its words put in."""

    def word(match: re.Match[str]) -> str:
        if match[1]:
            return f"{{{match[1]}}}"
        if match[2] not in words:
            raise _Absent(match[2])
        return words[match[2]]

    return _WORD.sub(word, text)


def _report_absent(sheet: Sheet, path: Path, word: str) -> None:
    service = path[0] == "services"
    owner = table_name(path[:2] if service else path[:1])
    itself = f"or {{{{{word}}}}} if {{{word}}} itself is meant"
    help = f"give it a port, {itself}" if service else f"known here: {{colony}}; {itself}"
    sheet.report(f"{{{word}}} stands for nothing in {owner}: it has none", path, help=help)


# -- variables -------------------------------------------------------------------------------------


def merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """Layers of variables as one, the later over the earlier, each value with what it takes from
    its own layer and those beneath it put in. What is left refers to what lies beneath them all.
    """
    found: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            found[name] = _VARIABLE.sub(lambda match: _known(match, found), value)
    return found


def _known(match: re.Match[str], known: Mapping[str, str]) -> str:
    name, default = match[1], match[2]
    if name not in known:
        return match[0]
    return known[name] if known[name] or default is None else default


def resolved(over: Mapping[str, str], beneath: Mapping[str, str]) -> dict[str, str]:
    """Merged variables as a process gets them, from what is set beneath. Raises `Unset`."""
    return {name: expand(value, beneath, name) for name, value in over.items()}


def arguments(argv: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """A command's arguments with their variables; what a shell is given is left to it."""
    argv = tuple(argv)
    if argv[:2] == ("/bin/sh", "-c"):
        return argv
    return tuple(expand(argument, env, "command") for argument in argv)


def expand(text: str, env: Mapping[str, str], asked_by: str) -> str:
    """One text with its variables. Raises `Unset`."""

    def variable(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "${"
        found = env.get(name)
        if found is None and default is None:
            raise Unset(
                f"{asked_by} needs the variable {name}, which is not set: set it before Colony is "
                f"started, or write ${{{name}:-a default}}"
            )
        return default if default is not None and not found else found or ""

    return _VARIABLE.sub(variable, text)
