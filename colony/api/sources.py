"""Where a new colony's configuration comes from: a file, an object in the request, a template.

A template is a folder `$COLONY_HOME/templates/NAME` with a colony.toml in it; a colony made of it
gets a copy of that folder of its own, `$COLONY_HOME/workspaces/COLONY`.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from colony import config as configuration
from colony.api.problems import ApiError, invalid, unknown
from colony.api.types import Advice, ApplyColony, CreateColony
from colony.config import Config, Problem
from colony.config.schema import NAME_LENGTH, NAME_PATTERN
from colony.paths import home_directory
from colony.templates import default_library

FILE: Final = "colony.toml"
_TEMPLATE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


async def config_of(body: CreateColony) -> Config:
    """The configuration that a request means. Raises `ApiError` with every mistake at once."""
    return await anyio.to_thread.run_sync(sought, body)


async def config_for(body: ApplyColony, present: Config) -> Config:
    """The configuration that a running colony is to have; by default its file's, as it is now."""
    return await anyio.to_thread.run_sync(_config_for, body, present)


def sought(body: CreateColony) -> Config:
    """`config_of` for a thread that may block."""
    template = _template_of(body)
    given = [
        name
        for name, value in (("path", body.path), ("config", body.config), ("template", template))
        if value is not None and not (name == "config" and template is not None)
    ]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise invalid([Advice("path", f"one of path, config and template is needed, got {got}")])
    _check_name(body.name)
    if template is not None:
        return _from_template(template, body)
    if body.path is not None:
        return _named(_from_file(body.path), body.name)
    assert body.config is not None
    return _from_object(body.config, body)


def renamed(config: Config, name: str | None) -> Config:
    """A configuration under another name; None for its own. Raises `ApiError` for a wrong one."""
    _check_name(name)
    return _named(config, name)


def _check_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        words = f"a name is a-z, 0-9 and inner hyphens, got: {name!r}"
        raise invalid([Advice("name", words, help=f"as {_as_name(name)!r}")])
    if name is not None and len(name) > NAME_LENGTH:
        raise invalid([Advice("name", f"a name has at most {NAME_LENGTH} characters")])


def _template_of(body: CreateColony) -> str | None:
    """The documents' `{"config": {"template": NAME}}` is a template, not a configuration."""
    if body.template is not None or body.config is None or list(body.config) != ["template"]:
        return body.template
    name = body.config["template"]
    if not isinstance(name, str):
        raise invalid([Advice("config.template", f"a template's name is a text, got: {name!r}")])
    return name


def _config_for(body: ApplyColony, present: Config) -> Config:
    if body.path is not None and body.config is not None:
        raise invalid([Advice("path", "path or config, got both")])
    if body.config is not None:
        asked = CreateColony(name=present.name, workspace=present.workspace)
        return _named(_from_object(body.config, asked), present.name)
    config = _from_file(body.path or os.path.abspath(present.path))
    if config.name != present.name:
        # A colony that was started under another name than its file's goes on under that.
        config = _named(config, present.name)
    return config


def _named(config: Config, name: str | None) -> Config:
    if name is None or name == config.name:
        return config
    colony = msgspec.structs.replace(config.colony, name=name)
    return msgspec.structs.replace(config, colony=colony)


def _from_file(path: str) -> Config:
    if not os.path.isabs(path):
        words = f"a path has to be absolute, for the instance runs elsewhere; got: {path!r}"
        raise invalid([Advice("path", words)])
    try:
        return configuration.load(path)
    except configuration.ConfigError as error:
        raise invalid([_advice(each, "") for each in error.problems]) from None


def _from_object(given: dict[str, Any], body: CreateColony) -> Config:
    name = body.name or _own_name(given)
    if name is None:
        raise invalid([Advice("name", "a colony made of a config needs a name")])
    workspace = _workspace(body, name)
    try:
        text = _as_toml({**given, "colony": {**_table(given, "colony"), "name": name}})
    except (TypeError, ValueError) as error:
        raise invalid([Advice("config", f"this cannot stand in a colony.toml: {error}")]) from None
    try:
        config = configuration.parse(text, str(workspace / FILE), workspace=str(workspace))
    except configuration.ConfigError as error:
        raise invalid([_advice(each, "config", lines=False) for each in error.problems]) from None
    if body.workspace is None:
        workspace.mkdir(parents=True, exist_ok=True)
    return config


def _as_toml(given: dict[str, Any]) -> str:
    import tomlkit

    return tomlkit.dumps({name: _without_none(value) for name, value in given.items()})


def _without_none(value: Any) -> Any:
    """TOML has no null: a key that is null is not there."""
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return value


def _table(given: dict[str, Any], name: str) -> dict[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        raise invalid([Advice(f"config.{name}", f"this is a table, got: {table!r}")])
    return table


def _own_name(given: dict[str, Any]) -> str | None:
    name = _table(given, "colony").get("name")
    return name if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) else None


def _workspace(body: CreateColony, name: str) -> Path:
    if body.workspace is None:
        return home_directory() / "workspaces" / name
    folder = Path(body.workspace)
    if not folder.is_absolute() or not folder.is_dir():
        words = f"a workspace is an absolute path of a folder, got: {body.workspace!r}"
        raise invalid([Advice("workspace", words)])
    return folder


def _from_template(template: str, body: CreateColony) -> Config:
    if body.name is None:
        raise invalid([Advice("name", "a colony made of a template needs a name")])
    folder = home_directory() / "templates"
    known = default_library().names()
    if template in known and not (folder / template / FILE).exists():
        # One of ours is a file alone: the workspace begins empty.
        return _from_object({"colony": {"template": template}}, body)
    if not _TEMPLATE.fullmatch(template) or template not in known:
        raise unknown("template", template, known, field="config.template")
    workspace = home_directory() / "workspaces" / body.name
    if not workspace.exists():
        shutil.copytree(folder / template, workspace, symlinks=True)
    return _named(_from_file(str(workspace / FILE)), body.name)


def _advice(problem: Problem, prefix: str, *, lines: bool = True) -> Advice:
    field = ".".join(part for part in (prefix, problem.key) if part)
    return Advice(
        field=field,
        message=problem.message,
        line=problem.line if lines else None,
        column=problem.column if lines else None,
        help=problem.help or None,
    )


def _as_name(text: str) -> str:
    name = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:NAME_LENGTH].strip("-")
    return name or "my-app"


__all__ = ["ApiError", "config_for", "config_of", "renamed", "sought"]
