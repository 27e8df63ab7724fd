"""What each route does, in the instance's own event loop: values in, values out.

Every public method carries the name of a route and takes an `Ask`. It changes nothing before it has
checked all that can be checked, and raises `ApiError` for whatever the caller can do something
about.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from actors import ActorDown, Refused
from colony.api import types as t
from colony.api.bonds import Caller
from colony.api.diff import same, steps
from colony.api.network import NetworkOperations
from colony.api.problems import ApiError, conflict, unknown
from colony.api.sources import config_for, config_of
from colony.api.terminal_operations import TerminalOperations
from colony.api.views import Views
from colony.config import Config
from colony.host import ColonyFailed, Host
from colony.http1 import Broken
from colony.running import OVER, USABLE, RunningColony, RunningService
from colony.services import (
    Board,
    Control,
    GetUsage,
    RestartService,
    SignalService,
    StartService,
    StopService,
    Usage,
    WriteStdin,
    board_name,
    control_name,
)
from colony.version import VERSION
from netns import sweep
from netns.errors import SpawnError

if TYPE_CHECKING:
    from actors import Call

API: Final = 1
"""Counts breaking changes of the API."""

SHOWN_LINES: Final = 10
"""Last lines of a failing service that go with the problem."""


class Ask(msgspec.Struct, frozen=True):
    """One request: the names in its path, its query and its body, checked; and the process that
    makes it, where it asks for something that is to end with it and the kernel knows which."""

    names: dict[str, str] = {}
    query: Any = None
    body: Any = None
    caller: Caller | None = None


class Answer(msgspec.Struct, frozen=True):
    """A value with a status other than the route's first, or with a Location."""

    value: Any
    status: int
    location: str | None = None


