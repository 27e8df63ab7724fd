"""A supervisor's core without an event loop: what the tests of `supervision.step` step with."""

from __future__ import annotations

import itertools
from typing import Any

from actors import Abnormal, Actor, ChildSpec, Killed, Reason, Shutdown, events, supervision
from actors.dialogue import (
    AllStopped,
    Boot,
    Effect,
    Exit,
    Exited,
    Ignored,
    QueueRetry,
    Ready,
    Refuse,
    Reply,
    Retry,
    Start,
    Started,
    StartFailed,
    Stop,
    StopAll,
    Stopped,
)
from actors.spec import BRUTAL_KILL
from actors.supervision import Flags, Status

BOOM = Abnormal("boom")
NO = Abnormal("no")


class Nobody(Actor):
    """The core never makes an actor; a spec wants a class."""


def child(id: str, **options: Any) -> ChildSpec[Nobody]:
    """A child spec."""
    return Nobody.spec().options(id=id, **options)


class Core:
    """A core, and a shell that carries out each blocking effect at once.

    `starts[id]` says how the next starts of a child turn out ("ok", "ignore", or a reason; "ok"
    when the list is used up), `stops[id]` with which reason it ends when it is told to stop.
    """

    def __init__(self, *specs: ChildSpec[Any], dice: Any = supervision.even, **flags: Any) -> None:
        self.state = supervision.new(Flags(**flags), specs, dice)
        self.state.path = "top"
        self.starts: dict[str, list[Any]] = {}
        self.stops: dict[str, Reason] = {}
        self.lives = itertools.count(1)
        self.now = 0.0

    def boot(self) -> list[Effect]:
        """Starts all."""
        return self.step(Boot())

    def step(self, event: Any) -> list[Effect]:
        """All effects of an event and of the outcomes that follow from it, in order."""
        effects: list[Effect] = []
        following = supervision.step(self.state, event, self.now)
        while following:
            effects += following
            outcome = self.outcome(following[-1])
            following = [] if outcome is None else supervision.step(self.state, outcome, self.now)
        return effects

    def outcome(self, effect: Effect) -> Any:
        match effect:
            case Start(id):
                turn: Any = self.starts[id].pop(0) if self.starts.get(id) else "ok"
                if turn == "ok":
                    return Started(id, next(self.lives))
                return Ignored(id) if turn == "ignore" else StartFailed(id, turn)
            case Stop(id):
                return Stopped(id, self.stop_reason(id))
            case StopAll(ids):
                return AllStopped(tuple((id, self.stop_reason(id)) for id in ids))
        return None

    def stop_reason(self, id: str) -> Reason:
        brutal = self.state.children[id].spec.shutdown == BRUTAL_KILL
        return self.stops.get(id, Killed() if brutal else Shutdown())

    def die(self, id: str, reason: Reason = BOOM) -> list[Effect]:
        """The living child `id` ends by itself."""
        return self.step(Exited(id, self.state.children[id].life, reason))

    def retry(self, id: str) -> list[Effect]:
        """The restart of `id` that is queued comes up."""
        return self.step(Retry(id, self.state.children[id].generation))

    def status(self) -> dict[str, str]:
        """What every child is doing, in start order."""
        return {id: child.status.value for id, child in self.state.children.items()}

    def up(self) -> list[str]:
        """Who runs."""
        return [id for id, one in self.state.children.items() if one.status is Status.RUNNING]


def three(**flags: Any) -> Core:
    """A supervisor of a, b and c that has booted."""
    core = Core(child("a"), child("b"), child("c"), **flags)
    core.boot()
    return core


def said(effects: list[Effect]) -> list[str]:
    """The effects in short, so that a whole dialogue fits in a line."""
    return [_short(effect) for effect in effects]


def _short(effect: Effect) -> str:
    match effect:
        case Start(id) | Stop(id):
            return f"{type(effect).__name__.lower()} {id}"
        case StopAll(ids):
            return f"stop all {' '.join(ids)}"
        case Ready():
            return "ready"
        case Reply(id):
            return "ok" if id is None else f"ok {id}"
        case Refuse(code, id, None):
            return f"refused {id}: {code}"
        case Refuse(code, id, reason):
            return f"refused {id}: {code} {reason}"
        case QueueRetry(Retry(id)):
            return f"queue {id}"
        case Exit(reason):
            return f"exit {reason}"
        case events.ChildTerminated(child=id, reason=reason):
            return f"report {id} {reason}"
        case events.Restarting(child=id, count=count):
            return f"restart {id} #{count}"
        case events.ChildStartFailed(child=id, reason=reason):
            return f"report start {id} {reason}"
        case events.LimitReached(child=id):
            return f"limit {id}"
        case events.StopFailed(child=id, reason=reason):
            return f"report stop {id} {reason}"
    raise AssertionError(effect)
