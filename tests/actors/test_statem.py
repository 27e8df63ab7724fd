"""The engine of state machines, rule by rule, without an event loop (R106–R111)."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from actors.statem import (
    EVENT_TIMEOUT,
    STATE_TIMEOUT,
    Effect,
    Engine,
    Event,
    Key,
    Kind,
    SetTimeout,
    StartTimer,
    StopTimer,
    UpdateTimeout,
    Wishes,
)


class St(Enum):
    A = "a"
    B = "b"


NAMED = Key(Kind.TIMEOUT, "n")
Rule = Callable[[Wishes[St]], object]


def message(content: str) -> Event:
    return Event(Kind.MESSAGE, content)


def feed(engine: Engine[St], content: str, rule: Rule = lambda _: None) -> list[Effect]:
    """One message arrives and is handled by `rule`."""
    engine.arrive(message(content))
    return turn(engine, rule)


def turn(engine: Engine[St], rule: Rule = lambda _: None) -> list[Effect]:
    """Whatever is next is handled by `rule`."""
    event = engine.next()
    assert event is not None
    wishes: Wishes[St] = Wishes()
    rule(wishes)
    engine.handled(event, wishes)
    return engine.settled(wishes)


def upcoming(engine: Engine[St]) -> list[str]:
    """The contents of all that is to be handled, in order."""
    contents = []
    while (event := engine.next()) is not None:
        contents.append(event.content)
    return contents


def goto(state: St) -> Rule:
    return lambda wishes: setattr(wishes, "goto", state)


def postpone(wishes: Wishes[St]) -> None:
    wishes.postpone = True


def set_timeout(key: Key, seconds: float, content: str = "late") -> Rule:
    return lambda wishes: wishes.wish(SetTimeout(key, seconds, content))


def test_r107_what_was_postponed_comes_back_in_order_when_the_state_changes() -> None:
    engine = Engine(St.A)
    feed(engine, "one", postpone)
    feed(engine, "two", postpone)
    feed(engine, "three")
    assert upcoming(engine) == []
    feed(engine, "go", goto(St.B))
    assert engine.state is St.B
    assert engine.previous is St.A
    assert upcoming(engine) == ["one", "two"]


def test_r107_going_to_the_same_state_enters_and_retries_nothing() -> None:
    engine = Engine(St.A)
    feed(engine, "one", postpone)
    engine.arrive(message("stay"))
    event = engine.next()
    assert event is not None
    assert engine.handled(event, Wishes(goto=St.A)) is False
    assert upcoming(engine) == []


def test_r107_repeating_the_state_enters_it_and_retries_nothing() -> None:
    engine = Engine(St.A)
    feed(engine, "one", postpone)
    engine.arrive(message("again"))
    event = engine.next()
    assert event is not None
    assert engine.handled(event, Wishes(repeat=True)) is True
    assert engine.previous is St.A
    assert upcoming(engine) == []


def test_r107_a_message_postponed_as_the_state_changes_is_retried_in_the_new_one() -> None:
    engine = Engine(St.A)

    def both(wishes: Wishes[St]) -> None:
        wishes.postpone, wishes.goto = True, St.B

    feed(engine, "one", both)
    assert upcoming(engine) == ["one"]


def test_r109_inserted_events_come_first_then_the_postponed_ones_then_the_queue() -> None:
    engine = Engine(St.A)
    feed(engine, "postponed", postpone)
    engine.arrive(message("go"))
    engine.arrive(message("queued"))

    def go(wishes: Wishes[St]) -> None:
        wishes.goto = St.B
        wishes.inserted += ["first", "second"]

    turn(engine, go)
    assert upcoming(engine) == ["first", "second", "postponed", "queued"]


def test_r109_a_timeout_of_zero_seconds_comes_after_the_queue() -> None:
    engine = Engine(St.A)
    engine.arrive(message("one"))
    engine.arrive(message("two"))
    assert turn(engine, set_timeout(NAMED, 0.0)) == []
    assert upcoming(engine) == ["two", "late"]


def test_r110_a_change_of_state_ends_the_state_timeout_and_no_other_event_does() -> None:
    engine = Engine(St.A)
    assert feed(engine, "set", set_timeout(STATE_TIMEOUT, 5.0)) == [
        StartTimer(STATE_TIMEOUT, 1, 5.0)
    ]
    assert feed(engine, "other") == []
    assert feed(engine, "go", goto(St.B)) == [StopTimer(STATE_TIMEOUT)]
    engine.due(STATE_TIMEOUT, 1)
    assert engine.next() is None


def test_r110_a_state_timeout_that_is_set_on_the_way_belongs_to_the_new_state() -> None:
    engine = Engine(St.A)
    feed(engine, "set", set_timeout(STATE_TIMEOUT, 5.0, "old"))

    def go(wishes: Wishes[St]) -> None:
        wishes.goto = St.B
        wishes.wish(SetTimeout(STATE_TIMEOUT, 7.0, "new"))

    assert feed(engine, "go", go) == [
        StopTimer(STATE_TIMEOUT),
        StartTimer(STATE_TIMEOUT, 2, 7.0),
    ]
    engine.due(STATE_TIMEOUT, 2)
    assert upcoming(engine) == ["new"]


def test_r110_any_event_ends_the_event_timeout() -> None:
    engine = Engine(St.A)
    feed(engine, "set", set_timeout(EVENT_TIMEOUT, 5.0))
    assert feed(engine, "other") == [StopTimer(EVENT_TIMEOUT)]
    engine.due(EVENT_TIMEOUT, 1)
    assert engine.next() is None


def test_r110_a_named_timeout_survives_events_and_states() -> None:
    engine = Engine(St.A)
    assert feed(engine, "set", set_timeout(NAMED, 5.0)) == [StartTimer(NAMED, 1, 5.0)]
    assert feed(engine, "go", goto(St.B)) == []
    engine.due(NAMED, 1)
    assert engine.next() == Event(Kind.TIMEOUT, "late")


def test_r110_setting_a_named_timeout_anew_makes_the_old_one_void() -> None:
    engine = Engine(St.A)
    feed(engine, "set", set_timeout(NAMED, 5.0, "old"))
    assert feed(engine, "set", set_timeout(NAMED, 9.0, "new")) == [
        StopTimer(NAMED),
        StartTimer(NAMED, 2, 9.0),
    ]
    engine.due(NAMED, 1)
    assert engine.next() is None
    engine.due(NAMED, 2)
    assert upcoming(engine) == ["new"]


def test_r110_infinity_stops_a_timeout_also_one_of_zero_seconds() -> None:
    engine = Engine(St.A)
    feed(engine, "set", set_timeout(NAMED, 5.0))
    assert feed(engine, "stop", set_timeout(NAMED, math.inf)) == [StopTimer(NAMED)]
    engine.arrive(message("zero"))
    engine.arrive(message("stop"))
    turn(engine, set_timeout(NAMED, 0.0))
    assert turn(engine, set_timeout(NAMED, math.inf)) == []
    assert engine.next() is None


def test_r110_update_changes_the_content_and_keeps_the_time() -> None:
    engine = Engine(St.A)
    feed(engine, "set", set_timeout(NAMED, 5.0, "old"))
    assert feed(engine, "update", lambda w: w.wish(UpdateTimeout(NAMED, "new"))) == []
    engine.due(NAMED, 1)
    assert upcoming(engine) == ["new"]


def test_r110_updating_a_timeout_that_does_not_run_brings_it_at_once() -> None:
    engine = Engine(St.A)
    feed(engine, "update", lambda w: w.wish(UpdateTimeout(NAMED, "now")))
    assert upcoming(engine) == ["now"]


def test_r111_of_two_wishes_for_one_timeout_the_last_counts() -> None:
    engine = Engine(St.A)

    def twice(wishes: Wishes[St]) -> None:
        wishes.wish(SetTimeout(NAMED, 5.0, "first"))
        wishes.wish(UpdateTimeout(NAMED, "second"))

    assert feed(engine, "set", twice) == []
    assert upcoming(engine) == ["second"]


def test_the_repr_says_what_there_is() -> None:
    engine = Engine(St.A)
    feed(engine, "one", postpone)
    feed(engine, "two", set_timeout(NAMED, 5.0))
    assert repr(engine) == "<Engine in A: 0 queued, 1 postponed, 1 timeouts>"
