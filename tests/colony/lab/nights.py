"""A night for the journal: records as a real run that went like a trace would have left them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from colony.api.history import iso
from colony.chronicle_file import EventFiles
from colony.config import Config, parse
from colony.lab.trace import Entry, Trace
from colony.records import Record, Run

BEGAN = 1_790_000_000.0
CLOCK = 5_000.0
SUPERVISOR = "system/colonies/shop/services"

FILE = """\
[colony]
name = "shop"
[services.db]
command = "true"
ready.exec = "true"
[services.api]
command = "true"
after = ["db"]
[services.web]
command = "true"
after = ["api"]
health = { exec = "true", interval = "2s", timeout = "1s", failures = 2 }
[supervision]
intensity = 10
"""


def config(more: str = "") -> Config:
    return parse(FILE + more, "new.toml")


# -- records as a real run of a trace would have left them -----------------------------------------

TYPES = {
    "waiting": "service.waiting",
    "started": "service.started",
    "ready": "service.ready",
    "unhealthy": "service.unhealthy",
    "crashed": "service.exited",
    "exited": "service.exited",
    "stopping": "service.stopping",
    "stopped": "service.stopped",
    "restarting": "supervisor.restarting",
    "backoff": "supervisor.restarting",
    "gave_up": "supervisor.limit_reached",
}


def records_of(trace: Trace, *, over: bool = False) -> Iterator[Record]:
    for entry in trace.entries:
        if entry.kind in TYPES:
            yield record(TYPES[entry.kind], entry.at, fields(entry))
    if trace.ending.kind != "horizon":
        yield record("actor.exited", trace.ending.at, {"actor": SUPERVISOR})
    if over or trace.ending.kind != "horizon":
        yield record("actor.exited", trace.ending.at, {"actor": "system/colonies/shop"})


def record(kind: str, at: float, data: dict[str, Any]) -> Record:
    whole = {
        "ts": iso(BEGAN + at),
        "at": CLOCK + at,
        "type": kind,
        "colony": "shop",
        "instance": "i",
        **data,
    }
    return Record(BEGAN + at, CLOCK + at, "i", kind, "shop", whole)


def fields(entry: Entry) -> dict[str, Any]:
    if entry.kind in ("restarting", "backoff", "gave_up"):
        return {
            "supervisor": SUPERVISOR,
            "child": entry.service,
            "reason": {"text": entry.detail, "orderly": False},
            "count": entry.count,
            "intensity": entry.limit,
            "delay": 0.0 if entry.due is None else entry.due - entry.at,
            "period": 60.0,
        }
    status = entry.detail
    return {
        "service": entry.service,
        "incarnation": entry.life,
        "how": entry.detail,
        "status": status,
        "reason": entry.detail,
        "orderly": entry.kind == "exited",
        "code": entry.code,
        "killed": entry.killed,
        "seconds": 0.01,
        "failures": entry.count,
        "allowed": entry.limit,
        "waits_for": [entry.detail.removeprefix("for ")],
    }


def run_of(trace: Trace, *, over: bool = False) -> Run:
    return Run("shop", tuple(records_of(trace, over=over)), over or trace.ending.kind != "horizon")


def write(home: Path, trace: Trace, *, over: bool = False) -> None:
    """Has a run stand in the journal of a home."""
    lines = [msgspec.json.encode(each.data) for each in records_of(trace, over=over)]
    EventFiles(home / "events").append(lines)
