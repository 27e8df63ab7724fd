"""What `colony run` shows, as bytes: events in, lines out. Pure.

    ✓ network    3 things of a Colony that was killed removed
    ✓ door       port 80                                          96 ms
    ✓ namespace  colony-hello-colony, 10.200.0.2                   2 ms
    ✓ web        pid 4711
    ✓ web        ready on port 4001                               71 ms
    web | Serving HTTP on 0.0.0.0 port 4001 …
    ✗ web        killed by SIGKILL after 12.3 s
    ↻ web        restarting, 1 of at most 5 in 60 s

Shapes carry the state, colours repeat it. What a service writes is data: it is shown as it is, byte
for byte, after its name; it is never read as markup. Without colours its own are left out, too;
with them, all else that a terminal would obey (`escapes.tame`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from actors import Crashed, Event, crashes, events
from colony.escapes import plain_bytes, tame
from colony.events import (
    Notice,
    ProvisionStep,
    ServiceDetached,
    ServiceExited,
    ServiceFailed,
    ServiceLingers,
    ServiceOutput,
    ServiceReady,
    ServiceRemark,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    ServiceUnhealthy,
    ServiceWaiting,
)
from colony.logs import LineSplitter
from colony.network.egress_proxy import EgressDenied
from colony.network.ports import FocusChanged, ForwardOpened
from colony.services.status import explain, restarts
from colony.tree import COLONIES, SERVICES, SYSTEM
from netns.actors import (
    NamespaceGone,
    NamespaceMade,
    NetworkHealed,
    NetworkSick,
    Reaped,
    WayOutOpened,
)
from proxy import DNS_PORTS, HTTP_PORTS
from proxy.actors import DnsOpened, DoorOpened
from proxy.errors import ProcessDied, describe

NAME_COLUMN: Final = 10
TEXT_COLUMN: Final = 58

SHAPES: Final = {"done": "✓", "failed": "✗", "again": "↻", "ending": "■", "note": "·"}
COLOURS: Final = {"done": 32, "failed": 31, "again": 33, "ending": 36, "note": 34}

GOES_ON: Final = " …".encode()
"""What stands at the end of a piece of a line that is too long to be shown at once."""
NAME_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Console:
    """Turns events into the lines to show.

    colour
        Whether to use ANSI colours.
    several
        Whether there is more than one colony, so that names need it in front. Default false.
    debug
        Whether faults of Colony's own come with their tracebacks, and what blocks it is said.
        Default false.
    """

    def __init__(self, *, colour: bool, several: bool = False, debug: bool = False) -> None:
        self.colour = colour
        self.debug = debug
        self.several = several
        self.urls: dict[tuple[str, str], str] = {}
        """By colony and service, what to show once it is ready."""
        self._splitters: dict[tuple[str, str, str], LineSplitter] = {}
        self._width = 0
        self._periods: dict[str, float] = {}
        self._at_once: set[tuple[str, str]] = set()
        self._begun: set[tuple[str, str]] = set()

    def expect(
        self,
        colony: str,
        services: dict[str, str],
        names: list[str],
        period: float,
        at_once: Iterable[str] = (),
    ) -> None:
        """Announces a colony: its services' names, for aligned prefixes, their URLs, and which of
        them are killed without a grace."""
        self._at_once.update((colony, name) for name in at_once)
        self.urls.update({(colony, name): url for name, url in services.items()})
        self._periods[colony] = period
        self._width = max([self._width, *(len(self.name(colony, name)) for name in names)])

    def knows(self, colony: str) -> bool:
        """Whether the colony has been announced."""
        return colony in self._periods

    def shows(self, event: Event) -> bool:
        """Whether there may be lines for it."""
        return type(event) in _SHOWERS

    def show(self, event: Event) -> bytes:
        """The lines for an event; empty for most."""
        shower = _SHOWERS.get(type(event))
        return b"" if shower is None else shower(self, event)

    # -- building blocks -----------------------------------------------------------------------

    def line(self, kind: str, name: str, text: str, seconds: float | None = None) -> bytes:
        """One line of our own."""
        took = "" if seconds is None else f"{text:<{TEXT_COLUMN}} {duration(seconds):>8}"
        shape = self.paint(COLOURS[kind], SHAPES[kind])
        return f"{shape} {name:<{NAME_COLUMN}} {took or text}".rstrip().encode() + b"\n"

    def paint(self, code: int, text: str) -> str:
        """The text in a colour, if colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def name(self, colony: str, service: str) -> str:
        """What a service is called here."""
        return f"{colony}/{service}" if self.several else service

    def prefix(self, colony: str, service: str) -> bytes:
        """What stands before each line of a service."""
        name = self.name(colony, service)
        code = NAME_COLOURS[zlib.crc32(name.encode()) % len(NAME_COLOURS)]
        return self.paint(code, f"{name:<{self._width}} |").encode() + b" "

    def output(self, event: ServiceOutput) -> bytes:
        """A service's whole lines; the unfinished one waits for its end."""
        key = (event.colony, event.service, event.stream)
        splitter = self._splitters.setdefault(key, LineSplitter(GOES_ON))
        gap = b""
        if event.dropped:
            size = f"{event.dropped / 1e6:.3g} MB"
            name = self.name(event.colony, event.service)
            gap = self.line("note", name, f"{size} not shown here: it came too fast")
        return gap + self.lines(event.colony, event.service, splitter.feed(event.data))

    def rest(self, colony: str, service: str) -> bytes:
        """What the service's streams had left without a line end."""
        lines: list[bytes] = []
        for stream in ("stdout", "stderr"):
            splitter = self._splitters.pop((colony, service, stream), None)
            lines += splitter.close() if splitter is not None else []
        return self.lines(colony, service, lines)

    def lines(
        self, colony: str, service: str, lines: Iterable[bytes], indent: bytes = b""
    ) -> bytes:
        """Lines of a service, after its name."""
        start = indent + self.prefix(colony, service)
        fit = tame if self.colour else plain_bytes
        return b"".join(start + fit(line) + b"\n" for line in lines)


