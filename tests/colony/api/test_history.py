"""What has happened, numbered: rings, gaps, and what never goes out."""

from __future__ import annotations

import json
import re
from typing import Any

from actors import Crashed, Shutdown, events
from colony.api import history as h
from colony.api.history import History, Line, name_of, recent
from colony.events import ServiceExited, ServiceOutput, ServiceStarted
from proxy.actors import DoorOpened


def started(n: int) -> ServiceStarted:
    return ServiceStarted(at=0.0, colony="app", service="web", pid=n, incarnation=n)


def output(text: bytes, colony: str = "app") -> ServiceOutput:
    return ServiceOutput(at=0.0, colony=colony, service="web", stream="stdout", data=text)


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


def test_lines_are_numbered_in_each_colony() -> None:
    history = new()
    history.note(output(b"one\ntw"))
    history.note(output(b"o\nthree\n"))
    history.note(output(b"other\n", "blog"))
    assert [(line.seq, line.text) for line in history.lines("app").lines] == [
        (1, b"one"),
        (2, b"two"),
        (3, b"three"),
    ]
    assert [line.seq for line in history.lines("blog").lines] == [1]


def test_the_next_life_ends_the_last_lives_unfinished_line() -> None:
    history = new()
    history.note(output(b"no newline"))
    history.note(started(2))
    assert [line.text for line in history.lines("app").lines] == [b"no newline"]


def test_rings_are_bounded_in_lines_and_in_bytes(monkeypatch: Any) -> None:
    monkeypatch.setattr(h, "LINES_KEPT", 10)
    history = new()
    history.note(output(b"".join(b"%d\n" % n for n in range(100))))
    ring = history.lines("app")
    assert [line.text for line in ring.lines] == [b"%d" % n for n in range(90, 100)]
    assert ring.first == 91
    monkeypatch.setattr(h, "BYTES_KEPT", 5)
    history.note(output(b"abcdefgh\n"))
    assert ring.bytes <= 5


def test_only_so_many_colonies_are_remembered(monkeypatch: Any) -> None:
    monkeypatch.setattr(h, "COLONIES_KEPT", 2)
    history = new()
    for name in ("a", "b", "a", "c"):
        history.note(output(b"x\n", name))
    assert list(history.rings) == ["a", "c"]


def test_lines_are_chosen_by_service_number_and_pattern() -> None:
    history = new()
    history.note(output(b"apple\nbanana\navocado\n"))
    ring = history.lines("app")
    grep = re.compile(b"^a")
    assert [x.text for x in recent(ring, after=1, services=("web",), grep=grep)] == [b"avocado"]
    assert list(recent(ring, after=0, services=("api",), grep=None)) == []


def test_what_is_not_utf8_is_shown_with_replacements() -> None:
    line = Line(1, 0.0, "app", "web", "stdout", b"a\xffb")
    assert json.loads(line.json)["text"] == "a\ufffdb"
