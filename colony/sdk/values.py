"""The values that the SDK gives beside those of the API (`colony.api.types`)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import msgspec

from colony.api.types import HttpResponse

GAP: Final = "gap"
"""The type of an event that says that events before it were lost: `data["lost"]` of them."""


class Event(msgspec.Struct, frozen=True):
    """What has happened.

    id
        Counts from 1 in each instance; None for a gap.
    type
        As `service.ready`; docs/api.md has the list.
    colony
        Whose it is; None for the instance's own.
    ts
        When; None for a gap.
    data
        What else the type has, such as `service`, `pid`, `reason`.
    """

    id: int | None
    type: str
    colony: str | None
    ts: datetime | None
    data: dict[str, Any]

    @property
    def service(self) -> str | None:
        """The service that it is about, if it is about one."""
        name = self.data.get("service")
        return name if isinstance(name, str) else None


class _Known(msgspec.Struct):
    id: int | None = None
    type: str = GAP
    colony: str | None = None
    ts: datetime | None = None


_FIELDS: Final = frozenset(_Known.__struct_fields__)


def event_of(data: bytes) -> Event:
    """An event from its JSON, as it goes over the wire."""
    known = msgspec.json.decode(data, type=_Known)
    rest = {name: value for name, value in json.loads(data).items() if name not in _FIELDS}
    return Event(known.id, known.type, known.colony, known.ts, rest)


def gap(lost: int) -> Event:
    """So many events are missing here."""
    return Event(None, GAP, None, None, {"lost": lost})


class Response(HttpResponse, frozen=True):
    """What a service answered. Header names are in lower case."""

    @property
    def ok(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as a value. Raises `ValueError` if it is no JSON."""
        return json.loads(self.body)
