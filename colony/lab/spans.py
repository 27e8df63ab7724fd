"""In which state a service is, and how long: a trace's entries of one service as stretches. Pure.

    [Span(0.0, 0.005, "starting"), Span(0.005, 5.0, "up"), Span(5.0, 5.005, "down"), …]

Law: the spans of a service begin at 0, follow each other without a gap, and end at the horizon.

"up" is what its users see: one that is ready and answers nobody is "hung", long before its health
check has failed often enough, and for ever if it has none that would notice.

"off" is what nobody misses: before the first entry, after an end in good order that stays, after a
stop by an operator, and after the end of a colony that was meant to end. All else that is not "up"
is to be missed, once the service has been up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from colony.lab.trace import Entry, Kind, Trace

State = Literal["off", "waiting", "starting", "up", "hung", "backoff", "down"]


class Span(msgspec.Struct, frozen=True):
    """A state from one time to another, in seconds since the colony's start."""

    start: float
    end: float
    state: State

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


_STATES: Final[dict[Kind, State]] = {
    "waiting": "waiting",
    "started": "starting",
    "ready": "up",
    "detached": "up",
    "crashed": "down",
    "exited": "off",
    "restarting": "down",
    "backoff": "backoff",
    "stopping": "down",
    "stopped": "down",
    "failed": "down",
    "gave_up": "down",
}
"""What an entry makes of a service. The others leave it as it is."""

_ENDS: Final[frozenset[Kind]] = frozenset({"crashed", "exited", "stopped"})

_MEANT: Final = ("shut_down", "stopped")


def state_after(state: State, entry: Entry) -> State:
    """The state after an entry, as its supervisor knows it."""
    if entry.kind in ("stopping", "stopped") and not entry.by:
        return "off"
    return _STATES.get(entry.kind, state)


def spans(trace: Trace, service: str) -> list[Span]:
    """The states of a service, in order; those of no length are left out."""
    found: list[Span] = []
    state, since = _fold(trace, service, found)
    end = trace.ending.at if trace.ending.kind != "horizon" else trace.horizon
    _close(found, since, end, state)
    after: State = "off" if state == "off" or trace.ending.kind in _MEANT else "down"
    _close(found, max(since, end), trace.horizon, after)
    return found


def _fold(trace: Trace, service: str, found: list[Span]) -> tuple[State, float]:
    """The last state and its beginning; those before it are added to `found`."""
    known: State = "off"
    state: State = "off"
    since, hangs = 0.0, False
    for entry in trace.of(service):
        known = state_after(known, entry)
        hangs = entry.kind == "hung" or (hangs and entry.kind not in ("answering", *_ENDS))
        following: State = "hung" if hangs and known == "up" else known
        if following != state:
            _close(found, since, entry.at, state)
            state, since = following, entry.at
    return state, since


def _close(found: list[Span], start: float, end: float, state: State) -> None:
    if end <= start:
        return
    if found and found[-1].state == state and found[-1].end == start:
        found[-1] = Span(found[-1].start, end, state)
    else:
        found.append(Span(start, end, state))


def outages(of: list[Span]) -> Iterator[Span]:
    """The stretches in which a service that has been up is missed, each as one "down"."""
    was_up, since = False, None
    for span in of:
        was_up = was_up or span.state in ("up", "hung")
        missed = was_up and span.state not in ("up", "off")
        if missed and since is None:
            since = span.start
        if not missed and since is not None:
            yield Span(since, span.start, "down")
            since = None
    if since is not None:
        yield Span(since, of[-1].end, "down")