def duration(seconds: float) -> str:
    """`71 ms`, `1.25 s`, `2 min 5 s`, `1 min`."""
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _left_over(count: int) -> str:
    return f"{count} left-over process{'es' if count != 1 else ''} killed"


# -- one function an event -------------------------------------------------------------------------


def _reaped(console: Console, event: Reaped) -> bytes:
    if not event.removed:
        return b""
    count = len(event.removed)
    what = f"{count} thing{'s' if count != 1 else ''} left by a Colony that was killed"
    return console.line("done", "cleaned", f"{what}: {', '.join(event.removed)}")


def _door(console: Console, event: DoorOpened) -> bytes:
    where = " and ".join(f"[{a}]" if ":" in a else a for a in event.addresses)
    text = f"{where} port {event.port}{_instead(event.port, HTTP_PORTS)}"
    return console.line("done", event.kind, text, event.seconds)


def _instead(port: int, usual: Sequence[int]) -> str:
    """Says why it is not the first of the usual ports, if it is another of them."""
    return f", as {usual[0]} was not to be had" if port in usual[1:] else ""


def _dns(console: Console, event: DnsOpened) -> bytes:
    text = f"*.colony.local at port {event.port}{_instead(event.port, DNS_PORTS)}"
    return console.line("done", event.kind, text, event.seconds)


def _namespace(console: Console, event: NamespaceMade) -> bytes:
    where = f"colony-{event.colony}, {event.address}"
    return console.line("done", "namespace", where, event.seconds)


def _way_out(console: Console, event: WayOutOpened) -> bytes:
    text = f"{event.program}, with this user's rights"
    return console.line("done", "way out", text, event.seconds)


def _namespace_gone(console: Console, event: NamespaceGone) -> bytes:
    left = f", {_left_over(event.killed)}" if event.killed else ""
    return console.line("done", "namespace", f"colony-{event.colony} removed{left}", event.seconds)


def _started(console: Console, event: ServiceStarted) -> bytes:
    console._begun.add((event.colony, event.service))
    return console.line("done", console.name(event.colony, event.service), f"pid {event.pid}")


def _ready(console: Console, event: ServiceReady) -> bytes:
    name = console.name(event.colony, event.service)
    on = " on" if event.how.startswith("port ") else ":" if event.how else ""
    ready = console.line("done", name, f"ready{on} {event.how}".rstrip(), event.seconds)
    url = console.urls.get((event.colony, event.service))
    if url is None or event.incarnation > 1:
        return ready
    return ready + console.line("note", name, url)


def _exited(console: Console, event: ServiceExited) -> bytes:
    name = console.name(event.colony, event.service)
    strays = f", {_left_over(event.strays)}" if event.strays else ""
    text = f"{event.status} after {duration(event.seconds)}{strays}"
    kind = "done" if event.orderly else "failed"
    return console.rest(event.colony, event.service) + console.line(kind, name, text)


