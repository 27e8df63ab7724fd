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

import os
import signal
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from actors import (
    Actor,
    ActorDown,
    Call,
    Cast,
    Event,
    Ignore,
    OwnedTask,
    Reason,
    Refused,
    Stop,
    backend,
    on,
)
from colony.config.interpolation import arguments, resolved
from colony.environment import read_env_files
from colony.events import (
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceLingers,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceUnhealthy,
    ServiceWaiting,
)
from colony.logs import Logs
from colony.patterns import compiled
from colony.services.board import Board, WaitUntil, board_name
from colony.services.channels import Channels, LineWatch
from colony.services.ending import ask_to_end, lingering
from colony.services.holder import SERVICE_VARIABLE, Holder, Search, strays_of
from colony.services.life import Happened, Life, Phase
from colony.services.notify import NotifySocket
from colony.services.plan import (
    PortTaken,
    Probe,
    ProcessExited,
    ServerGone,
    ServicePlan,
    Sick,
)
from colony.services.probes import Prober
from colony.terminals.service import (
    ServiceTerminal,
    ServiceTerminals,
    TerminalOf,
    terminals_of_services,
)
from netns import ExitStatus, Namespace, NetworkThread, Process, spawn, sweep
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.errors import SpawnError
from netns.names import COLONY_VARIABLE
from proxy.actors import DOOR, DoorOwner, Settled

FIRST_PROBE: Final = 0.005
SLOWEST_PROBE: Final = 0.25
PROBE_FACTOR: Final = 1.5
"""Seconds between two looks whether a service is ready: short at first, then longer."""

HEALTH_INTERVAL: Final = 10.0
"""Seconds between two health checks, if nothing else is said."""

DRAIN: Final = 0.5
"""Seconds that what a dead process left in its pipes may take to be read."""

ROUTED: Final = 2.0
"""Seconds that a service which listens waits at most for its route at the front door."""

DETACH: Final = 2.0
"""Seconds that a server which was left behind may take until it listens."""

LINGER: Final = 1.0
"""Seconds after which a stop that is not done yet is remarked upon."""


class ServiceState(msgspec.Struct, frozen=True):
    """One life: its process, None if none runs; which life it is; and whether it is ready."""

    pid: int | None
    incarnation: int
    ready: bool


class GetState(Call["PortActor", ServiceState], frozen=True):
    """How the service is now. Of all its lives `board.GetService` tells."""


class Halt(Call["PortActor", None], frozen=True):
    """Ends the process as when the actor is stopped; the actor stays, for whoever stops it next."""


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


class ServerEnded(Cast["PortActor"], frozen=True):
    """The server that the process had left behind has ended."""

    pid: int


class BecameReady(Cast["PortActor"], frozen=True):
    """The service is ready."""


class BecameSick(Cast["PortActor"], frozen=True):
    """The service was not ready in time, or is not well any more."""

    what: Happened
    text: str


