"""The port actor: one life of one service, which is one operating system process.

    start ── spawn ──▶ running ── it listens ──▶ ready
                          │                        │
                          ├── the process ends ────┴──▶ exits with `ProcessExited(status)`
                          └── told to stop: SIGTERM to the group, grace, SIGKILL ──▶ `Shutdown`

Let it crash: the actor never restarts anything. It ends with the process's status as its reason,
and its supervisor decides. The process does not outlive the actor, however that ends, because a
task of the actor's own holds it and kills its group on the way out.
"""

from __future__ import annotations

import os
import signal
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from actors import Actor, Call, Cast, Ignore, Reason, Stop, on
from colony.events import (
    ServiceExited,
    ServiceOutput,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    Stream,
)
from colony.services.holder import holder_of
from colony.services.plan import PortTaken, ProcessExited, ServicePlan
from netns import ExitStatus, Namespace, NetworkThread, Process, spawn
from netns.actors import GetNamespace, NamespaceOwner, namespace_name

CHUNK: Final = 64 * 1024
"""Bytes read from a service at once: what a pipe holds."""

FIRST_PROBE: Final = 0.005
SLOWEST_PROBE: Final = 0.25
PROBE_FACTOR: Final = 1.5
"""Seconds between two looks whether the service listens: short at first, then longer."""

DRAIN: Final = 0.5
"""Seconds that what a dead process left in its pipes may take to be read."""


class ServiceState(msgspec.Struct, frozen=True):
    """A living service: its process, which life it is, and whether it listens on its port.

    One without a port counts as ready as soon as it runs.
    """

    pid: int
    incarnation: int
    ready: bool


class ProcessEnded(Cast["PortActor"], frozen=True):
    """The process has ended by itself."""


class GetState(Call["PortActor", ServiceState], frozen=True):
    """How the service is now."""


