"""Two hundred random faults, and what must hold after each of them.

One seed is one run: `CHAOS_SEED=7 pytest tests/end_to_end/test_chaos.py` repeats it. After each
fault the colony is left alone until it is as wanted, and then

    wanted = actual     what is to run answers on its port, by the process that the board names,
                        or waits since what it comes after was stopped; what was stopped has no
                        process
    no stray            no process of a service is older than its present life
    reported once       each life has one end, a crash or a stop; each crash one restart
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import pytest

from actors import Event
from actors.events import LimitReached, Restarting
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceStarted,
    ServiceStopped,
)
from colony.services import (
    NotPossible,
    RestartService,
    SignalService,
    StartService,
    StopService,
    WriteStdin,
)
from netns.sweep import find, with_variable
from tests.colony.services.hosting import PATIENCE, Shop, colony
from tests.end_to_end.colonies import program, root_only
from tests.ports import free_port

pytestmark = pytest.mark.real_time

FAULTS: Final = 200
SERVICES: Final = ("db", "api", "web")
SEED: Final = int(os.environ.get("CHAOS_SEED", "20261126"))


def services() -> dict[str, dict[str, Any]]:
    """Three servers, each after the last, that are quick to notice and quick to come back."""
    common: dict[str, Any] = {
        "command": program("moody"),
        "backoff": {"min": 0.005, "max": 0.02, "reset": 0.01},
        "health": {"interval": 0.1, "timeout": 0.3, "failures": 2},
        "stop": {"grace": 0.2},
    }
    return {
        name: {**common, "port": free_port(), "after": list(SERVICES[:index])[-1:]}
        for index, name in enumerate(SERVICES)
    }


class Chaos:
    """One run: what is wanted, and the faults."""

    def __init__(self, shop: Shop, dice: random.Random) -> None:
        self.shop = shop
        self.dice = dice
        self.wanted = set(SERVICES)
        self.born: dict[str, int] = {}
        self.made: Counter[str] = Counter()
        shop.system.events.listen(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, ServiceStarted):
            # Its number is not given back before its actor is done, so it can be read even now.
            self.born[event.service] = started_at(event.pid) or 0

    async def fault(self) -> None:
        """Makes one."""
        name = self.dice.choice(SERVICES)
        state = (await self.shop.status(name)).state
        kinds = WAITS if state == "waiting" else UP if name in self.wanted else DOWN
        kind = self.dice.choice(kinds)
        self.made[kind.__name__] += 1
        await kind(self, name)

    async def do(self, command: SignalService | WriteStdin) -> bool:
        """False: there was nobody to do it to. On a machine that has no time for them, healthy
        ones fail their checks and crash, and that at any moment."""
        try:
            await self.shop.control.call(command)
        except NotPossible:
            return False
        return True

    async def say(self, name: str, text: str) -> bool:
        return await self.do(WriteStdin(name, text.encode() + b"\n"))

    def ends(self, name: str) -> int:
        """How often it has crashed or gone on as a daemon."""
        return sum(len(self.shop.seen(kind, name)) for kind in (ServiceExited, ServiceDetached))

    async def ended(self, name: str, before: int) -> None:
        """Waits for another of these."""
        with anyio.fail_after(PATIENCE):
            while self.ends(name) == before:  # noqa: ASYNC110
                await anyio.sleep(0.005)

    # -- what must hold ------------------------------------------------------------------------

    async def settle(self) -> None:
        """Waits until all is as wanted."""
        with anyio.fail_after(PATIENCE):
            for name in SERVICES:
                while not await self._is_as_wanted(name):  # noqa: ASYNC110
                    await anyio.sleep(0.005)

    async def _is_as_wanted(self, name: str) -> bool:
        status = await self.shop.status(name)
        if name not in self.wanted:
            return status.state == "stopped" and not self.processes(name)
        if status.state == "waiting":
            return await self._is_held_back(name) and not self.processes(name)
        return status.state in ("ready", "detached") and await self._answers(name)

    async def _is_held_back(self, name: str) -> bool:
        """Whether what it comes after was stopped, or is held back itself."""
        after = self.shop.config.services[name].after
        states = [(await self.shop.status(other)).state for other in after]
        return "stopped" in states or "waiting" in states

    async def _answers(self, name: str) -> bool:
        port = self.shop.config.services[name].port
        assert port is not None
        pid = (await self.shop.status(name)).pid
        try:
            with anyio.fail_after(1):
                async with await self.shop.connect(port) as stream:
                    return int((await stream.receive()).split()[0]) == pid
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False

    def processes(self, name: str) -> list[int]:
        """The living processes of a service."""
        rule = with_variable("COLONY_SERVICE", name)
        return [pid for pid in self.shop.processes() if rule(pid)]

    async def check(self) -> None:
        """What must hold once all is as wanted."""
        running = {name for name in SERVICES if (await self.shop.status(name)).pid is not None}
        for name in running:
            ages = {pid: started_at(pid) for pid in self.processes(name)}
            old = [pid for pid, age in ages.items() if age is not None and age < self.born[name]]
            assert old == [], f"{name} has processes of an earlier life: {old}"
        self._check_reports(running)

    def _check_reports(self, running: set[str]) -> None:
        ended = Counter(
            event.service
            for event in self.shop.events
            if isinstance(event, ServiceExited)
            or (isinstance(event, ServiceStopped) and event.status)
        )
        started = Counter(event.service for event in self.shop.seen(ServiceStarted))
        for name in SERVICES:
            assert started[name] == ended[name] + (name in running), f"{name}: {started}, {ended}"
        lives = [(event.service, event.incarnation) for event in self.shop.seen(ServiceExited)]
        assert max(Counter(lives).values(), default=1) == 1
        crashes = len(lives)
        restarts = len(self.shop.seen(Restarting))
        assert restarts == crashes
        assert self.shop.seen(LimitReached) == []


# -- the faults ------------------------------------------------------------------------------------


async def kill(chaos: Chaos, name: str) -> None:
    await chaos.do(SignalService(name, signal.SIGKILL))


async def terminate(chaos: Chaos, name: str) -> None:
    await chaos.do(SignalService(name, signal.SIGTERM, group=False))


async def suspend(chaos: Chaos, name: str) -> None:
    """Its health check finds out."""
    crashes = len(chaos.shop.seen(ServiceExited, name))
    if await chaos.do(SignalService(name, signal.SIGSTOP)):
        await chaos.shop.saw(ServiceExited, name, crashes + 1)


async def deafen(chaos: Chaos, name: str) -> None:
    if (await chaos.shop.status(name)).state == "ready":  # a daemon of ours hears its input, too
        crashes = len(chaos.shop.seen(ServiceExited, name))
        if await chaos.say(name, "deaf"):
            await chaos.shop.saw(ServiceExited, name, crashes + 1)


async def leave(chaos: Chaos, name: str) -> None:
    await chaos.say(name, f"exit {chaos.dice.choice([0, 1, 3])}")


async def daemonise(chaos: Chaos, name: str) -> None:
    if (await chaos.shop.status(name)).state == "ready":
        before = chaos.ends(name)
        if await chaos.say(name, "daemon"):
            await chaos.ended(name, before)


async def storm(chaos: Chaos, name: str) -> None:
    await chaos.say(name, f"storm {chaos.dice.randint(1, 12)}")


async def storm_and_die(chaos: Chaos, name: str) -> None:
    await chaos.say(name, f"storm {chaos.dice.randint(1, 12)}\nexit 1")


async def stop(chaos: Chaos, name: str) -> None:
    chaos.wanted.discard(name)
    assert (await chaos.shop.control.call(StopService(name))).state == "stopped"


async def restart(chaos: Chaos, name: str) -> None:
    await chaos.shop.control.call(RestartService(name))


async def all_at_once(chaos: Chaos, _name: str) -> None:
    for name in chaos.wanted:
        pid = (await chaos.shop.status(name)).pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def start(chaos: Chaos, name: str) -> None:
    for other in reversed(_needed(chaos, name)):
        chaos.wanted.add(other)
        await chaos.shop.control.call(StartService(other))


async def steal_port(chaos: Chaos, name: str) -> None:
    """Somebody else has the port when it is started; then goes, and it is started again."""
    after = chaos.shop.config.services[name].after
    states = [(await chaos.shop.status(other)).state for other in after]
    port = chaos.shop.config.services[name].port
    assert port is not None
    if not {"stopped", "waiting"} & set(states):
        failures = len(chaos.shop.seen(ServiceFailed, name))
        with await chaos.shop.listener(port):
            await chaos.shop.control.call(StartService(name))
            await chaos.shop.saw(ServiceFailed, name, failures + 1)
            assert (await chaos.shop.status(name)).state == "failed"
    await start(chaos, name)


def _needed(chaos: Chaos, name: str) -> list[str]:
    """The service, and those that it is after and that are down, the nearest first."""
    found = [name]
    for other in chaos.shop.config.services[name].after:
        if other not in chaos.wanted:
            found += _needed(chaos, other)
    return found


Fault = Callable[[Chaos, str], Awaitable[None]]

UP: Final[tuple[Fault, ...]] = (
    kill,
    kill,
    terminate,
    suspend,
    deafen,
    leave,
    leave,
    daemonise,
    daemonise,
    storm,
    storm_and_die,
    stop,
    restart,
    all_at_once,
)
"""What may happen to a service that is to run."""

WAITS: Final[tuple[Fault, ...]] = (stop, restart, start)
"""What may happen to one that waits for others."""

DOWN: Final[tuple[Fault, ...]] = (start, start, steal_port)
"""What may happen to one that was stopped."""


def started_at(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


async def run(isolated: bool, faults: int = FAULTS) -> None:
    async with colony(
        services(), isolated=isolated, supervision={"intensity": 10_000, "period": 3600}
    ) as shop:
        chaos = Chaos(shop, random.Random(SEED))
        for name in SERVICES:
            await shop.until(name, "ready")
            chaos.born[name] = 0
        for number in range(faults):
            try:
                await chaos.fault()
                await chaos.settle()
                await chaos.check()
            except BaseException as error:
                states = {name: await shop.status(name) for name in SERVICES}
                error.add_note(f"seed {SEED}, fault {number}, so far {chaos.made}: {states}")
                raise
        assert set(chaos.made) == {kind.__name__ for kind in (*UP, *DOWN)}
        # Who does nothing but fork is swept with the colony, if not with its service.
        await start(chaos, "web")
        await chaos.settle()
        while not await chaos.say("web", "chain"):
            await chaos.settle()
        await shop.wrote("web", b"chain")
    assert list(find(with_variable("COLONY_INSTANCE", shop.instance))) == []


@root_only
@pytest.mark.backends("asyncio")
async def test_two_hundred_faults_in_a_namespace_on_asyncio() -> None:
    await run(isolated=True)


@pytest.mark.backends("trio")
async def test_two_hundred_faults_on_the_hosts_network_on_trio() -> None:
    await run(isolated=False)
