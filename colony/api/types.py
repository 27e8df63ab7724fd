"""What goes over the wire, as types. Names and meanings here are stable; new fields may come.

Times are ISO 8601 in UTC, durations are milliseconds. Secrets (`env`) go in and never come out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

ColonyState = Literal["starting", "running", "stopping", "stopped", "failed"]
"""Being started; its services' supervisor runs; being stopped; ended in order; given up."""

Stream = Literal["stdout", "stderr", "note"]
"""Of which a line came; `note` is no service's, but says what became of the colony."""

Milliseconds = Annotated[float, Meta(ge=0, description="Milliseconds")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Version(Struct, frozen=True):
    """Which Colony answers."""

    version: str
    api: int
    pid: int
    instance: str


class Health(Struct, frozen=True):
    """The instance as a whole. `status` is "ok" as long as it answers."""

    status: Literal["ok"]
    version: str
    pid: int
    instance: str
    since: datetime
    uptime_ms: Milliseconds
    colonies: int
    subscribers: int
    http_port: int
    suffix: str
    isolated: bool
    proxy: str
    dns: str
    listen: str | None = None
    daemon: bool = False
    notices: tuple[str, ...] = ()


class Service(Struct, frozen=True):
    """A service as it is now.

    `state` says what it is doing, `ready` whether it can be used. `restarts` counts its lives after
    the first; at the last of them `recent` were in the `period_ms` in which its supervisor bears
    `intensity`. `command` and `cwd` are what it runs and where. `cpu` (of one CPU, since the last
    question, or since its start) and `memory` (bytes) are there where they are asked for.
    """

    colony: str
    name: str
    state: str
    ready: bool
    pid: int | None
    port: int | None
    url: str | None
    restarts: int
    restart: str
    command: str
    cwd: str
    since: datetime | None = None
    last_exit: str | None = None
    detail: str | None = None
    cpu: float | None = None
    memory: int | None = None
    recent: int = 0
    intensity: int = 0
    period_ms: Milliseconds = 0.0


class Providing(Struct, frozen=True):
    """A step of providing what a colony needs, while it is done: since when, and how far it is by
    its command's own word, in percent."""

    name: str
    detail: str
    since: datetime
    percent: int | None = None


class Colony(Struct, frozen=True):
    """A colony as it is now. `reason` says why it ended, if it has; `path` is its colony.toml;
    `exit_code` is that of the service with `exit_colony` with which it ended, 128 and the number
    for a signal; `step` is what is being provided for it before it starts."""

    name: str
    state: ColonyState
    reason: str | None
    since: datetime
    path: str
    workspace: str
    services: tuple[Service, ...]
    culprit: str | None = None
    exit_code: int | None = None
    address: str | None = None
    step: Providing | None = None
    timings_ms: dict[str, float] = {}


class CreateColony(Struct, frozen=True, forbid_unknown_fields=True):
    """A colony to add. One of `path`, `config` (a colony.toml as an object) and `template`.

    name
        Its name; over the file's own. Needed with `config`, unless that has [colony] name.
    path
        A colony.toml on the instance's machine, absolute.
    config
        A colony.toml as an object. `{"template": NAME}` is the same as `template`.
    workspace
        With `config`: the folder that its services run in, absolute; default a folder of its own
        below the instance's workspaces.
    env
        The environment under the colony's own; default the instance's.
    keep
        Should a step of providing its environment fail, leave what was made. Default false.
    bound
        Stop and forget the colony once the process that asks for it, over the unix socket, has
        ended; over TCP, and where the colony is there already, this says nothing. Default false.
    wait
        Answer only once every service is ready, or one has failed. Default false.
    timeout_ms
        How long `wait` waits. Default 60,000.
    """

    name: Name | None = None
    path: str | None = None
    config: dict[str, Any] | None = None
    template: Name | None = None
    workspace: str | None = None
    env: dict[str, str] | None = None
    keep: bool = False
    bound: bool = False
    wait: bool = False
    timeout_ms: Annotated[float, Meta(ge=0, le=3_600_000)] = 60_000


class Signal(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal for a service's process group: HUP, SIGHUP or 1."""

    signal: str | int


class Stdin(Struct, frozen=True, forbid_unknown_fields=True):
    """Text for a service's standard input, as it is: a line needs its line end."""

    text: Annotated[str, Meta(max_length=64 * 1024)]


class ApplyColony(Struct, frozen=True, forbid_unknown_fields=True):
    """Makes a running colony what its file says now: only what differs is touched.

    `path` and `config` as for `CreateColony`; by default the file that it was started from.
    """

    path: str | None = None
    config: dict[str, Any] | None = None
    env: dict[str, str] | None = None
    dry_run: bool = False


class Step(Struct, frozen=True):
    """One difference: what is done with a service (or with the colony), and why."""

    action: Literal["add", "remove", "restart", "restart_colony"]
    service: str | None
    because: str


class Plan(Struct, frozen=True):
    """What `apply` does, or would do. Nothing when `steps` is empty."""

    colony: str
    dry_run: bool
    steps: tuple[Step, ...]


class LogLine(Struct, frozen=True):
    """One line that a service wrote. `seq` counts the service's lines from 1, over all its lives.

    `dropped` is how many of the service's lines before this one a follower missed. An overlong line
    comes in pieces with one `seq`: `piece` 0, 1 …, and `more` on each but the last.

    A follower is also told what becomes of the colony, by a line whose `stream` is `note`: it has
    no `service`, its `seq` is 0, and it goes on after it if the colony is being restarted.
    """

    seq: int
    ts: datetime
    colony: str
    service: str
    stream: Stream
    text: str
    dropped: int = 0
    piece: int = 0
    more: bool = False


class LogPage(Struct, frozen=True):
    """Lines, oldest first. `cursor` goes into `since` to go on after them.

    `dropped` is by service how many of its lines are not kept any more: those numbered up to it.
    """

    lines: tuple[LogLine, ...]
    cursor: int
    dropped: dict[str, int] = {}


class Waited(Struct, frozen=True):
    """The outcome of a wait: whether it came, and the service as it was then."""

    met: bool
    service: Service
    line: str | None = None


class Node(Struct, frozen=True):
    """An actor in the supervision tree. `status` is OTP's word: running, restarting, undefined."""

    id: str
    path: str
    kind: str
    type: Literal["supervisor", "worker"]
    status: str
    restarts: int
    strategy: str | None = None
    intensity: int | None = None
    period_ms: Milliseconds | None = None
    children: tuple[Node, ...] = ()


class Route(Struct, frozen=True):
    """A host name at the front door, and where it leads. `state` is the service's; null for a port
    that is not declared and listens (`expose = "auto"`)."""

    colony: str
    service: str
    hosts: tuple[str, ...]
    url: str
    upstream: str
    state: str | None = None


class Exec(Struct, frozen=True, forbid_unknown_fields=True):
    """A command to run inside a colony: its network, its environment, its folder.

    Ended with everything that it started when `timeout_ms` (default 600,000) has passed, or when
    the caller goes away. Of each stream the last 256 KiB come back.
    """

    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4096)]
    cwd: str | None = None
    env: dict[str, str] | None = None
    timeout_ms: Annotated[float, Meta(gt=0, le=86_400_000)] = 600_000


