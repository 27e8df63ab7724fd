from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from actors import Event, Shutdown
from actors.events import Exited, LimitReached, Restarting
from colony.api.history import encoded, name_of, plain_fields
from colony.config import parse
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceUnhealthy,
    ServiceWaiting,
)
from colony.lab.trace import Collector, Ending, Entry, Trace
from colony.services.plan import ProcessExited, Sick
from netns import ExitStatus

SUPERVISOR = "system/colonies/lab/services"
KILLED = ProcessExited(ExitStatus(None, 9))

CONFIG = """
[colony]
name = "lab"
[supervision]
strategy = "rest_for_one"
[services.web]
command = "run"
after = ["db"]
[services.db]
command = "run"
[services.job]
command = "run"
restart = "transient"
exit_colony = true
"""


def started(at: float, service: str, life: int = 1) -> Event:
    return ServiceStarted(at=at, colony="lab", service=service, pid=100, incarnation=life)


def ready(at: float, service: str) -> Event:
    return ServiceReady(
        at=at, colony="lab", service=service, port=1, incarnation=1, seconds=1.0, how="port 1"
    )


def crashed(at: float, service: str) -> Event:
    return ServiceExited(
        at=at, colony="lab", service=service, incarnation=1, status="killed by SIGKILL", seconds=1.0
    )


def restarting(at: float, service: str, delay: float = 0.0) -> Event:
    return Restarting(
        at=at,
        supervisor=SUPERVISOR,
        child=service,
        reason=KILLED,
        count=1,
        intensity=5,
        delay=delay,
    )


def stopping(at: float, service: str) -> Event:
    return ServiceStopping(at=at, colony="lab", service=service, pid=100)


def stopped(at: float, service: str) -> Event:
    return ServiceStopped(
        at=at, colony="lab", service=service, status="exit code 0", killed=False, seconds=0.1
    )


OUTAGE: tuple[Event, ...] = (
    started(10.0, "db"),
    ready(11.0, "db"),
    ServiceWaiting(at=10.0, colony="lab", service="web", waits_for=("db to be ready",)),
    started(11.0, "web"),
    ready(12.0, "web"),
    ServiceUnhealthy(at=13.0, colony="lab", service="web", reason="refused", failures=1, allowed=3),
    ServiceStarted(at=14.0, colony="other", service="web", pid=1, incarnation=9),
    crashed(15.0, "db"),
    restarting(15.0, "db", delay=2.0),
    stopping(15.0, "web"),
    stopped(15.5, "web"),
    started(17.0, "db", 2),
    started(17.5, "web", 2),
    stopping(20.0, "web"),
    stopped(20.5, "web"),
    ServiceDetached(at=21.0, colony="lab", service="db", pid=7, command="vite"),
    ServiceFailed(at=22.0, colony="lab", service="job", reason="port 1 is taken"),
    crashed(25.0, "db"),
    LimitReached(
        at=25.0, supervisor=SUPERVISOR, child="db", reason=KILLED, intensity=5, period=60.0
    ),
    Exited(at=25.0, actor=SUPERVISOR, kind="Supervisor", incarnation=1, reason=Shutdown()),
)

KILL = "killed by SIGKILL"
LIMIT = f"more than 5 restarts in 60 s: {KILL}"

ENTRIES = (
    Entry(0.0, "db", "started", 1),
    Entry(1.0, "db", "ready", 1, "port 1"),
    Entry(0.0, "web", "waiting", 0, "for db to be ready"),
    Entry(1.0, "web", "started", 1),
    Entry(2.0, "web", "ready", 1, "port 1"),
    Entry(3.0, "web", "unhealthy", 1, "refused", count=1, limit=3),
    Entry(5.0, "db", "crashed", 1, KILL),
    Entry(5.0, "db", "backoff", 1, KILL, due=7.0, count=1, limit=5),
    Entry(5.0, "web", "stopping", 1, by="db"),
    Entry(5.5, "web", "stopped", 1, "exit code 0", by="db"),
    Entry(7.0, "db", "started", 2),
    Entry(7.5, "web", "started", 2, by="db"),
    Entry(10.0, "web", "stopping", 2),
    Entry(10.5, "web", "stopped", 2, "exit code 0"),
    Entry(11.0, "db", "detached", 2, "vite"),
    Entry(12.0, "job", "failed", 0, "port 1 is taken"),
    Entry(15.0, "db", "crashed", 2, KILL),
    Entry(15.0, "db", "gave_up", 2, LIMIT, limit=5),
)


