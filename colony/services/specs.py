"""From colony.toml to what the services' actors are told: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from actors import Backoff, ChildSpec, Supervisor
from colony.config import BackoffRule, Config, Health, Ready, Service
from colony.config.order import in_order
from colony.config.schema import as_argv
from colony.environment import service_environment
from colony.services.board import Board, board_name
from colony.services.control import Control, control_name
from colony.services.machine import Machine
from colony.services.plan import Probe, ServicePlan, StopPlan, Wait
from colony.services.port_actor import PortActor
from colony.services.status import ServiceStatus
from colony.services.supervisor import ServicesSupervisor
from colony.terminals.service import ServiceTerminals, terminals_of_services

SERVICES: Final = "services"
"""The id of the services' supervisor among a colony's children."""

COLONY_LIMIT: Final = (3, 60.0)
"""Restarts within a colony, its services aside (theirs is colony.toml's), within how many seconds,
before it gives up."""

STOP_MARGIN: Final = 5.0
"""Seconds over its own grace that a port actor has before it is killed itself."""


class Where(msgspec.Struct, frozen=True):
    """Where a colony's services run.

    instance, runtime
        Whose they are, and the instance's own directory.
    isolated
        Whether the colony has a namespace.
    machine
        What they run on: this host, or one that is only played (`colony.lab`).
    seed
        Makes the jitter of their backoffs the same in every run. Default None.
    """

    instance: str
    runtime: str
    isolated: bool
    machine: Machine
    seed: int | None = None


class FirstAtOnce(Backoff, frozen=True):
    """A backoff whose first restart is made at once, and whose delays begin with the second."""

    def delay(self, attempt: int, dice: float) -> float:
        """Seconds to wait before restart number `attempt`, 1 being the first."""
        return 0.0 if attempt == 1 else super().delay(attempt - 1, dice)


def colony_children(
    config: Config,
    where: Where,
    urls: Mapping[str, str],
    system_env: Mapping[str, str],
    supervisor: str,
) -> list[ChildSpec[Any]]:
    """The part of a colony's tree that is about services. `supervisor` is the path that the
    services' supervisor will have.

    What board and control are given are lists, because `colony.api.applying` changes them in place:
    so a later life of an actor begins with the services as they are then.
    """
    specs = service_specs(config, where, urls, system_env)
    board = Board.spec(list(first_statuses(config, urls)), supervisor)
    control = Control.spec(config.name, specs, supervisor)
    with_terminal = [service.name for service in config.services.values() if service.pty]
    screens = ServiceTerminals.spec(config.name, with_terminal, supervisor)
    return [
        board.options(id="board", name=board_name(config.name)),
        screens.options(id="screens", name=terminals_of_services(config.name)),
        services_supervisor(config, specs, where.seed),
        control.options(id="control", name=control_name(config.name)),
    ]


def colony_supervisor(name: str, children: list[ChildSpec[Any]]) -> ChildSpec[Supervisor]:
    """The supervisor of a colony, which ends when its services' supervisor gives up."""
    intensity, period = COLONY_LIMIT
    colony = Supervisor.spec(
        children,
        strategy="rest_for_one",
        intensity=intensity,
        period=period,
        auto_shutdown="any_significant",
    )
    return colony.options(id=name, restart="temporary")


def services_supervisor(
    config: Config, specs: list[ChildSpec[PortActor]], seed: int | None = None
) -> ChildSpec[ServicesSupervisor]:
    """The supervisor of a colony's services."""
    rules = config.supervision
    services = ServicesSupervisor.spec(
        specs,
        strategy=rules.strategy,
        intensity=rules.intensity,
        period=rules.period,
        auto_shutdown="any_significant" if any(spec.significant for spec in specs) else "never",
        keep_stopped=True,
        seed=seed,
    )
    return services.options(id=SERVICES, restart="transient", significant=True)


def service_specs(
    config: Config, where: Where, urls: Mapping[str, str], system_env: Mapping[str, str]
) -> list[ChildSpec[PortActor]]:
    """The child specs of a colony's services, in the order in which they start."""
    order = in_order({name: service.after for name, service in config.services.items()})
    services = [config.services[name] for name in order]
    return [
        PortActor.spec(
            service_plan(config, service, where, urls, system_env), where.machine
        ).options(
            id=service.name,
            restart=service.restart,
            significant=service.exit_colony,
            shutdown=service.stop.grace + STOP_MARGIN,
            backoff=_backoff(service.backoff),
        )
        for service in services
    ]


def first_statuses(config: Config, urls: Mapping[str, str]) -> tuple[ServiceStatus, ...]:
    """What is known of the services before any has started, in the file's order."""
    rules = config.supervision
    return tuple(
        ServiceStatus(
            colony=config.name,
            service=service.name,
            port=service.port,
            url=urls.get(service.name),
            restart=service.restart,
            intensity=rules.intensity,
            period=rules.period,
        )
        for service in config.services.values()
    )


def service_plan(
    config: Config,
    service: Service,
    where: Where,
    urls: Mapping[str, str],
    system_env: Mapping[str, str],
) -> ServicePlan:
    """What one port actor is told."""
    stop = service.stop
    return ServicePlan(
        colony=config.name,
        service=service.name,
        argv=service.argv,
        cwd=service.cwd,
        env=service_environment(system_env, config, service, urls),
        env_files=service.env_file,
        env_over=config.environment(service),
        port=service.port,
        instance=where.instance,
        isolated=where.isolated,
        after=tuple(Wait(name, condition) for name, condition in service.after.items()),
        ready=ready_probe(service),
        health=None if service.health is None else health_probe(service, service.health),
        stop=StopPlan(stop.signal, stop.grace, stop.argv),
        pty=service.pty,
        runtime=where.runtime,
    )


def ready_probe(service: Service) -> Probe:
    """How a service is asked whether it is ready: by its port, if nothing else is said."""
    rule = service.ready
    probe = Probe("none", interval=rule.interval, timeout=rule.timeout, deadline=rule.deadline)
    if rule.log is not None:
        return msgspec.structs.replace(probe, kind="log", pattern=rule.log)
    if rule.notify:
        return msgspec.structs.replace(probe, kind="notify")
    if rule.none:
        return probe
    return _asked(service, rule, probe)


def health_probe(service: Service, rule: Health) -> Probe:
    """How a service that is ready is asked whether it still is."""
    kind: Any = "notify" if rule.notify else "none"
    probe = Probe(kind, interval=rule.interval, timeout=rule.timeout, failures=rule.failures)
    return probe if rule.notify else _asked(service, rule, probe)


def _asked(service: Service, rule: Ready | Health, probe: Probe) -> Probe:
    """The probe that both `ready` and `health` know."""
    replace = msgspec.structs.replace
    if rule.exec is not None:
        return replace(probe, kind="exec", argv=as_argv(rule.exec))
    if rule.http is not None:
        return replace(probe, kind="http", port=rule.port or service.port or 0, path=rule.http)
    port = service.port if rule.tcp is None or rule.tcp is True else rule.tcp
    return probe if port is None else replace(probe, kind="tcp", port=port)


def _backoff(rule: BackoffRule) -> Backoff:
    return FirstAtOnce(rule.min, rule.max, rule.factor, rule.jitter, rule.reset)