class PortActor(Actor):
    """Owns one life of a service.

    plan
        What to run.
    thread
        The network thread, from which processes are started.
    logs
        Who reads its output.

    `start` returns once the process runs, or at once if the service has to wait for others. It
    fails with `SpawnError` if the command cannot be executed, and with the reason `PortTaken` if
    another process of the host has its port in its first life.
    """

    def __init__(self, plan: ServicePlan, thread: NetworkThread, logs: Logs) -> None:
        self.plan = plan
        self.thread = thread
        self.logs = logs
        self.life = Life(plan.service, waits=bool(plan.after))
        self.place: Namespace | None = None
        self.process: Process | None = None
        self.channels: Channels | None = None
        self.notify: NotifySocket | None = None
        self.status: ExitStatus | None = None
        self.server: int | None = None
        self.env: dict[str, str] = {}
        self.ended = anyio.Event()
        self.began = 0.0
        self.ready = False
        self.alive_at = 0.0
        self.swept = True
        self.watchers: list[OwnedTask] = []

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
        if plan.isolated:
            owner = self.ctx.system.named(namespace_name(plan.colony), NamespaceOwner)
            self.place = await owner.call(GetNamespace())
        self.search = Search(self.thread, self.place)
        self.strays = strays_of(plan.instance, plan.colony, plan.service, self.place)
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
        return None

    async def _taken(self) -> PortTaken | None:
        """Whether somebody else has the port. A stray of an earlier life of ours has it no more."""
        plan = self.plan
        if plan.port is None:
            return None
        holder = await self.search.holder(plan.port)
        if holder is not None and self._is_ours(holder):
            await sweep.kill_all(self.strays)
            holder = await self.search.holder(plan.port)
        return None if holder is None else PortTaken(plan.port, str(holder), plan.isolated)

    def _is_ours(self, holder: Holder) -> bool:
        return (holder.colony, holder.service) == (self.plan.colony, self.plan.service)

    async def _spawn(self) -> None:
        """Starts the process, and the task that holds it."""
        plan = self.plan
        self.began = self.alive_at = self.ctx.now
        await self._prepare_environment()
        channels = self.channels = Channels(pty=plan.pty, shown=await self._shown())
        theirs = channels.theirs
        try:
            self.process = await spawn(
                self.thread,
                arguments(plan.argv, self.env),
                namespace=self.place,
                instance=plan.instance,
                cwd=plan.cwd,
                env=self.env,
                stdin=theirs.get("stdin"),
                stdout=theirs.get("stdout"),
                stderr=theirs.get("stderr"),
                session=plan.pty,
                controlling_tty=channels.terminal,
            )
        except BaseException:
            self._close()
            raise
        self.swept = False
        self.ctx.run(self._hold, self.process)
        channels.attach(self.logs, plan.colony, plan.service, self._line_watch())
        channels.started()
        pid, life = self.process.pid, self.ctx.incarnation
        self._publish(ServiceStarted, pid=pid, incarnation=life)

    async def _prepare_environment(self) -> None:
        plan = self.plan
        self.env = dict(plan.env)
        if plan.env_files:
            self.env |= await anyio.to_thread.run_sync(read_env_files, plan.env_files)
        # Whatever the file says, these two stay: it is by them that strays are found.
        self.env |= resolved(plan.env_over, self.env)
        self.env |= {COLONY_VARIABLE: plan.colony, SERVICE_VARIABLE: plan.service}
        if "notify" in (plan.ready.kind, plan.health and plan.health.kind):
            self.notify = NotifySocket(plan.runtime)
            self.env["NOTIFY_SOCKET"] = self.notify.path

    async def _shown(self) -> ServiceTerminal | None:
        """Where its terminal is shown, if it has one."""
        if not self.plan.pty:
            return None
        with suppress(LookupError):
            name = terminals_of_services(self.plan.colony)
            keeper = self.ctx.system.named(name, ServiceTerminals)
            return await keeper.call(TerminalOf(self.plan.service))
        return None

    def _line_watch(self) -> LineWatch | None:
        if self.plan.ready.kind != "log":
            return None
        soon, ref = backend.current().call_soon_threadsafe, self.ctx.ref

        def found() -> None:
            with suppress(RuntimeError):  # the loop is gone
                soon(lambda: ref.tell(BecameReady()))

        return LineWatch(compiled(self.plan.ready.pattern), found)

    async def _hold(self, process: Process) -> None:
        """Waits for the process, and sees to it that nothing of it is left, whoever ends first."""
        try:
            self.status = await process.wait()
            self.ended.set()
            if self.life.running:
                self.ctx.ref.tell(ProcessEnded())
            await anyio.sleep_forever()
        finally:
            process.signal_group(signal.SIGKILL)
            await process.aclose()
            if not self.swept:
                with anyio.CancelScope(shield=True):
                    await self._sweep()
            self._close()

    def _close(self) -> None:
        if self.channels is not None:
            self.channels.close(self.logs)
        if self.notify is not None:
            self.notify.close()

    # -- whether it is well --------------------------------------------------------------------

    def _watch(self) -> None:
        """Finds out when it is ready, by whatever it is asked."""
        probe = self.plan.ready
        self.prober = Prober(self.plan, self.thread, self.place, self.env)
        if self.notify is not None:
            self.watchers.append(self.ctx.run(self._listen, self.notify))
        if probe.kind == "none":
            self._became_ready(BecameReady())
            return
        if probe.kind in ("tcp", "http", "exec"):
            self.watchers.append(self.ctx.run(self._probe, probe))
        if probe.deadline is not None:
            text = f"not ready within {probe.deadline:g} s ({probe})"
            self.ctx.send_after(probe.deadline, BecameSick(Happened.NEVER_READY, text))

    async def _probe(self, probe: Probe) -> None:
        pause = probe.interval or FIRST_PROBE
        while await self.prober.attempt(probe):
            await anyio.sleep(pause)
            if probe.interval is None:
                pause = min(pause * PROBE_FACTOR, SLOWEST_PROBE)
        await self._announce()

    async def _announce(self) -> None:
        """Says that it is ready: once the front door leads to it, so that its URL works by then."""
        if self.plan.port is not None:
            with suppress(ActorDown), anyio.move_on_after(ROUTED):
                await self.ctx.system.named(DOOR, DoorOwner).call(Settled())
        self.ctx.ref.tell(BecameReady())

    async def _listen(self, notify: NotifySocket) -> None:
        while True:
            told = await notify.receive()
            self.alive_at = self.ctx.now
            if told.get("READY") == "1":
                await self._announce()

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
            await anyio.sleep(interval)
            if probe.kind == "notify":
                silent = self.ctx.now - self.alive_at
                reason = f"no sign of life for {silent:.3g} s" if silent > interval else ""
            else:
                reason = await self.prober.attempt(probe)
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
        """Ends the probes, which may be processes with the service's own mark."""
        for task in self.watchers:
            task.cancel()
        self.watchers.clear()

    @on(BecameSick)
    async def _became_sick(self, msg: BecameSick) -> None:
        if not self.life.take(msg.what):
            return
        _, strays = await self._end()
        self.life.take(Happened.GONE)
        self._crashed(Sick(msg.text), strays)

    # -- the ends ------------------------------------------------------------------------------

    @on(ProcessEnded)
    async def _process_ended(self, _msg: ProcessEnded) -> None:
        status = self.status
        assert status is not None
        if not self.life.running:
            return  # whoever is ending it sees for himself
        if status.ok and await self._left_server():
            return
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

    async def _left_server(self) -> bool:
        """Whether the process, which has ended in good order, left a server on its port behind."""
        port, until = self.plan.port, self.ctx.now + DETACH
        if port is None:
            return False
        while True:
            holder = await self.search.holder(port)
            if holder is not None:
                if not self._is_ours(holder):
                    return False
                self._detach(holder)
                return True
            if self.ctx.now > until or not await lingering(self.strays):
                return False
            await anyio.sleep(FIRST_PROBE)

    def _detach(self, holder: Holder) -> None:
        self.life.take(Happened.LEFT_SERVER)
        self.server = holder.pid
        self._publish(ServiceDetached, pid=holder.pid, command=holder.command)
        self.watchers.append(self.ctx.run(self._watch_server, holder.pid))

    async def _watch_server(self, pid: int) -> None:
        """Waits until nobody of ours listens any more: a server may hand over to another."""
        while True:
            await ended(pid)
            assert self.plan.port is not None
            holder = await self.search.holder(self.plan.port)
            if holder is None or not self._is_ours(holder):
                break
            self.server = pid = holder.pid
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

    async def _stop(self) -> None:
        if self.life.over:
            return
        asked, runs = self.ctx.now, self.process is not None and not self.swept
        self.life.take(Happened.STOP)
        killed, strays = False, 0
        if runs:
            self._publish(ServiceStopping, pid=self._pid or 0)
            killed, strays = await self._end()
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
        remark = self.ctx.run(self._remark, grace) if grace > LINGER else None
        with anyio.move_on_after(grace) as waiting:
            await self._ask_to_end()
            await self._all_ended()
        if remark is not None:
            remark.cancel()
        return waiting.cancelled_caught, await self._clear_up()

    async def _remark(self, grace: float) -> None:
        await anyio.sleep(LINGER)
        self._publish(ServiceLingers, pid=self._pid or 0, seconds=grace - LINGER)

    async def _ask_to_end(self) -> None:
        stop, process = self.plan.stop, self.process
        assert process is not None
        self._stop_watching()
        if not stop.command:
            await ask_to_end(process, self.strays, stop.signal)
            return
        with suppress(SpawnError):
            command = await spawn(
                self.thread,
                stop.command,
                namespace=self.place,
                instance=self.plan.instance,
                cwd=self.plan.cwd,
                env={**self.env, "COLONY_PID": str(self._pid or 0)},
            )
            async with command:
                await command.wait()

    async def _all_ended(self) -> None:
        """Waits for the process, and then for those that it has started: a shell that is told to
        end does so at once, and leaves its server no time."""
        await self.ended.wait()
        pause = FIRST_PROBE
        while await lingering(self.strays):
            await anyio.sleep(pause)
            pause = min(pause * PROBE_FACTOR, SLOWEST_PROBE)

    async def _clear_up(self) -> int:
        """Kills what is left of the process, and reads what it has left to read; how many of its
        descendants were still there."""
        process = self.process
        assert process is not None
        self._stop_watching()
        process.signal_group(signal.SIGKILL)
        strays = await self._sweep()
        await self.ended.wait()
        if self.channels is not None:
            with anyio.move_on_after(DRAIN):
                await self.channels.drained()
        self.server = None
        return strays

    async def _sweep(self) -> int:
        """Kills the strays; how many there were.

        Mostly there are none, and one look tells so. The sweep proper, which outruns whoever does
        nothing but fork, would put off each restart by some milliseconds.
        """
        killed = await sweep.kill_all(self.strays) if await lingering(self.strays) else []
        self.swept = True
        pid = None if self.process is None else self.process.pid
        return sum(each.pid != pid for each in killed)

    # -- what is asked -------------------------------------------------------------------------

    @on(GetState)
    def _get_state(self, _msg: GetState) -> ServiceState:
        return ServiceState(self._pid, self.ctx.incarnation, self.ready and self.life.running)

    @on(SendSignal)
    def _send_signal(self, msg: SendSignal) -> None:
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.kill(self.server, msg.signal)
            return
        process = self._running()
        process.signal_group(msg.signal) if msg.group else process.signal(msg.signal)

    @on(WriteInput)
    def _write_input(self, msg: WriteInput) -> int:
        self._running()
        assert self.channels is not None
        try:
            return self.channels.write(msg.data)
        except OSError as error:
            why = error.strerror
            raise Refused(f"{self.plan.service} does not read its input: {why}") from None

    def _running(self) -> Process:
        if self.process is None or not self.life.running:
            raise Refused(f"{self.plan.service} has no process: it is {self.life.phase.value}")
        return self.process


async def ended(pid: int) -> None:
    """Waits until a process that is no child of ours has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(pidfd)
    finally:
        os.close(pidfd)
