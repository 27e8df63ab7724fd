"""Control: what an operator may do to a colony's services.

    command     the service runs                     it is down, or waits for its restart
    ────────    ─────────────────────────────────    ─────────────────────────────────────
    stop        its actor ends it, then its          its supervisor forgets the restart
                supervisor forgets it
    start       nothing: it runs                     its supervisor starts it
    restart     stop, then start                     start

A stop is in two parts. The service's own actor ends the process, which may take the whole grace,
while the supervisor stays free to look after the others; then the supervisor takes the actor out
(`TerminateChild`), which is done at once and so that a sibling's group restart does not bring the
service back (`keep_stopped`). An operator's restart is no crash and is not counted.

Commands for one service are carried out one after the other, those for several side by side.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from actors import (
    Actor,
    ActorDown,
    Call,
    ChildRefused,
    ChildSpec,
    DeleteChild,
    Ref,
    Refused,
    Reply,
    RestartChild,
    StartChild,
    Supervisor,
    TerminateChild,
    on,
)
from colony.events import ServiceStopped
from colony.services.board import Board, GetService, UnknownService, board_name
from colony.services.port_actor import Halt, PortActor, SendSignal, WriteInput
from colony.services.status import ServiceStatus, explain

T = TypeVar("T")


def control_name(colony: str) -> str:
    """The name of a colony's control in its system."""
    return f"control/{colony}"


class NotPossible(Refused):
    """The service is in no state for what was asked; the text says why."""


class StopService(Call["Control", ServiceStatus], frozen=True):
    """Stops a service as its `stop` says; it stays down until it is started. Stopping one that is
    down is no error. Returns its status afterwards, as all commands do."""

    service: str


class StartService(Call["Control", ServiceStatus], frozen=True):
    """Starts a service that is down: stopped, ended, failed, or waiting for its restart. Starting
    one that runs is no error. Raises `NotPossible` if it cannot be started."""

    service: str


class RestartService(Call["Control", ServiceStatus], frozen=True):
    """Stops a service, if it runs, and starts it. Not counted as a restart of its supervisor's."""

    service: str


class SignalService(Call["Control", ServiceStatus], frozen=True):
    """Sends a signal to the service's process, or to its whole group (default). Raises
    `NotPossible` if no process runs."""

    service: str
    signal: int
    group: bool = True


class WriteStdin(Call["Control", int], frozen=True):
    """Writes to a service's standard input, or types into its terminal with `pty`; how many bytes
    it took, which is fewer if it does not read. Raises `NotPossible` if no process runs."""

    service: str
    data: bytes


class PutService(Call["Control", ServiceStatus], frozen=True):
    """Makes a service what the spec says: one that is there is stopped, and started as it is to
    be; another is added. Not counted as a restart. Raises `NotPossible` if it cannot be started.
    """

    spec: ChildSpec[Any]


class DropService(Call["Control", None], frozen=True):
    """Stops a service and forgets it."""

    service: str


