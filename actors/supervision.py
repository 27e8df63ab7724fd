"""What a supervisor decides: the whole of OTP's `supervisor`, as a pure function of events.

`step(state, event, now)` changes the state and returns effects for a shell to carry out. No time,
no task, no actor in here: the same code runs in production, under the replay of Erlang's own
recordings, and in simulations.

The law of the dialogue: at most one effect of a step, the last, is *blocking* (`Start`, `Stop`,
`StopAll`). The shell carries it out, steps with its outcome, and so on until a step returns no
blocking effect; only then may it take the next death, retry or command. Start order (R51) and stop
order (R93) follow from that, and so does that a command never meets a half-done restart.

                    ┌───────────── plan: stop c3, stop c2, start c1, start c2 … ──────────────┐
    event ──▶ step ─┤  next of plan ──▶ Start(c1) ──▶ shell ──▶ Started(c1) ──▶ step ──▶ …      │
                    └── plan done: the goal's last words (Reply, Ready, Exit) ────────────────┘

A death is met by three tables: `RESTARTED` (restart type × orderly), the strategy's group
(`_GROUPS`), and `auto_shutdown`. Everything else is bookkeeping.

A child with a `Backoff` waits before it is restarted: `RESTARTING`, with the time that it is `due`.
The restart is decided, and counted, when it begins to wait. Those whom it takes along are stopped
at once and started with it, since the strategy says that they cannot do without it. The retry
carries the child's generation, so that one which has been stopped, replaced or restarted in the
meantime by a sibling's group does not hear of it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, get_args

import msgspec

from actors import events, restarts
from actors.dialogue import (
    AllStopped,
    Boot,
    Change,
    DeleteChild,
    Effect,
    Exit,
    Exited,
    Ignored,
    QueueRetry,
    Ready,
    Refuse,
    Reply,
    RestartChild,
    Retry,
    Start,
    StartChild,
    Started,
    StartFailed,
    Stop,
    StopAll,
    Stopped,
    Terminate,
    TerminateChild,
)
from actors.errors import InvalidSpec, rejected
from actors.events import ChildStartFailed, ChildTerminated, LimitReached, StopFailed
from actors.reasons import FailedToStart, Killed, Normal, Reason, Shutdown
from actors.restarts import RESTARTED, RestartLimit
from actors.spec import BRUTAL_KILL, ChildSpec
from actors.strict import Strict, one_of

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]


class Flags(msgspec.Struct, metaclass=Strict, frozen=True):
    """A supervisor's flags (R44).

    strategy
        Whom a death takes along: "one_for_one" (default) nobody, "rest_for_one" those started
        after it, "one_for_all" all (R72–R74).
    intensity, period
        More than `intensity` restarts (default 1) within `period` seconds (default 5.0, both ends
        included) end the supervisor (R81, R82). Seconds are fractions, not truncated as Erlang's.
    auto_shutdown
        Whether the end of significant children ends the supervisor: "never" (default),
        "any_significant", "all_significant" (R88–R90).
    dynamic
        Children come and go by the thousand, are told apart by id only, are dropped when they are
        not restarted, and stop side by side (R98–R103). Default false.
    max_children
        How many children a dynamic supervisor holds at most. Default without limit.
    keep_stopped
        Whether a child that `TerminateChild` stopped stays down when its siblings are restarted as
        a group. Default false, as in Erlang, where it comes back (R76).
    limit_is_failure
        Whether a supervisor that reached its limit ends with `RestartLimit`, which its parent
        treats as a failure. Default false, as in Erlang: with `Shutdown()` (R85, R86).

    Raises `InvalidSpec` when a flag is wrong, or for one that there is not.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = "never"
    dynamic: bool = False
    max_children: int | None = None
    keep_stopped: bool = False
    limit_is_failure: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise rejected(
                "invalid_strategy", "strategy", self.strategy, one_of(get_args(Strategy))
            )
        if not _is_number(self.intensity, int) or self.intensity < 0:
            raise rejected(
                "invalid_intensity", "intensity", self.intensity, "a whole number from 0 up"
            )
        if not _is_number(self.period, int | float) or not 0 < self.period < float("inf"):
            raise rejected("invalid_period", "period", self.period, "seconds, more than 0")
        if self.auto_shutdown not in get_args(AutoShutdown):
            raise rejected(
                "invalid_auto_shutdown",
                "auto_shutdown",
                self.auto_shutdown,
                one_of(get_args(AutoShutdown)),
            )
        if self.dynamic and (self.strategy != "one_for_one" or self.auto_shutdown != "never"):
            raise InvalidSpec(
                "bad_combination",
                "a dynamic supervisor is one_for_one and never shuts itself down (R50)",
            )
        limit = self.max_children
        if limit is not None and (not _is_number(limit, int) or limit < 0):
            raise rejected(
                "invalid_max_children", "max_children", limit, "a whole number from 0 up, or None"
            )
        for name in ("dynamic", "keep_stopped", "limit_is_failure"):
            if not isinstance(getattr(self, name), bool):
                raise rejected(f"invalid_{name}", name, getattr(self, name), "true or false")


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


