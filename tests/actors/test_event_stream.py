"""Who is told of which events, in which order."""

from __future__ import annotations

from actors import Actor, Event, Reason, Supervisor, System, backend
from actors.events import EventStream, Exited


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


async def test_what_is_held_is_told_on_release_in_its_order_after_what_comes_first() -> None:
    stream, heard = EventStream(backend.current()), list[object]()
    stream.listen(heard.append)

    def one() -> None:
        heard.append("one")
        stream.publish(News(at=0.0))

    stream.release()  # nothing is held
    stream.hold(one)
    stream.publish(Rain(at=1.0))
    stream.hold(lambda: heard.append("two"))
    stream.publish(News(at=2.0))
    assert heard == []
    assert repr(stream) == "<EventStream with 1 listeners, 2 events held>"
    stream.release()
    assert heard == ["one", "two", News(at=0.0), Rain(at=1.0), News(at=2.0)]
    assert repr(stream) == "<EventStream with 1 listeners>"
    stream.publish(Rain(at=3.0))
    assert heard[5:] == [Rain(at=3.0)]


async def test_what_a_listener_publishes_on_release_comes_after_what_was_held() -> None:
    stream, heard = EventStream(backend.current()), list[tuple[str, float]]()

    def answering(event: Event) -> None:
        heard.append(("answering", event.at))
        if event.at < 10.0:
            stream.publish(News(at=event.at + 10.0))
            stream.release()  # it is being done

    stream.listen(answering)
    stream.listen(lambda event: heard.append(("last", event.at)))
    stream.hold()
    for at in (1.0, 2.0):
        stream.publish(Rain(at=at))
    stream.release()
    assert [at for name, at in heard if name == "answering"] == [1.0, 2.0, 11.0, 12.0]
    assert [at for name, at in heard if name == "last"] == [1.0, 2.0, 11.0, 12.0]


class Mute(Actor):
    """Holds what is told of its end, and forgets about it."""

    async def stopping(self, reason: Reason) -> None:
        self.ctx.system.events.hold()


class Last(Actor):
    """Notes what is known when it is told to stop."""

    def __init__(self, heard: list[str], known: list[str]) -> None:
        self.heard = heard
        self.known = known

    async def stopping(self, reason: Reason) -> None:
        self.known += self.heard


async def test_a_supervisor_that_stops_others_and_a_system_that_ends_hold_nothing() -> None:
    heard, known = list[str](), list[str]()
    async with System() as system:
        system.events.listen(lambda event: heard.append(type(event).__name__), Exited)
        last, mute = Last.spec(heard, known).options(id="last"), Mute.spec().options(id="mute")
        await system.start(Supervisor.spec([last, mute]))
        await system.start(Mute.spec().options(id="other"))
    assert known == ["Exited", "Exited"]  # the other one and the mute one
    assert heard == ["Exited"] * 4


async def test_it_is_the_end_of_a_system_that_tells_of_its_last_actor() -> None:
    heard = list[Event]()
    async with System() as system:
        system.events.listen(heard.append, Exited)
        await system.start(Mute.spec())
    assert [type(event) for event in heard] == [Exited]
