"""The actor kernel against a hand-written ping-pong, against queues and tasks, and against others.

    python benchmarks/actors.py [--quick] [--json] [--install]

The floor of a call is two tasks and two futures with nothing in between: no queue, no message, no
dispatch. On trio the futures are two parked tasks. Each backend is measured in a process of its
own, floor and kernel in turn. Pykka, Thespian and Xoscar live in an environment of their own, which
--install makes; Erlang is measured where `erl` is installed.

    call, plain call      await ref.call(Ping(1)) to an actor with an async, or only plain, handlers
    tell                  bursts of 100 messages that are made, sent and handled
    spawn, bytes          100,000 idle plain actors under one parent
    children              that many under one supervisor: started, one crashed, all stopped
    ring, skynet          a message passed 100,000 times on; a tree of 11,111 actors added up
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import _ratio  # first: this file has the name of the package that it measures
import anyio
import anyio.lowlevel

from actors import (
    Actor,
    Call,
    Cast,
    DynamicSupervisor,
    Ref,
    StartChild,
    Stop,
    Supervisor,
    System,
    on,
)
from actors.backend import TrioFuture

HERE = Path(__file__).resolve().parent

PEERS = ("pykka", "thespian", "xoscar")
ENVIRONMENT = HERE.parent / "build" / "peers" / "actors"
CHUNK = 2000
BURST = 100


class Ping(Call[Any, int], frozen=True):
    x: int


class Tick(Cast[Any], frozen=True):
    x: int


class Echo(Actor):
    """Has a task."""

    def __init__(self) -> None:
        self.n = 0

    @on(Ping)
    async def ping(self, msg: Ping) -> int:
        return msg.x

    @on(Tick)
    def tick(self, msg: Tick) -> None:
        self.n += 1


class PlainEcho(Actor):
    """Has none."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0

    @on(Ping)
    def ping(self, msg: Ping) -> int:
        return msg.x

    @on(Tick)
    def tick(self, msg: Tick) -> None:
        self.n += 1


class Hop(Cast["Node"], frozen=True):
    left: int


class Node(Actor):
    """One place in a ring."""

    def __init__(self, done: anyio.Event) -> None:
        self.done = done
        self.next: Ref[Node]

    @on(Hop)
    def hop(self, msg: Hop) -> None:
        if msg.left:
            self.next.tell(Hop(msg.left - 1))
        else:
            self.done.set()


class Sum(Cast["Leaf"], frozen=True):
    n: int


class Leaf(Actor):
    """One actor of skynet: a number at the bottom, ten children and their sum above."""

    __slots__ = ("got", "parent", "total")

    def __init__(self, parent: Callable[[int], None] | Ref[Leaf], first: int, size: int) -> None:
        self.parent = parent
        self.got = self.total = 0
        if size == 1:
            self.total = first

    @on(Sum)
    def sum(self, msg: Sum) -> None:
        self.total += msg.n
        self.got += 1
        if self.got == 10:
            report(self.parent, self.total)


class Grow(Cast["Sky"], frozen=True):
    first: int
    size: int


class Sky(Leaf):
    """Makes its subtree when told to."""

    __slots__ = ()

    @on(Grow)
    def grow(self, msg: Grow) -> None:
        if msg.size == 1:
            report(self.parent, msg.first)
            return
        step = msg.size // 10
        for n in range(10):
            child = self.ctx.spawn(Sky, self.ctx.ref, msg.first + n * step, step)
            child.tell(Grow(msg.first + n * step, step))


def report(parent: Any, total: int) -> None:
    if isinstance(parent, Ref):
        parent.tell(Sum(total))
    else:
        parent(total)


class Crash(Cast["Child"], frozen=True):
    pass


class Child(Actor):
    @on(Crash)
    def crash(self, msg: Crash) -> None:
        raise Stop


# -- the contestants, one chunk each -----------------------------------------------------------


async def floor(future: Callable[[], Any]) -> None:
    """Two tasks that hand a value to and fro."""
    ask: list[Any] = [None]
    answer: list[Any] = [None]

    async def server() -> None:
        while True:
            mine = ask[0] = future()
            value = await mine
            answer[0].set_result(value)

    async with anyio.create_task_group() as group:
        group.start_soon(server)
        while ask[0] is None:
            await anyio.lowlevel.checkpoint()
        began = time.process_time()
        for n in range(CHUNK):
            mine = answer[0] = future()
            ask[0].set_result(n)
            await mine
        TOOK[0] = time.process_time() - began
        group.cancel_scope.cancel()


