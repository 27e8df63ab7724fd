"""The machine of a simulation: processes that are only played, on a virtual clock.

    machine = LabMachine(agenda, scenario)
    Where("lab", "", True, machine)             # and the real tree runs on it
    machine.strike("web", Crash())              # False: it has no process

A process here is a few appointments on the agenda: when it is ready, when its life is over, when
it has taken note of a signal. Whoever waits for it is woken then, and nobody looks in between: a
health check that would succeed is not made, one that would fail is made at the time at which the
real one would have been. So hours in which nothing happens cost nothing.

What a process does by itself is its service's `Behaviour`; what is done to it comes as `strike`.
"""

from __future__ import annotations

import itertools
import math
import random
import signal
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from actors import System
from colony.lab import faults
from colony.lab.agenda import Agenda, Item
from colony.lab.faults import Behaviour, Crash, Exit, Lived, Scenario, What
from colony.services.holder import Holder
from colony.services.plan import Probe, ServicePlan
from netns import ExitStatus, SpawnError

FIRST_PID: Final = 1001

IGNORED: Final = frozenset({0, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH})
"""Signals that do nothing to a process that does not ask for them."""

LEEWAY: Final = 1.0
"""Seconds that a life which was cut short may be cut later here, as one of another's that ended."""

IN_VAIN: Final = 0.002
"""Seconds that a shell takes to see that there is no such command."""

STRANGER: Final = Holder(FIRST_PID - 1, "somebody else's server")
"""Who has a port that was stolen."""


def status_of(end: Crash | Exit) -> ExitStatus:
    """How a process ends."""
    return ExitStatus(end.code) if isinstance(end, Exit) else ExitStatus(None, end.signal)


