"""What must hold of every trace, whatever the policy and whatever goes wrong. Pure.

    check(trace, config)                             # all that follow from the configuration
    never_more_restarts(trace, within="1m", than=5)  # one of them, with figures of one's own
    available(trace, "web", at_least=0.99)

Law: a function returns if its invariant holds, and raises `Violated` if not, which is an
`AssertionError` that says which entries contradict it: what a test needs, no more.

A trace of a real run whose beginning is lost may break an invariant without anybody's fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from colony.config import Config
from colony.config.schema import Condition
from colony.lab.spans import outages, spans
from colony.lab.summary import summarise
from colony.lab.timeline import clock, length
from colony.lab.trace import NEWS, Entry, Kind, Trace
from colony.lab.words import seconds as in_seconds

_AROUND: Final = 3
_DOWN: Final[frozenset[Kind]] = frozenset({"crashed", "exited", "stopped", "failed", "gave_up"})
_ENDS: Final[frozenset[Kind]] = frozenset({"crashed", "exited"})
_DECIDED: Final[frozenset[Kind]] = frozenset({"restarting", "backoff"})


class Violated(AssertionError):
    """An invariant does not hold. `entries` are those that contradict it, the last one last."""

    def __init__(self, trace: Trace, text: str, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(entries)
        lines = [f"{trace.colony}: {text}", *_context(trace, self.entries)]
        super().__init__("\n".join(lines))


def _context(trace: Trace, entries: tuple[Entry, ...]) -> Iterable[str]:
    """The entries in question, each marked, and some of what was before the last of them."""
    if not entries:
        return
    marked = {id(entry) for entry in entries}
    last = max(i for i, entry in enumerate(trace.entries) if id(entry) in marked)
    shown = range(max(0, last - _AROUND), last + 1)
    for i, entry in enumerate(trace.entries):
        if id(entry) in marked or i in shown:
            mark = ">" if id(entry) in marked else " "
            detail = f"  {entry.detail}" if entry.detail else ""
            yield f"{mark} {clock(entry.at)}  {entry.service}  {entry.kind}{detail}"


# -- those that follow from a configuration --------------------------------------------------------


def check(trace: Trace, config: Config) -> None:
    """All invariants that hold of every policy. Raises `Violated` for the first that does not."""
    in_order(trace)
    never_more_restarts(trace, within=config.supervision.period, than=config.supervision.intensity)
    ready_only_after_started(trace)
    one_life_at_a_time(trace)
    every_end_is_answered(trace, config)
    started_only_when_due(trace)
    never_without_dependencies(trace, config)
    silent_after_the_end(trace)


def in_order(trace: Trace) -> None:
    """Time does not run backwards, and nothing is later than the horizon."""
    last: Entry | None = None
    for entry in trace.entries:
        if last is not None and entry.at < last.at:
            raise Violated(trace, "time runs backwards", (last, entry))
        if entry.at > trace.horizon:
            text = f"something happens after the horizon of {length(trace.horizon)}"
            raise Violated(trace, text, (entry,))
        last = entry


def never_more_restarts(trace: Trace, *, within: str | float, than: int) -> None:
    """Never more than so many restarts in any stretch of so much time, its ends included.

    within
        Seconds, or a text as "1m".
    """
    period = in_seconds(within)
    window: deque[Entry] = deque()
    for entry in trace.entries:
        if entry.kind not in _DECIDED:
            continue
        window.append(entry)
        while entry.at - window[0].at > period:
            window.popleft()
        if len(window) > than:
            text = f"{len(window)} restarts within {length(period)}; at most {than} are allowed"
            raise Violated(trace, text, window)


def ready_only_after_started(trace: Trace) -> None:
    """A life becomes ready once at most, and only after it has been started."""
    running: dict[str, Entry] = {}
    ready: set[str] = set()
    for entry in trace.entries:
        if entry.kind == "started":
            running[entry.service] = entry
            ready.discard(entry.service)
        elif entry.kind == "ready":
            begun = running.get(entry.service)
            if begun is None or begun.life != entry.life:
                raise Violated(trace, f"{entry.service} is ready and does not run", (entry,))
            if entry.service in ready:
                raise Violated(trace, f"{entry.service} becomes ready twice", (begun, entry))
            ready.add(entry.service)
        elif entry.kind in _DOWN:
            running.pop(entry.service, None)


def one_life_at_a_time(trace: Trace) -> None:
    """A service is started only when its last life is over, and lives are counted upwards."""
    alive: dict[str, Entry] = {}
    lives: dict[str, Entry] = {}
    for entry in trace.entries:
        if entry.kind == "started":
            before = alive.get(entry.service)
            if before is not None:
                raise Violated(trace, f"{entry.service} runs twice", (before, entry))
            last = lives.get(entry.service)
            if last is not None and entry.life <= last.life:
                text = f"{entry.service} begins life {entry.life} after life {last.life}"
                raise Violated(trace, text, (last, entry))
            alive[entry.service] = lives[entry.service] = entry
        elif entry.kind in _DOWN:
            alive.pop(entry.service, None)


def every_end_is_answered(trace: Trace, config: Config) -> None:
    """Every end of a life leads to a restart, to a stop or to the end of the colony, unless the
    service's restart type says that it stays down.

    One that ends while another one's restart stops its group is not decided about by itself: it
    comes back with the group. One that nobody has come to is not held against the supervisor, which
    does one thing after the other, before a later end has been decided about.
    """
    following: dict[str, Entry] = {}
    for entry in reversed(trace.entries):
        if entry.kind in _ENDS:
            _answered(trace, config, entry, following.get(entry.service))
        if entry.kind not in _SILENT:
            following[entry.service] = entry


_SILENT: Final = NEWS - _DECIDED


def _answered(trace: Trace, config: Config, entry: Entry, answer: Entry | None) -> None:
    """Whether what comes next for a service answers its end."""
    restart = config.services[entry.service].restart
    wanted = restart == "permanent" or (restart == "transient" and entry.kind == "crashed")
    if not wanted and answer is not None and answer.kind in _DECIDED:
        text = f"{entry.service} is {restart}, and is restarted after it has {entry.kind}"
        raise Violated(trace, text, (entry, answer))
    answers = set(_ANSWERS)
    if trace.strategy != "one_for_one":
        answers |= {"started", "waiting"}
    silent = answer is None or answer.kind not in answers
    if wanted and silent and _passed_over(trace, entry):
        text = f"nothing is done about the end of {entry.service}"
        raise Violated(trace, text, (entry, *([answer] if answer else [])))


_ANSWERS: Final[frozenset[Kind]] = frozenset({"restarting", "backoff", "gave_up", "failed"})


_QUEUED: Final = 1.0
"""Seconds within which two ends may be heard of in another order than they came in."""


def _passed_over(trace: Trace, end: Entry) -> bool:
    """Whether a later end has been decided about, so that this one's turn must have come before.

    With a group it may have been stopped whose restart is still to come, or came to nothing.
    """
    position = trace.entries.index(end)
    later = trace.entries[position + 1 :]
    decisions = _DECIDED | {"gave_up"}
    if trace.strategy != "one_for_one":
        decisions = _DECIDED
        in_vain = trace.ending.kind == "gave_up" or any(each.kind == "failed" for each in later)
        if in_vain or _group_waits(trace, end):
            return False
    ended: dict[str, float] = {}
    for entry in later:
        if entry.kind in _ENDS:
            ended[entry.service] = entry.at
        elif entry.kind in decisions and ended.get(entry.service, 0.0) > end.at + _QUEUED:
            return True
    return False


def _group_waits(trace: Trace, entry: Entry) -> bool:
    """Whether a group is to come back only after the end of the trace."""
    end = min(trace.horizon, trace.ending.at)
    return trace.strategy != "one_for_one" and any(
        each.due is not None and each.at <= entry.at and each.due > end for each in trace.entries
    )


def started_only_when_due(trace: Trace) -> None:
    """A service that waits for its restart is not started before its time, unless an operator or
    the restart of another one starts it."""
    waits: dict[str, Entry] = {}
    for entry in trace.entries:
        if entry.kind == "backoff":
            waits[entry.service] = entry
        elif entry.kind in ("started", "waiting"):
            backoff = waits.pop(entry.service, None)
            early = backoff is not None and backoff.due is not None and entry.at < backoff.due
            if early and not entry.by and backoff is not None and not _group(trace, entry):
                due = clock(backoff.due or 0.0)
                text = f"{entry.service} is started before its restart was due at {due}"
                raise Violated(trace, text, (backoff, entry))


def _group(trace: Trace, entry: Entry) -> bool:
    """Whether another one's restart may have taken this one along."""
    return trace.strategy != "one_for_one" and any(
        each.kind in _DECIDED and each.service != entry.service and each.at <= entry.at
        for each in trace.entries
    )