def collected(events: Iterable[Event]) -> Trace:
    collector = Collector.of(parse(CONFIG, workspace="/"), supervisor=SUPERVISOR, began=10.0)
    for event in events:
        collector.take(event)
    return collector.trace(100.0)


def test_a_trace_says_what_happened_to_whom_and_because_of_whom() -> None:
    assert collected(OUTAGE) == Trace(
        colony="lab",
        services=("db", "web", "job"),
        entries=ENTRIES,
        horizon=100.0,
        ending=Ending("gave_up", 15.0, "db", LIMIT),
        strategy="rest_for_one",
        intensity=5,
        period=60.0,
    )


def test_the_records_of_a_journal_give_the_same_trace_as_the_events_that_they_were_made_of() -> (
    None
):
    collector = Collector.of(parse(CONFIG, workspace="/"), supervisor=SUPERVISOR, began=10.0)
    for event in OUTAGE:
        fields = {"type": name_of(type(event)), "colony": getattr(event, "colony", None)}
        record = json.loads(encoded(fields | plain_fields(event)))
        collector.take_record(event.at, record)
    assert collector.trace(100.0) == collected(OUTAGE)


def test_a_record_that_lacks_fields_is_taken_as_far_as_it_goes() -> None:
    collector = Collector("lab")
    for kind in ("service.started", "service.exited", "service.stopped", "service.odd", ""):
        collector.take_record(1.0, {"type": kind, "colony": "lab", "service": "web"})
    assert [entry.kind for entry in collector.trace(2.0).entries] == [
        "started",
        "crashed",
        "stopped",
    ]
    assert collector.trace(2.0).services == ("web",)


def test_an_operators_stop_is_nobodys_doing_under_one_for_one() -> None:
    collector = Collector("lab", ("db", "web"), strategy="one_for_one")
    for event in (restarting(1.0, "db", 5.0), stopping(2.0, "web"), stopped(2.1, "web")):
        collector.take(event)
    assert [entry.by for entry in collector.trace(9.0).of("web")] == ["", ""]


def test_an_end_that_ends_the_colony_takes_the_others_down() -> None:
    trace = collected(
        (
            started(10.0, "db"),
            ServiceExited(
                at=11.0,
                colony="lab",
                service="job",
                incarnation=1,
                status="exit code 0",
                seconds=1.0,
                orderly=True,
                code=0,
            ),
            stopping(11.0, "db"),
            stopped(11.5, "db"),
            Exited(at=11.5, actor=SUPERVISOR, kind="Supervisor", incarnation=1, reason=Shutdown()),
        )
    )
    assert trace.ending == Ending("shut_down", 1.5, "job", "exit code 0")
    assert trace.entries[-1].by == "job"


def test_whoever_listens_hears_every_entry_as_it_comes() -> None:
    heard: list[Entry] = []
    collector = Collector("lab", ("db",))
    collector.listen(heard.append)
    collector.take(started(1.0, "db"))
    collector.note(2.0, "db", "fault", "hangs")
    assert heard == [Entry(1.0, "db", "started", 1), Entry(2.0, "db", "fault", 1, "hangs")]


def test_a_trace_that_nothing_ended_ends_at_the_horizon_or_as_its_maker_says() -> None:
    assert Collector("lab").trace(5.0).ending == Ending("horizon", 5.0)
    assert Collector("lab").trace(5.0, Ending("stopped", 3.0)).ending == Ending("stopped", 3.0)


def test_a_sickness_is_a_crash_in_its_own_words() -> None:
    text = "unhealthy: refused"
    collector = Collector("lab", ("db",))
    collector.take(
        ServiceExited(at=1.0, colony="lab", service="db", incarnation=1, status=text, seconds=1.0)
    )
    collector.take(msgspec.structs.replace(restarting(1.0, "db"), reason=Sick(text)))
    kinds = [(entry.kind, entry.detail) for entry in collector.trace(2.0).entries]
    assert kinds == [("crashed", text), ("restarting", text)]
