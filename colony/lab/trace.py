"""What has happened to a colony's services, in order: a trace, simulated or real.

    collector = Collector.of(config)
    leave = system.events.listen(collector.take)
    ...
    trace = collector.trace(horizon=system.now())

Law: a trace is a fold of events, whoever publishes them and on whatever clock, so a simulation, a
real run and the records of a journal give the same one for the same events. Formatting is
elsewhere.

Of each service it says the phases that it goes through and what its supervisor decided:

    waiting ─▶ started ─▶ ready ──▶ crashed ──▶ restarting | backoff (until `due`) ─▶ started …
                  │         │       exited  ──▶ gave_up: the limit is reached, all are stopped
                  │         ├─────▶ unhealthy, detached
                  └─────────┴─────▶ stopping ─▶ stopped, `by` whom it was taken down
    failed: it cannot start, and stays down          fault, missed: a simulation's, for its reader

and what its supervisor cannot know: hung (it answers nobody from now on) ─▶ answering (again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from actors import Event, events
from colony import events as happened
from colony.api.history import name_of
from colony.config import Config
from colony.config.order import in_order

Kind = Literal[
    "waiting",
    "started",
    "ready",
    "detached",
    "hung",
    "answering",
    "unhealthy",
    "crashed",
    "exited",
    "restarting",
    "backoff",
    "stopping",
    "stopped",
    "failed",
    "gave_up",
    "fault",
    "missed",
]

NEWS: Final[frozenset[Kind]] = frozenset(
    {"hung", "answering", "unhealthy", "restarting", "fault", "missed"}
)
"""Kinds that say nothing about where in its life a service is afterwards."""

EndingKind = Literal["horizon", "gave_up", "shut_down", "start_failed", "stopped"]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to one service.

    at
        Seconds since the colony's start.
    life
        Which life of it, 1 for the first; 0 where that says nothing.
    detail
        In words: how its process ended, what it waits for, why it failed.
    by
        The other service because of which it is stopped, or started again; "" if there is none.
    due
        Of `backoff`: when it is to be started.
    code
        Of `exited` and `crashed`: the exit code, if there is one.
    count, limit
        Of `restarting` and `backoff`: which restart this is in its supervisor's window, and how
        many that bears. Of `gave_up`: the `limit`.
    killed
        Of `stopped`: whether it took the kill.
    """

    at: float
    service: str
    kind: Kind
    life: int = 0
    detail: str = ""
    by: str = ""
    due: float | None = None
    code: int | None = None
    count: int = 0
    limit: int = 0
    killed: bool = False


class Ending(msgspec.Struct, frozen=True):
    """How a trace ends.

    kind
        "horizon": time is over, and the colony runs. "gave_up": the restart limit was reached.
        "shut_down": a service with `exit_colony` ended. "start_failed": the first start failed.
        "stopped": the colony was told to stop.
    at, service, detail
        When, because of whom, and why in words.
    """

    kind: EndingKind
    at: float
    service: str = ""
    detail: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened, in the order in which it did.

    colony, services
        Their names; the services in the order of starting.
    strategy, intensity, period
        The policy that was at work; "" and 0 where that is not known.
    entries, horizon, ending
        What happened; how many seconds were looked at; and how it ended.
    """

    colony: str
    services: tuple[str, ...]
    entries: tuple[Entry, ...]
    horizon: float
    ending: Ending
    strategy: str = ""
    intensity: int = 0
    period: float = 0.0

    def __repr__(self) -> str:
        return f"<Trace of {self.colony}: {len(self.entries)} entries, {self.ending.kind}>"

    def of(self, service: str) -> tuple[Entry, ...]:
        """One service's entries."""
        return tuple(entry for entry in self.entries if entry.service == service)


Take = Callable[[Entry], None]


