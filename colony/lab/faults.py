"""What goes wrong in a simulation, and how its processes behave: values, nothing but values.

    scenario = Scenario(
        faults=(
            Fault(("web",), At(5.0), Crash()),
            Fault(("api",), Every(30.0), Exit(1), times=4),
            Fault(("web", "api"), After("crashed", "db", delay=0.5), Crash()),
        ),
        behaviours={"db": Behaviour(ready=Fixed(60.0))},
        horizon=7200.0,
    )

Law: a scenario and a configuration determine the trace. All chance is drawn from `seed`, through a
`Dice` of its own for each fault and each service, so that what is added for one of them changes
nothing of what another one draws.

Times are seconds since the colony was started. A `Fault` is *what* happens to whom and *when*:

    at once     Crash, Exit, Daemonise   if it has no process, the fault is missed
    state       Hang                     the life at hand; with `lasting`, those that begin as well
                NeverReady, SlowStart,   the life at hand and those that begin while the fault is
                IgnoreStop, Flapping,    in force: for `lasting` seconds, or for ever
                PortStolen, Unstartable
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from colony.lab.trace import Entry, Kind
from netns import ExitStatus

EventWord = Literal[
    "waiting",
    "started",
    "ready",
    "crashed",
    "completed",
    "exited",
    "restarting",
    "stopped",
    "failed",
    "unhealthy",
]
"""What a fault may follow: "completed" is an end in good order, "exited" an end by itself of any
kind, "restarting" a decision to restart it, at once or later; the rest are kinds of entries."""

EVENT_WORDS: Final[dict[EventWord, frozenset[Kind]]] = {
    "waiting": frozenset({"waiting"}),
    "started": frozenset({"started"}),
    "ready": frozenset({"ready"}),
    "crashed": frozenset({"crashed"}),
    "completed": frozenset({"exited"}),
    "exited": frozenset({"crashed", "exited"}),
    "restarting": frozenset({"restarting", "backoff"}),
    "stopped": frozenset({"stopped"}),
    "failed": frozenset({"failed"}),
    "unhealthy": frozenset({"unhealthy"}),
}
"""By the word, the kinds of a trace's entries that it means."""


# -- chance ----------------------------------------------------------------------------------------


class Fixed(msgspec.Struct, frozen=True, tag="fixed"):
    """Always the same number of seconds."""

    seconds: float

    def draw(self, _dice: random.Random) -> float:
        """The seconds."""
        return self.seconds

    def __str__(self) -> str:
        return f"{self.seconds:g} s"


class Uniform(msgspec.Struct, frozen=True, tag="uniform"):
    """Any number of seconds from `low` to `high`, each as likely as the other."""

    low: float
    high: float

    def draw(self, dice: random.Random) -> float:
        """A number of seconds."""
        return dice.uniform(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} s"


class Exponential(msgspec.Struct, frozen=True, tag="exponential"):
    """Without memory: `mean` seconds on the average, however long it has lasted already."""

    mean: float

    def draw(self, dice: random.Random) -> float:
        """A number of seconds."""
        return dice.expovariate(1 / self.mean) if self.mean else 0.0

    def __str__(self) -> str:
        return f"{self.mean:g} s on the average"


Distribution = Fixed | Uniform | Exponential


def dice(seed: int, *of: str) -> random.Random:
    """The dice of one service or one fault, independent of everybody else's."""
    return random.Random(":".join((str(seed), *of)))


# -- when ------------------------------------------------------------------------------------------


class At(msgspec.Struct, frozen=True, tag="at"):
    """Once, `seconds` after the colony's start."""

    seconds: float

    def __str__(self) -> str:
        return f"at {self.seconds:g} s"


class Every(msgspec.Struct, frozen=True, tag="every"):
    """Every `seconds`; the first time at `first`, by default after `seconds`."""

    seconds: float
    first: float | None = None

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


class Poisson(msgspec.Struct, frozen=True, tag="poisson"):
    """At random, `mean` seconds apart on the average."""

    mean: float

    def __str__(self) -> str:
        return f"every {self.mean:g} s on the average"


class After(msgspec.Struct, frozen=True, tag="after"):
    """`delay` seconds after each time that `event` happens to `service`."""

    event: EventWord
    service: str
    delay: float = 0.0

    def met_by(self, entry: Entry) -> bool:
        """Whether an entry of the trace is what it waits for."""
        return entry.service == self.service and entry.kind in EVENT_WORDS[self.event]

    def __str__(self) -> str:
        later = f"{self.delay:g} s after " if self.delay else "when "
        return f"{later}{self.service} {self.event}"


Moment = At | Every | Poisson | After


# -- what ------------------------------------------------------------------------------------------


class Crash(msgspec.Struct, frozen=True, tag="crash"):
    """The process is ended by `signal`, SIGKILL by default."""

    signal: int = 9

    def __str__(self) -> str:
        return str(ExitStatus(None, self.signal))


class Exit(msgspec.Struct, frozen=True, tag="exit"):
    """The process exits with `code`."""

    code: int = 0

    def __str__(self) -> str:
        return f"exits with code {self.code}"


class Hang(msgspec.Struct, frozen=True, tag="hang"):
    """The process runs on and answers no more: its health check fails, or it is never ready.

    A health check by `tcp` does not notice: the kernel accepts connections for one that hangs.
    """

    def __str__(self) -> str:
        return "hangs"