async def calls(ref: Ref[Any]) -> None:
    for _ in range(CHUNK):
        await ref.call(Ping(1))


async def timed_calls(ref: Ref[Any]) -> None:
    for _ in range(CHUNK):
        await ref.call(Ping(1), timeout=5.0)


async def tells(ref: Ref[Any]) -> None:
    for _ in range(CHUNK // BURST):
        for _ in range(BURST):
            ref.tell(Tick(1))
        await anyio.lowlevel.checkpoint()
    await ref.call(Ping(1))


async def tells_in_a_row(ref: Ref[Any]) -> None:
    """As the peers do it: all are sent, then a call waits until all are handled."""
    for _ in range(CHUNK):
        ref.tell(Tick(1))
    await ref.call(Ping(1))


async def queue() -> None:
    """The same messages through an `asyncio.Queue` to a task that handles them."""
    inbox: asyncio.Queue[Tick] = asyncio.Queue()
    echo = Echo()

    async def reader() -> None:
        for _ in range(CHUNK):
            echo.tick(await inbox.get())

    async with anyio.create_task_group() as group:
        group.start_soon(reader)
        for _ in range(CHUNK // BURST):
            for _ in range(BURST):
                inbox.put_nowait(Tick(1))
            await anyio.lowlevel.checkpoint()


TOOK = [0.0]
"""What a contestant measured by itself, without its set-up."""


async def in_turn(contestants: dict[str, Callable[[], Awaitable[None]]], rounds: int) -> Any:
    """Microseconds of processor time an operation, by contestant; and of the clock on the wall.

    All contestants keep one processor busy, so that only other people's work makes the two differ.
    """
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    samples |= {f"{name} by the wall": [] for name in contestants}
    for name in _ratio.turns(list(contestants), rounds):
        TOOK[0] = 0.0
        wall, began = time.perf_counter(), time.process_time()
        await contestants[name]()
        took = TOOK[0] or time.process_time() - began
        samples[name].append(took / CHUNK * 1e6)
        samples[f"{name} by the wall"].append((time.perf_counter() - wall) / CHUNK * 1e6)
    return samples


async def messaging(backend: str, rounds: int) -> Any:
    gc.collect()
    gc.freeze()
    async with System() as system:
        task = await system.start(Echo.spec())
        plain = await system.start(PlainEcho.spec())
        future: Any = TrioFuture
        contestants: dict[str, Callable[[], Awaitable[None]]] = {}
        if backend != "trio":
            future = asyncio.get_running_loop().create_future
            contestants["queue"] = queue
        contestants |= {
            "floor": partial(floor, future),
            "call": partial(calls, task),
            "call with timeout": partial(timed_calls, task),
            "plain call": partial(calls, plain),
            "tell": partial(tells, task),
            "plain tell": partial(tells, plain),
            "plain tell in a row": partial(tells_in_a_row, plain),
        }
        return await in_turn(contestants, rounds)


async def spawning(count: int) -> dict[str, float]:
    """Microseconds and bytes of an idle plain actor, and of an asyncio task that waits."""
    found: dict[str, float] = {}
    gc.collect()
    gc.disable()
    async with System() as system:
        for measure in ("bytes", "µs"):
            parent = await system.start(PlainEcho.spec())
            cell = parent._slot.cell
            assert cell is not None
            assert cell.actor is not None
            spawn = cell.actor.ctx.spawn
            if measure == "bytes":
                tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0] if measure == "bytes" else 0
            began = time.process_time()
            for _ in range(count):
                spawn(PlainEcho)
            found["spawn µs"] = (time.process_time() - began) / count * 1e6
            if measure == "bytes":
                found["bytes"] = (tracemalloc.get_traced_memory()[0] - before) / count
                tracemalloc.stop()
            began = time.process_time()
            await system.stop_actor(parent)
            found["stop µs"] = (time.process_time() - began) / count * 1e6
    gc.enable()
    return found


async def tasks(count: int) -> float:
    """Microseconds to start one asyncio task that waits."""
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    gc.disable()
    began = time.process_time()
    made = [loop.create_task(wait()) for _ in range(count)]
    await asyncio.sleep(0)
    took = (time.process_time() - began) / count * 1e6
    gc.enable()
    for task in made:
        task.cancel()
    await asyncio.gather(*made, return_exceptions=True)
    return took


async def children(count: int, kind: Any) -> float:
    """Microseconds a child: start all, crash one, stop all."""
    gc.collect()
    began = time.process_time()
    async with System() as system:
        specs = [Child.spec().options(id=f"c{n}") for n in range(count)]
        if kind is Supervisor:
            await system.start(Supervisor.spec(specs).options(id="top"))
        else:
            top = await system.start(DynamicSupervisor.spec().options(id="top"))
            for spec in specs:
                await top.call(StartChild(spec))
        ref = system.at("top/c0")
        assert ref is not None
        ref.tell(Crash())
        await ref.stopped()
    return (time.process_time() - began) / count * 1e6


async def ring(count: int, hops: int) -> float:
    """Microseconds a hop."""
    async with System() as system:
        done = anyio.Event()
        refs = [await system.start(Node.spec(done).options(id=f"n{n}")) for n in range(count)]
        for left, right in zip(refs, (*refs[1:], refs[0]), strict=True):
            cell = left._slot.cell
            assert cell is not None
            actor: Any = cell.actor
            actor.next = right
        began = time.perf_counter()
        refs[0].tell(Hop(hops))
        await done.wait()
        return (time.perf_counter() - began) / hops * 1e6


async def skynet(leaves: int) -> float:
    """Milliseconds for a tree of actors with that many leaves, summed up."""
    gc.collect()
    gc.disable()
    async with System() as system:
        done = anyio.Event()
        totals: list[int] = []

        def finish(total: int) -> None:
            totals.append(total)
            done.set()

        root = await system.start(Sky.spec(finish, 0, leaves))
        began = time.perf_counter()
        root.tell(Grow(0, leaves))
        await done.wait()
        took = (time.perf_counter() - began) * 1e3
        assert totals == [leaves * (leaves - 1) // 2]
    gc.enable()
    return took


# -- the peers -------------------------------------------------------------------------------------

ERLANG = """
-module(bench).
-export([main/0, init/1, handle_call/3, handle_cast/2, hopper/1, sky/3]).
init(_) -> {ok, 0}.
handle_call({ping, X}, _, S) -> {reply, X, S}.
handle_cast({tick, _}, S) -> {noreply, S + 1}.
time(N, F) -> T = erlang:monotonic_time(microsecond), F(),
    (erlang:monotonic_time(microsecond) - T) / N.
calls(_, 0) -> ok;
calls(P, N) -> gen_server:call(P, {ping, 1}, infinity), calls(P, N - 1).
tells(_, 0) -> ok;
tells(P, N) -> gen_server:cast(P, {tick, 1}), tells(P, N - 1).
hopper(Next) -> receive {next, P} -> hopper(P); {hop, 0, Done} -> Done ! done;
    {hop, N, Done} -> Next ! {hop, N - 1, Done}, hopper(Next) end.
ring(K, N) -> Ps = [spawn(?MODULE, hopper, [none]) || _ <- lists:seq(1, K)],
    lists:foreach(fun({A, B}) -> A ! {next, B} end, lists:zip(Ps, tl(Ps) ++ [hd(Ps)])),
    hd(Ps) ! {hop, N, self()}, receive done -> ok end.
sky(P, First, 1) -> P ! {sum, First};
sky(P, First, Size) -> Me = self(), Step = Size div 10,
    [spawn(?MODULE, sky, [Me, First + I * Step, Step]) || I <- lists:seq(0, 9)],
    P ! {sum, lists:sum([receive {sum, N} -> N end || _ <- lists:seq(1, 10)])}.
idle(0) -> ok;
idle(N) -> {ok, _} = gen_server:start(?MODULE, [], []), idle(N - 1).
main() ->
    {ok, P} = gen_server:start(?MODULE, [], []), N = 200000, calls(P, N),
    io:format("{\\"call\\": ~w, \\"tell\\": ~w, \\"ring\\": ~w, \\"skynet\\": ~w, "
        "\\"spawn\\": ~w}~n",
      [time(N, fun() -> calls(P, N) end),
       time(N, fun() -> tells(P, N), calls(P, 1) end),
       time(N, fun() -> ring(1000, N) end),
       time(1000, fun() -> sky(self(), 0, 10000), receive {sum, _} -> ok end end),
       time(50000, fun() -> idle(50000) end)]), halt().
"""

MESSAGES = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Ping: x: int
@dataclass(frozen=True)
class Tick: x: int
"""
"""The same work for the peers: a message is a typed value, made for each sending and told apart by
its class; a tick is counted.
"""

PYTHON_PEERS = {
    "pykka": """
        import json, time, pykka
        class Echo(pykka.ThreadingActor):
            n = 0
            def on_receive(self, message):
                if isinstance(message, Ping): return message.x
                elif isinstance(message, Tick): self.n += 1
        ref = Echo.start(); n = 5000
        t = time.perf_counter()
        for _ in range(n): ref.ask(Ping(1))
        call = (time.perf_counter() - t) / n * 1e6
        t = time.perf_counter()
        for _ in range(n): ref.tell(Tick(1))
        ref.ask(Ping(1))
        tell = (time.perf_counter() - t) / n * 1e6
        pykka.ActorRegistry.stop_all()
        print(json.dumps({"call": call, "tell": tell}))
    """,
    "thespian": """
        import json, time
        from thespian.actors import Actor, ActorSystem
        class Echo(Actor):
            n = 0
            def receiveMessage(self, message, sender):
                if isinstance(message, Ping): self.send(sender, message.x)
                elif isinstance(message, Tick): self.n += 1
        system = ActorSystem("simpleSystemBase"); ref = system.createActor(Echo); n = 5000
        t = time.perf_counter()
        for _ in range(n): system.ask(ref, Ping(1), 5)
        call = (time.perf_counter() - t) / n * 1e6
        t = time.perf_counter()
        for _ in range(n): system.tell(ref, Tick(1))
        system.ask(ref, Ping(1), 5)
        tell = (time.perf_counter() - t) / n * 1e6
        system.shutdown()
        print(json.dumps({"call": call, "tell": tell}))
    """,
    "xoscar": """
        import asyncio, json, time, xoscar as xo
        class Echo(xo.Actor):
            n = 0
            async def ping(self, message): return message.x
            async def tick(self, message): self.n += 1
        async def main():
            pool = await xo.create_actor_pool("127.0.0.1", n_process=0)
            ref = await xo.create_actor(Echo, address=pool.external_address); n = 5000
            t = time.perf_counter()
            for _ in range(n): await ref.ping(Ping(1))
            call = (time.perf_counter() - t) / n * 1e6
            t = time.perf_counter()
            for _ in range(n): await ref.tick.tell(Tick(1))
            await ref.ping(Ping(1))
            tell = (time.perf_counter() - t) / n * 1e6
            print(json.dumps({"call": call, "tell": tell}))
            await pool.stop()
        asyncio.run(main())
    """,
}


def install_peers() -> None:
    """Makes the peers' environment, below `build` and nowhere else."""
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    python = ENVIRONMENT / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PEERS, "setuptools<81"], check=True)


