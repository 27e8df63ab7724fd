"""Random machines, in Erlang's `gen_statem` and in our engine: every call of every callback.

    python -m tests.otp.statem_differential [--machines N] [--seed S]

A machine is a table of rules: what it does with a content in a state. It is sent bursts of
messages that wait in its mailbox together, and between them time passes.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections.abc import Iterator
from enum import Enum
from random import Random, SystemRandom
from typing import Any, Final

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
    UpdateTimeout,
    Wishes,
)
from tests.otp.differential import AGAIN, NoErlang, ask_erlang
from tests.otp.replay import Json

FUEL: Final = 60
WAIT: Final = 415

TIMES: Final = {"state": 40, "event": 90, "n1": 150, "n2": 230}
"""Milliseconds that a timeout runs: far enough apart that Erlang's real clock keeps their order."""
ENTER_TIMES: Final = {"state": 60, "event": 105, "n1": 170, "n2": 250}


class State(Enum):
    a = "a"
    b = "b"
    c = "c"


# -- random machines -------------------------------------------------------------------------------


def machine(rng: Random, name: str) -> Json:
    """One machine, and what it is sent."""
    rules = {
        state.value + content: rule(rng, content)
        for state in State
        for content in ("e1", "e2", "e3", "i1", "i2", "t1", "t2")
        if rng.random() < 0.8
    }
    enter = {
        state.value: [timeout(rng, ENTER_TIMES) for _ in range(rng.randint(1, 2))]
        for state in State
        if rng.random() < 0.4
    }
    bursts = [
        {
            "contents": rng.choices(("e1", "e2", "e3"), k=rng.randint(1, 4)),
            "wait": WAIT if rng.random() < 0.4 else 0,
        }
        for _ in range(rng.randint(1, 5))
    ]
    return {"name": name, "rules": rules, "enter": enter, "bursts": bursts}


