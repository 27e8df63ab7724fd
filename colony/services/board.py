"""The board: what is known of each service of a colony, and who waits for what of it.

It stands beside the services, not above them: a service may end, wait and come back while those
who ask still get an answer, and those who wait for it go on waiting. All that it knows are events,
folded by `status.after`.

A wait ends when its condition holds and for no other reason. A dependency that ends badly is not
the end of its dependents: they wait, their status says for what and that it has failed, and go on
once somebody has repaired it (process-compose #544 skips them for good).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import anyio.to_thread
import msgspec

from actors import Actor, Call, Cast, Event, Ignore, Reason, Ref, Refused, Reply, on
from colony.events import ServiceExited, ServiceFailed, ServiceRemark, ServiceStarted
from colony.services import usage
from colony.services.plan import Wait
from colony.services.status import RUNNING, Condition, ServiceStatus, after, named_in
from colony.services.usage import Sample, Usage

CONDITIONS: Final = get_args(Condition)


def board_name(colony: str) -> str:
    """The name of a colony's board in its system."""
    return f"board/{colony}"


class UnknownService(Refused):
    """The colony has no service of that name."""

    def __init__(self, colony: str, service: str, known: tuple[str, ...]) -> None:
        self.colony = colony
        self.service = service
        super().__init__(
            f"colony {colony} has no service {service!r}; it has {', '.join(known) or 'none'}"
        )


class GetServices(Call["Board", tuple[ServiceStatus, ...]], frozen=True):
    """Every service of the colony, in the file's order."""


class GetService(Call["Board", ServiceStatus], frozen=True):
    """One service. Raises `UnknownService`."""

    service: str


class WaitUntil(Call["Board", ServiceStatus], frozen=True):
    """Waits until "started", "ready" or "completed" holds for a service; its status then.

    Waits without limit: give the call a timeout, or cancel it. `by` names the one that waits, of
    whom an earlier wait is forgotten. Raises `UnknownService`.
    """

    service: str
    condition: Condition
    by: str = ""


class GetUsage(Call["Board", dict[str, Usage]], frozen=True):
    """CPU and memory of each service that runs, by its name. See `Usage`."""


class SetServices(Call["Board", None], frozen=True):
    """These are the colony's services from now on. What is known of those that stay is kept."""

    services: tuple[ServiceStatus, ...]


class _Look(Cast["Board"], frozen=True):
    """What a service is waited for with may have become vain, or be so no more."""

    service: str


class _Waiter(msgspec.Struct, frozen=True):
    """Somebody who waits for a condition on a service."""

    wanted: WaitUntil
    reply: Reply[ServiceStatus]


