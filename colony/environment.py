"""The environment of a service: pure, but for the reading of its files.

Four layers, the later over the earlier: the system's, the service's env_file, the colony's env, the
service's own. After the first comes what Colony itself tells each service, so that a file can still
say otherwise:

    PORT                 its port
    COLONY_NAME          its colony
    COLONY_SERVICE       itself
    COLONY_URL           its own URL
    COLONY_URL_<NAME>    the URL of each service of the colony, API_V2 for `api-v2`
    PYTHONUNBUFFERED     1: Python's output would otherwise arrive a buffer late, or never
    __VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS
                         Vite answers 403 to a host name that it does not know
    RAILS_DEVELOPMENT_HOSTS
                         so does Rails
    HTTP_PROXY, HTTPS_PROXY, NO_PROXY, NODE_USE_ENV_PROXY
                         with `egress = "proxy"`: the way out
    TERM, COLORTERM      with `pty = true`: Colony's own terminal, whatever Colony runs in; LANG,
                         too, if nothing there says UTF-8
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from colony.config import Config, Service
from colony.config.interpolation import Unset, arguments, expand, merged, resolved

HOSTS: Final = ".colony.local"

PRIVATE: Final = (
    "COLONY_INSTANCE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
)
"""Variables that are meant for our own process, by whoever started it, and not for a service."""

LOCALE: Final = ("LC_ALL", "LC_CTYPE", "LANG")
"""What says in which encoding a terminal is written to."""

OUTER: Final = frozenset(
    {
        *("TMUX", "TMUX_PANE", "STY", "WINDOW", "COLUMNS", "LINES", "TERMCAP", "WINDOWID"),
        *("TERM_PROGRAM", "TERM_PROGRAM_VERSION", "VTE_VERSION", "KONSOLE_VERSION"),
        *("ITERM_SESSION_ID", "WT_SESSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID"),
    }
)
"""Variables about the terminal that Colony itself was started in: they say nothing of its own."""


def service_environment(
    system: Mapping[str, str], config: Config, service: Service, urls: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a service beneath what its file says. `urls` are the colony's."""
    told = {
        "COLONY_NAME": config.name,
        "COLONY_SERVICE": service.name,
        "PYTHONUNBUFFERED": "1",
        "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS": HOSTS,
        "RAILS_DEVELOPMENT_HOSTS": HOSTS,
    }
    told |= way_out(config)
    if service.port is not None:
        told["PORT"] = str(service.port)
    if service.name in urls:
        told["COLONY_URL"] = urls[service.name]
    for name, url in urls.items():
        told[f"COLONY_URL_{variable_name(name)}"] = url
    inherited = {name: value for name, value in system.items() if name not in PRIVATE}
    return {**(at_terminal(inherited) if service.pty else inherited), **told}


