"""The living oracle: random commands to Erlang's `supervisor` and to ours, everything compared.

    python -m tests.otp.differential [--commands N] [--seed S] [--backend asyncio|trio]

Makes random scenarios (nested trees, dynamic supervisors, timed windows) out of the alphabet of
the recordings, has the Erlang on this machine play them (`oracle.erl`), plays them on ours in
virtual time, and compares every result, every event and every state. Prints the seed, and of the
first difference the shortest scenario that still shows it. Exits 1 if there is one, 2 without erl.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

from actors.testing import BackendName, run
from tests.otp.replay import Json, difference, play

SOURCES: Final = tuple(
    str(Path(__file__).with_name(name)) for name in ("oracle.erl", "statem_oracle.erl")
)
AGAIN: Final = 3
"""How many times Erlang is asked again about a difference."""

WIDTH: Final = 64
"""Scenarios that Erlang plays side by side."""

PERIOD: Final = 3
"""Seconds of every window. Erlang counts in whole seconds, so that two restarts which lie between
3 and 4 s apart may or may not share one (R83): we let 2.05 s pass at a time, and so meet 2.05 and
4.1 but nothing in between.
"""
PAUSE: Final = 2050

RESTARTS: Final = ("permanent", "transient", "temporary")
DEATHS: Final = ("normal", "shutdown", "shutdown_term", "boom", "kill")
STRATEGIES: Final = ("one_for_one", "one_for_all", "rest_for_one")


class NoErlang(RuntimeError):
    """There is no Erlang on this machine to ask."""


# -- random scenarios ------------------------------------------------------------------------------


class Generator:
    """Makes scenarios from one source of randomness."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.serial = 0
        self.tree: Json = None
        self.parents: dict[str, list[Json]] = {}
        self.dynamic: dict[str, Json] = {}

    def scenario(self, name: str, steps: int, *, timed: bool) -> Json:
        self.serial = 0
        self.parents, self.dynamic = {}, {}
        self.tree = tree = self.supervisor(None, depth=2)
        made = [self.step() for _ in range(steps)]
        if timed:
            for _ in range(self.rng.randint(1, 4)):
                made.insert(self.rng.randint(0, steps), {"do": "advance", "ms": PAUSE})
        if self.rng.random() < 0.3:
            made.append({"do": "stop"})
        return {"name": name, "exact": True, "tree": tree, "steps": made}

    def id(self, letter: str) -> str:
        self.serial += 1
        return f"{letter}{self.serial}"

    def supervisor(self, parent: Json | None, depth: int) -> Json:
        rng, autos = self.rng, ["never", "never", "any_significant", "all_significant"]
        # A root that has given up answers nothing any more: most of them are patient.
        patient = parent is None and rng.random() < 0.8
        node: Json = {
            "type": "supervisor",
            "id": self.id("s"),
            "strategy": rng.choice(STRATEGIES),
            "intensity": 100 if patient else rng.choice((0, 1, 1, 2, 2, 3, 10)),
            "period": PERIOD,
            "auto_shutdown": rng.choice(autos[:1] if patient else autos),
        }
        self.child_options(node, parent)
        children = self.parents[node["id"]] = []
        for _ in range(rng.randint(0, 4)):
            children.append(self.child(node, depth))
        node["children"] = list(children)
        return node

    def child(self, parent: Json, depth: int) -> Json:
        kind = self.rng.random()
        if depth > 0 and kind < 0.2:
            return self.supervisor(parent, depth - 1)
        if depth > 0 and kind < 0.3:
            return self.dynamic_supervisor(parent)
        return self.worker(parent)

    def worker(self, parent: Json) -> Json:
        rng = self.rng
        node: Json = {"type": "worker", "id": self.id("w")}
        self.child_options(node, parent)
        self.stop_options(node)
        if rng.random() < 0.3:
            outcomes = rng.choices(("ok", "error", "ignore"), (6, 3, 1), k=rng.randint(1, 4))
            node["starts"] = ["ok", *outcomes] if rng.random() < 0.8 else outcomes
        return node

    def child_options(self, node: Json, parent: Json | None) -> None:
        if parent is None:
            return
        node["restart"] = self.rng.choice(RESTARTS)
        may_end = node["restart"] != "permanent"
        if parent["auto_shutdown"] != "never" and may_end and self.rng.random() < 0.5:
            node["significant"] = True

    def stop_options(self, node: Json) -> None:
        chance = self.rng.random()
        if chance < 0.1:
            node["shutdown"] = "brutal_kill"
        elif chance < 0.15:
            node["shutdown"] = self.rng.choice((0, 5, 10))
            node["stops"] = "stubborn"

    def dynamic_supervisor(self, parent: Json) -> Json:
        template: Json = {"type": "worker", "id": "template", "restart": self.rng.choice(RESTARTS)}
        self.stop_options(template)
        node: Json = {
            "type": "supervisor",
            "id": self.id("d"),
            "strategy": "simple_one_for_one",
            "intensity": self.rng.choice((0, 1, 3, 10)),
            "period": PERIOD,
            "template": template,
            "children": [],
        }
        self.child_options(node, parent)
        self.parents[node["id"]] = []
        self.dynamic[node["id"]] = template
        return node

    def step(self) -> Json:
        rng = self.rng
        kind = rng.random()
        workers = [n for nodes in self.parents.values() for n in nodes if n["type"] == "worker"]
        if kind < 0.5 and workers:
            return {"do": "exit", "child": rng.choice(workers)["id"], "reason": rng.choice(DEATHS)}
        if kind > 0.97:
            return {"do": "change", "node": self.changed()}
        sup = rng.choice(list(self.parents))
        if kind < 0.57:
            step: Json = {"do": "count_children", "sup": sup}
            return {**step, "dynamic": True} if sup in self.dynamic else step
        if sup in self.dynamic:
            return self.dynamic_step(sup)
        if kind < 0.7:
            return {"do": "start_child", "sup": sup, "spec": self.new_or_known(sup)}
        do = rng.choice(("terminate_child", "restart_child", "delete_child"))
        return {"do": do, "sup": sup, "child": self.known(sup)}

    def changed(self) -> Json:
        """The root with other flags, and some of its children, in another order, and new ones."""
        rng, root = self.rng, self.tree
        known = self.parents[root["id"]]
        kept = [dict(node) for node in rng.sample(known, rng.randint(0, len(known)))]
        for node in kept:
            if node["type"] == "worker" and "significant" not in node:
                node["restart"] = rng.choice(RESTARTS)
        new = [self.worker(root) for _ in range(rng.choice((0, 1)))]
        known += new
        children = [*kept, *new]
        rng.shuffle(children)
        flags = {"strategy": rng.choice(STRATEGIES), "intensity": rng.choice((1, 10, 100))}
        return {**root, **flags, "children": children}

    def known(self, sup: str) -> str:
        ids = [node["id"] for node in self.parents[sup]]
        return "nobody" if not ids or self.rng.random() < 0.05 else str(self.rng.choice(ids))

    def new_or_known(self, sup: str) -> Json:
        nodes = self.parents[sup]
        if nodes and self.rng.random() < 0.4:
            return self.rng.choice(nodes)
        never: Json = {"auto_shutdown": "never"}
        node = self.child(never, depth=self.rng.choice((0, 0, 1)))
        nodes.append(node)
        return node

    def dynamic_step(self, sup: str) -> Json:
        nodes = self.parents[sup]
        if nodes and self.rng.random() < 0.3:
            child = self.rng.choice(nodes)["id"]
            return {"do": "terminate_child", "sup": sup, "child": child, "dynamic": True}
        # An ignored *re*start differs between Erlang's releases (R79), so there is none.
        first = self.rng.choices(("ok", "error", "ignore"), (8, 1, 1))[0]
        later = self.rng.choices(("ok", "error"), (3, 1), k=2) if first == "ok" else []
        node = {**self.dynamic[sup], "id": self.id("w"), "starts": [first, *later]}
        if first != "ok":
            node["starts"] = [first]
        nodes.append(node)
        return {"do": "start_child", "sup": sup, "spec": node, "dynamic": True}


