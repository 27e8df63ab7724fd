"""The supervisor of a colony's services: OTP's, but for the order in which several are stopped.

    [services.db]                         ┌─▶ web told ──▶ gone ──▶ api told ──▶ gone ──┐
    [services.api]   after = ["db"]       ├─▶ jobs told ───▶ gone ──────────────────────┴──▶ db told
    [services.jobs]  after = ["db"]       └─▶ mail told ──▶ gone
    [services.web]   after = ["api"]
    [services.mail]

A service is told once every one that comes after it has ended; those that do not depend on one
another are told at the same time, as they are started. So a stop takes as long as its longest
chain, and not as all services together. It holds whoever stops them: an operator, Ctrl-C, the end
of the instance, a service with `exit_colony`, the limit, and a strategy that takes siblings along.

Nobody is restarted meanwhile, since the supervisor takes no other message. Who ends by himself has
ended, and the next are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors import ChildSpec, Ref, Supervisor
from actors.leaving import StopOrder, took_note
from colony.config.order import dependents
from colony.services.port_actor import PortActor, StandDown


class ServicesSupervisor(Supervisor):
    """Supervises `PortActor`s.

    specs
        Of all services of the colony. Also one that has ended and is forgotten is known by it, and
        who came after it; `colony.api.applying` changes the list in place.
    flags
        A supervisor's.
    """

    def __init__(self, specs: Sequence[ChildSpec[PortActor]], **flags: Any) -> None:
        super().__init__(specs, **flags)
        self.specs = specs

    async def stop_order(self, ids: tuple[str, ...]) -> StopOrder:
        """Each after those that come after it, by the definitions that they run under."""
        running = (self.state.children[id].spec for id in ids)
        after = {spec.id: _comes_after(spec) for spec in (*self.specs, *running)}
        order = dependents(after, ids)
        for id, others in order.items():
            ref: Ref[PortActor] | None = self.ctx.system.at(f"{self.ctx.path}/{id}")
            if others and ref is not None and ref.alive:
                ref.tell(StandDown())
                await took_note()
        return order


def _comes_after(spec: ChildSpec[Any]) -> tuple[str, ...]:
    plan = spec.args[0]
    return tuple(wait.service for wait in plan.after)