def measured(command: list[Any], cwd: str | None = None) -> dict[str, float] | None:
    """The last line that a command prints, as JSON; None if it cannot run."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        return None
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def repeated(
    command: list[Any], rounds: int, cwd: str | None = None
) -> dict[str, list[float]] | None:
    """What `measured` finds in several runs; None if the command cannot run."""
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        found = measured(command, cwd)
        if found is None:
            return None
        for name, value in found.items():
            samples.setdefault(name, []).append(value)
    return samples


def erlang(rounds: int) -> dict[str, list[float]] | None:
    """Erlang's figures: microseconds, and milliseconds for skynet."""
    if shutil.which("erlc") is None or shutil.which("erl") is None:
        return None
    with tempfile.TemporaryDirectory() as place:
        Path(place, "bench.erl").write_text(ERLANG, encoding="utf-8")
        subprocess.run(["erlc", "bench.erl"], cwd=place, check=True, capture_output=True)
        return repeated(["erl", "-noshell", "-s", "bench", "main"], rounds, cwd=place)


# -- the report ------------------------------------------------------------------------------------

CALL_GOALS = {"asyncio": "<= 1.25", "uvloop": "<= 1.5", "trio": "<= 1.35"}
PLAIN_GOALS = {"asyncio": "<= 0.1", "uvloop": None, "trio": "<= 0.1"}


