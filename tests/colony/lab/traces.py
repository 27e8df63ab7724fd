"""Traces written by hand, for the tests of what is made of traces."""

from __future__ import annotations

from colony.lab.trace import Ending, Entry, Trace

KILL = "killed by SIGKILL"
LIMIT = f"more than 1 restart in 60 s: {KILL}"

OUTAGE = Trace(
    colony="lab",
    services=("db", "web", "job"),
    strategy="rest_for_one",
    intensity=1,
    period=60.0,
    horizon=100.0,
    entries=(
        Entry(0.0, "db", "started", 1),
        Entry(1.0, "db", "ready", 1),
        Entry(0.0, "web", "waiting", 0, "for db to be ready"),
        Entry(1.0, "web", "started", 1),
        Entry(2.0, "web", "ready", 1, "port 1"),
        Entry(2.0, "job", "started", 1),
        Entry(2.0, "job", "ready", 1),
        Entry(3.0, "job", "exited", 1, "exit code 0", code=0),
        Entry(10.0, "db", "fault", 1, "hangs"),
        Entry(20.0, "db", "crashed", 1, KILL),
        Entry(20.0, "db", "backoff", 1, KILL, due=24.0, count=1, limit=1),
        Entry(20.0, "web", "stopping", 1, by="db"),
        Entry(20.5, "web", "stopped", 1, "exit code 0", by="db"),
        Entry(24.0, "db", "started", 2),
        Entry(25.0, "db", "ready", 2),
        Entry(25.0, "web", "started", 2, by="db"),
        Entry(26.0, "web", "ready", 2, "port 1"),
        Entry(40.0, "db", "crashed", 2, KILL),
        Entry(40.0, "db", "gave_up", 2, LIMIT, limit=1),
        Entry(40.0, "web", "stopping", 2, by="db"),
        Entry(40.5, "web", "stopped", 2, KILL, by="db", killed=True),
    ),
    ending=Ending("gave_up", 40.0, "db", LIMIT),
)
"""A database crashes twice; once is allowed. A job is done at once."""


def of(*entries: Entry, horizon: float = 100.0, services: tuple[str, ...] = ("web",)) -> Trace:
    """A trace of some entries, that ends at the horizon."""
    return Trace(
        colony="lab",
        services=services,
        entries=entries,
        horizon=horizon,
        ending=Ending("horizon", horizon),
        intensity=5,
        period=60.0,
    )
