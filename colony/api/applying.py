"""Making a running colony what its file says now.

    drop what is gone ─▶ routes ─▶ board ─▶ put what is new or differs, in order of dependence

What differs for the whole colony (its network, its supervision) restarts it. Beside the actors that
run, the lists that their specs hold are changed, so that one which crashes later begins with the
services as they are now (`services.specs.colony_children`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors import ActorDown, ChildSpec, GetChildSpec, Refused, Supervisor
from colony import tree
from colony.api.problems import ApiError
from colony.api.types import Step
from colony.config import Config
from colony.places import SetRoutes
from colony.running import RunningColony
from colony.services import (
    Board,
    Control,
    DropService,
    PutService,
    SetServices,
    board_name,
    control_name,
)
from colony.services.specs import first_statuses, service_specs

if TYPE_CHECKING:
    from colony.api.operations import Operations


async def apply(
    operations: Operations,
    colony: RunningColony,
    config: Config,
    plan: Sequence[Step],
    environ: dict[str, str] | None,
) -> None:
    """Carries out a plan. Raises `ApiError` at the first step that fails; the others are done."""
    if environ is not None:
        colony.environ = environ
    if colony.ended or plan[0].action == "restart_colony":
        await operations.replace(colony, config)
        return
    try:
        await _change(colony, config, plan)
    except (Refused, ActorDown) as error:
        raise ApiError("failed", f"colony {colony.name} is changed in part: {error}") from None


async def _change(colony: RunningColony, config: Config, plan: Sequence[Step]) -> None:
    system, host = colony.system, colony.host
    board = system.named(board_name(colony.name), Board)
    control = system.named(control_name(colony.name), Control)
    urls = host.urls(config)
    specs = service_specs(config, tree.where(config, host.parts), urls, colony.environ)
    statuses = first_statuses(config, urls)
    routes = tree.colony_routes(config)
    await _change_specs(colony.ref, specs, list(statuses), list(routes))
    for step in plan:
        if step.action == "remove":
            assert step.service is not None
            await control.call(DropService(step.service))
    routes_owner = system.at(f"{colony.ref.path}/routes")
    assert routes_owner is not None
    await routes_owner.call(SetRoutes(routes))
    await board.call(SetServices(statuses))
    colony.now_is(config, urls, statuses)
    changed = {step.service for step in plan}
    for spec in specs:
        if spec.id in changed:
            await control.call(PutService(spec))


async def _change_specs(
    supervisor: Any,
    services: list[ChildSpec[Any]],
    statuses: list[Any],
    routes: list[Any],
) -> None:
    """Changes, in place, the lists with which a later life of each actor begins."""
    places = (("services", 0, services), ("control", 1, services))
    for id, index, now in (*places, ("board", 0, statuses), ("routes", 1, routes)):
        spec: ChildSpec[Supervisor] = await supervisor.call(GetChildSpec(id))
        spec.args[index][:] = now