def child(what: str, *args: Any) -> Any:
    """Runs one measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, *map(str, args)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def as_child(what: str, *args: str) -> None:
    """What `child` started."""
    if what == "messaging":
        backend, rounds = args
        options = {"use_uvloop": True} if backend == "uvloop" else {}
        result: Any = anyio.run(
            messaging,
            backend,
            int(rounds),
            backend="trio" if backend == "trio" else "asyncio",
            backend_options=options,
        )
    elif what == "children":
        kind = Supervisor if args[1] == "static" else DynamicSupervisor
        result = anyio.run(children, int(args[0]), kind)
    elif what == "ring":
        result = anyio.run(ring, 1000, int(args[0]))
    else:
        function = {"spawning": spawning, "tasks": tasks, "skynet": skynet}[what]
        result = anyio.run(function, int(args[0]))
    print(json.dumps(result))


def report_messaging(report: _ratio.Report, rounds: int) -> dict[str, Any]:
    """The figures of the three backends; returns asyncio's samples."""
    kept: dict[str, Any] = {}
    for backend in CALL_GOALS:
        try:
            samples = child("messaging", backend, rounds)
        except subprocess.CalledProcessError:
            report.missing(backend, "pip install uvloop")
            continue
        kept = kept or samples
        for name, goal in (
            ("call", CALL_GOALS[backend]),
            ("call with timeout", None),
            ("plain call", PLAIN_GOALS[backend]),
        ):
            report.compare(
                f"{name}, {backend}",
                samples[name],
                "two futures by hand",
                samples["floor"],
                unit="µs",
                goal=goal,
            )
        for name in ("tell", "plain tell"):
            if "queue" in samples:
                report.compare(
                    f"{name}, {backend}",
                    samples[name],
                    "asyncio.Queue",
                    samples["queue"],
                    unit="µs",
                    goal="<= 0.75" if backend == "asyncio" else None,
                )
    return kept


