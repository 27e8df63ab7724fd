"""The JSON Schema of colony.toml, for editors: made of the types that it is read into. Pure.

    #:schema .colony/colony.schema.json           in the first line of a colony.toml

Types, bounds, defaults and descriptions come from `config.schema`. Where a file may have another
form than the value that is made of it (a duration as text, an alias, the short form of a table),
`FORMS` says so; that nothing is missing and that the shipped file is this one is held by tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from colony.config import Config
from colony.config.schema import NAME_LENGTH, NAME_PATTERN

SHIPPED: Final = Path(__file__).with_name("colony.schema.json")
"""The schema as a file, for those who have no Colony at hand."""

Form = dict[str, Any]

_NUMBER: Final = r"[0-9]+(\.[0-9]+)?\s*(ms|s|m|h)"
_DURATION: Final[Form] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": f"^\\s*({_NUMBER}\\s*)+$"},
    ]
}
_VARIABLES: Final[Form] = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
}
_TEXTS: Final[Form] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_COMMAND: Final[Form] = {"anyOf": [{"type": "string", "pattern": r"\S"}, _TEXTS]}
_NAME: Final[Form] = {"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH}
_CONDITION: Final[Form] = {"enum": ["started", "ready", "completed"]}
_URL_PATH: Final[Form] = {"type": "string", "pattern": r"^/\S*$"}

FORMS: Final[dict[str, Form]] = {
    "Colony.env": _VARIABLES,
    "Service.env": _VARIABLES,
    "Terminal.env": _VARIABLES,
    "Service.command": _COMMAND,
    "Terminal.command": _COMMAND,
    "Stop.command": _COMMAND,
    "Ready.exec": _COMMAND,
    "Health.exec": _COMMAND,
    "Service.path": _URL_PATH,
    "Ready.http": _URL_PATH,
    "Health.http": _URL_PATH,
    "Service.restart": {
        "enum": ["permanent", "transient", "temporary", "always", "on-failure", "never"]
    },
    "Service.after": {
        "anyOf": [
            _NAME,
            {"type": "array", "items": _NAME},
            {"type": "object", "additionalProperties": _CONDITION},
        ]
    },
    "Environment.setup": {"anyOf": [{"type": "string", "pattern": r"\S"}, _TEXTS]},
    "Service.env_file": {"anyOf": [{"type": "string"}, _TEXTS]},
    "Service.ready": {
        "anyOf": [{"enum": ["tcp", "notify", "none"]}, _URL_PATH, {"$ref": "#/$defs/Ready"}]
    },
    "Stop.signal": {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 64}, {"type": "string"}]
    },
    "BackoffRule.factor": {"type": "number", "minimum": 1},
    "BackoffRule.jitter": {"type": "number", "minimum": 0, "maximum": 1},
}
"""By table and field: what the file may have there, where the type does not say it all."""

_NOT_IN_THE_FILE: Final = {"Config": ("path", "workspace", "warnings"), "Service": ("name",)}
_OPEN: Final[Form] = {"additionalProperties": True}
_TEMPLATE: Final[Form] = {
    **_OPEN,
    "required": ["colony"],
    "properties": {"colony": {**_OPEN, "required": ["template"]}},
}
_COMMANDS: Final[Form] = {
    **_OPEN,
    "properties": {"services": {"additionalProperties": {**_OPEN, "required": ["command"]}}},
}
_COMPLETE_SERVICES: Final[Form] = {"if": _TEMPLATE, "else": _COMMANDS}
"""A service that no template describes needs its command. (Without the word that other properties
are welcome, tombi takes these for the whole description of their tables.)"""


def file_schema() -> Form:
    """The schema, as plain values."""
    _, tables = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    for title in ("Problem", "Place"):  # of Config.warnings
        del tables[title]
    for title, table in tables.items():
        _as_in_the_file(title, table)
    whole = tables.pop("Config")
    whole["properties"]["services"] = {
        "type": "object",
        "description": "The long-running processes, in the order of their start",
        "propertyNames": _NAME,
        "additionalProperties": {"$ref": "#/$defs/Service"},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **whole,
        "title": "colony.toml",
        "description": "A colony: its services, and what they need.",
        **_COMPLETE_SERVICES,
        "$defs": tables,
    }


def _as_in_the_file(title: str, table: Form) -> None:
    """A table's own form: closed, without what the file does not hold."""
    table["additionalProperties"] = False
    table.pop("required", None)
    table["description"] = " ".join(table["description"].split())
    for name in _NOT_IN_THE_FILE.get(title, ()):
        del table["properties"][name]
    table["properties"] = {
        name: _field(f"{title}.{name}", field) for name, field in table["properties"].items()
    }


def _field(name: str, field: Form) -> Form:
    """One field: TOML has no null, and a default that is a table says nothing to an editor."""
    described = {"description": field["description"]} if "description" in field else {}
    default = field.get("default")
    if default not in (None, "", {}, [], ()) and not isinstance(default, dict):
        described["default"] = default
    if name in FORMS:
        return {**described, **FORMS[name]}
    plain = {key: value for key, value in field.items() if key not in ("default", "description")}
    kinds = [kind for kind in plain.pop("anyOf", ()) if kind != {"type": "null"}]
    kinds = [_DURATION if kind.get("type") == "number" else kind for kind in kinds]
    if plain.get("type") == "number":
        plain = dict(_DURATION)
    if len(kinds) == 1:
        plain |= kinds[0]
    elif kinds:
        plain["anyOf"] = kinds
    if "$ref" in plain:
        # Beside a $ref, other words count for nothing in draft 7.
        return {**described, "allOf": [plain]}
    return {**described, **plain}


def as_text() -> str:
    """The schema as the shipped file has it."""
    return msgspec.json.format(msgspec.json.encode(file_schema()), indent=2).decode() + "\n"
