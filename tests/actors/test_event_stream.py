"""Who is told of which events, in which order."""

from __future__ import annotations

from actors import Event, backend
from actors.events import EventStream


class Weather(Event, frozen=True, kw_only=True):
    """Of any kind."""


class Rain(Weather, frozen=True, kw_only=True):
    """Of one."""


class News(Event, frozen=True, kw_only=True):
    """Something else."""


async def test_a_listener_is_told_of_the_kinds_that_it_asks_for_in_the_order_of_their_coming() -> (
    None
):
    stream, heard = EventStream(backend.current()), list[tuple[str, str]]()

    def listener(name: str, *kinds: type[Event]) -> None:
        stream.listen(lambda event: heard.append((name, type(event).__name__)), *kinds)

    listener("rain", Rain)
    listener("all")
    listener("weather and news", Weather, News)
    for event in (Rain(at=0.0), Weather(at=0.0), News(at=0.0), Rain(at=0.0)):
        stream.publish(event)
    assert heard == [
        ("rain", "Rain"),
        ("all", "Rain"),
        ("weather and news", "Rain"),
        ("all", "Weather"),
        ("weather and news", "Weather"),
        ("all", "News"),
        ("weather and news", "News"),
        ("rain", "Rain"),
        ("all", "Rain"),
        ("weather and news", "Rain"),
    ]


async def test_whoever_comes_or_goes_while_an_event_is_told_does_so_from_the_next_one_on() -> None:
    stream, heard = EventStream(backend.current()), list[str]()

    def late(_event: Event) -> None:
        heard.append("late")

    def first(_event: Event) -> None:
        heard.append("first")
        leave()
        stream.listen(late, News)

    leave = stream.listen(first)
    stream.listen(lambda event: heard.append("last"), News)
    assert stream.heard
    for _ in range(2):
        stream.publish(News(at=0.0))
    assert heard == ["first", "last", "last", "late"]
    leave()  # twice is no error


async def test_one_that_listens_twice_is_told_twice_until_it_leaves_each() -> None:
    stream, heard = EventStream(backend.current()), list[Event]()
    leaves = [stream.listen(heard.append), stream.listen(heard.append, Rain)]
    told = []
    for leave in leaves:
        stream.publish(Rain(at=0.0))
        told.append(len(heard))
        leave()
    stream.publish(Rain(at=0.0))
    assert told == [2, 3]
    assert len(heard) == 3
    assert not stream.heard