class LabProcess:
    """One process: from its start until `end`."""

    def __init__(self, agenda: Agenda, service: str, pid: int) -> None:
        self.agenda = agenda
        self.service = service
        self.pid = pid
        self.born = agenda.now()
        self.status: ExitStatus | None = None
        self.ended = anyio.Event()
        self.ready = anyio.Event()
        self.changed = anyio.Event()
        self.frozen_at: float | None = None
        self.stop = 0.0
        self.deaf: Callable[[], bool] = lambda: False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_silence: Callable[[bool], None] = lambda silent: None
        self._readying: Item | None = None
        self._endings: list[Item] = []

    def __repr__(self) -> str:
        return f"<LabProcess {self.pid} of {self.service} {self.status or 'running'}>"

    # -- what it does --------------------------------------------------------------------------

    def ready_in(self, seconds: float | None) -> None:
        """It is ready so much later; None: never. What was said before does not count."""
        if self._readying is not None:
            self._readying.cancel()
        self._readying = None
        if seconds is not None:
            due = self.agenda.now() + seconds
            self._readying = self.agenda.at(due, self.service, self._is_ready)

    def later(self, seconds: float) -> None:
        """It is ready so much later than it would have been, unless it is already."""
        if self._readying is not None and self._readying.action is not None:
            self.ready_in(self._readying.due + seconds - self.agenda.now())

    def end_at(self, due: float, status: ExitStatus) -> None:
        """It ends then, if it has not before."""
        due = max(due, self.agenda.now())
        item = self.agenda.at(due, self.service, lambda: self._end_in_turn(status))
        self._endings.append(item)

    def _is_ready(self) -> None:
        if self.frozen_at is None:
            self.ready.set()
            self.on_ready()

    def freeze(self) -> None:
        """It runs on and answers nobody."""
        if self.frozen_at is None and self.status is None:
            self.frozen_at = self.agenda.now()
            self.on_silence(True)
            self.stir()

    def thaw(self) -> None:
        """It answers again."""
        if self.frozen_at is not None and self.status is None:
            self.frozen_at = None
            self.on_silence(False)
            if self._readying is not None and self._readying.action is None:
                self._is_ready()
            self.stir()

    def stir(self) -> None:
        """Lets whoever waits for a change look again."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    def end(self, status: ExitStatus) -> None:
        """It is dead now; whoever waits for it hears of that when his turn comes."""
        if self.status is None:
            self._die(status)
            self.agenda.at(self.agenda.now(), self.service, self.ended.set)

    def _end_in_turn(self, status: ExitStatus) -> None:
        if self.status is None:
            self._die(status)
            self.ended.set()

    def _die(self, status: ExitStatus) -> None:
        self.status = status
        for item in self._endings:
            item.cancel()
        if self._readying is not None:
            self._readying.cancel()

    # -- as a port actor has it ----------------------------------------------------------------

    async def wait(self) -> ExitStatus:
        """Waits for its end."""
        await self.ended.wait()
        assert self.status is not None
        return self.status

    def signal(self, number: int) -> None:
        """What a signal does: SIGKILL at once, most others after a while, unless it is deaf."""
        if number == signal.SIGKILL:
            self.end(ExitStatus(None, number))
        elif number == signal.SIGSTOP:
            self.freeze()
        elif number == signal.SIGCONT:
            self.thaw()
        elif number not in IGNORED and not self.deaf() and self.status is None:
            self.end_at(self.agenda.now() + self.stop, ExitStatus(None, number))

    def signal_group(self, number: int) -> None:
        """The same: it is alone in its group."""
        self.signal(number)

    async def aclose(self) -> None:
        """Kills it if it still runs."""
        self.end(ExitStatus(None, signal.SIGKILL))


class Stage:
    """Where the lives of one service take place, one after the other."""

    def __init__(self, service: str, behaviour: Behaviour, dice: random.Random) -> None:
        self.service = service
        self.behaviour = behaviour
        self.dice = dice
        self.lives = 0
        self.process: LabProcess | None = None
        self.server: LabProcess | None = None
        self.port: int | None = None
        self.probed = True
        self.force: dict[type[What], tuple[What, float]] = {}

    def __repr__(self) -> str:
        return f"<Stage of {self.service}: life {self.lives}, {self.process}>"

    @property
    def living(self) -> LabProcess | None:
        """What runs of it: its process, or the server that this left behind."""
        for each in (self.process, self.server):
            if each is not None and each.status is None:
                return each
        return None

    def in_force(self, kind: type[What], now: float) -> What | None:
        """The state of this kind that the service is in, if it is in one."""
        what, until = self.force.get(kind, (None, 0.0))
        return what if now < until else None

    def deaf(self, now: float) -> bool:
        """Whether a signal to stop does nothing."""
        ignores = self.in_force(faults.IgnoreStop, now)
        return self.behaviour.ignores_stop or ignores is not None


class LabMachine:
    """Plays the processes of a colony's services, as a scenario says that they behave.

    `silence` is called when a service's process begins to answer nobody, and when it answers again.
    """

    def __init__(
        self,
        agenda: Agenda,
        scenario: Scenario,
        silence: Callable[[str, bool], None] = lambda service, silent: None,
    ) -> None:
        self.agenda = agenda
        self.scenario = scenario
        self.silence = silence
        self.stages: dict[str, Stage] = {}
        self._pids = itertools.count(FIRST_PID)

    def __repr__(self) -> str:
        return f"<LabMachine of {', '.join(self.stages) or 'nobody'}>"

    def stage(self, service: str) -> Stage:
        """A service's stage."""
        stage = self.stages.get(service)
        if stage is None:
            chance = faults.dice(self.scenario.seed, "service", service)
            stage = Stage(service, self.scenario.behaviour(service), chance)
            self.stages[service] = stage
        return stage

    async def site(self, plan: ServicePlan, system: System) -> LabSite:
        """A site for the next life of a service."""
        stage = self.stage(plan.service)
        stage.port, stage.probed = plan.port, plan.ready.kind != "none"
        return LabSite(self, stage, plan)

    # -- births --------------------------------------------------------------------------------

    def process(self, service: str) -> LabProcess:
        """A process that runs, of which nothing more is known."""
        stage = self.stage(service)
        process = LabProcess(self.agenda, service, next(self._pids))
        process.deaf = lambda: stage.deaf(self.agenda.now())
        process.on_silence = lambda silent: self.silence(service, silent)
        return process

    def born(self, stage: Stage, on_ready: Callable[[], None]) -> LabProcess:
        """The next life's process, with all that it is going to do by itself."""
        behaviour, chance, now = stage.behaviour, stage.dice, self.agenda.now()
        lived = self._lived(stage)
        ready = behaviour.ready.draw(chance) if lived.ready is None else lived.ready
        process = stage.process = self.process(stage.service)
        process.stop = behaviour.stop.draw(chance)
        process.on_ready = on_ready
        slow = stage.in_force(faults.SlowStart, now)
        if isinstance(slow, faults.SlowStart):
            ready += slow.seconds
        if stage.probed and stage.in_force(faults.NeverReady, now) is None:
            process.ready_in(ready)
        self._lead(stage, process, lived, now)
        flapping = stage.in_force(faults.Flapping, now)
        if isinstance(flapping, faults.Flapping):
            process.end_at(now + flapping.up, ExitStatus(flapping.code))
        if stage.in_force(faults.Hang, now) is not None:
            process.freeze()
        return process

    def _lead(self, stage: Stage, process: LabProcess, lived: Lived, since: float) -> None:
        """Has a process live as is written, from `since` on."""
        at, service, now = self.agenda.at, stage.service, self.agenda.now()
        if lived.hangs is not None:
            at(max(since + lived.hangs, now), service, process.freeze)
        if lived.lasts is None:
            return
        due = since + lived.lasts
        if not lived.cut:
            process.end_at(due, status_of(lived.end))
            return

        def go_on() -> None:
            if process.status is None:
                self._lead(stage, process, self._lived(stage), due)

        at(max(due + LEEWAY, now), service, go_on)

    def _lived(self, stage: Stage) -> Lived:
        """How the next life is to be."""
        behaviour, chance = stage.behaviour, stage.dice
        stage.lives += 1
        if stage.lives <= len(behaviour.lives):
            return behaviour.lives[stage.lives - 1]
        if behaviour.lifetime is None:
            return Lived()
        return Lived(behaviour.lifetime.draw(chance), chance.choice(behaviour.ends))

    # -- what is done to them ------------------------------------------------------------------

    def strike(self, service: str, what: What, lasting: float | None = None) -> bool:
        """Does something to a service now; whether there was somebody that it could happen to."""
        stage, now = self.stage(service), self.agenda.now()
        living = stage.living
        if isinstance(what, faults.STATES):
            if not isinstance(what, faults.Hang) or lasting is not None:
                until = math.inf if lasting is None else now + lasting
                stage.force[type(what)] = what, until
            elif living is None:
                return False
            if living is not None:
                self._befall(living, what)
            if isinstance(what, faults.Hang) and lasting is not None:
                self.agenda.at(now + lasting, service, lambda: self._recover(stage))
            return True
        if living is None:
            return False
        if isinstance(what, faults.Daemonise):
            self._daemonise(stage, living)
        else:
            living.end(status_of(what))
        return True

    def _befall(self, process: LabProcess, what: What) -> None:
        match what:
            case faults.Hang():
                process.freeze()
            case faults.NeverReady():
                process.ready_in(None)
            case faults.SlowStart(seconds):
                process.later(seconds)
            case faults.Flapping(up, code):
                process.end_at(process.born + up, ExitStatus(code))

    def _recover(self, stage: Stage) -> None:
        if stage.in_force(faults.Hang, self.agenda.now()) is None and stage.living is not None:
            stage.living.thaw()

    def _daemonise(self, stage: Stage, process: LabProcess) -> None:
        if stage.port is not None and process is stage.process:
            stage.server = self.process(stage.service)
            stage.server.stop = process.stop
            process.stir()
        process.end(ExitStatus(0))