def unset_variables(
    system: Mapping[str, str], config: Config
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What services would fail for if they were started now: the path in the file, and why.

    Reads the files of `env_file`; one that is not there is taken as empty.
    """
    urls = {service.name: "" for service in config.services.values() if service.port is not None}
    for service in config.services.values():
        env = service_environment(system, config, service, urls)
        with suppress(OSError, ValueError):
            env |= read_env_files(service.env_file)
        at = ("services", service.name)
        for name, value in config.environment(service).items():
            try:
                env[name] = expand(value, env, name)
            except Unset as unset:
                own = name in service.env
                yield ((*at, "env", name) if own else ("colony", "env", name)), str(unset)
        try:
            arguments(service.argv, env)
        except Unset as unset:
            yield (*at, "command"), str(unset)


def colony_environment(
    system: Mapping[str, str], config: Config, urls: Mapping[str, str]
) -> dict[str, str]:
    """The environment of what runs in a colony and is no service: a command, a terminal."""
    told = {"COLONY_NAME": config.name, **way_out(config)}
    told |= {f"COLONY_URL_{variable_name(name)}": url for name, url in urls.items()}
    inherited = {name: value for name, value in system.items() if name not in PRIVATE}
    beneath = {**inherited, **told}
    return {**beneath, **resolved(merged(config.colony.env), beneath)}


def at_terminal(env: Mapping[str, str]) -> dict[str, str]:
    """What a program is told of a terminal of Colony's: the variables, made to fit it.

    TERM is what every viewer's terminal understands, not that of the first one, nor that in which
    Colony was started, which may have been none.
    """
    told = {name: value for name, value in env.items() if name not in OUTER}
    told |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    if not any(_is_utf8(told.get(name)) for name in LOCALE):
        told = {name: value for name, value in told.items() if name not in LOCALE}
        told["LANG"] = "C.UTF-8"
    return told


def _is_utf8(value: str | None) -> bool:
    return value is not None and value.lower().replace("-", "").endswith("utf8")


def way_out(config: Config) -> dict[str, str]:
    """With `egress = "proxy"`, what tells programs of the proxy; in both cases, for they differ."""
    if config.network.egress != "proxy":
        return {}
    proxy, direct = "http://127.0.0.1:3128", "localhost,127.0.0.1,::1,.localhost,.colony.local"
    told = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
    return {**told, **{k.lower(): v for k, v in told.items()}, "NODE_USE_ENV_PROXY": "1"}


def variable_name(service: str) -> str:
    """A service's name as a part of a variable's: `api-v2` → `API_V2`."""
    return service.upper().replace("-", "_")


class EnvFileError(ValueError):
    """An environment file cannot be used; the text names it, and the line."""


def read_env_files(paths: Iterable[str]) -> dict[str, str]:
    """The variables of some files, the later over the earlier. Blocks. Raises `EnvFileError`."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise EnvFileError(f"env_file {path} cannot be read: {why}") from None
        found |= parse_env(text, path)
    return found


def parse_env(text: str, path: str = "env_file") -> dict[str, str]:
    """NAME=value lines, as in a `.env`.

    `#` begins a comment at the start of a line or after a space; `export` may stand in front. A
    value in single quotes is as it stands; one in double quotes knows the escapes of a newline, a
    tab, a quote and a backslash; either may go over several lines. $NAME is not expanded. Raises
    `EnvFileError` for anything else.
    """
    found: dict[str, str] = {}
    text = text.replace("\r\n", "\n")
    at = 0
    while at < len(text):
        match = _ASSIGNMENT.match(text, at) or _NOTHING.match(text, at)
        if match is None or "\0" in match[0]:
            # Not the line itself: it may be a secret.
            where = f"env_file {path}, line {text.count(chr(10), 0, at) + 1}"
            wrong = _why_none(text[at:]) if match is None else "holds a NUL character"
            raise EnvFileError(f"{where} {wrong}")
        at = match.end() + 1
        if match.re is _NOTHING:
            continue
        name, single, double, bare = match.groups()
        if double is not None:
            double = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[0]), double)
        found[name] = next(value for value in (single, double, bare) if value is not None)
    return found


def _why_none(text: str) -> str:
    """Why no assignment stands at the beginning of the text."""
    line = text.partition("\n")[0]
    opened = _OPENED.match(line)
    if opened is not None and opened[1] not in line[opened.end() :]:
        return f"opens a {opened[1]} that is not closed"
    return "is not of the form NAME=value"


_OPENED: Final = re.compile(r"""[^=]*=\s*(["'])""")
_NOTHING: Final = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")
_ASSIGNMENT: Final = re.compile(
    r"""[^\S\n]*(?:export[^\S\n]+)?([A-Za-z_][A-Za-z0-9_.-]*)[^\S\n]*=[^\S\n]*
        (?:'([^']*)'[^\S\n]*(?:\#[^\n]*)?
          |"((?:[^"\\]|\\.)*)"[^\S\n]*(?:\#[^\n]*)?
          |((?:[^'"\s][^\n]*?)?)(?:[^\S\n]+\#[^\n]*|[^\S\n]*))(?=\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}