def _waiting(console: Console, event: ServiceWaiting) -> bytes:
    name = console.name(event.colony, event.service)
    return console.line("note", name, f"waits for {', '.join(event.waits_for)}")


def _detached(console: Console, event: ServiceDetached) -> bytes:
    name = console.name(event.colony, event.service)
    text = f"detached itself: its server is pid {event.pid}, {event.command}"
    return console.line("note", name, text)


def _unhealthy(console: Console, event: ServiceUnhealthy) -> bytes:
    name = console.name(event.colony, event.service)
    text = f"unhealthy, {event.failures} of {event.allowed}: {event.reason}"
    return console.line("failed", name, text)


def _remark(console: Console, event: ServiceRemark) -> bytes:
    name = console.name(event.colony, event.service)
    return b"" if event.own else console.line("note", name, event.text)


def _failed(console: Console, event: ServiceFailed) -> bytes:
    return console.line("failed", console.name(event.colony, event.service), event.reason)


def _lingers(console: Console, event: ServiceLingers) -> bytes:
    name = console.name(event.colony, event.service)
    text = f"pid {event.pid} is still there, and killed in {duration(event.seconds)}"
    return console.line("ending", name, text)


def _restarting(console: Console, event: events.Restarting) -> bytes:
    colony = colony_of(event.supervisor)
    if colony is None:
        if isinstance(event.reason, Crashed):
            return b""  # the report of the crash says it
        return console.line("again", event.child, f"restarting: {event.reason}")
    period = console._periods.get(colony, 0.0)
    limit = f"{event.count} of at most {event.intensity} in {duration(period)}"
    name = console.name(colony, event.child)
    when = f" in {duration(event.delay)}" if event.delay else ""
    return console.line("again", name, f"restarting{when}, {limit}")


def _limit(console: Console, event: events.LimitReached) -> bytes:
    colony = colony_of(event.supervisor)
    name = event.child if colony is None else console.name(colony, event.child)
    often = restarts(event.intensity)
    text = f"more than {often} in {duration(event.period)}: giving up"
    return console.line("failed", name, text)


def _start_failed(console: Console, event: events.ChildStartFailed) -> bytes:
    colony = colony_of(event.supervisor)
    if colony is None:
        return b""
    # Of a first start the colony's own end says why.
    why = f": {explain(event.reason)}" if (colony, event.child) in console._begun else ""
    return console.line("failed", console.name(colony, event.child), f"cannot start{why}")


def is_own_fault(event: events.CrashReport) -> bool:
    """Whether it is a fault of our own. How a service's process ends is none, and says so by
    itself; nor is who went with another.
    """
    return event.cause is None and isinstance(event.reason, Crashed)


def is_told(event: events.CrashReport) -> bool:
    """Whether it is of a start whose starter is told why it failed, or has said it."""
    decisions = ("escalated", "refused", "unsupervised")
    in_services = colony_of(event.supervisor or "") is not None
    return event.starting and (event.decision in decisions or in_services)


def _crashed(console: Console, event: events.CrashReport) -> bytes:
    """A fault of our own, unless it is told elsewhere."""
    if not is_own_fault(event) or (is_told(event) and not console.debug):
        return b""
    error = event.reason.error if isinstance(event.reason, Crashed) else None
    if isinstance(error, ProcessDied) and not console.debug:
        # Nobody's fault that we know of: a program of ours was killed, or has crashed.
        said = f"{error.what} ended with {describe(error.status)}; {crashes.words(event)}"
        return console.line("failed", _owner(console, event.actor), said)
    said = crashes.line(event).partition(" ")[2]
    if not console.debug:
        said += " (a fault of Colony; --debug shows the traceback)"
    trace = event.traceback.splitlines() if console.debug else []
    shown = console.line("failed", _owner(console, event.actor), said)
    return shown + b"".join(f"  {line}\n".encode() for line in trace)


def _owner(console: Console, path: str) -> str:
    """An actor's name: its own, with its colony's where there are several."""
    parts = path.split("/")
    within = len(parts) > 3 and parts[:2] == [SYSTEM, COLONIES]
    return console.name(parts[2], parts[-1]) if within else parts[-1]


def _kill_ignored(console: Console, event: events.KillIgnored) -> bytes:
    what = "" if event.task is None else f" ({event.task})"
    more = "" if console.debug else " (a fault of Colony; --debug shows where)"
    text = f"was killed {duration(event.seconds)} ago and goes on{what}{more}"
    shown = console.line("failed", _owner(console, event.actor), text)
    lines = event.stack.splitlines() if console.debug else []
    return shown + b"".join(f"  {line}\n".encode() for line in lines)


