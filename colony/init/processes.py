"""Files that list processes: Procfile, process-compose.yaml, docker-compose.yml."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

import msgspec

from colony.config.values import valid_name
from colony.init.found import Folder, Found, FoundService, literal, table

PROCFILES: Final = ("Procfile.dev", "Procfile")
PROCESS_COMPOSE: Final = ("process-compose.yaml", "process-compose.yml")
COMPOSE: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")

FIRST_PORT: Final = 5000
"""foreman's: process k of a Procfile gets 5000 + 100 k in $PORT."""

_ENTRY: Final = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")
_PUBLISHED: Final = re.compile(r"(?:[\d.]+:)?(?:(\d+):)?(\d+)(?:/(?:tcp|udp))?")

CONDITIONS: Final = {
    "process_started": "started",
    "process_healthy": "ready",
    "process_log_ready": "ready",
    "process_completed": "completed",
    "process_completed_successfully": "completed",
    "service_started": "started",
    "service_healthy": "ready",
    "service_completed_successfully": "completed",
}
RESTARTS: Final = {
    "always": "permanent",
    "on_failure": "transient",
    "on-failure": "transient",
    "exit_on_failure": "transient",
    "no": "temporary",
    "unless-stopped": "permanent",
}


def procfile(folder: Folder) -> Found:
    """A Procfile's lines, each a service; $PORT as foreman gives it."""
    file = next((name for name in PROCFILES if folder.has(name)), None)
    if file is None:
        return Found()
    services = []
    for index, match in enumerate(filter(None, map(_ENTRY.match, _lines(folder, file)))):
        name = valid_name(match[1])
        if not name:
            continue
        listens = name == "web" or "PORT" in match[2]
        services.append(
            FoundService(
                name=name,
                command=literal(match[2].strip()),
                origin=f"{file}, {match[1]}",
                port=FIRST_PORT + 100 * index if listens else None,
                port_from="what foreman gives it in $PORT" if listens else "",
            )
        )
    return Found(services=tuple(services))


def _lines(folder: Folder, file: str) -> list[str]:
    return [
        line for line in (folder.text(file) or "").splitlines() if not line.lstrip().startswith("#")
    ]


def process_compose(folder: Folder) -> Found:
    """The processes of a process-compose.yaml."""
    file = next((name for name in PROCESS_COMPOSE if folder.has(name)), None)
    if file is None:
        return Found()
    services, notes = [], []
    for key, process in table(folder.yaml(file).get("processes")).items():
        process, name = table(process), valid_name(str(key))
        command = _command(process.get("command"))
        if not name or not command or process.get("disabled") is True:
            notes.append(f"{file}, {key}: not taken, it has no command or is disabled")
            continue
        probe = table(table(process.get("readiness_probe")).get("http_get"))
        port = _port_number(probe.get("port"))
        restart = table(process.get("availability")).get("restart")
        services.append(
            FoundService(
                name=name,
                command=command,
                origin=f"{file}, {key}",
                port=port,
                port_from="its readiness probe's" if port else "",
                cwd=_relative(folder, process.get("working_dir")),
                env=_variables(process.get("environment")),
                after=_after(process.get("depends_on")),
                ready=str(probe.get("path") or "") if port else "",
                # Without a word, process-compose does not restart.
                restart=RESTARTS.get(str(restart), "temporary"),
            )
        )
    return Found(services=_known(services), notes=tuple(notes))


def compose(folder: Folder) -> Found:
    """The services of a docker-compose.yml that are built here and say what they run."""
    file = next((name for name in COMPOSE if folder.has(name)), None)
    if file is None:
        return Found()
    services, notes = [], []
    for key, each in table(folder.yaml(file).get("services")).items():
        each, name = table(each), valid_name(str(key))
        command = _command(each.get("command"))
        if not name or not command or ("image" in each and "build" not in each):
            what = f"the image {each['image']}" if "image" in each else "no command"
            notes.append(f"{file}, {key}: not taken, for it has {what}: say how it runs here")
            continue
        port = _published(each.get("ports"))
        build = each.get("build")
        context = build if isinstance(build, str) else table(build).get("context")
        services.append(
            FoundService(
                name=name,
                command=command,
                origin=f"{file}, {key}",
                port=port,
                port_from="the one it publishes" if port else "",
                cwd=_relative(folder, context),
                env=_variables(each.get("environment")),
                after=_after(each.get("depends_on")),
                restart=RESTARTS.get(str(each.get("restart")), ""),
            )
        )
    return Found(services=_known(services), notes=tuple(notes))


def _known(services: list[FoundService]) -> tuple[FoundService, ...]:
    """The services, each after those alone that have been taken."""
    names = {service.name for service in services}
    return tuple(
        msgspec.structs.replace(
            service, after={name: how for name, how in service.after.items() if name in names}
        )
        for service in services
    )


def _command(value: object) -> str:
    if isinstance(value, list):
        return literal(shlex.join(str(word) for word in value))
    return literal(" ".join(value.split())) if isinstance(value, str) else ""


def _variables(value: object) -> dict[str, str]:
    """A mapping, or a list of NAME=value. What is only named is inherited anyway."""
    if isinstance(value, list):
        pairs = [str(each).partition("=") for each in value]
        return {name: literal(text) for name, equals, text in pairs if name and equals}
    return {
        str(name): _text(text)
        for name, text in table(value).items()
        if text is not None and name and "=" not in str(name)
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else literal(str(value))


def _after(value: object) -> dict[str, str]:
    if isinstance(value, list):
        value = dict.fromkeys(map(str, value))
    return {
        valid_name(str(name)): CONDITIONS.get(str(table(how).get("condition")), "started")
        for name, how in table(value).items()
        if valid_name(str(name))
    }


def _published(value: Any) -> int | None:
    """The container's port, or the host's where that one needs a right that nobody has here."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            ports = (each.get("target"), each.get("published"))
        else:
            match = _PUBLISHED.fullmatch(str(each))
            ports = (match[2], match[1]) if match else (None, None)
        for port in ports:
            if (number := _port_number(port)) is not None:
                return number
    return None


def _port_number(value: object) -> int | None:
    text = str(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if 1024 <= number <= 65535 else None


def _relative(folder: Folder, value: object) -> str:
    """A folder below this one; "" for this one itself, and for what is none."""
    if not isinstance(value, str) or value.startswith(("/", "~", "$")) or ".." in value.split("/"):
        return ""
    cleaned = value.removeprefix("./").strip("/")
    there = "\0" not in cleaned and (folder.path / cleaned).is_dir()
    return cleaned if there and cleaned != "." else ""
