"""One document written over another. Pure.

The law: tables are merged by key at every depth, and so are services by their name; any other
value replaces the one beneath. What is one statement is replaced whole (`WHOLE`): of
`ready = { log = "…" }` over `ready = { http = "/" }` nothing of the latter is left.

The order is that of the lower document, with what is new at the end: it is the order of starting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from colony.config.positions import Path

Document = Mapping[str, Any]

WHOLE: Final = ("ready", "health", "after")
"""Fields of a service that are one statement each."""

OWN: Final = ("name", "description", "template")
"""What each [colony] says of itself alone, and no other takes from it."""


def merged(beneath: Document, over: Document) -> dict[str, Any]:
    """Both as one; neither is changed."""
    return _tables(_inheritable(beneath), over, ())


def _inheritable(document: Document) -> dict[str, Any]:
    colony = document.get("colony")
    if not isinstance(colony, Mapping):
        return dict(document)
    rest = {key: value for key, value in colony.items() if key not in OWN}
    return {**document, "colony": rest}


def _tables(beneath: Document, over: Document, path: Path) -> dict[str, Any]:
    found = dict(beneath)
    for key, value in over.items():
        known = found.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        if both and not _is_whole((*path, key)):
            assert isinstance(known, Mapping)
            found[key] = _tables(known, value, (*path, key))
        else:
            found[key] = value
    return found


def _is_whole(path: Path) -> bool:
    return len(path) == 3 and path[0] == "services" and path[2] in WHOLE