def _blocked(console: Console, event: events.HandlerBlocked) -> bytes:
    if not console.debug:
        return b""
    name = "colony" if event.actor is None else _owner(console, event.actor)
    at = "" if event.message is None else f", handling {type(event.message).__name__}"
    where = event.stack.splitlines()
    line = next((each.strip() for each in reversed(where) if each.startswith("  File ")), "")
    text = f"held all up for {duration(event.seconds)}{at}: {line}"
    return console.line("note", name, text)


def _stopping(console: Console, event: ServiceStopping) -> bytes:
    name = console.name(event.colony, event.service)
    return console.line("ending", name, f"stopping pid {event.pid}")


def _stopped(console: Console, event: ServiceStopped) -> bytes:
    name = console.name(event.colony, event.service)
    how = "stopped"
    if event.killed:
        at_once = (event.colony, event.service) in console._at_once
        how = "killed at once, its grace is 0" if at_once else "killed, it did not stop in time"
    rest = console.rest(event.colony, event.service)
    return rest + console.line("done", name, how, event.seconds)


def _notice(console: Console, event: Notice) -> bytes:
    return console.line("note", event.colony or "colony", event.text)


def _forward(console: Console, event: ForwardOpened) -> bytes:
    return console.line("done", event.colony, f"port {event.host_port} of this host leads in")


def _focus(console: Console, event: FocusChanged) -> bytes:
    ports = ", ".join(str(port) for port in event.ports) or "nothing"
    missed = "".join(f"; {why}" for why in event.missed)
    return console.line("note", event.colony or "colony", f"has localhost: {ports}{missed}")


def _denied(console: Console, event: EgressDenied) -> bytes:
    text = f"{event.process} may not reach {event.host}:{event.port}: {event.reason}"
    return console.line("failed", event.colony, text)


def _healed(console: Console, event: NetworkHealed) -> bytes:
    return console.line(
        "again", event.colony or "network", f"put back: {', '.join(event.repaired)}"
    )


def _sick(console: Console, event: NetworkSick) -> bytes:
    return console.line("failed", event.colony or "network", event.reason)


_PROVISION: Final = {"done": "done", "failed": "failed", "undone": "ending", "begun": "note"}


def _provisioned(console: Console, event: ProvisionStep) -> bytes:
    if event.state not in _PROVISION or (event.state == "begun" and event.step not in _LONG):
        return b""
    name = console.name(event.colony, event.step)
    word = {"undone": "taken back", "begun": f"{event.detail} …"}.get(event.state, event.detail)
    return console.line(_PROVISION[event.state], name, word, event.seconds)


_LONG: Final = frozenset(("source", "node packages", "python packages", "cargo packages", "setup"))
"""Steps that may take long: their begin is worth a line."""


def colony_of(path: str) -> str | None:
    """The colony whose services' supervisor has this path; None for any other path."""
    parts = path.split("/")
    is_services = len(parts) == 4 and parts[0] == SYSTEM and parts[3] == SERVICES
    return parts[2] if is_services else None


_SHOWERS: Final[dict[type, Callable[[Console, Any], bytes]]] = {
    Reaped: _reaped,
    DoorOpened: _door,
    DnsOpened: _dns,
    NamespaceMade: _namespace,
    WayOutOpened: _way_out,
    Notice: _notice,
    ForwardOpened: _forward,
    FocusChanged: _focus,
    EgressDenied: _denied,
    NetworkHealed: _healed,
    NetworkSick: _sick,
    ProvisionStep: _provisioned,
    NamespaceGone: _namespace_gone,
    ServiceStarted: _started,
    ServiceReady: _ready,
    ServiceRemark: _remark,
    ServiceExited: _exited,
    ServiceOutput: Console.output,
    ServiceWaiting: _waiting,
    ServiceDetached: _detached,
    ServiceUnhealthy: _unhealthy,
    ServiceFailed: _failed,
    ServiceLingers: _lingers,
    ServiceStopping: _stopping,
    ServiceStopped: _stopped,
    events.CrashReport: _crashed,
    events.KillIgnored: _kill_ignored,
    events.HandlerBlocked: _blocked,
    events.Restarting: _restarting,
    events.LimitReached: _limit,
    events.ChildStartFailed: _start_failed,
}