NEVER_FAILED: Final = Normal()


class Status(Enum):
    """What a child is doing: as `which_children` says it (R56)."""

    RUNNING = "running"
    UNDEFINED = "undefined"
    RESTARTING = "restarting"


@dataclass(slots=True)
class Child:
    """One entry of a supervisor's list.

    `life` is the serial number of the running actor: news of any other life is stale.
    `generation` is of the last start, so that a retry which was queued for an earlier one is stale.
    `failure` is why the last start failed.
    `attempts` counts the restarts under a backoff since the child was last healthy, and `since` is
    when its life began; `due` is when a restart that has been decided is to be made.
    `held` says that `TerminateChild` stopped it.
    """

    spec: ChildSpec[Any]
    status: Status = Status.UNDEFINED
    life: int = 0
    generation: int = 0
    failure: Reason = NEVER_FAILED
    attempts: int = 0
    since: float = math.inf
    due: float | None = None
    held: bool = False


# -- the state -----------------------------------------------------------------------------------


class Booting(msgspec.Struct, frozen=True):
    """Goal: all children started."""


class Restarting(msgspec.Struct, frozen=True):
    """Goal: those whom a death took down are up again."""


class Clearing(msgspec.Struct, frozen=True):
    """Goal: those whom a death takes along are down, until its restart is due."""


class Adding(msgspec.Struct, frozen=True):
    """Goal of `StartChild`."""

    id: str


class Reviving(msgspec.Struct, frozen=True):
    """Goal of `RestartChild`."""

    id: str


class Terminating(msgspec.Struct, frozen=True):
    """Goal of `TerminateChild`."""

    id: str


class Ending(msgspec.Struct, frozen=True):
    """Goal: all children stopped, then exit with `reason`."""

    reason: Reason


Goal = Booting | Restarting | Clearing | Adding | Reviving | Terminating | Ending

Op = Start | Stop


def even() -> float:
    """The dice of somebody who does not care for jitter."""
    return 0.5


@dataclass(slots=True)
class State:
    """Everything that a supervisor knows.

    `children` is in start order; `path` is for reports; `dice` gives the backoff's jitter, from 0
    to 1; `starts` counts all starts and so numbers the generations: no two have the same, not even
    of two children that bear the same id one after the other.
    """

    flags: Flags
    children: dict[str, Child]
    path: str = ""
    dice: Callable[[], float] = even
    restarts: deque[float] = field(default_factory=deque)
    plan: deque[Op] = field(default_factory=deque)
    goal: Goal | None = None
    starts: int = 0


def new(flags: Flags, specs: Iterable[ChildSpec[Any]], dice: Callable[[], float] = even) -> State:
    """The state of a supervisor before it starts anything.

    Raises `InvalidSpec` for a duplicate id (R49) or a spec that does not fit the flags (R48).
    """
    state = State(flags, {}, dice=dice)
    if not isinstance(specs, Iterable) or isinstance(specs, Iterator | str):
        # What can be gone through only once would be gone at the first restart.
        raise rejected("bad_start_spec", "children", specs, "a list of specs")
    for spec in specs:
        check_is_spec(spec)
        check(flags, spec)
        if spec.id in state.children:
            raise InvalidSpec("duplicate_child_name", f"two children have the id {spec.id!r}")
        state.children[spec.id] = Child(spec)
    return state


def check_is_spec(spec: object) -> None:
    """Raises `InvalidSpec` for anything but a child spec, such as the actor's class itself."""
    if not isinstance(spec, ChildSpec):
        raise rejected("invalid_child_spec", "a child", spec, "a spec, such as Web.spec()")


def check(flags: Flags, spec: ChildSpec[Any]) -> None:
    """Raises `InvalidSpec` when a spec cannot belong to a supervisor with these flags (R48)."""
    if spec.significant and flags.auto_shutdown == "never":
        raise InvalidSpec(
            "bad_combination",
            f"child {spec.id!r} is significant, but its supervisor has auto_shutdown='never'",
        )
    if spec.significant and spec.restart == "permanent":
        raise InvalidSpec(
            "bad_combination",
            f"child {spec.id!r} is significant and permanent: a permanent child never ends",
        )