_FULFILLED: Final[dict[Condition, frozenset[str]]] = {
    "started": frozenset({"started", "ready", "detached", "exited"}),
    "ready": frozenset({"ready", "detached", "exited"}),
    "completed": frozenset({"exited"}),
}


def never_without_dependencies(trace: Trace, config: Config) -> None:
    """No service is started before what it comes after has been as it has to be, in this life.

    While its process is being started, which takes some milliseconds, another one may still fall.
    """
    last: dict[str, Entry] = {}
    lacks: dict[str, dict[str, Condition]] = {}
    for entry in trace.entries:
        if entry.kind in _SILENT:
            continue
        last[entry.service] = entry
        if entry.kind == "waiting":
            after = config.services[entry.service].after
            lacks[entry.service] = {
                other: condition
                for other, condition in after.items()
                if other not in last or last[other].kind not in _FULFILLED[condition]
            }
        for missing in lacks.values():
            if entry.service in missing and entry.kind in _FULFILLED[missing[entry.service]]:
                del missing[entry.service]
        if entry.kind == "started":
            for other, condition in lacks.pop(entry.service, {}).items():
                text = f"{entry.service} is started before {other} is {condition}"
                raise Violated(trace, text, (*([last[other]] if other in last else []), entry))


def silent_after_the_end(trace: Trace) -> None:
    """Once the restart limit is reached, nothing is decided and no life begins any more. One whose
    process was just being started is stopped as soon as it runs."""
    end: Entry | None = None
    for entry in trace.entries:
        if end is not None and (entry.kind in _DECIDED or entry.kind == "waiting"):
            raise Violated(trace, f"{entry.service} goes on after the restart limit", (end, entry))
        if entry.kind == "gave_up":
            end = entry


