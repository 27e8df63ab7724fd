"""The same experiment twice: on real processes in real time, and in the laboratory.

    steps = [Exits("b", 0), Killed("a")]
    assert await really(config, steps) == await simulated(config, steps)

What is compared is what happened, in its order: who started, ended and how, what was decided, who
took whom down; not when. After each step each side is left alone until nothing more happens.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import groupby
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import tomlkit

from actors import ActorDown, Ref, WhichChildren
from actors.ref import slot_of
from actors.testing import run
from colony import config
from colony.config.order import dependents
from colony.events import ServiceDetached, ServiceExited
from colony.lab import faults, world
from colony.lab.faults import Behaviour, Fixed, Scenario, What
from colony.lab.trace import Collector, Entry, Trace
from colony.services import Board, NotPossible, SignalService, StartService, StopService, WriteStdin
from colony.services.specs import SERVICES
from tests.colony.services.hosting import Shop, colony

PATIENCE: Final = 30.0
LOOK: Final = 0.05
LOOKS: Final = 3
"""A real colony without news at so many looks, so many seconds apart, is taken to have nothing more
to say. What is not its own doing, such as the death of a process, is waited for by each step."""

LONG: Final = 30.0
"""Seconds that the laboratory gives a step."""

OBEDIENT: Final = ["sh", "-c", "read code; exit $code"]
"""A service that ends with the code that it is told."""

SLOW: Final = ["sh", "-c", "sleep 0.3; echo up; read code; exit $code"]
"""The same, ready (by `log`) after a while."""

DEAF: Final = ["sh", "-c", "trap '' TERM; echo up; read code; exit $code"]
"""The same, ready once it ignores the signal to stop."""


class Step(msgspec.Struct, frozen=True):
    """Something that is done to a service."""

    service: str


class Exits(Step, frozen=True):
    """It is told to exit."""

    code: int


class Killed(Step, frozen=True):
    """It is killed."""


class Hangs(Step, frozen=True):
    """It is stopped in its tracks."""


class PortStolen(Step, frozen=True):
    """An operator stops it and starts it, and in between somebody else has taken its port."""

    port: int


class Vanishes(Step, frozen=True):
    """Its program is removed."""

    program: str


class Daemonises(Step, frozen=True):
    """It leaves a server behind, when it is told to."""


class Stopped(Step, frozen=True):
    """An operator stops it."""


class Started(Step, frozen=True):
    """An operator starts it."""


class Said(msgspec.Struct, frozen=True):
    """An entry of a trace without its time."""

    service: str
    kind: str
    life: int
    detail: str
    by: str
    count: int
    limit: int
    code: int | None
    killed: bool


UNSEEN: Final = frozenset({"fault", "missed", "hung", "answering"})
"""Kinds that only the laboratory knows of."""

WORDLESS: Final = frozenset({"detached", "unhealthy", "failed", "gave_up"})
"""Kinds whose words name a pid, or how long something took."""


def told(
    trace: Trace, after: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[Said], dict[str, list[Said]], str]:
    """What a trace says, in order: all that has a cause in another service or is one; then all of
    each service, with its readiness, which may come sooner or later; and how it ended.

    Of starts that follow each other directly either may have been the first: one that is let go by
    the start of another runs a race with whom the supervisor starts next. So may ends, but for
    those of services that come `after` one another.
    """
    whole = [entry for entry in trace.entries if entry.kind not in UNSEEN]
    tied: list[Said] = []
    for phase, group in groupby((_said(e) for e in whole if e.kind != "ready"), _phase):
        found = list(group)
        if phase == "starts":
            found.sort(key=lambda said: said.service)
        tied += _untangled(found, after or {}) if phase == "ends" else found
    each = {
        name: [_said(entry) for entry in whole if entry.service == name] for name in trace.services
    }
    return tied, each, trace.ending.kind


def _phase(said: Said) -> str:
    starts = said.kind in ("waiting", "started")
    return "starts" if starts else "ends" if said.kind in ("stopping", "stopped") else ""


def _untangled(ends: list[Said], after: Mapping[str, Sequence[str]]) -> list[Said]:
    """Ends of services, each as early as what had to come before it allows, then by name: what
    went on side by side is the same in whatever order it came."""
    lean = dependents(after, after)
    steps: list[tuple[int, str, Said]] = []
    for said in ends:
        before = [
            step
            for step, _, other in steps
            if other.service == said.service
            or (other.kind == "stopped" and other.service in lean.get(said.service, ()))
        ]
        steps.append((max(before, default=0) + 1, said.service, said))
    return [said for _, _, said in sorted(steps, key=lambda each: each[:2])]


def _said(entry: Entry) -> Said:
    wordless = entry.kind in WORDLESS or "pid" in entry.detail
    detail = "" if wordless else entry.detail
    fields = (entry.by, entry.count, entry.limit, entry.code, entry.killed)
    return Said(entry.service, entry.kind, entry.life, detail, *fields)


# -- the laboratory --------------------------------------------------------------------------------


async def simulated(
    services: Mapping[str, Mapping[str, Any]],
    steps: Sequence[Step],
    behaviours: Mapping[str, Behaviour] | None = None,
    **tables: Any,
) -> Trace:
    """The trace of the steps in the laboratory, in a thread and an event loop of its own."""

    async def play() -> Trace:
        scenario = Scenario(behaviours=dict(behaviours or {}))
        async with world.Simulation(_config(services, tables), scenario) as lab:
            await lab.advance(LONG)
            for step in steps:
                await _step_there(lab, step)
                await lab.advance(LONG)
            return lab.trace

    return await anyio.to_thread.run_sync(run, play)


def _config(services: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Any]) -> Any:
    whole: dict[str, Any] = {"colony": {"name": "lab"}, **tables, "services": services}
    return config.parse(tomlkit.dumps(whole), "/lab/colony.toml", workspace="/lab")


async def _step_there(lab: world.Simulation, step: Step) -> None:
    if lab.ended:
        return
    what: dict[type[Step], What] = {
        Killed: faults.Crash(),
        Hangs: faults.Hang(),
        Daemonises: faults.Daemonise(),
        Vanishes: faults.Unstartable(),
    }
    match step:
        case Stopped(service):
            with suppress(NotPossible):
                await lab.stop_service(service)
        case Started(service):
            with suppress(NotPossible):
                await lab.start_service(service)
        case Exits(service, code):
            lab.exit(service, code)
        case PortStolen(service):
            await lab.stop_service(service)
            lab.strike((service,), faults.PortStolen())
            await lab.start_service(service)
        case _:
            lab.strike((step.service,), what[type(step)])


# -- the real one ----------------------------------------------------------------------------------


async def really(
    services: Mapping[str, Mapping[str, Any]],
    steps: Sequence[Step],
    *,
    isolated: bool = False,
    **tables: Any,
) -> Trace:
    """The trace of the steps in a real colony."""
    async with colony(services, isolated=isolated, **tables) as shop, _watched(shop) as seen:
        await seen.quiet()
        with ExitStack() as stack:
            for step in steps:
                await _step_here(shop, step, stack)
                await seen.quiet()
            return seen.collector.trace(0.0)


class _Seen:
    """What is seen of a real colony, which has been starting for a while when we come to look."""

    def __init__(self, shop: Shop) -> None:
        path = f"{shop.config.name}/{SERVICES}"
        self.shop = shop
        self.collector = Collector.of(shop.config, supervisor=path)
        for event in shop.events:
            self.collector.take(event)

    async def quiet(self) -> None:
        """Waits until nothing is under way, and then a little."""
        with anyio.fail_after(PATIENCE):
            count, quiet = -1, 0
            while quiet < LOOKS:
                await anyio.sleep(LOOK)
                now = len(self.collector.entries)
                quiet = quiet + 1 if count == now and not await self._restless() else 0
                count = now

    async def _restless(self) -> bool:
        """Whether something is bound to happen soon, however long a process takes to be made."""
        if self.collector.ending is not None:
            return False
        shop = self.shop
        supervisor = shop.system.at(f"{shop.config.name}/{SERVICES}")
        assert supervisor is not None
        try:
            await supervisor.call(WhichChildren())  # answered when it has started what it starts
            states = {name: (await shop.status(name)).state for name in shop.config.services}
            waits = waiters(shop.board)
        except ActorDown:
            return True  # it is about to end
        # Who waits, and for nobody any more, is about to be started.
        return bool({"starting", "stopping", "backoff"} & set(states.values())) or any(
            state == "waiting" and name not in waits for name, state in states.items()
        )


def waiters(board: Ref[Board]) -> set[str]:
    """The services that wait for others, as far as the board knows."""
    cell = slot_of(board).cell
    if cell is None:
        return set()
    assert isinstance(cell.actor, Board)
    return {waiter.wanted.by for waiter in cell.actor.waiters}


@asynccontextmanager
async def _watched(shop: Shop) -> AsyncIterator[_Seen]:
    seen = _Seen(shop)
    leave = shop.system.events.listen(seen.collector.take)
    try:
        yield seen
    finally:
        leave()


async def _step_here(shop: Shop, step: Step, stack: ExitStack) -> None:
    if shop.system.whereis(f"control/{shop.config.name}") is None:
        return  # the colony has ended
    control = shop.control
    match step:
        case Stopped(service):
            await control.call(StopService(service))
        case Started(service):
            with suppress(NotPossible):
                await control.call(StartService(service))
        case Exits(service, code):
            pid = await _pid(shop, service)
            with suppress(NotPossible):
                await control.call(WriteStdin(service, f"{code}\n".encode()))
                await _gone(shop, service, pid)
        case Daemonises(service):
            seen = len(shop.seen(ServiceDetached, service))
            await control.call(WriteStdin(service, b"detach\n"))
            await shop.saw(ServiceDetached, service, seen + 1)
        case Hangs(service):
            ends = len(shop.seen(ServiceExited, service))
            await control.call(SignalService(service, signal.SIGSTOP))
            await shop.saw(ServiceExited, service, ends + 1)
        case Vanishes(_, program):
            os.unlink(program)
        case Killed(service):
            pid = await _pid(shop, service)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                await _gone(shop, service, pid)
        case PortStolen(service, port):
            await control.call(StopService(service))
            stack.enter_context(await shop.listener(port))
            await control.call(StartService(service))


async def _pid(shop: Shop, service: str) -> int | None:
    return (await shop.status(service)).pid


async def _gone(shop: Shop, service: str, pid: int | None) -> None:
    """Waits until the end of a service's process was noticed, if by the end of the colony."""
    with anyio.fail_after(PATIENCE), suppress(ActorDown):
        while await _pid(shop, service) == pid:  # noqa: ASYNC110
            await anyio.sleep(0.005)


def slow_to_be_ready(*services: str) -> dict[str, Behaviour]:
    """How `SLOW` behaves."""
    return {service: Behaviour(ready=Fixed(0.3)) for service in services}