class Control(Actor):
    """Carries out commands on the services of one colony.

    colony
        Whose.
    specs
        The child spec of each service, by which one is started that its supervisor has forgotten.
    supervisor
        The path of the supervisor of the services.
    """

    def __init__(self, colony: str, specs: Sequence[ChildSpec[PortActor]], supervisor: str) -> None:
        self.colony = colony
        self.specs = {spec.id: spec for spec in specs}
        self.supervisor = supervisor
        self.locks = {spec.id: anyio.Lock() for spec in specs}

    def __repr__(self) -> str:
        return f"<Control of {self.colony}: {', '.join(self.specs) or 'no services'}>"

    @on(StopService)
    def _on_stop(self, msg: StopService) -> Reply[ServiceStatus]:
        return self._carry_out(msg.service, self._stop)

    @on(StartService)
    def _on_start(self, msg: StartService) -> Reply[ServiceStatus]:
        return self._carry_out(msg.service, self._start)

    @on(RestartService)
    def _on_restart(self, msg: RestartService) -> Reply[ServiceStatus]:
        return self._carry_out(msg.service, self._restart)

    @on(SignalService)
    def _on_signal(self, msg: SignalService) -> Reply[ServiceStatus]:
        if msg.signal not in signal.valid_signals():
            raise NotPossible(f"there is no signal {msg.signal}")

        async def send() -> ServiceStatus:
            await self._ask(msg.service, SendSignal(msg.signal, msg.group))
            return await self._status(msg.service)

        return self._beside(msg.service, send)

    @on(WriteStdin)
    def _on_write(self, msg: WriteStdin) -> Reply[int]:
        async def write() -> int:
            taken: int = await self._ask(msg.service, WriteInput(msg.data))
            return taken

        return self._beside(msg.service, write)

    @on(PutService)
    def _on_put(self, msg: PutService) -> Reply[ServiceStatus]:
        name = msg.spec.id
        self.locks.setdefault(name, anyio.Lock())
        present, self.specs[name] = self.specs.get(name), msg.spec

        async def put(service: str) -> None:
            if present is not None:
                await self._forget(service)
            await self._start_anew(service, ChildRefused("not_found", service))

        return self._carry_out(name, put)

    @on(DropService)
    def _on_drop(self, msg: DropService) -> Reply[None]:
        async def drop() -> None:
            async with self.locks[msg.service]:
                await self._forget(msg.service)
                self.specs.pop(msg.service, None)

        return self._beside(msg.service, drop)

    async def _forget(self, service: str) -> None:
        await self._stop(service)
        with suppress(ChildRefused):  # a temporary one is forgotten already
            await self._supervisor().call(DeleteChild(service))

    # -- how -----------------------------------------------------------------------------------

    def _carry_out(
        self, service: str, command: Callable[[str], Awaitable[None]]
    ) -> Reply[ServiceStatus]:
        """Runs a command that changes whether the service runs: one at a time for each."""

        async def run() -> ServiceStatus:
            async with self.locks[service]:
                await command(service)
            return await self._status(service)

        return self._beside(service, run)

    def _beside(self, service: str, command: Callable[[], Awaitable[T]]) -> Reply[T]:
        """Runs a command beside the actor, so that one slow stop keeps nobody else waiting."""
        if service not in self.specs:
            raise UnknownService(self.colony, service, tuple(self.specs))
        reply: Reply[T] = self.ctx.defer()

        async def run() -> None:
            try:
                reply.send(await command())
            except (Refused, ActorDown) as error:
                reply.fail(error)

        self.ctx.run(run, name=f"command on {service}")
        return reply

    async def _stop(self, service: str) -> None:
        ref = self._ref(service)
        if ref is not None:
            with suppress(ActorDown):  # it has ended by itself meanwhile
                await ref.call(Halt())
        with suppress(ChildRefused):  # a temporary one that has ended is forgotten already
            await self._supervisor().call(TerminateChild(service))
        if (await self._status(service)).state == "backoff":
            # There was no actor that could have said so.
            self.ctx.system.publish(
                ServiceStopped(
                    at=self.ctx.now,
                    colony=self.colony,
                    service=service,
                    status="",
                    killed=False,
                    seconds=0.0,
                )
            )

    async def _start(self, service: str) -> None:
        status = await self._status(service)
        if status.state == "failed" or status.state == "backoff":
            # Its actor may be there still, without a process, or its restart be decided.
            await self._stop(service)
        try:
            await self._supervisor().call(RestartChild(service))
        except ChildRefused as refused:
            await self._start_anew(service, refused)

    async def _start_anew(self, service: str, refused: ChildRefused) -> None:
        """What is left when `RestartChild` was refused: it runs, or was forgotten, or cannot."""
        if refused.code in ("running", "restarting"):
            return
        if refused.code == "not_found":
            try:
                await self._supervisor().call(StartChild(self.specs[service]))
                return
            except ChildRefused as again:
                refused = again
        why = explain(refused.reason) if refused.reason is not None else refused.code
        raise NotPossible(f"{service} cannot start: {why}")

    async def _restart(self, service: str) -> None:
        await self._stop(service)
        await self._start(service)

    # -- whom ----------------------------------------------------------------------------------

    async def _ask(self, service: str, message: Call[PortActor, Any]) -> Any:
        ref = self._ref(service)
        if ref is None or not ref.alive:
            status = await self._status(service)
            raise NotPossible(f"{service} has no process: it is {status.state}")
        try:
            return await ref.call(message)
        except ActorDown as down:
            raise NotPossible(f"{service} has no process: {down.reason}") from None
        except Refused as refused:
            raise NotPossible(str(refused)) from None

    def _ref(self, service: str) -> Ref[PortActor] | None:
        return self.ctx.system.at(f"{self.supervisor}/{service}")

    def _supervisor(self) -> Ref[Supervisor]:
        ref: Ref[Supervisor] | None = self.ctx.system.at(self.supervisor)
        assert ref is not None, "control is started after the services"
        return ref

    async def _status(self, service: str) -> ServiceStatus:
        board = self.ctx.system.named(board_name(self.colony), Board)
        return await board.call(GetService(service))