def scenarios(seed: int, commands: int) -> list[Json]:
    """Random scenarios of so many commands in all; one in ten lets time pass."""
    generator = Generator(Random(seed))
    made: list[Json] = []
    while commands > 0:
        timed = len(made) % 10 == 0
        scenario = generator.scenario(f"{seed}-{len(made)}", 14, timed=timed)
        commands -= len(scenario["steps"])
        made.append(scenario)
    return made


# -- Erlang's side ---------------------------------------------------------------------------------


def erlang_term(value: Json) -> str:
    """A value as Erlang source; texts as binaries, keys as atoms."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if value == float("inf"):
            return "infinity"
        case str():
            return f'<<"{value}">>'
        case list():
            return f"[{','.join(map(erlang_term, value))}]"
        case dict():
            return f"#{{{','.join(f'{key}=>{erlang_term(item)}' for key, item in value.items())}}}"
    raise TypeError(f"no Erlang term for {value!r}")


def seed_of_a_test() -> int:
    """Another one in each run; on CI the same each time, as all that is random there."""
    return 1 if os.environ.get("CI") == "true" else SystemRandom().randrange(2**32)


def ask_erlang(asked: list[Json], oracle: str = "oracle") -> list[Json]:
    """Erlang's traces of scenarios, in their order. Raises `NoErlang`."""
    erl, erlc = shutil.which("erl"), shutil.which("erlc")
    if erl is None or erlc is None:
        raise NoErlang("erl and erlc are not installed (on Debian: apt-get install erlang-base)")
    with tempfile.TemporaryDirectory(prefix="colony-oracle-") as place:
        subprocess.run([erlc, "-o", place, *SOURCES], check=True, timeout=200)
        terms = Path(place, "scenarios")
        terms.write_text("".join(f"{erlang_term(one)}.\n" for one in asked), "utf-8")
        command = [erl, "+S", "1:1", "-noshell", "-pa", place, "-s", oracle, "main"]
        answer = subprocess.run(
            [*command, str(terms), str(WIDTH)],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
    traces: dict[str, Json] = {}
    for line in answer.stdout.splitlines():
        told = json.loads(line)
        if "crash" in told:
            raise RuntimeError(f"the oracle failed: {told['crash']}")
        traces[told["name"]] = told["trace"]
    return [{**one, "trace": traces[one["name"]]} for one in asked]


# -- the comparison --------------------------------------------------------------------------------


def siblings(scenario: Json) -> dict[str, str]:
    """Of each dynamic child, its supervisor: they are stopped side by side, in no order (R98)."""
    return {
        step["spec"]["id"]: step["sup"]
        for step in scenario["steps"]
        if step["do"] == "start_child" and step.get("dynamic")
    }


def in_order(events: list[Json], dynamic: dict[str, str]) -> list[Json]:
    """The events, with the ends of dynamic siblings that follow each other sorted."""
    ordered: list[Json] = []
    run_of: str | None = None
    start = 0
    for event in [*events, None]:
        here = dynamic.get(event[1]) if event is not None and event[0] == "exit" else None
        if here is None or here != run_of:
            ordered[start:] = sorted(ordered[start:], key=json.dumps) if run_of else ordered[start:]
            start, run_of = len(ordered), here
        if event is not None:
            ordered.append(event)
    return ordered


def compare(scenario: Json, backend: BackendName) -> str | None:
    """Where ours departs from Erlang in a scenario with its trace; None if nowhere."""
    ours = run(play, scenario, backend=backend)
    dynamic = siblings(scenario)
    for trace in (ours, scenario["trace"]):
        for entry in trace:
            entry["events"] = in_order(entry["events"], dynamic)
    return difference(scenario, ours)


def shortened(scenario: Json, backend: BackendName) -> Json:
    """A shortest scenario, by leaving out steps, that still differs."""
    while True:
        steps = scenario["steps"]
        shorter = [
            {**scenario, "name": f"shorter-{n}", "steps": steps[:n] + steps[n + 1 :]}
            for n in range(len(steps))
        ]
        for candidate in ask_erlang(shorter) if shorter else []:
            if compare(candidate, backend) is not None:
                scenario = candidate
                break
        else:
            return scenario


def differences(seed: int, commands: int, backend: BackendName) -> Iterator[Json]:
    """The scenarios, traces included, in which ours departs from Erlang.

    Erlang's seconds are real, and on a busy machine two restarts may lie further apart than asked
    for: what differs has to do so again and again, alone in its Erlang, to count.
    """
    for scenario in ask_erlang(scenarios(seed, commands)):
        if compare(scenario, backend) is None:
            continue
        for _ in range(AGAIN):
            [scenario] = ask_erlang([scenario])
            if compare(scenario, backend) is None:
                break
        else:
            yield scenario


def report(found: Json, backend: BackendName) -> str:
    """A difference, as short as it gets, in words."""
    short = shortened(found, backend)
    plain = {key: short[key] for key in ("tree", "steps")}
    return f"{compare(short, backend)}\n  in {json.dumps(plain)}"


def main(arguments: list[str] | None = None) -> int:
    parser: Any = argparse.ArgumentParser(
        prog="python -m tests.otp.differential",
        description="Send random commands to Erlang's supervisor and to ours, and compare.",
    )
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args(arguments)
    seed = SystemRandom().randrange(2**32) if options.seed is None else options.seed
    try:
        found = list(differences(seed, options.commands, options.backend))
    except NoErlang as missing:
        print(f"differential: {missing}", file=sys.stderr)
        return 2
    print(
        f"{options.commands} commands on {options.backend}, seed {seed}: "
        f"{len(found)} scenarios differ"
    )
    if found:
        print(f"first difference: {report(found[0], options.backend)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