# -- those that a policy is wanted to keep ---------------------------------------------------------


def never_down_together(trace: Trace, *services: str) -> None:
    """Of these services one is up at any time, once each has been up."""
    downs = [list(outages(spans(trace, service))) for service in services]
    times = sorted({span.start for each in downs for span in each})
    for at in times:
        if all(any(span.start <= at < span.end for span in each) for each in downs):
            raise Violated(trace, f"{' and '.join(services)} are down together at {clock(at)}")


def never_up_without(trace: Trace, service: str, dependency: str) -> None:
    """A service is never up while another one, which it cannot do without, is down.

    That is a wish, not a law: under one_for_one whoever depends on a service that crashes runs on.
    Under rest_for_one, too, it takes some time to stop it; that is not held against it.
    """
    missing = list(outages(spans(trace, dependency)))
    for span in spans(trace, service):
        for outage in missing:
            start, end = max(span.start, outage.start), min(span.end, outage.end)
            if span.state == "up" and start < end:
                text = f"{service} is up without {dependency} for {length(end - start)}"
                raise Violated(trace, f"{text} from {clock(start)}")


def available(trace: Trace, service: str, *, at_least: float) -> None:
    """A service is available for at least this part of the time, from 0 to 1."""
    found = summarise(trace).services[service].availability
    if found < at_least:
        text = f"{service} is available {found:.3%} of the time; wanted is {at_least:.3%}"
        raise Violated(trace, text)


def no_outage_longer(trace: Trace, service: str, than: str | float) -> None:
    """No outage of a service is longer than so many seconds, or a text as "30s"."""
    found = summarise(trace).services[service]
    if found.longest > in_seconds(than):
        at = clock(found.longest_at or 0.0)
        text = f"{service} is down for {length(found.longest)} from {at}"
        raise Violated(trace, f"{text}; wanted is at most {length(in_seconds(than))}")


def never_gives_up(trace: Trace) -> None:
    """The restart limit is not reached."""
    if trace.ending.kind == "gave_up":
        last = [entry for entry in trace.entries if entry.kind == "gave_up"]
        raise Violated(trace, f"gave up because of {trace.ending.service}", last)
