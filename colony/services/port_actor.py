"""The port actor: one life of one service, which is one operating system process.

    start ── waits for what it comes after ── spawns ──▶ is asked until it is ready ──▶ ready
                                                │                                        │
        exits with `ProcessExited(status)` ◀────┴──────── the process ends ◀─────────────┤
        exits with `Sick(why)` ◀── it is ended ◀── never ready, or unhealthy ◀───────────┤
        `Shutdown` ◀── SIGTERM to the group, grace, SIGKILL, sweep ◀── told to stop ◀────┘

Which phase comes after which is `life`'s; here is what is done in each.

Let it crash: the actor never restarts anything. It ends with the process's status as its reason,
and its supervisor decides. What the process leaves behind does not outlive the actor, however that
ends: a task of the actor's own holds it, kills its group and sweeps up its strays on the way out.

Three ends are no crash, and the actor stays, without a process of its own:
    detached    the process ended in good order and left a server behind on its port: that is the
                service now (some dev servers do so when they see an agent)
    failed      its port is somebody else's, and no number of restarts will change that
    halted      an operator stopped it; its supervisor is told next
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Final

import anyio
import msgspec

from actors import (
    Actor,
    Call,
    Cast,
    Event,
    Ignore,
    OwnedTask,
    Reason,
    Refused,
    Stop,
    Timer,
    on,
)
from colony.escapes import one_line
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceLingers,
    ServiceReady,
    ServiceRemark,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceUnhealthy,
    ServiceWaiting,
)
from colony.services.board import Board, WaitUntil, board_name
from colony.services.holder import Holder
from colony.services.life import Happened, Life, Phase
from colony.services.machine import Machine, Running, Site
from colony.services.plan import (
    DETACH,
    HEALTH_INTERVAL,
    PROBED,
    PortTaken,
    Probe,
    ProcessExited,
    ServerGone,
    ServicePlan,
    Sick,
)
from netns import ExitStatus
from netns.errors import SpawnError

LINGER: Final = 1.0
"""Seconds after which a stop that is not done yet is remarked upon."""

PATIENT: Final = 10.0
"""Seconds after which it is remarked upon that a service is not ready, and why."""

LONGEST_STATUS: Final = 200
LONGEST_DEADLINE: Final = 3600.0
"""Letters of what a service says of itself that are kept; seconds by which it may put off, at once,
until when it has to be ready."""

SLOW_DETACH: Final = 30.0
"""Seconds that a server may take to listen in a life that has not been ready before."""

SAID: Final = 0.5
"""Seconds in which what a service says of itself is passed on once: some count to a thousand."""


class ServiceState(msgspec.Struct, frozen=True):
    """One life: its process, None if none runs; which life it is; and whether it is ready."""

    pid: int | None
    incarnation: int
    ready: bool


class GetState(Call["PortActor", ServiceState], frozen=True):
    """How the service is now. Of all its lives `board.GetService` tells."""


class Halt(Call["PortActor", None], frozen=True):
    """Ends the process as when the actor is stopped; the actor stays, for whoever stops it next."""


class StandDown(Cast["PortActor"], frozen=True):
    """It is going to be stopped, once those that come after it have ended: if it only waits for
    others it is done now, since what they may still come to is not to start it any more."""


class SendSignal(Call["PortActor", None], frozen=True):
    """Sends a signal to the process, or to its whole group. Refused if none runs."""

    signal: int
    group: bool = True


class WriteInput(Call["PortActor", int], frozen=True):
    """Writes to standard input; how many bytes that took. Refused if no process runs."""

    data: bytes


class Cleared(Cast["PortActor"], frozen=True):
    """What the service comes after is as it should be."""


class ProcessEnded(Cast["PortActor"], frozen=True):
    """The process has ended by itself."""


class ServerSought(Cast["PortActor"], frozen=True):
    """The process has ended in good order, and this is the server that it left behind, if any."""

    holder: Holder | None


class ServerEnded(Cast["PortActor"], frozen=True):
    """The server that the process had left behind has ended."""

    pid: int


class BecameReady(Cast["PortActor"], frozen=True):
    """The service is ready."""


class StillStarting(Cast["PortActor"], frozen=True):
    """The service has been starting for a while."""


class HasSaid(Cast["PortActor"], frozen=True):
    """The service has said something of itself a moment ago."""


class BecameSick(Cast["PortActor"], frozen=True):
    """The service was not ready in time, or is not well any more."""

    what: Happened
    text: str


class PortActor(Actor):
    """Owns one life of a service.

    plan
        What to run.
    machine
        What to run it on.

    `start` returns once the process runs, or at once if the service has to wait for others. It
    fails with `SpawnError` if the command cannot be executed, and with the reason `PortTaken` if
    another process of the host has its port in its first life.
    """

    site: Site

    def __init__(self, plan: ServicePlan, machine: Machine) -> None:
        self.plan = plan
        self.machine = machine
        self.life = Life(plan.service, waits=bool(plan.after))
        self.process: Running | None = None
        self.status: ExitStatus | None = None
        self.server: int | None = None
        self.ended = anyio.Event()
        self.began = 0.0
        self.ready = False
        self.swept = True
        self.watchers: list[OwnedTask] = []
        self.listener: OwnedTask | None = None
        self.deadline: Timer | None = None
        self.due = 0.0
        self.said = ""

    def __repr__(self) -> str:
        name = f"{self.plan.colony}/{self.plan.service}"
        return f"<PortActor {name} {self.life.phase.name} pid={self._pid}>"

    @property
    def _pid(self) -> int | None:
        if self.server is not None:
            return self.server
        return self.process.pid if self.process is not None and self.status is None else None

    def _publish(self, kind: type[Event], **fields: object) -> None:
        plan, now = self.plan, self.ctx.now
        event: Event = kind(at=now, colony=plan.colony, service=plan.service, **fields)  # type: ignore[call-arg]
        self.ctx.system.publish(event)

    # -- from start to ready -------------------------------------------------------------------

    async def start(self) -> Ignore | None:
        plan = self.plan
        self.site = await self.machine.site(plan, self.ctx.system)
        if plan.after:
            self._publish(ServiceWaiting, waits_for=tuple(str(wait) for wait in plan.after))
            self.ctx.run(self._wait)
            return None
        taken = await self._launch()
        if taken is not None and self.ctx.incarnation == 1 and not plan.isolated:
            # The user is there and can choose another port: better than half a colony.
            raise Stop(taken)
        if taken is not None:
            self._publish(ServiceFailed, reason=str(taken))
        return None

    async def _wait(self) -> None:
        board = self.ctx.system.named(board_name(self.plan.colony), Board)
        for wait in self.plan.after:
            await board.call(WaitUntil(wait.service, wait.condition, by=self.plan.service))
        self.ctx.ref.tell(Cleared())

    @on(Cleared)
    async def _cleared(self, _msg: Cleared) -> None:
        self.life.take(Happened.CLEARED)
        if self.life.phase is not Phase.SPAWNING:
            return
        try:
            taken = await self._launch()
        except (SpawnError, OSError, ValueError) as error:
            self.life.take(Happened.UNSPAWNABLE)
            self._publish(ServiceFailed, reason=str(error))
            raise
        if taken is not None:
            self._publish(ServiceFailed, reason=str(taken))

    async def _launch(self) -> PortTaken | None:
        """Starts the process, or returns why it would be in vain."""
        taken = await self._taken()
        if taken is not None:
            self.life.take(Happened.TAKEN)
            return taken
        await self._spawn()
        self.life.take(Happened.SPAWNED)
        self._watch()
        if self.plan.ready.kind not in PROBED:  # nobody will say when there is time
            await self.site.settle()
        return None

    async def _taken(self) -> PortTaken | None:
        """Whether somebody else has the port."""
        plan = self.plan
        if plan.port is None:
            return None
        holder = await self.site.taken()
        return None if holder is None else PortTaken(plan.port, str(holder), plan.isolated)

    async def _spawn(self) -> None:
        """Starts the process, and the task that holds it."""
        self.began = self.ctx.now
        ref = self.ctx.ref
        self.process = await self.site.spawn(lambda: ref.tell(BecameReady()))
        self.swept = False
        self.ctx.run(self._hold, self.process)
        pid, life = self.process.pid, self.ctx.incarnation
        self._publish(ServiceStarted, pid=pid, incarnation=life)

    async def _hold(self, process: Running) -> None:
        """Waits for the process, and sees to it that nothing of it is left, whoever ends first."""
        over = False
        try:
            self.status = await process.wait()
            self.ended.set()
            if self.life.running:
                self.ctx.ref.tell(ProcessEnded())
                if self._is_all(self.status) and self.listener is None and self.site.over():
                    # The actor's end, and so a restart, need not wait until this task has ended.
                    self.swept = over = True
                    return
            await anyio.sleep_forever()
        finally:
            if not over:
                process.signal_group(signal.SIGKILL)
                await process.aclose()
            if not self.swept:
                with anyio.CancelScope(shield=True):
                    await self._sweep()
            self.site.close()

    # -- whether it is well --------------------------------------------------------------------

    def _watch(self) -> None:
        """Finds out when it is ready, by whatever it is asked."""
        probe = self.plan.ready
        if self.plan.notifies:
            self.listener = self.ctx.run(self._listen)
        if probe.kind == "none":
            self._became_ready(BecameReady())
            return
        if probe.kind in PROBED:
            self.watchers.append(self.ctx.run(self._probe, probe))
        self.ctx.send_after(PATIENT, StillStarting())
        if probe.deadline is not None:
            self._expect_within(probe.deadline)

    def _expect_within(self, seconds: float) -> None:
        """To be ready by then, or when it was to be before, if that is later."""
        due = self.ctx.now + seconds
        if self.deadline is not None:
            if due <= self.due:
                return
            self.deadline.cancel()
        self.due = due
        text = f"not ready within {self.plan.ready.deadline:g} s"
        self.deadline = self.ctx.send_after(seconds, BecameSick(Happened.NEVER_READY, text))

    @on(StillStarting)
    def _still_starting(self, _msg: StillStarting) -> None:
        if self.life.phase is Phase.STARTING:
            text = f"not ready after {self.ctx.now - self.began:.0f} s{self._why_not()}"
            self._publish(ServiceRemark, text=text)

    def _why_not(self) -> str:
        why = self.site.unready()
        return f": {why}" if why else f" ({self.plan.ready})"

    async def _probe(self, probe: Probe) -> None:
        await self.site.until_ready(probe)
        await self._announce()
        await self.site.settle()

    async def _announce(self) -> None:
        """Says that it is ready: once the front door leads to it, so that its URL works by then."""
        if self.plan.port is not None:
            await self.site.routed()
        self.ctx.ref.tell(BecameReady())

    async def _listen(self) -> None:
        while True:
            told = await self.site.told()
            if told.get("READY") == "1":
                await self._announce()
            self._heed(told)

    def _heed(self, told: Mapping[str, str]) -> None:
        """What else a service may say of itself, by sd_notify(3)."""
        if "STATUS" in told:
            if not self.said:
                self.ctx.send_after(SAID, HasSaid())
            self.said = one_line(told["STATUS"], LONGEST_STATUS) or " "
        health = self.plan.health
        if told.get("WATCHDOG") == "trigger" and health is not None and health.kind == "notify":
            text = "unhealthy: by its own word (WATCHDOG=trigger)"
            self.ctx.ref.tell(BecameSick(Happened.UNHEALTHY, text))
        longer = told.get("EXTEND_TIMEOUT_USEC", "")
        if longer.isdecimal() and self.deadline is not None:
            self._expect_within(min(int(longer[:18]) / 1e6, LONGEST_DEADLINE))

    @on(HasSaid)
    def _has_said(self, _msg: HasSaid) -> None:
        text, self.said = self.said, ""
        self._publish(ServiceRemark, text=text.strip(), own=True)

    @on(BecameReady)
    def _became_ready(self, _msg: BecameReady) -> None:
        if not self.life.take(Happened.BECAME_READY):
            return
        self.ready = True
        probe = self.plan.ready
        self._publish(
            ServiceReady,
            port=self.plan.port,
            incarnation=self.ctx.incarnation,
            seconds=self.ctx.now - self.began,
            how="" if probe.kind == "none" else str(probe),
        )
        if self.plan.health is not None:
            self.watchers.append(self.ctx.run(self._check_health, self.plan.health))

    async def _check_health(self, probe: Probe) -> None:
        interval = probe.interval or HEALTH_INTERVAL
        failures = 0
        while True:
            reason = await self.site.check(probe, interval)
            failures = failures + 1 if reason else 0
            if not reason:
                continue
            allowed = probe.failures
            self._publish(ServiceUnhealthy, reason=reason, failures=failures, allowed=allowed)
            if failures >= allowed:
                text = f"unhealthy: {reason}"
                self.ctx.ref.tell(BecameSick(Happened.UNHEALTHY, text))
                return

    def _stop_watching(self) -> None:
        """Ends the probes, which may be processes with the service's own mark.

        What it says of itself is heard to its end: one whose words nobody takes has to wait.
        """
        for task in self.watchers:
            if not task.done.done():
                task.cancel()
        self.watchers.clear()

    @on(BecameSick)
    async def _became_sick(self, msg: BecameSick) -> None:
        if not self.life.take(msg.what):
            return
        text = msg.text + (self._why_not() if msg.what is Happened.NEVER_READY else "")
        _, strays = await self._end()
        self.life.take(Happened.GONE)
        self._crashed(Sick(text), strays)

    # -- the ends ------------------------------------------------------------------------------

    @on(ProcessEnded)
    async def _process_ended(self, _msg: ProcessEnded) -> None:
        status = self.status
        assert status is not None
        if not self.life.running:
            return  # whoever is ending it sees for himself
        if not self._is_all(status):
            self.watchers.append(self.ctx.run(self._seek_server))
            return
        await self._gone(status)

    def _is_all(self, status: ExitStatus) -> bool:
        """Whether nothing else of it can run: it has not left a server in its place."""
        return not status.ok or self.plan.port is None

    async def _gone(self, status: ExitStatus) -> None:
        strays = await self._clear_up()
        if not status.ok and self.life.phase is Phase.STARTING:
            taken = await self._taken()
            if taken is not None:
                self.life.take(Happened.TAKEN)
                self._publish_exit(ProcessExited(status), strays)
                self._publish(ServiceFailed, reason=str(taken))
                return
        self.life.take(Happened.EXITED)
        self._crashed(ProcessExited(status), strays)

    def _crashed(self, reason: Reason, strays: int) -> None:
        self._publish_exit(reason, strays)
        raise Stop(reason)

    def _publish_exit(self, reason: Reason, strays: int) -> None:
        code = self.status.code if isinstance(reason, ProcessExited) and self.status else None
        self._publish(
            ServiceExited,
            incarnation=self.ctx.incarnation,
            status=str(reason),
            seconds=self.ctx.now - self.began,
            orderly=reason.orderly,
            code=code,
            strays=strays,
        )

    async def _seek_server(self) -> None:
        """Finds out whether the process left a server on its port behind. Beside the actor, which
        may be told to stop meanwhile: some take long until they listen."""
        holder = await self.site.left_server(DETACH)
        if holder is None and self.life.phase is Phase.STARTING:
            holder = await self.site.left_server(SLOW_DETACH)
        self.ctx.ref.tell(ServerSought(holder))

    @on(ServerSought)
    async def _server_sought(self, msg: ServerSought) -> None:
        if not self.life.running:
            return
        if msg.holder is not None:
            self._detach(msg.holder)
            return
        assert self.status is not None
        await self._gone(self.status)

    def _detach(self, holder: Holder) -> None:
        self.life.take(Happened.LEFT_SERVER)
        self.server = holder.pid
        self._publish(ServiceDetached, pid=holder.pid, command=holder.command)
        self.watchers.append(self.ctx.run(self._watch_server, holder.pid))

    async def _watch_server(self, pid: int) -> None:
        """Waits until nobody of ours listens any more: a server may hand over to another."""
        while (holder := await self.site.successor(pid)) is not None:
            self.server = pid = holder.pid
            self._publish(ServiceDetached, pid=pid, command=holder.command)
        self.ctx.ref.tell(ServerEnded(pid))

    @on(ServerEnded)
    async def _server_ended(self, msg: ServerEnded) -> None:
        if not self.life.take(Happened.SERVER_GONE):
            return
        self._crashed(ServerGone(msg.pid), await self._clear_up())

    # -- stopping ------------------------------------------------------------------------------

    async def stopping(self, reason: Reason) -> None:
        """Stops the service, unless it has ended or was stopped before."""
        await self._stop()

    @on(Halt)
    async def _halt(self, _msg: Halt) -> None:
        await self._stop()

    @on(StandDown)
    async def _stand_down(self, _msg: StandDown) -> None:
        if self.life.phase is Phase.WAITING:
            await self._stop()

    async def _stop(self) -> None:
        if self.life.over:
            return
        asked, runs = self.ctx.now, self.process is not None and not self.swept
        self.life.take(Happened.STOP)
        killed, strays = False, 0
        if runs:
            self._publish(ServiceStopping, pid=self._pid or 0)
            killed, strays = await self._end()
        self._stop_watching()
        self.life.take(Happened.GONE)
        self._publish(
            ServiceStopped,
            status=str(ProcessExited(self.status)) if self.status is not None else "",
            killed=killed,
            seconds=self.ctx.now - asked,
            strays=strays,
        )

    async def _end(self) -> tuple[bool, int]:
        """Asks the process and its strays to end, waits, kills; whether it took the kill, and how
        many strays there were."""
        grace = self.plan.stop.grace
        self._stop_watching()
        lingers = self.ctx.system.timers.after(LINGER, lambda: self._remark(grace - LINGER))
        try:
            with anyio.move_on_after(grace) as waiting:
                why = await self.site.ask_to_end(self._pid or 0)
                if why:
                    text = f"its stop command failed, and the signal is sent instead: {why}"
                    self._publish(ServiceRemark, text=text)
                await self.ended.wait()
                await self.site.strays_ended()
        finally:
            lingers.cancel()
        return waiting.cancelled_caught, await self._clear_up()

    def _remark(self, left: float) -> None:
        if left > 0:
            self._publish(ServiceLingers, pid=self._pid or 0, seconds=left)

    async def _clear_up(self) -> int:
        """Kills what is left of the process, and reads what it has left to read; how many of its
        descendants were still there."""
        process = self.process
        assert process is not None
        self._stop_watching()
        process.signal_group(signal.SIGKILL)
        strays = 0 if self.swept else await self._sweep()
        if not self.ended.is_set():  # else `wait` would give others a turn, on a restart's way
            await self.ended.wait()
        await self.site.drained()
        if self.listener is not None:
            self.listener.cancel()
        self.server = None
        return strays

    async def _sweep(self) -> int:
        strays = await self.site.sweep()
        self.swept = True
        return strays

    # -- what is asked -------------------------------------------------------------------------

    @on(GetState)
    def _get_state(self, _msg: GetState) -> ServiceState:
        return ServiceState(self._pid, self.ctx.incarnation, self.ready and self.life.running)

    @on(SendSignal)
    def _send_signal(self, msg: SendSignal) -> None:
        if self.server is not None:
            self.site.signal_server(self.server, msg.signal)
            return
        process = self._running()
        process.signal_group(msg.signal) if msg.group else process.signal(msg.signal)

    @on(WriteInput)
    def _write_input(self, msg: WriteInput) -> int:
        self._running()
        try:
            return self.site.write(msg.data)
        except OSError as error:
            why = error.strerror
            raise Refused(f"{self.plan.service} does not read its input: {why}") from None

    def _running(self) -> Running:
        if self.process is None or not self.life.running:
            raise Refused(f"{self.plan.service} has no process: it is {self.life.phase.value}")
        return self.process