# -- the step ------------------------------------------------------------------------------------


def step(state: State, event: Any, now: float) -> list[Effect]:
    """Takes one event in; returns what to do. `now` is monotonic time in seconds."""
    effects: list[Effect] = []
    _STEPS[type(event)](state, event, now, effects)
    return effects


def _boot(state: State, _event: Boot, _now: float, effects: list[Effect]) -> None:
    state.goal = Booting()
    state.plan.extend(Start(id) for id in state.children)
    _advance(state, effects)


def _advance(state: State, effects: list[Effect]) -> None:
    """Goes on with the plan until it blocks or is done."""
    plan = state.plan
    while plan:
        op = plan.popleft()
        child = state.children[op.id]
        if isinstance(op, Start):
            state.starts += 1
            child.generation = state.starts
            child.held = False
            effects.append(op)
            return
        if child.status is Status.RUNNING:
            effects.append(op)
            return
        _is_down(state, child)
    goal, state.goal = state.goal, None
    match goal:
        case Booting():
            effects.append(Ready())
        case Adding(id) | Reviving(id):
            child_or_none = state.children.get(id)
            running = child_or_none is not None and child_or_none.status is Status.RUNNING
            effects.append(Reply(id if running else None))
        case Terminating(id):
            if id in state.children:
                state.children[id].held = True
                state.children[id].attempts = 0
            effects.append(Reply())
        case Ending(reason):
            effects.append(Exit(reason))


def stopped_next(state: State) -> list[str]:
    """Who is going to be stopped after the one at hand, before anything else is done."""
    stops = itertools.takewhile(lambda op: isinstance(op, Stop), state.plan)
    return [op.id for op in stops if state.children[op.id].status is Status.RUNNING]


def _is_down(state: State, child: Child) -> None:
    """The child is stopped, or does not run and is not to be restarted (R60, R68, R75)."""
    child.status = Status.UNDEFINED
    child.due = None
    if child.spec.restart == "temporary" or state.flags.dynamic:
        del state.children[child.spec.id]


def _started(state: State, event: Started, now: float, effects: list[Effect]) -> None:
    child = state.children[event.id]
    child.status = Status.RUNNING
    child.life = event.life
    child.since = now
    _advance(state, effects)


def _ignored(state: State, event: Ignored, _now: float, effects: list[Effect]) -> None:
    child = state.children[event.id]
    if isinstance(state.goal, Reviving):
        # Erlang forgets an ignored temporary child when it is added or in a group, and keeps one
        # that an operator restarts, which a change of specs alone can bring about.
        child.status = Status.UNDEFINED
    else:
        _is_down(state, child)
    _advance(state, effects)


def _start_failed(state: State, event: StartFailed, now: float, effects: list[Effect]) -> None:
    child = state.children[event.id]
    child.failure = event.reason
    effects.append(
        ChildStartFailed(at=now, supervisor=state.path, child=event.id, reason=event.reason)
    )
    goal, state.goal = state.goal, None
    state.plan.clear()
    match goal:
        case Booting():
            _end(state, Shutdown(FailedToStart(event.id, event.reason)), effects)
        case Restarting() if child.spec.backoff is not None:
            _restart(state, child, event.reason, now, effects, again=True)
        case Restarting():
            child.status = Status.RESTARTING
            effects.append(QueueRetry(Retry(event.id, child.generation)))
        case Adding():
            del state.children[event.id]
            effects.append(Refuse("start_failed", event.id, event.reason))
        case _:
            child.status = Status.UNDEFINED
            effects.append(Refuse("start_failed", event.id, event.reason))


def _stopped(state: State, event: Stopped, now: float, effects: list[Effect]) -> None:
    _note_stopped(state, event.id, event.reason, now, effects)
    _advance(state, effects)


def _all_stopped(state: State, event: AllStopped, now: float, effects: list[Effect]) -> None:
    for id, reason in event.reasons:
        _note_stopped(state, id, reason, now, effects)
    _advance(state, effects)


def _note_stopped(state: State, id: str, reason: Reason, now: float, effects: list[Effect]) -> None:
    child = state.children[id]
    if not _expected(child.spec, reason):
        effects.append(StopFailed(at=now, supervisor=state.path, child=id, reason=reason))
    _is_down(state, child)