class NeverReady(msgspec.Struct, frozen=True, tag="never_ready"):
    """Lives that begin do not become ready."""

    def __str__(self) -> str:
        return "is never ready"


class SlowStart(msgspec.Struct, frozen=True, tag="slow_start"):
    """Lives that begin take `seconds` longer to become ready."""

    seconds: float

    def __str__(self) -> str:
        return f"takes {self.seconds:g} s longer to start"


class IgnoreStop(msgspec.Struct, frozen=True, tag="ignore_stop"):
    """The signal to stop does nothing; it takes the kill."""

    def __str__(self) -> str:
        return "ignores the signal to stop"


class Flapping(msgspec.Struct, frozen=True, tag="flapping"):
    """Each life ends by itself `up` seconds after its start, with `code`."""

    up: float
    code: int = 1

    def __str__(self) -> str:
        return f"exits with code {self.code}, {self.up:g} s after each start"


class PortStolen(msgspec.Struct, frozen=True, tag="port_stolen"):
    """Somebody else listens on the service's port: a life that begins cannot have it."""

    def __str__(self) -> str:
        return "its port is somebody else's"


class Unstartable(msgspec.Struct, frozen=True, tag="unstartable"):
    """Its program is not there: a life that is to begin cannot. A line for the shell begins, and
    exits with 127 at once.
    """

    def __str__(self) -> str:
        return "its program is not there"


class Daemonise(msgspec.Struct, frozen=True, tag="daemonise"):
    """The process exits in good order, and leaves a server behind on its port."""

    def __str__(self) -> str:
        return "leaves a server behind and exits with code 0"


STATES: Final = (Hang, NeverReady, SlowStart, IgnoreStop, Flapping, PortStolen, Unstartable)
"""What is in force for a while; all others happen at one instant and are over."""

What = (
    Crash
    | Exit
    | Hang
    | NeverReady
    | SlowStart
    | IgnoreStop
    | Flapping
    | PortStolen
    | Unstartable
    | Daemonise
)


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong.

    services
        To whom; to all of them at one instant, if there are several.
    moment
        When.
    what
        What.
    times
        How often at most. None: as often as the moment comes.
    until
        Seconds after which it comes no more. None: to the horizon.
    lasting
        Seconds that a state is in force. None: for ever; of `Hang`: for the life at hand.
    """

    services: tuple[str, ...]
    moment: Moment
    what: What
    times: int | None = None
    until: float | None = None
    lasting: float | None = None


def times_of(fault: Fault, dice: random.Random, horizon: float) -> Iterator[float]:
    """When a fault comes, in seconds and in order, up to the horizon; nothing for `After`, which
    depends on what happens. `dice` is the fault's own."""
    last = horizon if fault.until is None else min(horizon, fault.until)
    for number, at in enumerate(_endless(fault.moment, dice)):
        if at > last or number == fault.times:
            return
        yield at


def _endless(moment: Moment, dice: random.Random) -> Iterator[float]:
    match moment:
        case At(seconds):
            yield seconds
        case Every(seconds, first):
            at = seconds if first is None else first
            while True:
                yield at
                at += seconds
        case Poisson(mean):
            at = 0.0
            while True:
                at += dice.expovariate(1 / mean)
                yield at
        case After():
            return


# -- how processes behave --------------------------------------------------------------------------


class Lived(msgspec.Struct, frozen=True):
    """One life as it is to be, or as it has been.

    lasts, end
        Seconds from its start to its end, and with what it ends. Default: until it is ended.
    ready
        Seconds from its start to ready. Default: as the behaviour says.
    hangs
        Seconds from its start until it answers no more. Default: it does not hang.
    cut
        After `lasts` seconds it was ended by others, and not by itself: if nobody ends it here, it
        goes on as the next of the lives would, and with its end that one is over, too.
    """

    lasts: float | None = None
    end: Crash | Exit = Crash()
    ready: float | None = None
    hangs: float | None = None
    cut: bool = False


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the processes of one service behave when nothing is done to them.

    spawn
        From the decision to start it to its process running. Default 0.005 s.
    ready
        From its process running to being ready, as its probe would find out. Default 0.05 s; a
        service that is ready as soon as it runs has none.
    lifetime
        How long a life lasts. Default None: until it is ended.
    ends
        With what a lifetime ends; one of them by chance. Default: exit code 1.
    stop
        How long it takes to end once it is told to. Default 0.01 s.
    ignores_stop
        Whether it does not end when it is told to, so that it takes the kill. Default false.
    lives
        The first lives one by one, before all the rest; for what has really happened.
    """

    spawn: Distribution = Fixed(0.005)
    ready: Distribution = Fixed(0.05)
    lifetime: Distribution | None = None
    ends: tuple[Crash | Exit, ...] = (Exit(1),)
    stop: Distribution = Fixed(0.01)
    ignores_stop: bool = False
    lives: tuple[Lived, ...] = ()


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to happen in a simulation.

    faults
        What goes wrong.
    behaviours
        By service, how its processes behave; `Behaviour()` for one that is not named.
    horizon
        Seconds that are simulated.
    seed
        Of all chance, the backoff's jitter included.
    """

    faults: tuple[Fault, ...] = ()
    behaviours: dict[str, Behaviour] = {}
    horizon: float = 3600.0
    seed: int = 0

    def behaviour(self, service: str) -> Behaviour:
        """How a service's processes behave."""
        return self.behaviours.get(service, _PLAIN)


_PLAIN: Final = Behaviour()