def report_many(report: _ratio.Report, *, quick: bool) -> None:
    """The figures of actors by the thousand."""
    count = 20_000 if quick else 100_000
    spawned = [child("spawning", count) for _ in range(3)]
    started = [child("tasks", count) for _ in range(3)]
    size = [one["bytes"] for one in spawned]
    took = [one["spawn µs"] for one in spawned]
    report.state("an idle plain actor", size, unit="bytes", goal="<= 300")
    report.compare("spawn", took, "an asyncio task", started, unit="µs")
    report.state("spawn alone", took, unit="µs", goal="<= 1.5")
    for kind in ("static", "dynamic"):
        report.compare(
            f"{count} children under one {kind} supervisor, each",
            [child("children", count, kind) for _ in range(3)],
            f"{count // 10} children",
            [child("children", count // 10, kind) for _ in range(3)],
            unit="µs",
            goal="<= 2",
        )


def report_peers(report: _ratio.Report, ours: dict[str, Any], rounds: int) -> None:
    """Others at the same work."""
    there = erlang(rounds)
    if there is None:
        report.missing("Erlang", "apt-get install erlang-base")
    else:
        mine = {
            "call": ours["plain call by the wall"],
            "tell": ours["plain tell in a row by the wall"],
            "ring": [child("ring", 100_000) for _ in range(rounds)],
            "skynet": [child("skynet", 10_000) for _ in range(rounds)],
        }
        for name, samples in mine.items():
            report.compare(
                f"{name}, plain",
                samples,
                "Erlang",
                there[name],
                unit="ms" if name == "skynet" else "µs",
                goal="< 1" if name == "call" else None,
            )
    python = ENVIRONMENT / "bin" / "python"
    for peer, source in PYTHON_PEERS.items():
        code = MESSAGES + textwrap.dedent(source)
        found = repeated([python, "-c", code], rounds) if python.exists() else None
        if found is None:
            report.missing(peer, "run with --install")
            continue
        for name, mine in (("call", "plain call"), ("tell", "plain tell in a row")):
            report.compare(
                f"{name}, plain",
                ours[f"{mine} by the wall"],
                peer,
                found[name],
                unit="µs",
                goal="<= 0.1",
            )


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        as_child(*sys.argv[2:])
        return 0
    arguments = _ratio.arguments("The actor kernel against its floor and its peers")
    if arguments.install:
        install_peers()
    report = _ratio.Report()
    ours = report_messaging(report, 15 if arguments.quick else 100)
    report_many(report, quick=arguments.quick)
    report_peers(report, ours, 2 if arguments.quick else 7)
    report.show(json=arguments.json)
    return 0 if report.met or arguments.quick else 1


if __name__ == "__main__":
    sys.exit(main())