def _expected(spec: ChildSpec[Any], reason: Reason) -> bool:
    """Whether a stopped child ended as it should (R96)."""
    if spec.shutdown == BRUTAL_KILL:
        return reason == Killed()
    if reason == Shutdown():
        return True
    return spec.restart != "permanent" and isinstance(reason, Normal | Shutdown)


def _exited(state: State, event: Exited, now: float, effects: list[Effect]) -> None:
    child = state.children.get(event.id)
    if child is None or child.status is not Status.RUNNING or child.life != event.life:
        return
    restart = child.spec.restart
    if restart == "permanent" or not event.reason.orderly:
        effects.append(
            ChildTerminated(at=now, supervisor=state.path, child=event.id, reason=event.reason)
        )
    if RESTARTED[restart, event.reason.orderly]:
        if child.spec.backoff is not None and now - child.since >= child.spec.backoff.reset_after:
            child.attempts = 0
        _restart(state, child, event.reason, now, effects)
        return
    _is_down(state, child)
    if _shuts_down(state, child):
        _end(state, Shutdown(), effects)


def _shuts_down(state: State, ended: Child) -> bool:
    """Whether the end of this child ends the supervisor (R88–R90)."""
    auto = state.flags.auto_shutdown
    if auto == "never" or not ended.spec.significant:
        return False
    return auto == "any_significant" or not any(
        child.spec.significant and child.status is not Status.UNDEFINED
        for child in state.children.values()
    )


def _restart(
    state: State,
    child: Child,
    reason: Reason,
    now: float,
    effects: list[Effect],
    *,
    again: bool = False,
) -> None:
    """Counts one restart, and gives up, waits or goes ahead (R70, R85).

    `again` says that a restart has just failed: then the next one has to wait its turn in the
    mailbox, however short its delay, so that commands come in between (R71).
    """
    flags = state.flags
    number = restarts.count(state.restarts, now, flags.period)
    if number > flags.intensity:
        _give_up(state, child, reason, now, effects)
        return
    delay = 0.0
    if child.spec.backoff is not None:
        child.attempts += 1
        delay = child.spec.backoff.delay(child.attempts, state.dice())
    effects.append(
        events.Restarting(
            at=now,
            supervisor=state.path,
            child=child.spec.id,
            reason=reason,
            count=number,
            intensity=flags.intensity,
            delay=delay,
        )
    )
    if delay > 0 or again:
        _wait(state, child, now, delay, effects)
    else:
        _go_ahead(state, child, effects)


def _give_up(state: State, child: Child, reason: Reason, now: float, effects: list[Effect]) -> None:
    """Reports that the limit is reached and ends the supervisor (R85)."""
    flags, id = state.flags, child.spec.id
    effects.append(
        LimitReached(
            at=now,
            supervisor=state.path,
            child=id,
            reason=reason,
            intensity=flags.intensity,
            period=flags.period,
        )
    )
    _is_down(state, child)
    limit = RestartLimit(id, reason, flags.intensity, flags.period)
    _end(state, limit if flags.limit_is_failure else Shutdown(), effects)


def _wait(state: State, child: Child, now: float, delay: float, effects: list[Effect]) -> None:
    """Puts a restart off, and stops at once whom it takes along."""
    child.status = Status.RESTARTING
    child.due = now + delay
    effects.append(QueueRetry(Retry(child.spec.id, child.generation), delay))
    if delay > 0:
        state.goal = Clearing()
        state.plan.extend(_stops(_GROUPS[state.flags.strategy](state, child), child))
        _advance(state, effects)


def _go_ahead(state: State, child: Child, effects: list[Effect]) -> None:
    """Stops whom the restart takes along in reverse, and starts them in order (R72–R76).

    The child itself is not stopped again (R77), and temporary ones do not come back (R75).
    """
    child.status = Status.UNDEFINED
    child.due = None
    ids = _GROUPS[state.flags.strategy](state, child)
    state.goal = Restarting()
    state.plan.extend(_stops(ids, child))
    state.plan.extend(Start(id) for id in ids if _comes_back(state, state.children[id]))
    _advance(state, effects)


def _stops(ids: list[str], dead: Child) -> Iterable[Op]:
    return (Stop(id) for id in reversed(ids) if id != dead.spec.id)


def _comes_back(state: State, child: Child) -> bool:
    """Whether a child of a group that is restarted is started with it (R75, R76)."""
    if child.spec.restart == "temporary":
        return False
    return not (child.held and state.flags.keep_stopped)


