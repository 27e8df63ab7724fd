"""package.json: its scripts as services, its tools' usual ports, the wanted Node.js."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

from colony.config.values import valid_name
from colony.init.found import Folder, Found, FoundService, Wanted, literal, table

FILE: Final = "package.json"

SCRIPTS: Final = (("dev", "web"), ("start", "web"), ("serve", "web"), ("server", "api"))
"""Scripts that serve, and what their service is called; of several with one name the first."""

BESIDE: Final = ("api", "backend", "frontend", "worker", "web")
"""Scripts that are services under their own name."""

RUNNERS: Final = re.compile(r"\b(concurrently|npm-run-all|run-p|turbo|nx|lerna)\b")
"""What a script uses that only starts others at once."""

PORTS: Final = (
    ("next", 3000),
    ("nuxt", 3000),
    ("astro", 4321),
    ("@angular/cli", 4200),
    ("gatsby", 8000),
    ("react-scripts", 3000),
    ("@remix-run/dev", 3000),
    ("vite", 5173),
    ("webpack-dev-server", 8080),
    ("parcel", 1234),
    ("express", 3000),
    ("fastify", 3000),
    ("hono", 3000),
    ("koa", 3000),
)
"""Where they listen unless told otherwise."""

FRONTEND: Final = frozenset(name for name, _ in PORTS[:10])

LOCKS: Final = (
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("package-lock.json", "npm"),
)

_PORT: Final = re.compile(r"(?:--port[= ]|(?<!\S)-p[ ]?|\bPORT=)(\d{4,5})\b")
_MAJOR: Final = re.compile(r"(?:\^|>=|~|v|=)?\s*(\d+(?:\.\d+){0,2})(?:\.x)?")


def node(folder: Folder) -> Found:
    """What package.json says."""
    package = folder.json(FILE)
    if not package:
        return Found()
    scripts = {
        name: command
        for name, command in table(package.get("scripts")).items()
        if isinstance(command, str)
    }
    manager, _ = package_manager(folder, package)
    needed = {**table(package.get("devDependencies")), **table(package.get("dependencies"))}
    chosen = _chosen(scripts)
    services = tuple(
        _service(name, script, scripts[script], manager, needed, alone=len(chosen) == 1)
        for name, script in chosen.items()
    )
    notes = () if services else (f"{FILE} has no script dev, start or serve",)
    return Found(services=services, environment=_environment(folder, package), notes=notes)


def _chosen(scripts: dict[str, str]) -> dict[str, str]:
    """Service → script."""
    parts = {name.removeprefix("dev:"): name for name in scripts if name.startswith("dev:")}
    parts = {valid_name(part): script for part, script in parts.items() if valid_name(part)}
    runner = "dev" in scripts and RUNNERS.search(scripts["dev"])
    if parts and (runner or "dev" not in scripts):
        return parts
    chosen: dict[str, str] = {}
    for script, service in SCRIPTS:
        if script in scripts and not RUNNERS.search(scripts[script]):
            chosen.setdefault(service, script)
    for script in BESIDE:
        if script in scripts:
            chosen.setdefault(script, script)
    return chosen


def _service(
    name: str,
    script: str,
    command: str,
    manager: str,
    needed: dict[str, Any],
    *,
    alone: bool,
) -> FoundService:
    port, why = _port(name, command, needed, alone=alone)
    return FoundService(
        name=name,
        command=literal(f"{manager} run {shlex.quote(script)}"),
        origin=f'{FILE}, script "{script}": {command}',
        port=port,
        port_from=why,
    )


def _port(
    name: str, command: str, needed: dict[str, Any], *, alone: bool
) -> tuple[int | None, str]:
    """Where a script will listen: as it says itself, else where its tool usually does."""
    said = _PORT.search(command)
    if said and 1024 <= int(said[1]) <= 65535:
        return int(said[1]), "as the script says"
    tools = [(tool, port) for tool, port in PORTS if tool in needed]
    named = [each for each in tools if re.search(rf"\b{re.escape(each[0])}\b", command)]
    front = name in ("web", "frontend")
    fitting = named or [each for each in tools if alone or (each[0] in FRONTEND) == front]
    if name == "worker" or not fitting:
        return None, ""
    tool, port = fitting[0]
    return port, f"{tool}'s usual one"


def package_manager(folder: Folder, package: dict[str, Any]) -> tuple[str, str]:
    """The package manager that a project uses, and where that is said."""
    said = package.get("packageManager")
    if isinstance(said, str) and said.partition("@")[0] in ("npm", "pnpm", "yarn", "bun"):
        return said.partition("@")[0], f"{FILE}, packageManager"
    for lock, manager in LOCKS:
        if folder.has(lock):
            return manager, lock
    return "npm", ""


def _environment(folder: Folder, package: dict[str, Any]) -> tuple[Wanted, ...]:
    found = []
    engines = table(package.get("engines")).get("node")
    for value, origin in (
        (folder.line(".nvmrc"), ".nvmrc"),
        (folder.line(".node-version"), ".node-version"),
        (engines if isinstance(engines, str) else "", f"{FILE}, engines"),
    ):
        match = _MAJOR.match(value.strip())
        if match:
            found.append(Wanted("node_version", match[1], origin))
            break
    manager, origin = package_manager(folder, package)
    if origin:
        found.append(Wanted("package_manager", manager, origin))
    return tuple(found)