class Collector:
    """Makes a trace of events.

    colony, services
        Whose events count; a service that is not named here is added when it is heard of.
    strategy, intensity, period
        The services' supervisor's. With strategy "" whoever is stopped while another one is being
        restarted was taken down by that one.
    exits
        The services with whose end the colony ends.
    supervisor
        The path of the services' supervisor; "" takes the decisions of any.
    began
        The clock's time at the colony's start.
    """

    def __init__(
        self,
        colony: str,
        services: Iterable[str] = (),
        *,
        strategy: str = "",
        intensity: int = 0,
        period: float = 0.0,
        exits: Iterable[str] = (),
        supervisor: str = "",
        began: float = 0.0,
    ) -> None:
        self.colony = colony
        self.services = list(services)
        self.strategy = strategy
        self.intensity = intensity
        self.period = period
        self.exits = frozenset(exits)
        self.supervisor = supervisor
        self.began = began
        self.entries: list[Entry] = []
        self.ending: Ending | None = None
        self._lives: dict[str, int] = {}
        self._cause = ""
        self._taken_by: dict[str, str] = {}
        self._listeners: list[Take] = []

    @classmethod
    def of(cls, config: Config, *, supervisor: str = "", began: float = 0.0) -> Collector:
        """A collector for a configuration's colony."""
        rules = config.supervision
        order = in_order({name: service.after for name, service in config.services.items()})
        return cls(
            config.name,
            order,
            strategy=rules.strategy,
            intensity=rules.intensity,
            period=rules.period,
            exits=(name for name, each in config.services.items() if each.exit_colony),
            supervisor=supervisor,
            began=began,
        )

    def __repr__(self) -> str:
        return f"<Collector of {self.colony}: {len(self.entries)} entries>"

    def listen(self, listener: Take) -> None:
        """Calls with every entry from now on."""
        self._listeners.append(listener)

    def take(self, event: Event) -> None:
        """Takes an event in, if it is about the colony. For `EventStream.listen`."""
        fold = _BY_CLASS.get(type(event))
        if fold is not None and self._mine(event):
            fold(self, event)

    def take_record(self, at: float, record: Mapping[str, Any]) -> None:
        """Takes in an event as the API and the journal write it: its `type`, as "service.exited",
        and its plain fields. `at` is its time on the clock of `began`."""
        fold = _BY_NAME.get(str(record.get("type")))
        if fold is not None:
            event = _Record(at, record)
            if self._mine(event):
                fold(self, event)

    def note(self, at: float, service: str, kind: Kind, detail: str = "") -> None:
        """Adds an entry of a simulation's own. `at` is the clock's."""
        self._add(at, service, kind, detail=detail)

    def trace(self, horizon: float, ending: Ending | None = None) -> Trace:
        """What has been collected. `horizon` is in seconds since the start; `ending` says what no
        event did."""
        return Trace(
            colony=self.colony,
            services=tuple(self.services),
            entries=tuple(self.entries),
            horizon=horizon,
            ending=self.ending or ending or Ending("horizon", horizon),
            strategy=self.strategy,
            intensity=self.intensity,
            period=self.period,
        )

    # -- folding -------------------------------------------------------------------------------

    def _mine(self, event: Any) -> bool:
        supervisor = getattr(event, "supervisor", None)
        if supervisor is not None:
            if self.supervisor:
                return bool(supervisor == self.supervisor)
            return event.child in self.services
        colony = getattr(event, "colony", None)
        return colony is None or colony == self.colony

    def _since(self, at: float) -> float:
        """Seconds since the start, by the microsecond: what lies beyond is rounding, of a clock
        that began at another time."""
        return round(at - self.began, 6)

    def _add(self, at: float, service: str, kind: Kind, **fields: Any) -> None:
        if service not in self.services:
            self.services.append(service)
        entry = Entry(self._since(at), service, kind, self._lives.get(service, 0), **fields)
        self.entries.append(entry)
        for listener in tuple(self._listeners):
            listener(entry)

    def _waiting(self, event: Any) -> None:
        text = f"for {', '.join(event.waits_for)}"
        self._add(event.at, event.service, "waiting", detail=text, by=self._back(event.service))

    def _started(self, event: Any) -> None:
        self._lives[event.service] = event.incarnation
        self._add(event.at, event.service, "started", by=self._back(event.service))
        self._taken_by.pop(event.service, None)

    def _back(self, service: str) -> str:
        """Who had taken a service down that comes back; whose own restart is done with it."""
        if service == self._cause:
            self._cause = ""
        return self._taken_by.get(service, "")

    def _ready(self, event: Any) -> None:
        self._add(event.at, event.service, "ready", detail=event.how)

    def _detached(self, event: Any) -> None:
        self._add(event.at, event.service, "detached", detail=event.command)

    def _unhealthy(self, event: Any) -> None:
        count = {"count": event.failures, "limit": event.allowed}
        self._add(event.at, event.service, "unhealthy", detail=event.reason, **count)

    def _exited(self, event: Any) -> None:
        kind: Kind = "exited" if event.orderly else "crashed"
        if event.service in self.exits:
            self._cause = event.service
        self._add(event.at, event.service, kind, detail=event.status, code=event.code)

    def _failed(self, event: Any) -> None:
        self._add(event.at, event.service, "failed", detail=event.reason)

    def _stopping(self, event: Any) -> None:
        self._add(event.at, event.service, "stopping", by=self._taker(event.service))

    def _stopped(self, event: Any) -> None:
        by = self._taker(event.service)
        self._add(
            event.at, event.service, "stopped", detail=event.status, by=by, killed=event.killed
        )
        if by:
            self._taken_by[event.service] = by

    def _taker(self, service: str) -> str:
        return self._cause if self._cause != service else ""

    def _restarting(self, event: Any) -> None:
        self._cause = "" if self.strategy == "one_for_one" else event.child
        self._taken_by.pop(event.child, None)
        self._add(
            event.at,
            event.child,
            "backoff" if event.delay > 0 else "restarting",
            detail=_in_words(event.reason),
            due=self._since(event.at + event.delay) if event.delay > 0 else None,
            count=event.count,
            limit=event.intensity,
        )

    def _limit_reached(self, event: Any) -> None:
        self._cause = event.child
        restarts = f"{event.intensity} restart{'' if event.intensity == 1 else 's'}"
        detail = f"more than {restarts} in {event.period:g} s: {_in_words(event.reason)}"
        self._add(event.at, event.child, "gave_up", detail=detail, limit=event.intensity)
        self.ending = Ending("gave_up", self._since(event.at), event.child, detail)

    def _start_failed(self, event: Any) -> None:
        self._add(event.at, event.child, "failed", detail=_in_words(event.reason))

    def _supervisor_ended(self, event: Any) -> None:
        """The services' supervisor is gone: with the limit, by `exit_colony`, or told to."""
        if self.ending is not None or not self.supervisor or event.actor != self.supervisor:
            return
        at, last = self._since(event.at), self._last_end()
        self.ending = (
            Ending("shut_down", at, last.service, last.detail)
            if last is not None
            else Ending("stopped", at, detail=str(event.reason))
        )

    def _supervisor_not_started(self, event: Any) -> None:
        if self.ending is None and self.supervisor and event.actor == self.supervisor:
            self.ending = Ending("start_failed", self._since(event.at), detail=str(event.reason))

    def _last_end(self) -> Entry | None:
        ends = (each for each in reversed(self.entries) if each.kind in ("exited", "crashed"))
        return next((each for each in ends if each.service in self.exits), None)