class PortActor(Actor):
    """Owns one service's process.

    plan
        What to run.
    thread
        The network thread, from which processes are started.

    `start` fails with `SpawnError` if it cannot be executed, and with the reason `PortTaken` if
    its port is not free on a network that it shares with the host.
    """

    def __init__(self, plan: ServicePlan, thread: NetworkThread) -> None:
        self.plan = plan
        self.thread = thread
        self.process: Process | None = None
        self.place: Namespace | None = None
        self.status: ExitStatus | None = None
        self.ended = anyio.Event()
        self.drained = anyio.Event()
        self.reading = 0
        self.began = 0.0
        self.ready = plan.port is None

    def __repr__(self) -> str:
        pid = None if self.process is None else self.process.pid
        return f"<PortActor {self.plan.colony}/{self.plan.service} pid={pid}>"

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> Ignore | None:
        plan = self.plan
        if plan.isolated:
            owner = self.ctx.system.named(namespace_name(plan.colony), NamespaceOwner)
            self.place = await owner.call(GetNamespace())
        elif plan.port is not None:
            holder = await anyio.to_thread.run_sync(holder_of, plan.port)
            if holder is not None:
                raise Stop(PortTaken(plan.port, holder))
        await self._spawn()
        return None

    async def _spawn(self) -> None:
        """Starts the process and the tasks that hold it, read it and look whether it listens."""
        plan = self.plan
        self.began = self.ctx.now
        pipes = {stream: os.pipe2(os.O_CLOEXEC) for stream in ("stdout", "stderr")}
        try:
            process = await spawn(
                self.thread,
                plan.argv,
                namespace=self.place,
                instance=plan.instance,
                cwd=plan.cwd,
                env=plan.env,
                stdout=pipes["stdout"][1],
                stderr=pipes["stderr"][1],
            )
        except BaseException:
            for read, _ in pipes.values():
                os.close(read)
            raise
        finally:
            for _, write in pipes.values():
                os.close(write)
        self.process = process
        self.ctx.run(self._hold, process)
        self.reading = len(pipes)
        self.ctx.run(self._read, "stdout", pipes["stdout"][0], name="stdout")
        self.ctx.run(self._read, "stderr", pipes["stderr"][0], name="stderr")
        if plan.port is not None:
            self.ctx.run(self._probe, plan.port)
        self.ctx.system.publish(
            ServiceStarted(
                at=self.ctx.now,
                colony=plan.colony,
                service=plan.service,
                pid=process.pid,
                incarnation=self.ctx.incarnation,
            )
        )

    @on(ProcessEnded)
    async def _process_ended(self, _msg: ProcessEnded) -> None:
        assert self.status is not None
        await self._drain()
        reason = ProcessExited(self.status)
        self.ctx.system.publish(
            ServiceExited(
                at=self.ctx.now,
                colony=self.plan.colony,
                service=self.plan.service,
                incarnation=self.ctx.incarnation,
                status=str(reason),
                seconds=self.ctx.now - self.began,
            )
        )
        raise Stop(reason)

    @on(GetState)
    def _get_state(self, _msg: GetState) -> ServiceState:
        assert self.process is not None
        return ServiceState(self.process.pid, self.ctx.incarnation, self.ready)

    async def stopping(self, reason: Reason) -> None:
        """SIGTERM to the whole group, the grace, SIGKILL: unless the process has ended."""
        process, plan = self.process, self.plan
        if process is None or self.ended.is_set():
            return
        asked = self.ctx.now
        self.ctx.system.publish(
            ServiceStopping(at=asked, colony=plan.colony, service=plan.service, pid=process.pid)
        )
        process.signal_group(signal.SIGTERM)
        with anyio.move_on_after(plan.grace) as grace:
            await self.ended.wait()
        if grace.cancelled_caught:
            process.signal_group(signal.SIGKILL)
            await self.ended.wait()
        await self._drain()
        assert self.status is not None
        self.ctx.system.publish(
            ServiceStopped(
                at=self.ctx.now,
                colony=plan.colony,
                service=plan.service,
                status=str(ProcessExited(self.status)),
                killed=grace.cancelled_caught,
                seconds=self.ctx.now - asked,
            )
        )

    # -- its tasks -----------------------------------------------------------------------------

    async def _hold(self, process: Process) -> None:
        """Waits for the process, and ends its whole group, whoever ends first."""
        try:
            self.status = await process.wait()
            process.signal_group(signal.SIGKILL)
            self.ended.set()
            self.ctx.ref.tell(ProcessEnded())
            await anyio.sleep_forever()
        finally:
            process.signal_group(signal.SIGKILL)
            await process.aclose()

    async def _read(self, stream: Stream, fd: int) -> None:
        """Publishes what the service writes; never makes it wait for a reader of ours."""
        plan = self.plan
        os.set_blocking(fd, False)
        try:
            while True:
                await anyio.wait_readable(fd)
                data = os.read(fd, CHUNK)
                if not data:
                    break
                self.ctx.system.publish(
                    ServiceOutput(
                        at=self.ctx.now,
                        colony=plan.colony,
                        service=plan.service,
                        stream=stream,
                        data=data,
                    )
                )
        finally:
            anyio.notify_closing(fd)
            os.close(fd)
            self.reading -= 1
            if self.reading == 0:
                self.drained.set()

    async def _drain(self) -> None:
        """Waits until all output is read, but not for a stray that keeps the pipe open."""
        with anyio.move_on_after(DRAIN):
            await self.drained.wait()

    async def _probe(self, port: int) -> None:
        """Connects until somebody listens, then says once that the service is ready."""
        pause = FIRST_PROBE
        while not await self._listens(port):
            await anyio.sleep(pause)
            pause = min(pause * PROBE_FACTOR, SLOWEST_PROBE)
        self.ready = True
        self.ctx.system.publish(
            ServiceReady(
                at=self.ctx.now,
                colony=self.plan.colony,
                service=self.plan.service,
                port=port,
                incarnation=self.ctx.incarnation,
                seconds=self.ctx.now - self.began,
            )
        )

    async def _listens(self, port: int) -> bool:
        try:
            if self.place is not None:
                (await self.thread.connect(self.place, port)).close()
            else:
                stream = await anyio.connect_tcp("localhost", port)
                await stream.aclose()
        except OSError:
            return False
        return True