def rule(rng: Random, content: str) -> Json:
    following = rng.choices(("keep", "repeat", "a", "b", "c"), (4, 1, 2, 2, 2))[0]
    actions = [action(rng, content) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    return {"next": following, "actions": actions}


def action(rng: Random, content: str) -> Json:
    kind = rng.random()
    if kind < 0.25 and content[0] != "i":
        return ["postpone"]
    if kind < 0.45:
        return ["insert", rng.choice(("i1", "i2"))]
    # What a timeout brings sets none that run, so that nearly all run from the same moment.
    return timeout(rng, TIMES if content[0] == "e" else None)


def timeout(rng: Random, times: dict[str, int] | None) -> Json:
    key, content = rng.choice(list(TIMES)), rng.choice(("t1", "t2"))
    kind = rng.random()
    if kind < 0.15:
        return ["update", key, content]
    if kind < 0.25:
        return ["cancel", key]
    if kind < 0.3:
        return ["set", key, math.inf, content]
    if kind < 0.6 and times is not None:
        return ["set", key, times[key], content]
    return ["set", key, 0, content]


def machines(seed: int, count: int) -> list[Json]:
    rng = Random(seed)
    return [machine(rng, f"{seed}-{n}") for n in range(count)]


# -- our side --------------------------------------------------------------------------------------


def key_of(word: str) -> Key:
    return {"state": STATE_TIMEOUT, "event": EVENT_TIMEOUT}.get(word, Key(Kind.TIMEOUT, word))


class Simulation:
    """An engine with a clock that jumps."""

    def __init__(self, scenario: Json) -> None:
        self.rules, self.enter = scenario["rules"], scenario["enter"]
        self.engine = Engine(State.a)
        self.calls: list[Json] = []
        self.timers: list[tuple[float, int, Key]] = []
        self.now = 0.0
        self.fuel = FUEL
        wishes: Wishes[State] = Wishes()
        self.enter_state(wishes)
        self.start(self.engine.settled(wishes))
        self.drain()

    def spend(self, call: Json) -> bool:
        """Notes a call; whether there was fuel left to do more than listen."""
        self.calls.append(call)
        had, self.fuel = self.fuel > 0, max(self.fuel - 1, 0)
        return had

    def burst(self, contents: list[str], wait: int) -> list[Json]:
        for content in contents:
            self.engine.arrive(Event(Kind.MESSAGE, content))
            self.drain()
        end = self.now + wait
        while self.timers and self.timers[0][0] <= end:
            self.now, serial, key = heapq.heappop(self.timers)
            self.engine.due(key, serial)
            self.drain()
        self.now = end
        return self.heard()

    def heard(self) -> list[Json]:
        calls, self.calls = self.calls, []
        return calls

    def drain(self) -> None:
        while (event := self.engine.next()) is not None:
            state = self.engine.state.value
            wishes: Wishes[State] = Wishes()
            if self.spend([event.kind.value, event.content, state]):
                self.wish(wishes, self.rules.get(state + event.content))
            if self.engine.handled(event, wishes):
                self.enter_state(wishes)
            self.start(self.engine.settled(wishes))

    def enter_state(self, wishes: Wishes[State]) -> None:
        engine = self.engine
        if self.spend(["enter", engine.previous.value, engine.state.value]):
            self.act(wishes, self.enter.get(engine.state.value, []))

    def start(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StartTimer):
                due = self.now + effect.seconds * 1000
                heapq.heappush(self.timers, (due, effect.serial, effect.key))

    def wish(self, wishes: Wishes[State], rule: Json) -> None:
        if rule is None:
            return
        if rule["next"] == "repeat":
            wishes.repeat = True
        elif rule["next"] != "keep":
            wishes.goto = State(rule["next"])
        self.act(wishes, rule["actions"])

    def act(self, wishes: Wishes[State], actions: list[Json]) -> None:
        for one in actions:
            match one:
                case ["postpone"]:
                    wishes.postpone = True
                case ["insert", content]:
                    wishes.inserted.append(content)
                case ["set", key, time, content]:
                    wishes.wish(SetTimeout(key_of(key), time / 1000, content))
                case ["update", key, content]:
                    wishes.wish(UpdateTimeout(key_of(key), content))
                case ["cancel", key]:
                    wishes.wish(SetTimeout(key_of(key), math.inf, None))


def simulate(scenario: Json) -> list[list[Json]]:
    """All calls of the callback: at the start, and for each burst."""
    simulation = Simulation(scenario)
    first = simulation.heard()
    return [first, *(simulation.burst(**burst) for burst in scenario["bursts"])]


# -- the comparison --------------------------------------------------------------------------------


def is_faulty(trace: list[list[Json]]) -> bool:
    """Whether Erlang met a fault of its own: in OTP 25 a timer that replaces a timeout of zero,
    before that has been handled, arrives as a stray message.
    """
    return any(call[0] == "info" for calls in trace for call in calls)


def slower(scenario: Json, factor: int) -> Json:
    """The same machine with all its times so many times as long, and so much further apart."""

    def action(one: Json) -> Json:
        if one[0] != "set" or one[2] == math.inf:
            return one
        return ["set", one[1], one[2] * factor, one[3]]

    return {
        "name": scenario["name"],
        "rules": {
            when: {**rule, "actions": [action(one) for one in rule["actions"]]}
            for when, rule in scenario["rules"].items()
        },
        "enter": {
            state: [action(one) for one in actions] for state, actions in scenario["enter"].items()
        },
        "bursts": [{**burst, "wait": burst["wait"] * factor} for burst in scenario["bursts"]],
    }


def _is_same(scenario: Json) -> bool:
    return is_faulty(scenario["trace"]) or bool(scenario["trace"] == simulate(scenario))


def differences(seed: int, count: int) -> Iterator[str]:
    """In words, where our engine departs from Erlang.

    Erlang's timers are real, and late on a busy machine: what differs has to do so again and again,
    alone in its Erlang and slower each time, to count.
    """
    for scenario in ask_erlang(machines(seed, count), "statem_oracle"):
        asked_again = 0
        while asked_again < AGAIN and not _is_same(scenario):
            [scenario] = ask_erlang([slower(scenario, 2)], "statem_oracle")
            asked_again += 1
        if _is_same(scenario):
            continue
        for number, (theirs, ours) in enumerate(
            zip(scenario["trace"], simulate(scenario), strict=True)
        ):
            if theirs != ours:
                asked = {key: scenario[key] for key in ("rules", "enter", "bursts")}
                yield (
                    f"machine {scenario['name']}, burst {number}\n"
                    f"  Erlang: {json.dumps(theirs)}\n  ours:   {json.dumps(ours)}\n"
                    f"  in {json.dumps(asked)}"
                )
                break


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.otp.statem_differential",
        description="Run random machines on Erlang's gen_statem and on our engine, and compare.",
    )
    parser.add_argument("--machines", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options: Any = parser.parse_args(arguments)
    seed = SystemRandom().randrange(2**32) if options.seed is None else options.seed
    try:
        found = list(differences(seed, options.machines))
    except NoErlang as missing:
        print(f"statem_differential: {missing}", file=sys.stderr)
        return 2
    print(f"{options.machines} machines, seed {seed}: {len(found)} differ")
    if found:
        print(f"shortest difference: {min(found, key=len)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
