"""Replays recordings of Erlang's `supervisor` on ours, event by event.

    python -m tests.otp.replay FILE [--backend asyncio|trio]

FILE holds one scenario a line, in the form of `supervisor_traces.jsonl`: a tree, the steps, and
what Erlang did. Each is run in virtual time. Prints how many there were and how many differ, the
first difference spelled out, and exits 1 if any does (2 if the file cannot be read).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio

from actors import (
    IGNORE,
    Abnormal,
    Actor,
    ActorDown,
    Cast,
    ChildRefused,
    ChildSpec,
    CountChildren,
    DeleteChild,
    DynamicSupervisor,
    Event,
    FailedToStart,
    Flags,
    Ignore,
    Killed,
    Normal,
    Reason,
    Reconfigure,
    Ref,
    RestartChild,
    Shutdown,
    StartChild,
    StartFailed,
    Stop,
    Supervisor,
    System,
    TerminateChild,
    WhichChildren,
    events,
    on,
)
from actors.testing import BackendName, run, settle

Json = Any

REASONS: dict[str, Reason] = {
    "normal": Normal(),
    "shutdown": Shutdown(),
    "shutdown_term": Shutdown("term"),
    "boom": Abnormal("boom"),
}


class Die(Cast["Worker"], frozen=True):
    """End by yourself, with this reason."""

    reason: Reason


class Worker(Actor):
    """A recorded worker: its starts succeed, fail or are ignored as the scenario says.

    None of its methods awaits, so it has no task unless the system gives it one.
    """

    def __init__(self, node: Json, attempts: Counter[str]) -> None:
        self.node = node
        self.attempts = attempts

    def start(self) -> Ignore | None:
        outcomes = self.node.get("starts", ["ok"])
        outcome = outcomes[min(self.attempts[self.node["id"]], len(outcomes) - 1)]
        if outcome == "error":
            raise Stop(Abnormal("start_failed"))
        return IGNORE if outcome == "ignore" else None

    @on(Die)
    def die(self, msg: Die) -> None:
        raise Stop(msg.reason)


class StubbornWorker(Worker):
    """A worker that does not stop when it is told to."""

    stubborn = True

    def die(self, msg: Die) -> None:
        self.stubborn = False
        super().die(msg)

    async def stopping(self, reason: Reason) -> None:
        if self.stubborn:
            await anyio.sleep_forever()


class Replay:
    """One scenario on one system."""

    def __init__(self, system: System, tree: Json, exact: bool) -> None:
        self.system = system
        self.tree = tree
        self.exact = exact
        self.attempts: Counter[str] = Counter()
        self.lives: dict[tuple[str, int], int] = {}
        self.refs: dict[str, Ref[Any]] = {}
        self.happened: list[Json] = []
        self.seen = 0
        self.root_exit: Reason | None = None
        self.told_of_exit = False
        system.events.listen(self.note)

    # -- what happens --------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        """Writes an event down as the recorder did."""
        match event:
            case events.Started(actor=path, incarnation=life):
                number = self.count(path)
                self.lives[path, life] = number
                self.record("start", path, number)
            case events.StartFailed(actor=path):
                self.record("start_error", path, self.count(path))
            case events.StartIgnored(actor=path):
                self.record("start_ignore", path, self.count(path))
            case events.Exited(actor=path, incarnation=life, reason=reason):
                self.record("exit", path, self.lives[path, life], term(reason))
                if path == self.tree["id"]:
                    self.root_exit = reason

    def count(self, path: str) -> int:
        self.attempts[name_of(path)] += 1
        return self.attempts[name_of(path)]

    def record(self, kind: str, path: str, *rest: Json) -> None:
        self.seen += 1
        self.happened.append([kind, name_of(path), *rest])
        if kind == "start":
            slot = self.system.at(path)
            assert slot is not None
            self.refs[name_of(path)] = slot

    def living(self, id: str) -> Ref[Any] | None:
        ref = self.refs.get(id)
        return ref if ref is not None and ref.alive else None

    # -- the tree ------------------------------------------------------------------------------

    def spec(self, node: Json) -> ChildSpec[Any]:
        """The child spec of a node of the tree."""
        made: ChildSpec[Any]
        if node["type"] == "supervisor":
            made = self.supervisor(node)
        else:
            kind = StubbornWorker if node.get("stops") == "stubborn" else Worker
            made = kind.spec(node, self.attempts)
        shutdown = node.get("shutdown")
        if shutdown is not None:
            made = made.options(
                shutdown="brutal_kill" if shutdown == "brutal_kill" else shutdown / 1000
            )
        return made.options(
            id=node["id"],
            restart=node.get("restart", "permanent"),
            significant=node.get("significant", False),
        )

    def supervisor(self, node: Json) -> ChildSpec[Any]:
        if node["strategy"] == "simple_one_for_one":
            return DynamicSupervisor.spec(
                intensity=node.get("intensity", 1), period=node.get("period", 5)
            )
        return Supervisor.spec(
            [self.spec(child) for child in node["children"]],
            strategy=node["strategy"],
            intensity=node.get("intensity", 1),
            period=node.get("period", 5),
            auto_shutdown=node.get("auto_shutdown", "never"),
        )

    # -- the steps -----------------------------------------------------------------------------

    async def boot(self) -> Json:
        try:
            await self.system.start(self.spec(self.tree))
        except StartFailed as failed:
            self.root_exit = failed.reason
            return ["error", term(failed.reason)]
        return "ok"

    async def step(self, step: Json) -> Json:
        match step["do"]:
            case "exit":
                return self.exit(step["child"], step["reason"])
            case "advance":
                await anyio.sleep(step["ms"] / 1000)
                return "ok"
            case "stop":
                return await self.stop()
            case "change":
                return await self.change(step["node"])
            case _:
                supervisor = self.living(step["sup"])
                if supervisor is None:
                    return "not_running"
                return await self.command(supervisor, step)

    async def stop(self) -> Json:
        root = self.living(self.tree["id"])
        if root is None:
            return "not_running"
        reason = await self.system.stop_actor(root)
        self.told_of_exit = True
        return term(reason)

    def exit(self, id: str, reason: str) -> Json:
        ref = self.living(id)
        if ref is None:
            return "not_running"
        if reason == "kill":
            self.system.kill(ref)
        else:
            ref.tell(Die(REASONS[reason]))
        return "sent"

    async def change(self, node: Json) -> Json:
        root = self.living(self.tree["id"])
        if root is None:
            return "not_running"
        flags = Flags(
            node["strategy"], node["intensity"], node["period"], node.get("auto_shutdown", "never")
        )
        await root.call(Reconfigure(tuple(map(self.spec, node["children"])), flags))
        return "ok"

    async def command(self, supervisor: Ref[Supervisor], step: Json) -> Json:
        try:
            match step["do"]:
                case "start_child":
                    child = await supervisor.call(StartChild(self.spec(step["spec"])))
                    return "ok_ignored" if child is None else "ok"
                case "restart_child":
                    child = await supervisor.call(RestartChild(step["child"]))
                    return "ok_ignored" if child is None else "ok"
                case "terminate_child":
                    await supervisor.call(TerminateChild(step["child"]))
                case "delete_child":
                    await supervisor.call(DeleteChild(step["child"]))
                case "count_children":
                    counts = await supervisor.call(CountChildren())
                    return {name: getattr(counts, name) for name in counts.__struct_fields__}
            return "ok"
        except ChildRefused as refused:
            return ["error", refusal(refused, step["do"], self.exact)]
        except ActorDown as down:
            return ["exit", term(down.reason)]

    async def settle(self) -> None:
        """Waits until everything that follows from a step has happened."""
        before = -1
        while before != self.seen:
            before = self.seen
            for ref in tuple(self.refs.values()):
                if ref.alive and issubclass(ref.kind, Supervisor):
                    try:
                        await ref.call(WhichChildren())
                    except ActorDown:
                        continue
            await settle()

    async def observe(self, result: Json) -> Json:
        await self.settle()
        happened, self.happened = self.happened, []
        return {"result": result, "events": happened, "state": await self.state()}

    async def state(self) -> Json:
        if self.living(self.tree["id"]) is None:
            assert self.root_exit is not None
            # The recorder's stop takes the root's exit message as its own result, so that the
            # states after it can only say that the root is down.
            return {"root_exit": "down" if self.told_of_exit else term(self.root_exit)}
        state: Json = {}
        for id in supervisors(self.tree):
            ref = self.living(id)
            if ref is not None:
                children = await ref.call(WhichChildren())
                state[id] = [[child.id, child.status.value] for child in children]
                if ref.kind is DynamicSupervisor:
                    state[id].sort()
        return state


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


def supervisors(node: Json) -> Iterator[str]:
    if node["type"] == "supervisor":
        yield node["id"]
        for child in node["children"]:
            yield from supervisors(child)


def term(reason: Reason) -> Json:
    """A reason as the recorder wrote Erlang's."""
    match reason:
        case Normal():
            return "normal"
        case Killed():
            return "killed"
        case Shutdown(FailedToStart(id, inner)):
            return ["failed_to_start_child", id, term(inner)]
        case Shutdown(None):
            return "shutdown"
        case Shutdown(word):
            return ["shutdown", word]
        case Abnormal(word):
            return word
    return "other"