class Executed(Struct, frozen=True):
    """How a command ended. `code` is as a shell gives it: 128 and the signal for a signal."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    ms: Milliseconds


class HttpRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to a service, made inside its colony's network."""

    path: Annotated[str, Meta(pattern="^/", max_length=8192)] = "/"
    method: Annotated[str, Meta(pattern="^[A-Z]{1,20}$")] = "GET"
    headers: dict[str, str] = {}
    body: str = ""
    limit: Annotated[int, Meta(ge=0, le=8 * 1024 * 1024)] = 1024 * 1024
    timeout_ms: Annotated[float, Meta(gt=0, le=600_000)] = 30_000


class HttpResponse(Struct, frozen=True):
    """What the service answered. Text that is not UTF-8 has replacement characters."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool


class Forward(Struct, frozen=True, forbid_unknown_fields=True):
    """A port of a colony to open on the host's loopback. `host_port` 0 is any free one."""

    port: Annotated[int, Meta(ge=1, le=65535)]
    host_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class Forwarding(Struct, frozen=True):
    """The forward stands: connections to these addresses arrive at the colony's port."""

    colony: str
    port: int
    host_port: int
    addresses: tuple[str, ...]


class Stopping(Struct, frozen=True):
    """The instance is ending."""

    stopping: bool
    colonies: int


class EventInfo(Struct, frozen=True):
    """What has happened. Further fields depend on `type`; `id` counts from 1 in each instance."""

    id: int
    ts: datetime
    type: str
    colony: str | None = None


class Advice(Struct, frozen=True):
    """One thing that is wrong with a request: where, and what was probably meant."""

    field: str
    message: str
    did_you_mean: str | None = None
    line: int | None = None
    column: int | None = None
    help: str | None = None


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error, as RFC 9457 has it, `application/problem+json`.

    type
        A URI reference that stays the same for this kind of error.
    code
        The same in one word, for programs.
    help
        What to do.
    problems
        Every single mistake, where there are several.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    help: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    did_you_mean: str | UnsetType = UNSET
    problems: tuple[Advice, ...] = ()
    steps: tuple[Step, ...] = ()
    last_lines: tuple[str, ...] = ()


# -- queries ---------------------------------------------------------------------------------------


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class ServicesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`usage` also measures CPU and memory."""

    usage: bool = False


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What to wait for.

    `for` is ready, exit or log; with log, `pattern` is a regular expression that a line has to
    match, `since` the `cursor` of a page of logs after which it has to come (default: any that is
    kept). Default: ready, for 60,000 ms.
    """

    condition: Literal["ready", "exit", "log"] = field(default="ready", name="for")
    pattern: Annotated[str, Meta(max_length=1000)] = ""
    since: Annotated[int, Meta(ge=0)] | None = None
    timeout_ms: Annotated[float, Meta(ge=0, le=3_600_000)] = 60_000


class LogQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which lines. `tail` are the last so many: 100 by default, or all that are kept with `since`,
    which is the `cursor` of an earlier page, or a time in ISO 8601. `follow` goes on with what
    comes. `format` is json (the default; one document, or a line each with `follow`), or text."""

    service: tuple[str, ...] = ()
    tail: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    since: str | None = None
    grep: Annotated[str, Meta(max_length=1000)] | None = None
    follow: bool = False
    format: Literal["json", "text"] = "json"


class EventQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which events. `since` is the last id that was seen, as the header Last-Event-ID is; by
    default what comes from now on. `follow` false gives those that are there, and ends."""

    since: Annotated[int, Meta(ge=0)] | None = None
    follow: bool = True
    colony: str | None = None
    type: tuple[str, ...] = ()


class ConsoleQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`colony` whose lines; `colour` with ANSI colours; `several` with its
    name before each line; `debug` with tracebacks of faults of Colony's own in it; `instance` also
    faults of what is no colony's: the network's, the front door's, of the instance itself."""

    colony: Name
    colour: bool = False
    several: bool = False
    debug: bool = False
    instance: bool = False


class StopQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`kill` ends its processes at once."""

    kill: bool = False


class InstanceStopQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`force` also stops an instance that has colonies."""

    force: bool = False
