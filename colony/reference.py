"""The two files that are made of colony.toml's types: its JSON Schema, and its reference.

    python -m colony.reference        after a change of a field: writes both anew, in a checkout

Tests hold that they are what is made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from colony import schema

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN: Final = "<!-- fields: made by python -m colony.reference -->\n"
END: Final = "<!-- /fields -->\n"

_SERVICE: Final = "services.NAME"


def fields() -> str:
    """Every table with its fields, as Markdown."""
    made = schema.file_schema()
    return "\n".join(_tables(made, made, "")) + "\n"


def document(text: str) -> str:
    """The document with its fields as they are now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{fields()}\n{END}{after}"


def _tables(whole: dict[str, Any], table: dict[str, Any], path: str) -> list[str]:
    lines: list[str] = []
    below: list[str] = []
    if path:
        lines += [f"### `[{path}]`", "", _without_path(table["description"], path), ""]
        lines += ["| field | value | default | |", "|---|---|---|---|"]
    for name, field in table["properties"].items():
        inside = f"{path}.{name}".lstrip(".")
        kind = _table_of(whole, field)
        if name == "services" and not path:
            below += _tables(whole, whole["$defs"]["Service"], _SERVICE)
            continue
        if kind is not None:
            below += _tables(whole, kind, inside)
        if path:
            default = f"`{_default(field['default'])}`" if "default" in field else ""
            said = field.get("description", "").replace("|", "\\|")
            lines.append(f"| `{name}` | {_value(field)} | {default} | {said} |")
    return [*lines, "", *below] if path else below


def _without_path(description: str, path: str) -> str:
    """`[colony]`: what … → What …"""
    _, colon, rest = description.partition(": ")
    said = rest if colon and description.startswith("`") else description
    return said[:1].upper() + said[1:]


def _table_of(whole: dict[str, Any], field: dict[str, Any]) -> dict[str, Any] | None:
    for each in (field, *field.get("allOf", ()), *field.get("anyOf", ())):
        if "$ref" in each:
            found: dict[str, Any] = whole["$defs"][each["$ref"].rpartition("/")[2]]
            return found
    return None


def _default(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(field: dict[str, Any]) -> str:
    """What may stand there, in a few words."""
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "$ref" in field or "allOf" in field:
        return "a table"
    if "anyOf" in field:
        if {each.get("type") for each in field["anyOf"]} == {"number", "string"}:
            return "a duration"
        return " or ".join(dict.fromkeys(map(_value, field["anyOf"])))
    return _TYPES[field["type"]]


_TYPES: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}


if __name__ == "__main__":
    schema.SHIPPED.write_text(schema.as_text(), "utf-8")
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