def refusal(refused: ChildRefused, command: str, exact: bool) -> Json:
    """An error as the recorder wrote it: `start_child` wraps the reason with the child spec, and
    what is in such a pair is told apart only if it is a plain atom, or if the scenario is `exact`.
    """
    if refused.reason is None:
        return refused.code
    reason = term(refused.reason)
    return reason if exact or command == "restart_child" or isinstance(reason, str) else "other"


async def play(scenario: Json) -> list[Json]:
    """Runs a scenario and returns its trace."""
    async with System(log_crashes=False) as system:
        replay = Replay(system, scenario["tree"], scenario.get("exact", False))
        trace = [await replay.observe(await replay.boot())]
        for step in scenario["steps"]:
            trace.append(await replay.observe(await replay.step(step)))
        return trace


def difference(scenario: Json, trace: list[Json]) -> str | None:
    """Where a trace first departs from the recording, in words; None if nowhere."""
    for number, (wanted, got) in enumerate(zip(scenario["trace"], trace, strict=True)):
        for part in ("result", "events", "state"):
            if wanted[part] != got[part]:
                step = "boot" if number == 0 else json.dumps(scenario["steps"][number - 1])
                return (
                    f"scenario {scenario['name']}, step {number} ({step}): {part}\n"
                    f"  Erlang: {json.dumps(wanted[part])}\n"
                    f"  ours:   {json.dumps(got[part])}"
                )
    return None


def replay_file(path: str, backend: BackendName) -> tuple[int, list[str]]:
    """Replays a file; returns how many scenarios it holds and the differences found."""
    total, differences = 0, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                scenario = json.loads(line)
                total += 1
                found = difference(scenario, run(play, scenario, backend=backend))
                if found is not None:
                    differences.append(found)
    return total, differences


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.otp.replay",
        description="Replay recordings of Erlang's supervisor on ours, event by event.",
    )
    parser.add_argument("file", help="recordings, one JSON object a line")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args(arguments)
    try:
        total, differences = replay_file(options.file, options.backend)
    except (OSError, ValueError, KeyError) as error:
        print(f"replay: cannot read {options.file}: {error!r}", file=sys.stderr)
        return 2
    print(f"{total} scenarios on {options.backend}, {len(differences)} differ")
    if differences:
        print(f"first difference: {differences[0]}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
