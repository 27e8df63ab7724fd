"""The JSON Schema of colony.toml, for editors: made of the types that it is read into. Pure.

    #:schema ./colony.schema.json           in the first line of a colony.toml

What a file may have beside the types' own forms (a duration as text, the short forms of a service)
is added here; that every field of a table is in it is held by a test.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from colony.config import Config

_DURATION: Final = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": "^[0-9]+(\\\\.[0-9]+)?\\\\s*(ms|s|m|min|h)?$"},
    ]
}

_NOT_IN_THE_FILE: Final = ("path", "workspace", "warnings")


def file_schema() -> dict[str, Any]:
    """The schema, as plain values."""
    _, components = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    whole = components.pop("Config")
    for name in _NOT_IN_THE_FILE:
        whole["properties"].pop(name, None)
    for table in components.values():
        _as_in_the_file(table)
    whole["required"] = ["services"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": components,
        **whole,
        "title": "colony.toml",
    }


def _as_in_the_file(table: dict[str, Any]) -> None:
    """A table's own form: closed, without the name that is its key, durations as text, too."""
    table["additionalProperties"] = False
    properties = table.get("properties", {})
    if table.get("title") == "Service":
        properties.pop("name", None)
        table["required"] = ["command"]
    for name, kind in properties.items():
        if kind.get("type") == "number":
            properties[name] = {**_DURATION, "description": kind.get("description", "")}