class Board(Actor):
    """Keeps the status of a colony's services.

    services
        Their first statuses, in the file's order: names, ports, URLs, limits.
    supervisor
        The path of the supervisor of the services.
    """

    def __init__(self, services: Sequence[ServiceStatus], supervisor: str) -> None:
        self.services = {status.service: status for status in services}
        self.supervisor = supervisor
        self.waiters: list[_Waiter] = []
        self.samples: dict[str, Sample] = {}
        self.in_vain: set[str] = set()
        """Services that wait for what has failed, and of which that was said."""
        # A place that nobody refers to is forgotten, and how many lives it has seen: that of a
        # temporary service between its end and an operator's start.
        self.places: dict[str, Ref[Any] | None] = {}
        self._leave: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {status.state}" for name, status in self.services.items())
        return f"<Board: {states or 'no services'}>"

    async def start(self) -> Ignore | None:
        self._leave = self.ctx.system.events.listen(self._note)
        return None

    async def stopping(self, reason: Reason) -> None:
        self._leave()

    # -- what is asked -------------------------------------------------------------------------

    @on(GetServices)
    def _get_services(self, _msg: GetServices) -> tuple[ServiceStatus, ...]:
        self.ctx.system.events.release()
        return tuple(self.services.values())

    @on(GetService)
    def _get_service(self, msg: GetService) -> ServiceStatus:
        return self._known(msg.service)

    @on(WaitUntil)
    def _wait_until(self, msg: WaitUntil) -> ServiceStatus | Reply[ServiceStatus]:
        if msg.condition not in CONDITIONS:
            raise Refused(f"a condition is one of {', '.join(CONDITIONS)}, got: {msg.condition!r}")
        status = self._known(msg.service)
        if msg.by:
            self.waiters = [each for each in self.waiters if not _same(each.wanted, msg)]
            self.in_vain.discard(msg.by)
        if status.meets(msg.condition):
            return status
        reply: Reply[ServiceStatus] = self.ctx.defer()
        self.waiters.append(_Waiter(msg, reply))
        if status.state == "failed":
            self.ctx.ref.tell(_Look(msg.service))
        return reply

    @on(GetUsage)
    async def _get_usage(self, _msg: GetUsage) -> dict[str, Usage]:
        pids = {
            name: status.pid
            for name, status in self.services.items()
            if status.pid is not None and status.state in RUNNING
        }
        samples = await anyio.to_thread.run_sync(usage.sample, pids, self.ctx.now)
        before, self.samples = self.samples, samples
        return {name: usage.between(before.get(name), now) for name, now in samples.items()}

    @on(SetServices)
    def _set_services(self, msg: SetServices) -> None:
        self.services = carried_over(self.services, msg.services)
        gone, self.waiters = self.waiters, []
        for waiter in gone:
            if waiter.wanted.service in self.services:
                self.waiters.append(waiter)
            else:
                waiter.reply.fail(Refused(f"{waiter.wanted.service} is not there any more"))

    def _known(self, service: str) -> ServiceStatus:
        self.ctx.system.events.release()
        status = self.services.get(service)
        if status is None:
            colony = next((each.colony for each in self.services.values()), "?")
            raise UnknownService(colony, service, tuple(self.services))
        return status

    # -- what happens --------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        if isinstance(event, ServiceStarted) and event.service in self.services:
            path = f"{self.supervisor}/{event.service}"
            self.places[event.service] = self.ctx.system.at(path)
        name = named_in(event)
        status = self.services.get(name)
        if status is None:
            return
        changed = after(status, event, self.supervisor)
        if changed is not status:
            self.services[name] = changed
            self._tell_waiters(changed)
            if isinstance(event, ServiceExited | ServiceFailed | ServiceStarted):
                # Later: whoever shows what happens has to hear of this event before.
                self.ctx.ref.tell(_Look(name))

    def _tell_waiters(self, status: ServiceStatus) -> None:
        """Answers those whose condition holds now; the others stay."""
        waiting, self.waiters = self.waiters, []
        for waiter in waiting:
            wanted = waiter.wanted
            if wanted.service == status.service and status.meets(wanted.condition):
                waiter.reply.send(status)
            else:
                self.waiters.append(waiter)

    @on(_Look)
    def _look(self, msg: _Look) -> None:
        """Says of those that wait for a service whether they do so in vain, when that changes."""
        status = self.services.get(msg.service)
        for wanted in [waiter.wanted for waiter in self.waiters]:
            waits = self.services.get(wanted.by)
            if status is None or wanted.service != msg.service:
                continue
            if waits is None or waits.state != "waiting":
                continue  # it was stopped meanwhile
            vain = status.state == "failed"
            if vain is (wanted.by in self.in_vain):
                continue
            (self.in_vain.add if vain else self.in_vain.discard)(wanted.by)
            text = _in_vain(status) if vain else f"waits for {Wait(msg.service, wanted.condition)}"
            self.ctx.system.publish(
                ServiceRemark(
                    at=self.ctx.now, colony=waits.colony, service=waits.service, text=text
                )
            )


def _in_vain(status: ServiceStatus) -> str:
    again = f"colony start {status.colony}/{status.service}"
    return f"waits in vain: {status.service} has failed ({status.detail}); to try again: {again}"


def carried_over(
    old: Mapping[str, ServiceStatus], new: Sequence[ServiceStatus]
) -> dict[str, ServiceStatus]:
    """First statuses of services, in their order, with what is known of those that were there."""
    kept = ("port", "url", "restart", "intensity", "period")
    return {
        first.service: msgspec.structs.replace(
            old[first.service], **{name: getattr(first, name) for name in kept}
        )
        if first.service in old
        else first
        for first in new
    }


def _same(one: WaitUntil, other: WaitUntil) -> bool:
    return (one.by, one.service) == (other.by, other.service)