def _retry(state: State, event: Retry, now: float, effects: list[Effect]) -> None:
    child = state.children.get(event.id)
    if child is None or child.status is not Status.RESTARTING:
        return
    if child.generation != event.generation:
        return
    if child.due is None:
        _restart(state, child, child.failure, now, effects)
    else:
        _go_ahead(state, child, effects)


def _one_for_one(_state: State, dead: Child) -> list[str]:
    return [dead.spec.id]


def _rest_for_one(state: State, dead: Child) -> list[str]:
    ids = list(state.children)
    return ids[ids.index(dead.spec.id) :]


def _one_for_all(state: State, _dead: Child) -> list[str]:
    return list(state.children)


_GROUPS: Final[dict[Strategy, Callable[[State, Child], list[str]]]] = {
    "one_for_one": _one_for_one,
    "rest_for_one": _rest_for_one,
    "one_for_all": _one_for_all,
}
"""Who is restarted when a child died, in start order."""


def _terminate(state: State, event: Terminate, _now: float, effects: list[Effect]) -> None:
    state.plan.clear()
    _end(state, event.reason, effects)


def _end(state: State, reason: Reason, effects: list[Effect]) -> None:
    state.goal = Ending(reason)
    running = [id for id, child in state.children.items() if child.status is Status.RUNNING]
    if state.flags.dynamic and running:
        effects.append(StopAll(tuple(running)))
        return
    state.plan.extend(Stop(id) for id in reversed(running))
    _advance(state, effects)


# -- commands ------------------------------------------------------------------------------------


def _start_child(state: State, event: StartChild, _now: float, effects: list[Effect]) -> None:
    spec = event.spec
    known = state.children.get(spec.id)
    limit = state.flags.max_children
    if known is not None:
        code = "already_started" if known.status is Status.RUNNING else "already_present"
        effects.append(Refuse(code, spec.id))
        return
    if limit is not None and len(state.children) >= limit:
        effects.append(Refuse("max_children", spec.id))
        return
    state.children[spec.id] = Child(spec)
    _pursue(state, Adding(spec.id), Start(spec.id), effects)


def _terminate_child(
    state: State, event: TerminateChild, _now: float, effects: list[Effect]
) -> None:
    if event.id not in state.children:
        effects.append(Refuse("not_found", event.id))
        return
    _pursue(state, Terminating(event.id), Stop(event.id), effects)


_NOT_STOPPED: Final = {Status.RUNNING: "running", Status.RESTARTING: "restarting"}


def _stopped_child(state: State, id: str, effects: list[Effect]) -> bool:
    """Whether a child is there and stopped; refuses the command if not (R62, R63)."""
    child = state.children.get(id)
    code = "not_found" if child is None else _NOT_STOPPED.get(child.status)
    if code is not None:
        effects.append(Refuse(code, id))
    return code is None


def _restart_child(state: State, event: RestartChild, _now: float, effects: list[Effect]) -> None:
    if _stopped_child(state, event.id, effects):
        _pursue(state, Reviving(event.id), Start(event.id), effects)


def _delete_child(state: State, event: DeleteChild, _now: float, effects: list[Effect]) -> None:
    if _stopped_child(state, event.id, effects):
        del state.children[event.id]
        effects.append(Reply())


def _change(state: State, event: Change, _now: float, effects: list[Effect]) -> None:
    """Takes new flags and specs; nobody is started or stopped for it (R104).

    The new list's order counts, and after it come those that are not in it any more, who are kept.
    What is wrong with them raises `InvalidSpec` and changes nothing (R105).
    """
    fresh = new(event.flags, event.specs).children
    old = state.children
    state.flags = event.flags
    for id, child in fresh.items():
        if id in old:
            old[id].spec = child.spec
    kept = {id: child for id, child in old.items() if id not in fresh}
    state.children = {id: old.get(id, child) for id, child in fresh.items()} | kept
    effects.append(Reply())


def _pursue(state: State, goal: Goal, op: Op, effects: list[Effect]) -> None:
    state.goal = goal
    state.plan.append(op)
    _advance(state, effects)


_STEPS: Final[dict[type, Callable[[State, Any, float, list[Effect]], None]]] = {
    Boot: _boot,
    Started: _started,
    Ignored: _ignored,
    StartFailed: _start_failed,
    Stopped: _stopped,
    AllStopped: _all_stopped,
    Exited: _exited,
    Retry: _retry,
    Terminate: _terminate,
    StartChild: _start_child,
    TerminateChild: _terminate_child,
    RestartChild: _restart_child,
    DeleteChild: _delete_child,
    Change: _change,
}