class Operations(NetworkOperations, TerminalOperations):
    """The instance, as the API knows it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.views = Views(host)
        self.stop_asked = anyio.Event()
        """Set when somebody has asked for the end of the instance."""
        self.daemon = False
        self.listen: str | None = None
        self.subscribers = 0

    def __repr__(self) -> str:
        return f"<Operations on {self.host!r}>"

    # -- the instance --------------------------------------------------------------------------

    async def version(self, ask: Ask) -> t.Version:
        return t.Version(VERSION, API, os.getpid(), self.host.parts.instance.id)

    async def health(self, ask: Ask) -> t.Health:
        return self.views.health(
            daemon=self.daemon, listen=self.listen, subscribers=self.subscribers
        )

    async def openapi(self, ask: Ask) -> dict[str, Any]:
        from colony.api.openapi import document

        return document()

    async def docs(self, ask: Ask) -> str:
        from colony.api.page import page

        return page()

    async def stop_instance(self, ask: Ask) -> t.Stopping:
        living = [name for name, each in self.host.colonies.items() if not each.ended]
        if living and not ask.query.force:
            raise conflict(
                f"there are colonies here: {', '.join(living)}",
                "stop them first: colony down --all; or everything: colony daemon stop --force",
            )
        self.stop_asked.set()
        return t.Stopping(True, len(living))

    async def tree(self, ask: Ask) -> t.Node:
        return await self.views.tree()

    async def colony_tree(self, ask: Ask) -> t.Node:
        return await self.views.tree(self._colony(ask))

    async def list_routes(self, ask: Ask) -> tuple[t.Route, ...]:
        from proxy.actors import ROUTES, GetRoutes, Routes

        try:
            table = await self.host.system.named(ROUTES, Routes).call(GetRoutes())
        except ActorDown as down:
            raise ApiError("failed", f"the routes have no owner just now: {down}") from None
        return self.views.routes(table)

    # -- colonies ------------------------------------------------------------------------------

    async def list_colonies(self, ask: Ask) -> tuple[t.Colony, ...]:
        return tuple(self.views.colony(each) for each in self.host.colonies.values())

    async def get_colony(self, ask: Ask) -> t.Colony:
        return self.views.colony(self._colony(ask))

    async def get_config(self, ask: Ask) -> dict[str, Any]:
        return self.views.config(self._colony(ask).config)

    async def create_colony(self, ask: Ask) -> t.Colony | Answer:
        body: t.CreateColony = ask.body
        self._refuse_if_ending()
        config = await config_of(body)
        present = self.host.colonies.get(config.name)
        if present is not None and not present.ended:
            self._same_or_conflict(present, config)
            await self._wait_if_asked(present, body)
            return Answer(self.views.colony(present), 200)
        known = None if ask.caller is None else partial(self._bind, ask.caller)
        colony = await self._add(config, body.env, keep=body.keep, known=known)
        await self._wait_if_asked(colony, body)
        return Answer(self.views.colony(colony), 201, f"/api/colonies/{colony.name}")

    def _bind(self, caller: Caller, colony: RunningColony) -> None:
        self.host.bonds.bind(colony, caller)

    def _same_or_conflict(self, present: RunningColony, config: Config) -> None:
        if present.stopping:
            raise conflict(f"colony {config.name} is being stopped", "try again when it is gone")
        if same(present.config, config):
            return
        elsewhere = present.config.workspace != config.workspace
        help = (
            f"give one of them another [colony] name, or stop it: colony down {config.name}"
            if elsewhere
            else f"see what differs: colony apply --dry-run; stop it: colony down {config.name}"
        )
        where = f" in {present.config.workspace}" if elsewhere else " with another configuration"
        raise conflict(
            f"a colony named {config.name!r} runs already{where}",
            help,
            steps(present.config, config),
        )

    async def _add(
        self,
        config: Config,
        environ: dict[str, str] | None,
        *,
        keep: bool = False,
        known: Callable[[RunningColony], object] | None = None,
    ) -> RunningColony:
        await self.host.opened.wait()
        try:
            return await self.host.add(config, environ, keep=keep, known=known)
        except ColonyFailed as failed:
            if config.name in self.host.colonies:
                raise conflict(str(failed), "give it another name, or stop that one") from None
            raise ApiError(
                failed.code or "failed",
                str(failed),
                help=failed.help,
                last_lines=failed.last_lines,
            ) from None
        except ActorDown as down:
            raise ApiError("stopping", f"the instance cannot start a colony now: {down}") from None

    async def _wait_if_asked(self, colony: RunningColony, body: t.CreateColony) -> None:
        if not body.wait:
            return
        seconds = body.timeout_ms / 1000
        with anyio.move_on_after(seconds) as patience:
            for name in colony.config.services:
                await self._until_usable(RunningService(colony, name))
        if patience.cancelled_caught:
            late = [n for n, s in colony.statuses.items() if s.state not in USABLE]
            raise ApiError(
                "timeout",
                f"after {seconds:g} s not ready: {', '.join(late)}",
                help=f"see why: colony logs {late[0]}" if late else "",
            )

    async def _until_usable(self, service: RunningService) -> None:
        with service.watch() as statuses:
            async for status in statuses:
                if status.state in USABLE:
                    return
                if service.colony.ended or status.state in OVER:
                    raise await self._failure(service)
                failed = _waits_in_vain_for(service)
                if failed is not None:
                    raise await self._failure(failed)

    async def _failure(self, service: RunningService) -> ApiError:
        colony = service.colony
        if colony.culprit is not None:
            await colony.stopped()  # it has given up, and is about to end
        why = colony.reason or service.status.detail or service.status.state
        lines = await colony.last_lines(service.name, SHOWN_LINES)
        return ApiError(
            "failed",
            f"{service.name} of colony {colony.name} did not get ready: {why}",
            last_lines=tuple(line.decode("utf-8", "replace") for line in lines),
        )

    async def delete_colony(self, ask: Ask) -> t.Colony:
        colony = self._colony(ask)
        await self._stop(colony, kill=ask.query.kill)
        view = self.views.colony(colony)
        if self.host.colonies.get(colony.name) is colony:
            del self.host.colonies[colony.name]
        return view

    async def stop_colony(self, ask: Ask) -> t.Colony:
        colony = self._colony(ask)
        await self._stop(colony, kill=ask.query.kill)
        return self.views.colony(colony)

    async def _stop(self, colony: RunningColony, *, kill: bool) -> None:
        """Stops it; `kill` ends its processes at once, whether or not a stop is under way."""
        async with anyio.create_task_group() as tasks:
            if kill:
                colony.stopping = True
                rule = sweep.colony_of(self.host.parts.instance.id, colony.name)
                tasks.start_soon(sweep.kill_all, rule)
            await colony.stop()

    async def start_colony(self, ask: Ask) -> t.Colony:
        self._refuse_if_ending()
        colony = self._colony(ask)
        if not colony.ended:
            return self.views.colony(colony)
        return self.views.colony(await self._add(colony.config, dict(colony.environ)))

    async def restart_colony(self, ask: Ask) -> t.Colony:
        self._refuse_if_ending()
        return self.views.colony(await self.replace(self._colony(ask)))

    async def replace(self, colony: RunningColony, config: Config | None = None) -> RunningColony:
        """Stops a colony and starts it again, with another configuration if one is given."""
        colony.succession = anyio.Event()
        try:
            await colony.stop()
            return await self._add(config or colony.config, dict(colony.environ))
        finally:
            colony.succession.set()

    async def apply_colony(self, ask: Ask) -> t.Plan:
        from colony.api.applying import apply

        colony, body = self._colony(ask), ask.body
        config = await config_for(body, colony.config)
        plan = t.Plan(colony.name, body.dry_run, steps(colony.config, config))
        if not body.dry_run and plan.steps:
            self._refuse_if_ending()
            await apply(self, colony, config, plan.steps, body.env)
        return plan

    async def exec(self, ask: Ask) -> t.Executed:
        from colony.execution import execute

        colony, body = self._colony(ask), ask.body
        self._needs_running(colony)
        try:
            return await execute(colony, body)
        except (SpawnError, ActorDown, OSError) as error:
            raise ApiError("failed", f"it cannot be run: {error}") from None

    def living(self, ask: Ask) -> RunningColony:
        """The colony that is meant, which runs."""
        colony = self._colony(ask)
        self._needs_running(colony)
        return colony

    def _needs_running(self, colony: RunningColony) -> None:
        if colony.state not in ("running", "stopping"):
            raise conflict(
                f"colony {colony.name} is {colony.state}",
                f"start it: colony start -c {colony.name}",
            )

    # -- services ------------------------------------------------------------------------------

    async def list_services(self, ask: Ask) -> tuple[t.Service, ...]:
        colony = self._colony(ask)
        services = self.views.colony(colony).services
        if not ask.query.usage or colony.ended:
            return services
        usage = await self._usage(colony)
        return tuple(
            msgspec.structs.replace(each, cpu=usage[each.name].cpu, memory=usage[each.name].memory)
            if each.name in usage
            else each
            for each in services
        )

    async def _usage(self, colony: RunningColony) -> dict[str, Usage]:
        try:
            board = self.host.system.named(board_name(colony.name), Board)
            return await board.call(GetUsage())
        except ActorDown:
            return {}

    async def get_service(self, ask: Ask) -> t.Service:
        return self.views.service(self._service(ask))

    async def start_service(self, ask: Ask) -> t.Service:
        return await self._command(ask, StartService(self._service(ask).name))

    async def stop_service(self, ask: Ask) -> t.Service:
        return await self._command(ask, StopService(self._service(ask).name))

    async def restart_service(self, ask: Ask) -> t.Service:
        return await self._command(ask, RestartService(self._service(ask).name))

    async def signal_service(self, ask: Ask) -> t.Service:
        service = self._service(ask)
        return await self._command(ask, SignalService(service.name, number_of(ask.body.signal)))

    async def write_stdin(self, ask: Ask) -> t.Service:
        service = self._service(ask)
        data = ask.body.text.encode()
        with self._refusals(service.colony):
            taken = await self._control(service.colony.name).call(WriteStdin(service.name, data))
        if taken < len(data):
            raise ApiError(
                "failed", f"{service.name} took {taken} of {len(data)} bytes: it does not read"
            )
        return self.views.service(service)

    async def _command(self, ask: Ask, command: Call[Control, Any]) -> t.Service:
        service = self._service(ask)
        with self._refusals(service.colony):
            await self._control(service.colony.name).call(command)
        return self.views.service(service)

    def _control(self, colony: str) -> Any:
        return self.host.system.named(control_name(colony), Control)

    @contextmanager
    def _refusals(self, colony: RunningColony) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            raise conflict(str(refused), f"see how it is: colony ps {colony.name}") from None
        except ActorDown:
            raise conflict(
                f"colony {colony.name} is {colony.state}", f"start it: colony start {colony.name}"
            ) from None

    async def http_service(self, ask: Ask) -> t.HttpResponse:
        from colony.requesting import ask_service

        service = self._service(ask)
        self._needs_running(service.colony)
        if service.colony.config.services[service.name].port is None:
            raise conflict(f"{service.name} has no port", "give it one in colony.toml")
        try:
            return await ask_service(service, ask.body)
        except TimeoutError:
            raise ApiError(
                "timeout", f"{service.name} did not answer in {ask.body.timeout_ms / 1000:g} s"
            ) from None
        except (OSError, Broken, anyio.BrokenResourceError, ValueError) as error:
            raise ApiError("failed", f"{service.name} does not answer: {error}") from None

    async def wait_service(self, ask: Ask) -> t.Waited:
        from colony.api.waiting import wait_for

        service, query = self._service(ask), ask.query
        with anyio.move_on_after(query.timeout_ms / 1000):
            return await wait_for(self, service, query)
        return t.Waited(False, self.views.service(service))

    # -- who is meant --------------------------------------------------------------------------

    def _colony(self, ask: Ask) -> RunningColony:
        return self.colony(ask.names["colony"])

    def colony(self, name: str) -> RunningColony:
        """A colony by its name. Raises `ApiError` with the near miss."""
        colony = self.host.colonies.get(name)
        if colony is None:
            raise unknown("colony", name, self.host.colonies)
        return colony

    def _service(self, ask: Ask) -> RunningService:
        colony = self._colony(ask)
        name = ask.names["service"]
        if name not in colony.config.services:
            raise unknown(f"service in colony {colony.name} called", name, colony.config.services)
        return RunningService(colony, name)

    def _refuse_if_ending(self) -> None:
        if self.stop_asked.is_set():
            raise ApiError("stopping", "this instance is ending and starts nothing any more")


def number_of(given: str | int) -> int:
    """A signal's number: of `HUP`, `SIGHUP`, `hup` or `1`. Raises `ApiError` (422)."""
    from colony.api.problems import invalid, near_miss

    names = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
    text = str(given).upper().removeprefix("SIG")
    if text in names:
        return names[text]
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) in signal.valid_signals():
        return int(text)
    near = near_miss(text, names)
    words = f"there is no signal {given!r}" + (f"; did you mean {near!r}?" if near else "")
    raise invalid([t.Advice("signal", words, near, help="as HUP, SIGHUP or 1")])


def _waits_in_vain_for(service: RunningService) -> RunningService | None:
    """What has failed of all that a service waits for, directly or not; None if nothing has."""
    colony = service.colony
    if service.status.state != "waiting":
        return service if service.status.state == "failed" else None
    for name, condition in colony.config.services[service.name].after.items():
        if not colony.statuses[name].meets(condition):
            found = _waits_in_vain_for(RunningService(colony, name))
            if found is not None:
                return found
    return None
