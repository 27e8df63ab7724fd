"""pyproject.toml, requirements.txt and the like: which server runs which application."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from colony.init.found import Folder, Found, FoundService, Wanted, table, words

PROJECT: Final = "pyproject.toml"
REQUIREMENTS: Final = "requirements.txt"

MODULES: Final = ("main", "app", "api", "server", "application", "asgi", "wsgi")
PLACES: Final = ("", "src", "app")

_MADE_BY: Final = re.compile(
    r"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?(FastAPI|Starlette|Litestar|Quart|Flask)\(",
    re.MULTILINE,
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION: Final = re.compile(r"(?:>=|==|~=|\^|~)?\s*(\d+\.\d+(?:\.\d+)?)")


def python(folder: Folder) -> Found:
    """What a Python project's files say."""
    if not any(folder.has(name) for name in (PROJECT, REQUIREMENTS, "manage.py", "Pipfile")):
        return Found()
    service = _django(folder) or _application(folder) or _aiohttp(folder)
    notes = () if service else (f"{_project_file(folder)}: no web application is recognised",)
    return Found(
        services=(service,) if service else (), environment=_environment(folder), notes=notes
    )


def _project_file(folder: Folder) -> str:
    return next(
        (name for name in (PROJECT, REQUIREMENTS, "Pipfile") if folder.has(name)), "manage.py"
    )


def _django(folder: Folder) -> FoundService | None:
    if "django" not in (folder.text("manage.py") or "").lower():
        return None
    return FoundService(
        name="web",
        command="python manage.py runserver {port}",
        origin="manage.py (Django)",
        port=8000,
        port_from="Django's usual one",
    )


def _application(folder: Folder) -> FoundService | None:
    """The first module that makes an application, and the server that runs it."""
    for place in PLACES:
        for module in MODULES:
            path = f"{place}/{module}.py" if place else f"{module}.py"
            made = _MADE_BY.search(folder.text(path) or "")
            if made:
                return _served(folder, path, made[1], made[2])
    return None


def _served(folder: Folder, path: str, variable: str, kind: str) -> FoundService:
    parts = PurePosixPath(path).with_suffix("").parts
    flat = parts[0] == "src"
    target = f"{'.'.join(parts[1:] if flat else parts)}:{variable}"
    if kind == "Flask":
        command, port, tool = f"python -m flask --app {target} run --port {{port}}", 5000, "Flask"
        if flat:
            command = command.replace("--app ", "--app src.")
    else:
        folder_option = " --app-dir src" if flat else ""
        command = f"python -m uvicorn {target}{folder_option} --reload --port {{port}}"
        port, tool = 8000, "uvicorn"
    return FoundService(
        name="api" if kind in ("FastAPI", "Litestar", "Starlette") else "web",
        command=command,
        origin=f"{path}: {variable} = {kind}(…)",
        port=port,
        port_from=f"{tool}'s usual one",
    )


def _aiohttp(folder: Folder) -> FoundService | None:
    for module in MODULES:
        if "web.run_app(" in (folder.text(f"{module}.py") or ""):
            return FoundService(
                name="api",
                command=f"python {module}.py",
                origin=f"{module}.py: web.run_app(…)",
                port=8080,
                port_from="aiohttp's usual one",
            )
    return None


def dependencies(folder: Folder) -> set[str]:
    """The names of the packages that a project needs, in lower case."""
    project = table(folder.toml(PROJECT).get("project"))
    listed = words(project.get("dependencies"))
    listed += (folder.text(REQUIREMENTS) or "").splitlines()
    found = (_NAME.match(line.strip()) for line in listed)
    return {match[0].lower() for match in found if match}


def _environment(folder: Folder) -> tuple[Wanted, ...]:
    requires = table(folder.toml(PROJECT).get("project")).get("requires-python")
    for value, origin in (
        (folder.line(".python-version"), ".python-version"),
        (requires if isinstance(requires, str) else "", f"{PROJECT}, requires-python"),
    ):
        match = _VERSION.match(value)
        if match:
            return (Wanted("python_version", match[1], origin),)
    return ()
