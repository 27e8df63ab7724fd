"""One life of a service: which phase it is in, and what may come next. Pure.

Law: a phase changes by `Life.take` alone, as `TRANSITIONS` says. An event that the table does not
have for the phase at hand is a mistake of the caller's: it raises `IllegalEvent` and changes
nothing. News that comes late (a probe's answer when the process is being stopped already) is not a
mistake: it has its entry, which leads from the phase to itself.

    WAITING ──▶ SPAWNING ──▶ STARTING ──▶ READY ───▶ DETACHED
                   │            │           │            │        its process ends in good order and
                   │            ├───────────┴────┬───────┘        leaves a server behind: DETACHED
                   ▼            ▼                ▼
                 FAILED       ENDING ────────▶ ENDED              sick: made to end; ENDED: a crash,
                                                                  or done; its supervisor decides
    from every phase but ENDED, by STOP: ──▶ STOPPING ──▶ STOPPED

FAILED is not ENDED: no process runs, but the actor lives on, so that its supervisor does not start
it again and again for nothing (its port is somebody else's). An operator may still stop it.

A restart is no part of a life. It is a new one, whose first phase is WAITING or SPAWNING whatever
the last one's was: so nothing is left over from a life that was stopped while it waited
(process-compose #530), ended while it started (#274), or failed its probe while it was being
stopped (#403).
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Phase(Enum):
    """Where a life stands."""

    WAITING = "waiting"
    SPAWNING = "spawning"
    STARTING = "starting"
    READY = "ready"
    DETACHED = "detached"
    ENDING = "ending"
    STOPPING = "stopping"
    FAILED = "failed"
    ENDED = "ended"
    STOPPED = "stopped"

    def __repr__(self) -> str:
        return self.name


class Happened(Enum):
    """What can happen to a life."""

    CLEARED = "what it comes after is as it should be"
    SPAWNED = "its process runs"
    UNSPAWNABLE = "its process cannot be started"
    TAKEN = "its port is somebody else's"
    BECAME_READY = "it is ready"
    NEVER_READY = "it was not ready in time"
    UNHEALTHY = "it failed its health check too often"
    EXITED = "its process has ended"
    LEFT_SERVER = "its process has ended and left a server behind"
    SERVER_GONE = "the server that it had left behind has ended"
    STOP = "it is to be stopped"
    GONE = "nothing of it runs any more"

    def __repr__(self) -> str:
        return self.name


P, H = Phase, Happened

# News from tasks that watch a process; they may be under way when the phase has changed.
_LATE: Final = (H.BECAME_READY, H.NEVER_READY, H.UNHEALTHY, H.EXITED, H.SERVER_GONE)


def _stays(phase: Phase) -> dict[Happened, Phase]:
    return dict.fromkeys(_LATE, phase)


TRANSITIONS: Final[dict[Phase, dict[Happened, Phase]]] = {
    P.WAITING: {H.CLEARED: P.SPAWNING, H.STOP: P.STOPPING},
    P.SPAWNING: {
        H.SPAWNED: P.STARTING,
        H.UNSPAWNABLE: P.ENDED,
        H.TAKEN: P.FAILED,
        H.STOP: P.STOPPING,
    },
    P.STARTING: {
        H.BECAME_READY: P.READY,
        H.NEVER_READY: P.ENDING,
        H.UNHEALTHY: P.ENDING,
        H.EXITED: P.ENDED,
        H.LEFT_SERVER: P.DETACHED,
        H.TAKEN: P.FAILED,
        H.STOP: P.STOPPING,
    },
    P.READY: {
        H.BECAME_READY: P.READY,
        H.NEVER_READY: P.READY,
        H.UNHEALTHY: P.ENDING,
        H.EXITED: P.ENDED,
        H.LEFT_SERVER: P.DETACHED,
        H.STOP: P.STOPPING,
    },
    P.DETACHED: {
        H.BECAME_READY: P.DETACHED,
        H.NEVER_READY: P.DETACHED,
        H.EXITED: P.DETACHED,
        H.LEFT_SERVER: P.DETACHED,
        H.UNHEALTHY: P.ENDING,
        H.SERVER_GONE: P.ENDED,
        H.STOP: P.STOPPING,
    },
    P.ENDING: {**_stays(P.ENDING), H.GONE: P.ENDED, H.STOP: P.STOPPING},
    P.STOPPING: {
        **_stays(P.STOPPING),
        H.STOP: P.STOPPING,
        H.CLEARED: P.STOPPING,
        H.GONE: P.STOPPED,
    },
    P.FAILED: {**_stays(P.FAILED), H.STOP: P.STOPPING},
    P.ENDED: {**_stays(P.ENDED), H.STOP: P.ENDED},
    P.STOPPED: {**_stays(P.STOPPED), H.STOP: P.STOPPED, H.CLEARED: P.STOPPED},
}

RUNNING: Final = frozenset({P.STARTING, P.READY, P.DETACHED})
"""The phases in which something of the service runs and is meant to."""

OVER: Final = frozenset({P.ENDED, P.STOPPED})
"""The phases from which none other is reached."""


class IllegalEvent(Exception):
    """An event that cannot happen in the phase at hand. A fault of ours, never of a service's."""

    def __init__(self, service: str, phase: Phase, happened: Happened) -> None:
        self.service = service
        self.phase = phase
        self.happened = happened
        legal = ", ".join(event.name for event in TRANSITIONS[phase])
        super().__init__(
            f"{happened.name} cannot happen to service {service} in phase {phase.name}; "
            f"there {legal} can"
        )


class Life:
    """The phase of one life.

    service
        Whose, for errors.
    waits
        Whether it begins by waiting for others. Default false.
    """

    __slots__ = ("phase", "service")

    def __init__(self, service: str, *, waits: bool = False) -> None:
        self.service = service
        self.phase = P.WAITING if waits else P.SPAWNING

    def __repr__(self) -> str:
        return f"<Life of {self.service} {self.phase.name}>"

    @property
    def running(self) -> bool:
        """Whether something of it runs and is meant to."""
        return self.phase in RUNNING

    @property
    def over(self) -> bool:
        """Whether nothing can change any more."""
        return self.phase in OVER

    def take(self, happened: Happened) -> bool:
        """Goes on to the next phase; whether it is another one. Raises `IllegalEvent`."""
        following = TRANSITIONS[self.phase].get(happened)
        if following is None:
            raise IllegalEvent(self.service, self.phase, happened)
        changed, self.phase = following is not self.phase, following
        return changed