class LabSite:
    """One life of a service whose process is played."""

    def __init__(self, machine: LabMachine, stage: Stage, plan: ServicePlan) -> None:
        self.machine = machine
        self.agenda = machine.agenda
        self.stage = stage
        self.plan = plan
        self.process: LabProcess | None = None
        self._checked: float | None = None
        self._well = True
        self._told = False

    def __repr__(self) -> str:
        return f"<LabSite of {self.plan.service} {self.process or 'empty'}>"

    # -- from start to ready -------------------------------------------------------------------

    async def taken(self) -> Holder | None:
        """The stranger who has stolen the port, if one has."""
        self._end_server()
        stolen = self.stage.in_force(faults.PortStolen, self.agenda.now())
        return None if stolen is None or self.plan.port is None else STRANGER

    async def spawn(self, found: Callable[[], None]) -> LabProcess:
        """Takes as long as the behaviour says."""
        stage, argv = self.stage, self.plan.argv
        missing = stage.in_force(faults.Unstartable, self.agenda.now()) is not None
        by_shell = argv[:2] == ("/bin/sh", "-c")
        if missing and not by_shell:
            program = argv[0] if argv else "?"
            raise SpawnError(f"cannot start {program!r}: {program} does not exist")
        seconds = stage.behaviour.spawn.draw(stage.dice)
        await self.agenda.until(self.agenda.now() + seconds, stage.service)
        on_ready = found if self.plan.ready.kind == "log" else (lambda: None)
        self.process = self.machine.born(stage, on_ready)
        if missing:
            self.process.end_at(self.agenda.now() + IN_VAIN, ExitStatus(127))
        return self.process

    async def until_ready(self, probe: Probe) -> None:
        """Waits for the process."""
        await self._process.ready.wait()

    async def settle(self) -> None:
        """Nothing is left to do."""

    def unready(self) -> str:
        """Nothing is known: it is not asked."""
        return ""

    async def told(self) -> Mapping[str, str]:
        """READY=1 when it is, if it is to say so; after that it has nothing to say."""
        if self._told or self.plan.ready.kind != "notify":
            await anyio.sleep_forever()
        await self._process.ready.wait()
        self._told = True
        return {"READY": "1"}

    async def routed(self) -> None:
        """There is no front door to wait for."""

    async def check(self, probe: Probe, interval: float) -> str:
        """Waits for the next check that fails, or for the first that succeeds after one."""
        if probe.kind == "tcp":
            # The kernel accepts connections for a process that hangs: by tcp there is nothing to
            # see, as long as it lives.
            await anyio.sleep_forever()
        while True:
            due = await self._next_check(probe, interval)
            await self.agenda.until(due, self.plan.service)
            reason = await self._asked(probe, interval)
            self._checked = self.agenda.now()
            was_well, self._well = self._well, not reason
            if reason or not was_well:
                return reason

    async def _next_check(self, probe: Probe, interval: float) -> float:
        """When the next check is due that is worth making."""
        last = self.agenda.now() if self._checked is None else self._checked
        if self._well:
            while self._process.frozen_at is None:
                await self._process.changed.wait()
        missed = math.ceil((self.agenda.now() - last) / interval)
        return last + interval * max(missed, 1)

    async def _asked(self, probe: Probe, interval: float) -> str:
        """One health check of a process that may hang."""
        process = self._process
        if process.frozen_at is None:
            return ""
        if probe.kind == "notify":
            silent = self.agenda.now() - process.frozen_at
            return f"no sign of life for {silent:.3g} s" if silent > interval else ""
        due = self.agenda.now() + probe.timeout
        await self.agenda.until(due, self.plan.service)
        if process.frozen_at is None:
            return ""
        return f"{probe}: no answer within {probe.timeout:g} s"

    @property
    def _process(self) -> LabProcess:
        assert self.process is not None
        return self.stage.living or self.process

    # -- the ends ------------------------------------------------------------------------------

    async def left_server(self, patience: float) -> Holder | None:
        """The server, if the process has turned into one."""
        server = self.stage.server
        if server is None or server.status is not None:
            return None
        plan = self.plan
        return Holder(server.pid, plan.argv[0] if plan.argv else "?", plan.colony, plan.service)

    async def successor(self, pid: int) -> Holder | None:
        """Waits for the server's end; nobody comes after it."""
        if self.stage.server is not None:
            await self.stage.server.wait()
        return None

    def signal_server(self, pid: int, number: int) -> None:
        """Signals the server."""
        if self.stage.server is not None:
            self.stage.server.signal(number)

    async def ask_to_end(self, pid: int) -> str:
        """Sends the signal; a command to stop is taken for one that sends SIGTERM."""
        number = signal.SIGTERM if self.plan.stop.command else self.plan.stop.signal
        for each in (self.process, self.stage.server):
            if each is not None:
                each.signal(number)
        return ""

    async def strays_ended(self) -> None:
        """Waits for the server, if there is one."""
        if self.stage.server is not None:
            await self.stage.server.wait()

    def over(self) -> bool:
        """Not told: a server may be left, whose end takes a turn."""
        return False

    async def sweep(self) -> int:
        """Kills the server, if there is one."""
        killed = self._end_server()
        if killed:
            await self.agenda.until(self.agenda.now(), self.plan.service)
        return killed

    def _end_server(self) -> int:
        server, self.stage.server = self.stage.server, None
        if server is None or server.status is not None:
            return 0
        server.end(ExitStatus(None, signal.SIGKILL))
        return 1

    async def drained(self) -> None:
        """It has written nothing."""

    def write(self, data: bytes) -> int:
        """Takes everything."""
        return len(data)

    def close(self) -> None:
        """There is nothing to close."""
