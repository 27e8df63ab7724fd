"""The reference of colony.toml is made of its types."""

from __future__ import annotations

from colony.config.fields import TABLES
from colony.reference import DOCUMENT, document, fields


def test_the_document_has_the_fields_as_they_are() -> None:
    # If not: python -m colony.reference
    text = DOCUMENT.read_text("utf-8")
    assert document(text) == text


def test_every_field_is_in_it() -> None:
    made = fields()
    for kind, entries in TABLES.items():
        for name in entries:
            assert f"`{name}`" in made or f"[{name}" in made, f"{kind.__name__}.{name}"
