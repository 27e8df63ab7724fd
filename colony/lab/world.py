"""A colony in a laboratory: the real tree on played processes, in virtual time.

    trace = simulate(config, Scenario(faults=(Fault(("web",), At(5.0), Crash()),), horizon=60.0))
    print(trace.ending)

    async with Simulation(config, Scenario(horizon=60.0)) as lab:       # under a virtual clock
        lab.crash("web")
        await lab.advance("10s")
        assert lab.state("web") == "ready"

What runs here is what runs at night: the services' supervisor and the colony's above it, one
`PortActor` for each service with its state machine, the board, the control. What is played is the
machine beneath them (`processes`), and the clock. So nothing here decides about restarts.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Literal, Self

import anyio

from actors import Event, Ref, StartFailed, Supervisor, System, backend, testing
from actors import events as kernel
from colony.config import Config
from colony.config.values import Refused
from colony.lab import faults, words
from colony.lab.agenda import LAST, Agenda
from colony.lab.faults import After, Crash, Exit, Fault, Hang, Scenario, What
from colony.lab.processes import LabMachine
from colony.lab.trace import Collector, Ending, Entry, Trace
from colony.services.control import (
    Control,
    RestartService,
    StartService,
    StopService,
    control_name,
)
from colony.services.specs import (
    SERVICES,
    Where,
    colony_children,
    colony_supervisor,
    first_statuses,
)
from colony.services.status import ServiceStatus, State, after, named_in


def simulate(config: Config, scenario: Scenario, backend: testing.BackendName = "asyncio") -> Trace:
    """Plays a scenario to its horizon, or to the colony's end, in an event loop of its own.

    Blocks. The same scenario gives the same trace, on either backend. Raises `ValueError` for a
    fault of a service that the colony does not have.
    """
    return testing.run(play, config, scenario, backend=backend)


async def play(config: Config, scenario: Scenario) -> Trace:
    """The same within an event loop, whose clock must be virtual."""
    async with Simulation(config, scenario) as lab:
        return await lab.finish()


class Simulation:
    """A colony that is being simulated, as an async context manager.

    config
        Whose services, and under which policy.
    scenario
        What is to happen by itself. Default: nothing, and processes without a will of their own.

    Entering it starts the colony at time 0 and returns once its services have started; leaving it
    stops the colony, which is no part of the trace. Needs a virtual clock: `actors.testing.run`,
    or a test under `actors.pytest_plugin`. Raises `RuntimeError` without one, and `ValueError` for
    a scenario with a service that the colony does not have.
    """

    def __init__(self, config: Config, scenario: Scenario | None = None) -> None:
        self.config = config
        self.scenario = scenario or Scenario()
        known = config.services
        named = {name for fault in self.scenario.faults for name in _named(fault)}
        for name in sorted(named | self.scenario.behaviours.keys()):
            if name not in known:
                raise ValueError(
                    f"the colony has no service {name!r}; it has {', '.join(known) or 'none'}"
                )
        self.statuses = {each.service: each for each in first_statuses(config, {})}
        """How each service is now, as `colony ps` would show it."""
        self.top: Ref[Supervisor] | None = None
        self.ended = False
        """Whether the colony has ended: it gave up, or a service ended that ends it."""
        self._over = anyio.Event()
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {each.state}" for name, each in self.statuses.items())
        return f"<Simulation of {self.config.name}: {states}>"

    # -- its life ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if not backend.is_virtual():
            raise RuntimeError(
                "a simulation needs a virtual clock: run it by actors.testing.run(), or in a test "
                "under the plugin actors.pytest_plugin, without the mark real_time"
            )
        await self._stack.__aenter__()
        try:
            await self._begin()
        except BaseException:
            await self._stack.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The group is left without the block's exception, which it would wrap.
        await self._stack.__aexit__(None, None, None)

    async def _begin(self) -> None:
        name = self.config.name
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self.agenda = Agenda(backend.current().now)
        group.start_soon(self.agenda.run)
        self._stack.callback(self.agenda.stop)
        self.system = await self._stack.enter_async_context(System(log_crashes=False))
        self.began = self.system.now()
        self.machine = LabMachine(self.agenda, self.scenario, self._silence)
        self.path = f"{name}/{SERVICES}"
        self.collector = Collector.of(self.config, supervisor=self.path, began=self.began)
        self.system.events.listen(self._note)
        self._foresee()
        where = Where("lab", "", _isolated(self.config), self.machine, self.scenario.seed)
        children = colony_children(self.config, where, {}, {}, self.path)
        with suppress(StartFailed):
            self.top = await self.system.start(colony_supervisor(name, children))
        if self.top is None:
            self._end()

    async def finish(self) -> Trace:
        """Lets time pass until the scenario's horizon, or until the colony has ended."""
        due = self.began + self.scenario.horizon
        item = self.agenda.at(due, LAST, self._over.set)
        try:
            await self._over.wait()
        finally:
            item.cancel()
        await self.agenda.settle()
        return self._trace(self.scenario.horizon)

    async def advance(self, duration: str | float) -> None:
        """Lets time pass, and returns when all that happens until then has happened.

        `duration` is a number of seconds, or a text as "500ms", "5s", "2m", "1h". Raises
        `ValueError` for another. Cancelling leaves the rest of the time to come.
        """
        await anyio.sleep(_seconds(duration))
        await self.agenda.settle()

    @property
    def now(self) -> float:
        """Seconds since the colony's start."""
        return self.system.now() - self.began

    # -- what has happened ---------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        self.collector.take(event)
        name = named_in(event)
        status = self.statuses.get(name)
        if status is not None:
            self.statuses[name] = after(status, event, self.path)
        if isinstance(event, kernel.Exited) and event.actor == self.config.name:
            self._end()

    def _silence(self, service: str, silent: bool) -> None:
        self.collector.note(self.system.now(), service, "hung" if silent else "answering")

    def _end(self) -> None:
        self.ended = True
        self._over.set()

    def state(self, service: str) -> State:
        """How a service is now. Raises `KeyError`, with the names that there are."""
        return self.status(service).state

    def status(self, service: str) -> ServiceStatus:
        """All that is known of a service. Raises `KeyError`."""
        self._check(service)
        return self.statuses[service]

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        return self._trace(self.now)

    def _trace(self, horizon: float) -> Trace:
        return self.collector.trace(horizon, Ending("horizon", horizon))

    def _check(self, service: str) -> None:
        if service not in self.statuses:
            known = ", ".join(self.statuses)
            raise KeyError(f"the colony has no service {service!r}; it has {known}")

    # -- what is to happen ---------------------------------------------------------------------

    def crash(self, *services: str, signal: int = 9) -> None:
        """Ends the services' processes by a signal, SIGKILL by default. See `strike`."""
        self.strike(services, Crash(signal))

    def exit(self, service: str, code: int = 0) -> None:
        """Has a service's process exit with a code. See `strike`."""
        self.strike((service,), Exit(code))

    def hang(self, service: str, lasting: str | float | None = None) -> None:
        """Has a service's process run on and answer no more: for a while, or as long as it lives.
        See `strike`."""
        self.strike((service,), Hang(), lasting)

    def strike(
        self, services: Iterable[str], what: What, lasting: str | float | None = None
    ) -> None:
        """Does something to services now, to all of them at one instant. `lasting` as a `Fault`'s.

        What follows from it has not happened when this returns: `advance`, or `settle`. It is in
        the trace as `fault`, or as `missed` for a service without a process. Raises `KeyError` for
        a service that the colony does not have.
        """
        seconds = None if lasting is None else _seconds(lasting)
        for service in services:
            self._check(service)
            hit = self.machine.strike(service, what, seconds)
            kind: Literal["fault", "missed"] = "fault" if hit else "missed"
            self.collector.note(self.system.now(), service, kind, str(what))

    async def settle(self) -> None:
        """Waits until all that follows from what was done has happened. No time passes."""
        await self.agenda.settle()

    async def stop_service(self, service: str) -> ServiceStatus:
        """Stops a service as an operator does. Raises `NotPossible`, and `UnknownService`."""
        return await self._control().call(StopService(service))

    async def start_service(self, service: str) -> ServiceStatus:
        """Starts a service that is down, as an operator does."""
        return await self._control().call(StartService(service))

    async def restart_service(self, service: str) -> ServiceStatus:
        """Stops a service and starts it, as an operator does; it is not counted."""
        return await self._control().call(RestartService(service))

    def _control(self) -> Ref[Control]:
        return self.system.named(control_name(self.config.name), Control)

    # -- the scenario's faults -----------------------------------------------------------------

    def _foresee(self) -> None:
        """Puts the faults of the scenario on the agenda: each time when the one before has come,
        since there is no end of some of them."""
        for number, fault in enumerate(self.scenario.faults):
            if isinstance(fault.moment, After):
                self.collector.listen(self._follower(fault, fault.moment))
            else:
                chance = faults.dice(self.scenario.seed, "fault", str(number))
                times = faults.times_of(fault, chance, self.scenario.horizon)
                self._await_next(fault, times)

    def _await_next(self, fault: Fault, times: Iterator[float]) -> None:
        at = next(times, None)
        if at is None:
            return

        def come() -> None:
            self.strike(fault.services, fault.what, fault.lasting)
            self._await_next(fault, times)

        if at:
            self.agenda.at(self.began + at, "", come)
        else:
            come()  # before anybody has started

    def _follower(self, fault: Fault, moment: After) -> Callable[[Entry], None]:
        count = itertools.count(1)

        def heard(entry: Entry) -> None:
            late = fault.until is not None and entry.at + moment.delay > fault.until
            if not moment.met_by(entry) or late:
                return
            if fault.times is None or next(count) <= fault.times:
                due = self.began + entry.at + moment.delay
                self.agenda.at(due, "", lambda: self.strike(*_blow(fault)))

        return heard


def _blow(fault: Fault) -> tuple[tuple[str, ...], What, float | None]:
    return fault.services, fault.what, fault.lasting


def _named(fault: Fault) -> Iterator[str]:
    yield from fault.services
    if isinstance(fault.moment, After):
        yield fault.moment.service


def _seconds(duration: str | float) -> float:
    try:
        found: float = words.seconds(duration)
    except Refused as refused:
        raise ValueError(f"a duration {refused.message}") from None
    return found


def _isolated(config: Config) -> bool:
    return config.network.mode != "host"
