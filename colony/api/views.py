"""What the instance looks like from outside: its objects as the types of the wire."""

from __future__ import annotations

import os
import shlex
import time
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from actors import (
    ActorDown,
    CallTimeout,
    ChildInfo,
    ChildRefused,
    ChildSpec,
    GetChildSpec,
    Ref,
    Supervisor,
    WhichChildren,
)
from colony import tree
from colony.api import types as t
from colony.config import Config
from colony.config.schema import Command
from colony.host import Host
from colony.running import USABLE, RunningColony, RunningService
from colony.version import VERSION
from proxy.routes import Route, RouteTable, TcpUpstream

PATIENCE: Final = 1.0
"""Seconds that a supervisor has to say who its children are; one that starts one is busy."""


class Views:
    """Makes values of what the instance has now."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __repr__(self) -> str:
        return f"<Views of {self.host!r}>"

    def health(self, *, daemon: bool, listen: str | None, subscribers: int) -> t.Health:
        host = self.host
        began = host.history.began
        return t.Health(
            status="ok",
            version=VERSION,
            pid=os.getpid(),
            instance=host.parts.instance.id,
            since=moment(began),
            uptime_ms=round((time.time() - began) * 1000, 1),
            colonies=sum(not each.ended for each in host.colonies.values()),
            subscribers=subscribers,
            http_port=host.http_port,
            suffix=host.suffix,
            isolated=host.modes.isolated,
            proxy=host.modes.proxy,
            dns=host.modes.dns,
            listen=listen,
            daemon=daemon,
            notices=host.modes.notices,
        )

    def colony(self, colony: RunningColony) -> t.Colony:
        return t.Colony(
            name=colony.name,
            state=colony.state,
            reason=colony.reason,
            since=moment(colony.began),
            path=os.path.abspath(colony.config.path),
            workspace=colony.config.workspace,
            services=tuple(
                self.service(RunningService(colony, name)) for name in colony.config.services
            ),
            culprit=colony.culprit,
            exit_code=colony.exit_code,
            address=colony.address,
            step=self._step(colony),
            timings_ms={name: round(ms, 3) for name, ms in colony.timings.items()},
        )

    def _step(self, colony: RunningColony) -> t.Providing | None:
        step = colony.step
        if step is None:
            return None
        since = time.time() - (self.host.system.now() - colony.step_began)
        return t.Providing(step.step, step.detail, moment(since), step.percent)

    def service(self, service: RunningService) -> t.Service:
        status, colony = service.status, service.colony
        config = colony.config.services[service.name]
        since = time.time() - (self.host.system.now() - status.since) if status.since else None
        return t.Service(
            colony=colony.name,
            name=service.name,
            state=status.state,
            ready=status.state in USABLE,
            pid=status.pid,
            port=config.port,
            url=service.url,
            restarts=status.restarts,
            restart=config.restart,
            recent=status.recent,
            intensity=status.intensity,
            period_ms=status.period * 1000,
            command=as_text(config.command),
            cwd=config.cwd,
            since=None if since is None else moment(since),
            last_exit=status.last_exit or None,
            detail=status.detail or None,
        )

    def config(self, config: Config) -> dict[str, Any]:
        """A configuration as plain values. Of an environment the names only."""
        plain = msgspec.to_builtins(config)
        plain.pop("warnings", None)
        for table in (plain["colony"], plain["terminal"], *plain["services"].values()):
            table["env"] = sorted(table.get("env", {}))
        made: dict[str, Any] = plain
        return made

    def routes(self, table: RouteTable) -> tuple[t.Route, ...]:
        """The routes that the colonies have at the front door."""
        return tuple(self._route(route) for route in table)

    def _route(self, route: Route) -> t.Route:
        host, colony = self.host, self.host.colonies.get(route.colony)
        address = (colony.address if colony else None) or "localhost"
        if isinstance(route.upstream, TcpUpstream):
            address = route.upstream.address
        status = colony.statuses.get(route.service) if colony else None
        return t.Route(
            colony=route.colony,
            service=route.service,
            hosts=route.hosts,
            url=route.url(host.http_port, host.suffix),
            upstream=TcpUpstream(route.port, address.partition(" ")[0]).dial,
            state=status.state if status else None,
        )

    # -- the tree ------------------------------------------------------------------------------

    async def tree(self, colony: RunningColony | None = None) -> t.Node:
        """The supervision tree from the top, or from a colony."""
        path = tree.SYSTEM if colony is None else f"{tree.SYSTEM}/{tree.COLONIES}/{colony.name}"
        ref = self.host.system.at(path)
        if ref is None or not ref.alive:
            name = path.rpartition("/")[2]
            return t.Node(name, path, "Supervisor", "supervisor", "undefined", 0)
        spec = None if colony is None else await self._spec_of(colony.name)
        return await self._node(path.rpartition("/")[2], ref, "supervisor", "running", spec)

    async def _node(
        self,
        id: str,
        ref: Ref[Any],
        type_: Literal["supervisor", "worker"],
        status: str,
        spec: ChildSpec[Any] | None,
    ) -> t.Node:
        children: list[t.Node] = []
        if type_ == "supervisor":
            try:
                infos = await ref.call(WhichChildren(), timeout=PATIENCE)
            except (ActorDown, CallTimeout):
                infos, status = (), "busy"
            for info in infos:
                children.append(await self._child(ref, info))
        flags = {} if spec is None else spec.kwargs
        period = flags.get("period")
        return t.Node(
            id=id,
            path=ref.path,
            kind=ref.kind.__name__,
            type=type_,
            status=status,
            restarts=max(0, ref.incarnation - 1),
            strategy=flags.get("strategy", "one_for_one") if type_ == "supervisor" else None,
            intensity=flags.get("intensity"),
            period_ms=None if period is None else period * 1000,
            children=tuple(children),
        )

    async def _child(self, supervisor: Ref[Any], info: ChildInfo) -> t.Node:
        path = f"{supervisor.path}/{info.id}"
        ref = info.ref or self.host.system.at(path)
        if ref is None:
            return t.Node(info.id, path, "?", info.type, info.status.value, 0)
        return await self._node(
            info.id, ref, info.type, info.status.value, await self._spec(supervisor, info)
        )

    async def _spec(self, supervisor: Ref[Supervisor], info: ChildInfo) -> ChildSpec[Any] | None:
        return await _asked(supervisor, info.id) if info.type == "supervisor" else None

    async def _spec_of(self, colony: str) -> ChildSpec[Any] | None:
        above = self.host.system.at(f"{tree.SYSTEM}/{tree.COLONIES}")
        return None if above is None else await _asked(above, colony)


async def _asked(supervisor: Ref[Any], id: str) -> ChildSpec[Any] | None:
    """What a supervisor knows of a child; None if it has no time, or no such child."""
    try:
        found: ChildSpec[Any] = await supervisor.call(GetChildSpec(id), timeout=PATIENCE)
        return found
    except (ActorDown, CallTimeout, ChildRefused):
        return None


def as_text(command: Command) -> str:
    """A command as one would type it."""
    return command if isinstance(command, str) else shlex.join(command)


def moment(seconds: float) -> datetime:
    """A time since the epoch, to the millisecond."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)
