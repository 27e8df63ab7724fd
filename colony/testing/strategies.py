"""Hypothesis strategies for the laboratory: policies, faults, behaviours, whole scenarios.

    @given(data())
    def test_the_limit_holds(data: DataObject) -> None:
        config = data.draw(configs())
        scenario = data.draw(scenarios(config.services))
        trace = simulate(config, scenario)
        invariants.check(trace, config)

Times are whole milliseconds, so that a failing example is legible. Needs Hypothesis, which is not
among Colony's own requirements.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any, Final

from colony.config import BackoffRule, Colony, Config, Health, Ready, Service, Stop, Supervision
from colony.config.schema import Restart
from colony.lab.faults import (
    EVENT_WORDS,
    STATES,
    After,
    At,
    Behaviour,
    Crash,
    Daemonise,
    Distribution,
    Every,
    Exit,
    Exponential,
    Fault,
    Fixed,
    Flapping,
    Hang,
    IgnoreStop,
    Lived,
    Moment,
    NeverReady,
    Poisson,
    PortStolen,
    Scenario,
    SlowStart,
    Uniform,
    Unstartable,
    What,
)

try:
    from hypothesis import strategies as st
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "colony.testing.strategies needs Hypothesis: pip install hypothesis"
    ) from error

Strategy = st.SearchStrategy

_RESTARTS: Final[tuple[Restart, ...]] = ("permanent", "transient", "temporary")
_SIGNALS: Final = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM)


def seconds(low: float = 0.0, high: float = 120.0) -> Strategy[float]:
    """A length of time in whole milliseconds."""
    return st.integers(round(low * 1000), round(high * 1000)).map(lambda ms: ms / 1000)


def distributions(high: float = 120.0) -> Strategy[Distribution]:
    """A length of time that may vary."""
    ranges = st.tuples(seconds(0, high), seconds(0, high)).map(sorted)
    return st.one_of(
        seconds(0, high).map(Fixed),
        ranges.map(lambda pair: Uniform(*pair)),
        seconds(0.001, high).map(Exponential),
    )


def ends() -> Strategy[Crash | Exit]:
    """How a life ends: by a signal, or with an exit code that is 0 as often as not."""
    signals = st.sampled_from([int(each) for each in _SIGNALS]).map(Crash)
    return st.one_of(signals, st.just(Exit(0)), st.integers(0, 255).map(Exit))


def moments(services: Iterable[str], high: float = 600.0) -> Strategy[Moment]:
    """When a fault comes. No two times of the same are closer than half a second."""
    events = st.builds(
        After, st.sampled_from(list(EVENT_WORDS)), st.sampled_from(list(services)), seconds(0.5, 5)
    )
    return st.one_of(
        seconds(0, high).map(At),
        st.builds(Every, seconds(0.5, high), st.none() | seconds(0, high)),
        seconds(0.5, high).map(Poisson),
        events,
    )


def whats() -> Strategy[What]:
    """What goes wrong."""
    plain: tuple[What, ...] = (
        Hang(),
        NeverReady(),
        IgnoreStop(),
        PortStolen(),
        Unstartable(),
        Daemonise(),
    )
    return st.one_of(
        ends(),
        st.sampled_from(plain),
        seconds(0, 60).map(SlowStart),
        st.builds(Flapping, seconds(0.1, 30), st.integers(0, 255)),
    )


@st.composite
def faults(draw: st.DrawFn, services: Iterable[str], high: float = 600.0) -> Fault:
    """A fault of one service or of several at one instant."""
    names = list(services)
    targets = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    what = draw(whats())
    lasting = draw(st.none() | seconds(0, high)) if isinstance(what, STATES) else None
    return Fault(
        tuple(targets),
        draw(moments(names, high)),
        what,
        draw(st.none() | st.integers(1, 20)),
        draw(st.none() | seconds(0, high)),
        lasting,
    )


def lives() -> Strategy[Lived]:
    """One life as it is to be."""
    return st.builds(Lived, st.none() | seconds(), ends(), st.none() | seconds(0, 10))


def behaviours() -> Strategy[Behaviour]:
    """How the processes of a service behave."""
    return st.builds(
        Behaviour,
        spawn=distributions(1.0),
        ready=distributions(30.0),
        lifetime=st.none() | distributions().filter(_not_at_once),
        ends=st.lists(ends(), min_size=1, max_size=3).map(tuple),
        stop=distributions(10.0),
        ignores_stop=st.booleans(),
        lives=st.lists(lives(), max_size=3).map(tuple),
    )


def _not_at_once(value: Distribution) -> bool:
    """A service that ends in no time, without a backoff, makes events without number."""
    match value:
        case Fixed(each):
            return each >= 0.1
        case Uniform(low, _):
            return low >= 0.1
        case Exponential(mean):
            return mean >= 1


@st.composite
def scenarios(draw: st.DrawFn, services: Iterable[str], horizon: float = 600.0) -> Scenario:
    """Up to five faults, behaviours for some services, a seed."""
    names = list(services)
    return Scenario(
        faults=tuple(draw(st.lists(faults(names, horizon), max_size=5))),
        behaviours=draw(st.dictionaries(st.sampled_from(names), behaviours(), max_size=len(names))),
        horizon=horizon,
        seed=draw(st.integers(0, 2**32)),
    )


def backoffs() -> Strategy[BackoffRule]:
    """How restarts are put off."""
    limits = st.tuples(seconds(0, 30), seconds(0, 30)).map(sorted)
    return st.builds(
        lambda pair, factor, reset: BackoffRule(
            min=pair[0], max=pair[1], factor=factor, reset=reset
        ),
        limits,
        st.sampled_from([1.0, 1.5, 2.0, 3.0]),
        seconds(0, 60),
    )


def supervisions() -> Strategy[Supervision]:
    """A supervisor's policy."""
    return st.builds(
        Supervision,
        strategy=st.sampled_from(["one_for_one", "rest_for_one", "one_for_all"]),
        intensity=st.integers(0, 10),
        period=seconds(1, 120),
    )


@st.composite
def configs(draw: st.DrawFn, most: int = 4) -> Config:
    """A colony of one to `most` services, as if it had been loaded."""
    names = [f"s{i}" for i in range(1, draw(st.integers(1, most)) + 1)]
    services = {name: draw(_services(name, names[:i], 4001 + i)) for i, name in enumerate(names)}
    return Config(
        colony=Colony(name="laboratory"), services=services, supervision=draw(supervisions())
    )


@st.composite
def _services(draw: st.DrawFn, name: str, before: list[str], port: int) -> Service:
    after: dict[str, Any] = {}
    if before:
        condition = st.sampled_from(["started", "ready"])
        after = draw(st.dictionaries(st.sampled_from(before), condition, max_size=2))
    restart = draw(st.sampled_from(_RESTARTS))
    listens = draw(st.booleans())
    ready = Ready(deadline=draw(st.none() | seconds(0.5, 60))) if listens else Ready(none=True)
    checked = listens and draw(st.booleans())
    health = Health(interval=draw(seconds(0.5, 30)), timeout=1.0, failures=draw(st.integers(1, 3)))
    return Service(
        name=name,
        command="run",
        port=port if listens else None,
        restart=restart,
        after=after,
        ready=ready,
        health=health if checked else None,
        stop=Stop(grace=draw(seconds(0, 5))),
        backoff=draw(backoffs()),
        exit_colony=restart != "permanent" and draw(st.integers(0, 5)) == 0,
    )
