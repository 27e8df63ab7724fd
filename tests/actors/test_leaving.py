"""Children of a supervisor that knows who has to go before whom: `Supervisor.stop_order`."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Supervisor, System
from actors.leaving import Countdown, StopOrder
from tests.actors.supervised import Log, Script, child, die, lives, status

# -- whose turn it is --------------------------------------------------------------------------

CHAIN = {"a": ["b"], "b": ["c"]}
DIAMOND = {"db": ["api", "jobs"], "api": ["web"], "jobs": ["web"]}
COUNTDOWNS: dict[str, tuple[str, dict[str, list[str]], list[str]]] = {
    "nobody": ("", {}, []),
    "nobody waits": ("c b a", {}, ["c b a"]),
    "a chain": ("c b a", CHAIN, ["c", "b", "a"]),
    "the order of the names is that of a moment": ("a b c", {"c": ["a"]}, ["a b", "c"]),
    "a diamond": ("web jobs api db", DIAMOND, ["web", "jobs api", "db"]),
    "who is not there has gone": ("web db", DIAMOND, ["web db"]),
    "oneself does not count": ("a", {"a": ["a"]}, ["a"]),
    "a circle is broken at the first": ("c b a", {**CHAIN, "c": ["a"]}, ["c", "b", "a"]),
    "a circle behind others": ("c b a", {"a": ["b", "c"], "b": ["a"]}, ["c", "b", "a"]),
}


@pytest.mark.parametrize("case", COUNTDOWNS)
def test_each_is_told_once_and_after_those_it_waits_for(case: str) -> None:
    ids, order, waves = COUNTDOWNS[case]
    countdown, told = Countdown(ids.split(), order), []
    while due := countdown.due():
        told.append(" ".join(due))
        assert countdown.due() == []
        for id in due:
            countdown.ended(id)
    assert told == waves


def test_nobody_waits_for_one_who_has_nothing_to_do_with_it() -> None:
    countdown = Countdown(["slow", "web", "api"], {"api": ["web"]})
    assert countdown.due() == ["slow", "web"]
    countdown.ended("web")
    assert countdown.due() == ["api"]
    assert repr(countdown) == "<Countdown: 2 end, 0 wait>"


def test_who_ends_before_he_is_told_is_not_told() -> None:
    countdown = Countdown(["c", "b", "a"], CHAIN)
    assert countdown.due() == ["c"]
    countdown.ended("b")
    assert countdown.due() == ["a"]
    countdown.ended("a")
    countdown.ended("c")
    assert countdown.due() == []


# -- a supervisor ------------------------------------------------------------------------------


class Knowing(Supervisor):
    """Knows who has to go before whom, and notes what it is asked."""

    def __init__(self, children: Any, order: StopOrder, asked: list[str], **flags: Any) -> None:
        super().__init__(children, **flags)
        self.order = order
        self.asked = asked

    async def stop_order(self, ids: tuple[str, ...]) -> StopOrder:
        self.asked.append(" ".join(ids))
        return self.order


def slow(id: str, seconds: float | None, **options: Any) -> Any:
    return child(id, Script(stop_after=seconds), **options)


class Ends:
    """When whose end came, since the first."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.began = system.now()
        self.log = Log(system)
        self.times: list[tuple[float, str]] = []
        system.events.listen(self._note)

    def _note(self, event: Any) -> None:
        for line in self.log.read():
            self.times.append((round(event.at - self.began, 3), line))


async def ends_of(
    order: StopOrder, *specs: Any, asked: list[str] | None = None
) -> list[tuple[float, str]]:
    """Stops a supervisor of these; when everybody ended, and how."""
    asked = [] if asked is None else asked
    async with System() as system:
        top = await system.start(Knowing.spec(specs, order, asked).options(id="top"))
        ends = Ends(system)
        await system.stop_actor(top)
    return ends.times


async def test_those_who_wait_for_nobody_end_at_the_same_time() -> None:
    asked: list[str] = []
    times = await ends_of({}, slow("a", 3.0), slow("b", 2.0), slow("c", 2.5), asked=asked)
    assert times == [
        (2.0, "exited top/b: shutdown"),
        (2.5, "exited top/c: shutdown"),
        (3.0, "exited top/a: shutdown"),
        (3.0, "exited top: shutdown"),
    ]
    assert asked == ["c b a"]