def _in_words(reason: object) -> str:
    """An exit reason for the person who reads: an error's class says nothing that its text does
    not."""
    return str(reason).removeprefix("SpawnError: ")


class _Words:
    """An exit reason of a record, which has become words."""

    __slots__ = ("orderly", "text")

    def __init__(self, value: Any) -> None:
        plain = value if isinstance(value, Mapping) else {"text": str(value)}
        self.text = str(plain.get("text", ""))
        self.orderly = bool(plain.get("orderly", False))

    def __str__(self) -> str:
        return self.text


class _Record:
    """A record, read like the event that it was made of. A field that it lacks has a plain value,
    since a journal may be older than the field."""

    _MISSING: Final[dict[str, Any]] = {
        "code": None,
        "orderly": False,
        "killed": False,
        "delay": 0.0,
        "incarnation": 1,
        "waits_for": (),
        "count": 0,
        "intensity": 0,
        "period": 0.0,
        "failures": 0,
        "allowed": 0,
    }

    def __init__(self, at: float, record: Mapping[str, Any]) -> None:
        self.at = at
        self._record = record

    def __getattr__(self, name: str) -> Any:
        value = self._record.get(name, self._MISSING.get(name, ""))
        if name in ("supervisor", "colony") and not value:
            return None
        if name == "reason" and not isinstance(value, str):
            return _Words(value)
        return self._MISSING.get(name, "") if value is None and name != "code" else value


_Fold = Callable[[Collector, Any], None]

_BY_CLASS: Final[dict[type, _Fold]] = {
    happened.ServiceWaiting: Collector._waiting,
    happened.ServiceStarted: Collector._started,
    happened.ServiceReady: Collector._ready,
    happened.ServiceDetached: Collector._detached,
    happened.ServiceUnhealthy: Collector._unhealthy,
    happened.ServiceExited: Collector._exited,
    happened.ServiceFailed: Collector._failed,
    happened.ServiceStopping: Collector._stopping,
    happened.ServiceStopped: Collector._stopped,
    events.Restarting: Collector._restarting,
    events.LimitReached: Collector._limit_reached,
    events.ChildStartFailed: Collector._start_failed,
    events.Exited: Collector._supervisor_ended,
    events.StartFailed: Collector._supervisor_not_started,
}

_BY_NAME: Final[dict[str | None, _Fold]] = {name_of(kind): fold for kind, fold in _BY_CLASS.items()}
