"""What has happened, numbered: rings, gaps, and what never goes out."""

from __future__ import annotations

import json
from typing import Any

from actors import Crashed, Shutdown, events
from colony.api import history as h
from colony.api.history import History, name_of
from colony.events import ServiceExited, ServiceOutput, ServiceStarted
from colony.services.plan import ProcessExited
from netns import ExitStatus
from proxy.actors import DoorOpened


def started(n: int) -> ServiceStarted:
    return ServiceStarted(at=0.0, colony="app", service="web", pid=n, incarnation=n)


def new() -> History:
    return History(clock=lambda: 1_700_000_000.25)


def test_events_have_numbers_from_one_and_the_time() -> None:
    history = new()
    history.note(started(7))
    [happened] = history.events
    assert json.loads(happened.json) == {
        "id": 1,
        "ts": "2023-11-14T22:13:20.250Z",
        "type": "service.started",
        "colony": "app",
        "service": "web",
        "pid": 7,
        "incarnation": 7,
    }


def test_a_reader_goes_on_where_it_stopped() -> None:
    history = new()
    for n in range(5):
        history.note(started(n))
    lost, found = history.since(2)
    assert (lost, [each.id for each in found]) == (0, [3, 4, 5])
    assert history.since(5) == (0, [])


def test_what_the_ring_has_lost_is_a_gap(monkeypatch: Any) -> None:
    monkeypatch.setattr(h, "EVENTS_KEPT", 3)
    history = History()
    history.events = type(history.events)(maxlen=3)
    for n in range(10):
        history.note(started(n))
    lost, found = history.since(2)
    assert (lost, [each.id for each in found]) == (5, [8, 9, 10])


def test_an_id_of_another_instance_gets_all_there_is() -> None:
    history = new()
    history.note(started(1))
    lost, found = history.since(99)
    assert (lost, [each.id for each in found]) == (0, [1])


def test_names_follow_the_classes() -> None:
    assert name_of(ServiceExited) == "service.exited"
    assert name_of(DoorOpened) == "door.opened"
    assert name_of(events.LimitReached) == "supervisor.limit_reached"


def test_the_colony_of_a_kernel_event_is_in_its_path() -> None:
    history = new()
    history.note(
        events.Restarting(
            at=0.0,
            supervisor="system/colonies/app/services",
            child="web",
            reason=Shutdown(),
            count=1,
            intensity=5,
        )
    )
    assert history.events[0].colony == "app"


def test_a_message_that_was_handled_and_an_error_go_out_as_words_only() -> None:
    history = new()
    secret = {"token": "hunter2"}
    history.note(
        events.Exited(
            at=0.0,
            actor="system/colonies/app/x",
            kind="X",
            incarnation=1,
            reason=Crashed(ValueError("bad")),
            message=secret,
        )
    )
    data = json.loads(history.events[0].json)
    assert data["message"] == "dict"
    assert data["reason"] == {"text": "ValueError: bad", "orderly": False}
    assert "hunter2" not in str(data)


def test_output_is_no_event() -> None:
    history = new()
    history.note(ServiceOutput(at=0.0, colony="app", service="web", stream="stdout", data=b"x\n"))
    assert history.last_id == 0


def test_a_crash_goes_out_with_its_decision_and_traceback_and_without_its_message() -> None:
    history = new()
    history.note(
        events.CrashReport(
            at=0.0,
            actor="system/colonies/app/x",
            kind="X",
            incarnation=1,
            reason=Crashed(ValueError("bad")),
            message={"token": "hunter2"},
            supervisor="system/colonies/app",
            decision="gave_up",
            count=4,
            intensity=3,
            period=5.0,
        )
    )
    [happened] = history.events
    assert (happened.type, happened.colony) == ("actor.crashed", "app")
    data = json.loads(happened.json)
    assert (data["decision"], data["count"], data["message"]) == ("gave_up", 4, "dict")
    assert data["traceback"] == "ValueError: bad\n"
    assert "hunter2" not in str(data)


def test_of_an_error_and_of_a_message_nothing_is_kept_but_the_words() -> None:
    history = new()
    error = ValueError("bad")
    ended: dict[str, Any] = {"at": 0.0, "actor": "a", "kind": "X", "incarnation": 1}
    history.note(events.Exited(**ended, reason=Crashed(error), message=None))
    history.note(events.Exited(**ended, reason=ProcessExited(ExitStatus(1)), message=[error]))
    history.note(events.Exited(**ended, reason=ProcessExited(ExitStatus(1)), message=None))
    kept = [each._event is None for each in history.events]
    assert kept == [True, True, False]  # the last holds nothing that is large
    texts = [json.loads(each.json)["reason"]["text"] for each in history.events]
    assert texts == ["ValueError: bad", "exit code 1", "exit code 1"]
    assert history.events[2].json is history.events[2].json