async def test_a_chain_ends_from_its_end_and_each_has_its_whole_time() -> None:
    stubborn = [slow(id, None, shutdown=time) for id, time in (("a", 1.0), ("b", 2.0), ("c", 4.0))]
    assert await ends_of(CHAIN, *stubborn) == [
        (4.0, "exited top/c: killed"),
        (6.0, "exited top/b: killed"),
        (7.0, "exited top/a: killed"),
        (7.0, "stop failed top/c: killed"),
        (7.0, "stop failed top/b: killed"),
        (7.0, "stop failed top/a: killed"),
        (7.0, "exited top: shutdown"),
    ]


async def test_a_slow_one_holds_up_those_alone_that_wait_for_it() -> None:
    order = {"db": ["api", "jobs"], "api": ["web"]}
    specs = [slow("db", 1.0), slow("api", 1.0), slow("jobs", 4.0), slow("web", 1.0)]
    assert [time for time in await ends_of(order, *specs) if "top/" in time[1]] == [
        (1.0, "exited top/web: shutdown"),
        (2.0, "exited top/api: shutdown"),
        (4.0, "exited top/jobs: shutdown"),
        (5.0, "exited top/db: shutdown"),
    ]


async def test_brutal_kill_and_all_the_time_there_is() -> None:
    specs = [
        slow("a", 1000.0, shutdown="infinity"),
        slow("b", None, shutdown="brutal_kill"),
    ]
    assert await ends_of({"a": ["b"]}, *specs) == [
        (0.0, "exited top/b: killed"),
        (1000.0, "exited top/a: shutdown"),
        (1000.0, "exited top: shutdown"),
    ]


async def test_a_single_child_needs_no_order() -> None:
    asked: list[str] = []
    assert len(await ends_of({}, slow("a", 1.0), asked=asked)) == 2
    assert asked == []


async def test_without_an_order_it_is_erlangs() -> None:
    class Silent(Supervisor):
        async def stop_order(self, ids: tuple[str, ...]) -> None:
            asked.append(ids)

    asked: list[tuple[str, ...]] = []
    async with System() as system:
        top = await system.start(Silent.spec([slow("a", 1.0), slow("b", 2.0)]).options(id="top"))
        ends = Ends(system)
        await system.stop_actor(top)
    assert ends.times == [
        (2.0, "exited top/b: shutdown"),
        (3.0, "exited top/a: shutdown"),
        (3.0, "exited top: shutdown"),
    ]
    assert asked == [("b", "a")]


async def test_one_that_ends_by_itself_meanwhile_comes_back_no_more() -> None:
    async with System() as system:
        specs = [slow("a", 1.0), slow("b", 0.0), slow("c", 3.0)]
        top = await system.start(Knowing.spec(specs, CHAIN, []).options(id="top"))
        ends = Ends(system)
        b = system.at("top/b")
        assert b is not None
        system.timers.after(1.0, lambda: system.kill(b))
        await system.stop_actor(top)
    assert ends.times == [
        (1.0, "exited top/b: killed"),
        (2.0, "exited top/a: shutdown"),
        (3.0, "exited top/c: shutdown"),
        (3.0, "stop failed top/b: killed"),
        (3.0, "exited top: shutdown"),
    ]


@pytest.mark.parametrize(
    ("strategy", "group", "took"), [("rest_for_one", "d c", 3.0), ("one_for_all", "d c a", 4.0)]
)
async def test_a_group_that_is_restarted_goes_in_that_order(
    strategy: Any, group: str, took: float
) -> None:
    """And nobody else: `a` lives on where it is not of the group."""
    asked: list[str] = []
    async with System() as system:
        specs = [slow("a", 4.0), child("b"), slow("c", 2.0), slow("d", 3.0)]
        knowing = Knowing.spec(specs, {"c": []}, asked, strategy=strategy)
        top = await system.start(knowing.options(id="top"))
        before = system.now()
        await die(top, "b")
        assert asked == [group]
        assert await status(top) == dict.fromkeys("abcd", "running")
        assert system.now() - before == took
        assert lives(system, "top/a", "top/b", "top/c", "top/d") == [
            1 + ("a" in group),
            *(2, 2, 2),
        ]


async def test_at_the_limit_all_go_in_that_order() -> None:
    async with System() as system:
        specs = [slow("a", 2.0), slow("b", 3.0), child("c")]
        knowing = Knowing.spec(specs, {}, [], intensity=0)
        top = await system.start(knowing.options(id="top", restart="temporary"))
        ends = Ends(system)
        await die(top, "c")
        await top.stopped()
    assert ends.times == [
        (0.0, "exited top/c: boom"),
        (0.0, "limit top: c"),
        (2.0, "exited top/a: shutdown"),
        (3.0, "exited top/b: shutdown"),
        (3.0, "exited top: shutdown"),
    ]
