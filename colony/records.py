"""What the event journal says: its lines, whose they are, and which runs of a colony they tell of.

    found = read(journal_directory(), since=parse_since("yesterday", time.time()))
    for run in runs_of(found, "my-app"):
        print(run.began, len(run.records), run.over)

Law: what was written is read by whatever version comes later. A line is an object with `ts` (the
time of day), `at` (the same moment on its instance's own clock, which no correction of the time of
day bends), `instance`, `type`, `colony` and the event's plain fields; a reader takes what it knows
and skips what is no such object.

A *run* is one life of a colony: from its first event to the end of its supervisor, or of the
instance. It needs no running instance to read; nothing here writes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from actors import Event
from colony.api.history import encoded, iso, name_of, plain_fields
from colony.chronicle_file import EventFiles
from colony.paths import home_directory
from colony.tree import COLONIES, SERVICES, SYSTEM, colony_of

STARTED: Final = "instance.started"
STOPPED: Final = "instance.stopped"
POLICY: Final = "colony.policy"
"""Types of the records that are the journal's own, as `colony.chronicle` has them."""

UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)")
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def journal_directory(home: Path | None = None) -> Path:
    """Where the journal is: `events` in Colony's home, by default the user's."""
    return (home or home_directory()) / "events"


def encoder(instance: str) -> Callable[[float, Event], bytes]:
    """A `chronicle.Encode` for an instance's events."""

    def encode(when: float, event: Event) -> bytes:
        head = {
            "ts": iso(when),
            "at": round(event.at, 6),
            "instance": instance,
            "type": name_of(type(event)),
            "colony": colony_of(event),
        }
        return encoded(head | plain_fields(event))

    return encode


class Record(msgspec.Struct, frozen=True):
    """One line.

    wall
        Seconds since the epoch.
    at
        Seconds on its instance's clock.
    data
        The whole object, as the API gives events.
    """

    wall: float
    at: float
    instance: str
    type: str
    colony: str | None
    data: dict[str, Any]


def decoded(line: bytes) -> Record | None:
    """A line as a record; None if it is none."""
    try:
        data = msgspec.json.decode(line)
        if not isinstance(data, dict):
            return None
        wall = datetime.fromisoformat(data["ts"]).timestamp()
        known = {key: data[key] for key in ("at", "instance", "type", "colony")}
        return msgspec.convert({"wall": wall, **known, "data": data}, Record)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None


def read(directory: Path, *, since: float | None = None) -> list[Record]:
    """Every record, or those since a time, in the order in which they were written.

    Nothing if there is no journal. Raises `OSError`. Blocks: some 100 ms for a full journal.
    """
    found = (decoded(line) for line in EventFiles(directory).lines())
    return [each for each in found if each and (since is None or each.wall >= since)]


def parse_since(text: str, now: float) -> float:
    """A moment as people write it, in seconds since the epoch; `now` is the present one.

    `2h`, `90m`, `1.5d`: so long ago. `today`, `yesterday`: from midnight on, as the clock here has
    it. `22:30`: the last time that it was. A date, or a date and a time, in ISO 8601; without a
    zone, the one of here. Raises `ValueError` in words for the user.
    """
    word = text.strip().lower()
    here = datetime.fromtimestamp(now).astimezone()
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    if found := _AGO.fullmatch(word):
        return now - float(found[1]) * UNITS[found[2]]
    if word in ("today", "yesterday"):
        return (midnight - timedelta(days=word == "yesterday")).timestamp()
    if found := _CLOCK.fullmatch(word):
        then = midnight.replace(hour=int(found[1]), minute=int(found[2]))
        return (then if then <= here else then - timedelta(days=1)).timestamp()
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        allowed = "2h, 30m, yesterday, today, 22:30 or 2026-11-26T22:30"
        raise ValueError(f"a time is like {allowed}, got: {text!r}") from None


# -- runs ------------------------------------------------------------------------------------------


class Run(msgspec.Struct, frozen=True):
    """One life of a colony.

    records
        What was written of it, at least one record.
    over
        Whether its end is known: its supervisor's, or its instance's in good order.
    pid
        The process of its instance; None if that is not known.
    """

    colony: str
    records: tuple[Record, ...]
    over: bool
    pid: int | None = None

    def __repr__(self) -> str:
        return f"<Run of {self.colony} from {iso(self.began)}, {len(self.records)} records>"

    @property
    def began(self) -> float:
        """The time of its first record, in seconds since the epoch."""
        return self.records[0].wall

    @property
    def ended(self) -> float:
        """The time of its last record, by the instance's own clock."""
        return self.began + self.records[-1].at - self.records[0].at

    @property
    def supervisor(self) -> str:
        """The path of the services' supervisor."""
        return f"{colony_path(self.colony)}/{SERVICES}"

    @property
    def services(self) -> tuple[str, ...]:
        """The services that are told of, in the order of their first records."""
        names = (record.data.get("service") for record in self.records)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))

    def of(self, service: str) -> list[Record]:
        """What was written of one of its services."""
        return [record for record in self.records if record.data.get("service") == service]

    def crashes(self) -> Iterator[Record]:
        """The ends of services that were no good ones."""
        for record in self.records:
            if record.type == "service.exited" and not record.data.get("orderly"):
                yield record

    def until(self, now: float | None = None) -> float:
        """Up to when something is known of it: the present, while it still runs."""
        if self.over or self.pid is None or not ran_at(self.pid, self.began):
            return self.ended
        return max(self.ended, time.time() if now is None else now)


SLACK: Final = 60.0
"""Seconds by which the time of day may have been corrected since a process was started."""


def ran_at(pid: int, then: float) -> bool:
    """Whether the process of that number is one that ran at a time already: numbers are used again,
    after a reboot even soon."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
    except (OSError, IndexError, ValueError):
        return False
    boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return boot + ticks / os.sysconf("SC_CLK_TCK") <= then + SLACK


def colony_path(colony: str) -> str:
    """A colony's place in the tree."""
    return f"{SYSTEM}/{COLONIES}/{colony}"


def colonies_in(records: Iterable[Record]) -> list[str]:
    """The colonies that are told of, the one that was heard of last first."""
    names = dict.fromkeys(each.colony for each in reversed(list(records)) if each.colony)
    return list(names)


def runs_of(records: Iterable[Record], colony: str) -> list[Run]:
    """The runs of a colony, the oldest first. Of one whose beginning is not among the records,
    what is."""
    open_runs: dict[str, list[Record]] = {}
    pids: dict[str, int] = {}
    runs: list[Run] = []

    def close(instance: str, over: bool) -> None:
        found = open_runs.pop(instance, None)
        if found:
            runs.append(Run(colony, tuple(found), over, pids.get(instance)))

    for record in records:
        if record.type == STARTED:
            pids[record.instance] = int(record.data.get("pid") or 0)
        elif record.type == STOPPED:
            close(record.instance, True)
        elif record.colony == colony:
            open_runs.setdefault(record.instance, []).append(record)
            if _is_end(record, colony):
                close(record.instance, True)
    for instance in tuple(open_runs):
        close(instance, False)
    return sorted(runs, key=lambda run: run.began)


def _is_end(record: Record, colony: str) -> bool:
    ends = record.type in ("actor.exited", "actor.start_failed")
    return ends and record.data.get("actor") == colony_path(colony)
