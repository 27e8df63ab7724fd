"""Stopping a colony: who is told when, and how long it takes, to the millisecond."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Event
from actors import events as kernel
from colony.config import parse
from colony.events import ServiceLingers
from colony.lab.faults import Behaviour, Exit, Fixed, Lived, Scenario
from colony.lab.world import Simulation

WORDS = {
    "ServiceStopping": "told",
    "ServiceStopped": "gone",
    "ServiceExited": "ended",
    "ServiceStarted": "started",
}
DEAF = Behaviour(ignores_stop=True)


def takes(seconds: float) -> Behaviour:
    """A service that ends so many seconds after it was told to."""
    return Behaviour(stop=Fixed(seconds))


class Stop:
    """A colony that has run for a minute, and what happens to it from then on."""

    def __init__(self, services: str, /, *rules: str, **behaviours: Behaviour) -> None:
        """`services` has a line for each: its name, the names that it comes after, and after a
        colon more of its table."""
        text = "\n".join(("[supervision]", *rules))
        for line in services.strip().splitlines():
            words, _, more = line.partition(":")
            name, *after = words.split()
            more = more.strip().replace("; ", "\n")
            text += f"\n[services.{name}]\ncommand = 'run'\nafter = {after}\n{more}\n"
        config = parse(text, "/lab/colony.toml", workspace="/lab")
        self.lab = Simulation(config, Scenario(behaviours=behaviours))
        self.seen: list[tuple[float, str, str]] = []

    async def begins(self) -> None:
        await self.lab.advance(60.0)
        self.began = self.lab.system.now()
        self.lab.system.events.listen(self._note)

    def _note(self, event: Event) -> None:
        word, subject = WORDS.get(type(event).__name__), event
        service: Any = getattr(subject, "service", "") or getattr(subject, "child", "")
        if word is not None:
            self.seen.append((self.now, word, service))
        elif isinstance(event, kernel.Exited) and event.actor == self.lab.path:
            self.seen.append((self.now, "over", ""))

    @property
    def now(self) -> float:
        return round(self.lab.system.now() - self.began, 3)

    async def stop(self) -> None:
        assert self.lab.top is not None
        await self.lab.system.stop_actor(self.lab.top)

    def after(self, seconds: float, service: str) -> None:
        """Its process crashes then."""
        self.lab.system.timers.after(seconds, lambda: self.lab.crash(service))

    def lines(self, *words: str) -> list[str]:
        """What happened at each moment, in order: those of one word at one time in one line."""
        found: list[tuple[tuple[float, str], list[str]]] = []
        for at, word, service in self.seen:
            if word not in words and words:
                continue
            if not found or found[-1][0] != (at, word):
                found.append(((at, word), []))
            found[-1][1].append(service)
        return [" ".join((f"{at:g}", word, *who)).strip() for (at, word), who in found]


async def stopped(services: str, **behaviours: Behaviour) -> list[str]:
    """All that happens when the colony is stopped."""
    stop = Stop(services, **behaviours)
    async with stop.lab:
        await stop.begins()
        await stop.stop()
    return stop.lines()


# -- how long it takes ---------------------------------------------------------------------------


async def test_five_that_ignore_the_signal_take_the_grace_of_one() -> None:
    five = "\n".join(f"{name} : stop.grace = '10s'" for name in "abcde")
    assert await stopped(five, **dict.fromkeys("abcde", DEAF)) == [
        "0 told e d c b a",
        "10 gone a b c d e",
        "10 over",
    ]


async def test_a_chain_takes_the_sum_of_its_graces_in_reverse() -> None:
    chain = "a : stop.grace = '3s'\nb a : stop.grace = '4s'\nc b : stop.grace = '5s'"
    assert await stopped(chain, a=DEAF, b=DEAF, c=DEAF) == [
        "0 told c",
        "5 gone c",
        "5 told b",
        "9 gone b",
        "9 told a",
        "12 gone a",
        "12 over",
    ]


async def test_it_takes_as_long_as_its_longest_chain() -> None:
    """And nobody waits for one who has nothing to do with him."""
    shop = "db\napi db\njobs db\nweb api\nmail"
    slow = dict(zip(("web", "api", "jobs", "mail", "db"), (0.1, 0.2, 0.8, 0.5, 0.05), strict=True))
    behaviours = {name: takes(seconds) for name, seconds in slow.items()}
    assert await stopped(shop, **behaviours) == [
        "0 told mail web jobs",
        "0.1 gone web",
        "0.1 told api",
        "0.3 gone api",
        "0.5 gone mail",
        "0.8 gone jobs",
        "0.8 told db",
        "0.85 gone db",
        "0.85 over",
    ]


async def test_no_grace_at_all() -> None:
    pair = "db : stop.grace = 0\nweb db : stop.grace = 0"
    assert await stopped(pair, db=DEAF, web=DEAF) == [
        "0 told web",
        "0 gone web",
        "0 told db",
        "0 gone db",
        "0 over",
    ]


async def test_each_that_lingers_is_remarked_upon() -> None:
    """With the seconds that it has left, of its own grace."""
    trio = "a : stop.grace = '3s'\nb : stop.grace = '4s'\nc b : stop.grace = '2s'"
    stop = Stop(trio, a=DEAF, b=DEAF, c=DEAF)
    remarks: list[tuple[float, str, float]] = []

    def note(event: Any) -> None:
        remarks.append((stop.now, event.service, event.seconds))

    async with stop.lab:
        await stop.begins()
        stop.lab.system.events.listen(note, ServiceLingers)
        await stop.stop()
    assert remarks == [(1.0, "c", 1.0), (1.0, "a", 2.0), (3.0, "b", 3.0)]


# -- who does not run ----------------------------------------------------------------------------


@pytest.mark.parametrize("restart", ["temporary", "transient"])
async def test_the_end_of_one_in_between_does_not_part_those_on_both_sides(restart: str) -> None:
    """Also when its supervisor has forgotten it: `web` lives by what `migrate` has made of `db`."""
    stop = Stop(
        f"db\nmigrate db : restart = '{restart}'\nweb migrate",
        migrate=Behaviour(lifetime=Fixed(1.0), ends=(Exit(0),)),
        web=takes(2.0),
        db=takes(1.0),
    )
    async with stop.lab:
        await stop.begins()
        assert stop.lab.state("migrate") == "completed"
        await stop.stop()
    assert stop.lines() == ["0 told web", "2 gone web", "2 told db", "3 gone db", "3 over"]


async def test_one_that_waits_is_gone_at_once() -> None:
    never = Behaviour(ready=Fixed(1e6))
    assert await stopped("db : port = 5432\nweb db\npage web", db=never) == [
        "0 gone web page",
        "0 told db",
        "0.01 gone db",
        "0.01 over",
    ]


async def test_what_one_waits_for_may_still_come_and_does_not_start_it() -> None:
    """`api` has crashed with `db`, and `web`, which has not, takes its time to end."""
    again = (Lived(ready=0.05), Lived(ready=5.0))
    db, web = "db : port = 5432", "web api : stop.grace = '10s'"
    stop = Stop(f"{db}\napi db\n{web}", web=takes(6.0), db=Behaviour(lives=again))
    async with stop.lab:
        await stop.begins()
        stop.lab.crash("db")
        await stop.lab.settle()
        stop.lab.crash("api")
        await stop.lab.advance(1.0)
        assert (stop.lab.state("api"), stop.lab.state("db")) == ("waiting", "starting")
        stop.seen.clear()
        await stop.stop()
    assert stop.lines() == [
        "1 gone api",
        "1 told web",
        "7 gone web",
        "7 told db",
        "7.01 gone db",
        "7.01 over",
    ]


async def test_one_that_waits_for_its_restart_is_not_restarted() -> None:
    stop = Stop("db\nweb db : backoff = { min = '2s' }", db=takes(4.0))
    async with stop.lab:
        await stop.begins()
        for _ in range(2):  # the first is made at once
            stop.lab.crash("web")
            await stop.lab.advance(0.1)
        assert stop.lab.state("web") == "backoff"
        stop.seen.clear()
        await stop.stop()
    assert stop.lines() == ["0.2 told db", "4.2 gone db", "4.2 over"]


async def test_one_that_crashes_before_it_is_told_is_not_restarted() -> None:
    stop = Stop("db\napi db\nweb api", web=takes(3.0))
    async with stop.lab:
        await stop.begins()
        stop.after(1.0, "api")
        await stop.stop()
    assert stop.lines() == [
        "0 told web",
        "1 ended api",
        "3 gone web",
        "3 told db",
        "3.01 gone db",
        "3.01 over",
    ]


async def test_one_that_an_operator_stopped_is_in_nobodys_way() -> None:
    stop = Stop("db\napi db\nweb api")
    async with stop.lab:
        await stop.begins()
        await stop.lab.stop_service("api")
        stop.seen.clear()
        await stop.stop()
    assert stop.lines("told") == ["0.01 told web", "0.02 told db"]


# -- whoever stops it ----------------------------------------------------------------------------

SHOP = "db\napi db\nmail\nweb api"
TOGETHER = [
    "0 told web mail",
    "1 gone mail web",
    "1 told api",
    "2 gone api",
    "2 told db",
    "3 gone db",
    "3 over",
]
SLOW = dict.fromkeys(("db", "api", "mail", "web"), takes(1.0))


async def test_the_end_of_one_with_exit_colony() -> None:
    shop = f"{SHOP}\njob : restart = 'temporary'; exit_colony = true"
    job = Behaviour(lifetime=Fixed(61.0), ends=(Exit(0),))
    stop = Stop(shop, job=job, **SLOW)
    async with stop.lab:
        await stop.begins()
        await stop.lab.advance(10.0)
    assert stop.lines() == ["1 ended job", *_later(1.0, TOGETHER)]


async def test_the_limit() -> None:
    stop = Stop(f"{SHOP}\nbad", "intensity = 0", **SLOW)
    async with stop.lab:
        await stop.begins()
        stop.lab.crash("bad")
        await stop.lab.advance(10.0)
    assert stop.lines() == ["0 ended bad", *TOGETHER]


async def test_the_removal_of_the_whole_system() -> None:
    stop = Stop(SHOP, **SLOW)
    async with stop.lab:
        await stop.begins()
    assert stop.lines() == TOGETHER


# -- what is no end of the colony ----------------------------------------------------------------


async def test_a_strategy_takes_its_group_along_in_that_order_and_nobody_else() -> None:
    shop = "cache\ndb\napi db\nmail\nweb api"
    stop = Stop(shop, "strategy = 'rest_for_one'", cache=takes(1.0), **SLOW)
    async with stop.lab:
        await stop.begins()
        stop.lab.crash("db")
        await stop.lab.advance(3.0)
        states = {name: stop.lab.state(name) for name in stop.lab.statuses}
        lines = stop.lines()
    assert lines == [
        "0 ended db",
        *TOGETHER[:4],
        "2.005 started db",
        "2.01 started api mail",
        "2.015 started web",
    ]
    assert states == dict.fromkeys(states, "ready")


async def test_a_neighbour_in_the_tree_that_starts_later_ends_nobody() -> None:
    stop = Stop(SHOP, **SLOW)
    async with stop.lab:
        await stop.begins()
        control = stop.lab.system.at("lab/control")
        assert control is not None
        stop.lab.system.kill(control)
        await stop.lab.advance(10.0)
    assert stop.lines() == _later(10.0, TOGETHER)


async def test_a_neighbour_that_started_before_takes_them_along_in_that_order() -> None:
    stop = Stop(SHOP, **SLOW)
    async with stop.lab:
        await stop.begins()
        board = stop.lab.system.at("lab/board")
        assert board is not None
        stop.lab.system.kill(board)
        await stop.lab.advance(10.0)
        states = {name: stop.lab.state(name) for name in stop.lab.statuses}
    assert stop.lines()[: len(TOGETHER)] == TOGETHER
    assert states == dict.fromkeys(states, "ready")


def _later(seconds: float, lines: list[str]) -> list[str]:
    """The same lines, so much later."""
    found = []
    for line in lines:
        at, _, rest = line.partition(" ")
        found.append(f"{float(at) + seconds:g} {rest}")
    return found
