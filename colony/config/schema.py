"""The one description of colony.toml: every field with its type, unit, default and meaning.

These are the values that the rest of Colony works with; `fields` says how each is read from TOML
and in which words a bad one is refused, `load` reads a file. A new field is one line here and one
line in `fields.TABLES`.

Durations are float seconds here, numbers of seconds or texts like "500ms" in the file.
"""

from __future__ import annotations

import signal
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field, structs

from colony.config.problems import Problem

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "rest_for_one", "one_for_all"]
Condition = Literal["started", "ready", "completed"]
ReadyKind = Literal["none", "tcp", "http", "exec", "log", "notify"]
HealthKind = Literal["tcp", "http", "exec", "notify"]
Egress = Literal["nat", "none", "proxy"]
Mode = Literal["bridge", "host", "none", "share"]
Expose = Literal["declared", "auto"]
PackageManager = Literal["npm", "yarn", "pnpm", "bun"]
Command = str | tuple[str, ...]

NAME_PATTERN: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
NAME_LENGTH: Final = 40
PORT_LOWEST: Final = 1024
PORT_HIGHEST: Final = 65535

Name = Annotated[str, Meta(pattern=f"^{NAME_PATTERN}$", max_length=NAME_LENGTH)]
Port = Annotated[int, Meta(ge=PORT_LOWEST, le=PORT_HIGHEST)]
Seconds = Annotated[float, Meta(ge=0)]


class Environment(Struct, frozen=True, kw_only=True):
    """`[colony.environment]`: the runtimes that a colony wants, and how its folder is set up."""

    node_version: Annotated[str | None, Meta(description="Node.js version, as 22")] = None
    package_manager: Annotated[
        PackageManager | None, Meta(description="Installs the JavaScript dependencies")
    ] = None
    python_version: Annotated[str | None, Meta(description="Python version, as 3.12")] = None
    ruby_version: Annotated[str | None, Meta(description="Ruby version, as 3.3")] = None
    rust_version: Annotated[str | None, Meta(description="Rust toolchain, as stable")] = None
    setup: Annotated[
        tuple[str, ...],
        Meta(
            description="Lines for /bin/sh that are run in the folder once its dependencies are "
            "there, and again when they are changed. Those of a new workspace are asked about first"
        ),
    ] = ()


class _WithEnv(Struct, frozen=True, kw_only=True):
    """A table with an `env`, whose values may be secret: its repr, which ends up in logs, has
    their names only."""

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={_names(value) if name == 'env' else repr(value)}"
            for name, value in zip(self.__struct_fields__, structs.astuple(self), strict=True)
        )
        return f"{type(self).__name__}({shown})"


class Colony(_WithEnv, frozen=True, kw_only=True):
    """`[colony]`: what the colony is called, and what all its services share."""

    name: Annotated[
        Name,
        Meta(
            description="Unique on this machine; part of its URLs and of its namespace's name. "
            "Default: the folder's name, never empty once loaded"
        ),
    ] = ""
    template: Annotated[
        Name | None,
        Meta(
            description="What the file is written over: web-app, api-service, full-stack, "
            "python-app, or one of your own in ~/.colony/templates"
        ),
    ] = None
    description: Annotated[str, Meta(description="One line about the colony, for people")] = ""
    restart_strategy: Annotated[
        Strategy | None, Meta(description="The same as [supervision] strategy")
    ] = None
    env: Annotated[
        dict[str, str], Meta(description="Environment of every service and terminal")
    ] = field(default_factory=dict)
    environment: Annotated[Environment, Meta(description="Runtimes to provide")] = Environment()
    ports: Annotated[
        dict[str, Port], Meta(description="Deprecated: give each service its port instead")
    ] = field(default_factory=dict)


class Stop(Struct, frozen=True, kw_only=True):
    """`[services.NAME.stop]`: how a service is ended, it and all that it has started."""

    signal: Annotated[
        int,
        Meta(
            description="What its process group is sent first, as SIGINT or 2; a number here. "
            "With `pty` and SIGTERM, SIGHUP follows: shells take that"
        ),
    ] = int(signal.SIGTERM)
    grace: Annotated[
        Seconds,
        Meta(description="Seconds from the first signal to SIGKILL; 0 kills at once"),
    ] = 5.0
    command: Annotated[
        Command | None,
        Meta(
            description="Runs instead of the signal, with its process in $COLONY_PID; if that "
            "fails, the signal is sent, too"
        ),
    ] = None

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of `command`; empty without one."""
        return () if self.command is None else as_argv(self.command)


class Ready(Struct, frozen=True, kw_only=True):
    """`ready`: by what a service is known to be ready. One of the first six says it; without any,
    `tcp` for a service with a port, else `none`.

    Short: ready = "tcp", "notify" or "none", or a path for `http`, as ready = "/health".
    """

    tcp: Annotated[
        Port | bool | None,
        Meta(description="Something accepts connections on this port; true: on the service's"),
    ] = None
    http: Annotated[
        str | None, Meta(description="This path on `port` answers 2xx or 3xx, as /health")
    ] = None
    exec: Annotated[
        Command | None, Meta(description="This command ends with status 0, as pg_isready")
    ] = None
    log: Annotated[
        str | None, Meta(description="A line of its output matches this regular expression")
    ] = None
    notify: Annotated[
        bool, Meta(description="It says READY=1 on $NOTIFY_SOCKET, as sd_notify(3)")
    ] = False
    none: Annotated[bool, Meta(description="It is ready as soon as it runs")] = False
    port: Annotated[Port | None, Meta(description="For `http`; default the service's port")] = None
    interval: Annotated[
        Seconds | None,
        Meta(description="Seconds between two attempts; default soon at first, then 0.25 s"),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds that one attempt may take")] = 5.0
    deadline: Annotated[
        Seconds | None,
        Meta(
            description="Seconds after which not to be ready is a crash; default none, for a first "
            "build may take its time"
        ),
    ] = None


class Health(Struct, frozen=True, kw_only=True):
    """`[services.NAME.health]`: how a service that is ready is asked whether it still is. When that
    fails, it is ended, which counts as a crash. Default: it is not asked."""

    tcp: Annotated[
        Port | bool | None,
        Meta(description="Something accepts connections on this port; true: on the service's"),
    ] = None
    http: Annotated[str | None, Meta(description="This path on `port` answers 2xx or 3xx")] = None
    exec: Annotated[Command | None, Meta(description="This command ends with status 0")] = None
    notify: Annotated[
        bool, Meta(description="It says WATCHDOG=1 on $NOTIFY_SOCKET within each `interval`")
    ] = False
    port: Annotated[Port | None, Meta(description="For `http`; default the service's port")] = None
    interval: Annotated[Seconds, Meta(description="Seconds between two checks")] = 10.0
    timeout: Annotated[Seconds, Meta(description="Seconds that one check may take")] = 5.0
    failures: Annotated[
        int, Meta(ge=1, description="How many checks in a row must fail for it to be ended")
    ] = 3


class BackoffRule(Struct, frozen=True, kw_only=True):
    """`[services.NAME.backoff]`: how long a restart is put off. The first one is made at once; then
    `min`, and `factor` times the last, up to `max`; at once again after a life of `reset`."""

    min: Annotated[Seconds, Meta(description="Seconds before the second restart")] = 0.5
    max: Annotated[Seconds, Meta(description="Seconds that a restart is put off at most")] = 30.0
    factor: Annotated[float, Meta(ge=1, description="From one delay to the next")] = 2.0
    jitter: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The part of a delay that is added to it at random, at most, so that what "
            "fell together does not come back together",
        ),
    ] = 0.1
    reset: Annotated[
        Seconds, Meta(description="Seconds that a life must last to count as healthy")
    ] = 10.0


class Service(_WithEnv, frozen=True, kw_only=True):
    """`[services.NAME]`: one long-running process.

    The default restart type is OTP's: a service is there to run, so that an end of any kind, even
    with status 0, is one restart. What runs once and is done (`npm run build`) is "transient".
    """

    name: Name
    command: Annotated[
        Command,
        Meta(description="A line for /bin/sh, or a list of arguments that no shell touches"),
    ]
    port: Annotated[
        Port | None, Meta(description="Where it listens, in its colony; its URL leads there")
    ] = None
    path: Annotated[str, Meta(description="What its URL ends in")] = "/"
    cwd: Annotated[
        str,
        Meta(
            description="Where it runs: inside the folder of colony.toml, relative to it; "
            "absolute once loaded. Default: that folder"
        ),
    ] = ""
    env: Annotated[
        dict[str, str], Meta(description="Its environment, over the colony's and the system's")
    ] = field(default_factory=dict)
    restart: Annotated[
        Restart,
        Meta(
            description="After which end it is started again: permanent (any; alias always), "
            "transient (a failure; alias on-failure), temporary (none; alias never)"
        ),
    ] = "permanent"
    stop: Annotated[Stop, Meta(description="How it is ended")] = Stop()
    after: Annotated[
        dict[Name, Condition],
        Meta(
            description="The services that it is started after, and when: once they are started, "
            "ready or completed. A list of names means ready. They are stopped once it has ended; "
            "services that do not depend on one another are stopped at the same time"
        ),
    ] = field(default_factory=dict)
    env_file: Annotated[
        tuple[str, ...],
        Meta(
            description="Files of NAME=value lines beneath `env`, read anew at each start; "
            "relative to the folder of colony.toml, absolute once loaded"
        ),
    ] = ()
    ready: Annotated[Ready, Meta(description="By what it is known to be ready")] = Ready()
    health: Annotated[
        Health | None, Meta(description="How it is asked whether it still is; default not at all")
    ] = None
    backoff: Annotated[BackoffRule, Meta(description="How long restarts are put off")] = (
        BackoffRule()
    )
    pty: Annotated[
        bool,
        Meta(
            description="Whether it runs on a terminal of its own instead of on pipes; "
            "`colony attach COLONY/SERVICE` joins it"
        ),
    ] = False
    exit_colony: Annotated[
        bool,
        Meta(
            description="Whether its end, if it is not restarted, ends the colony, whose exit "
            "status is then its own. Only with restart transient or temporary"
        ),
    ] = False

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments to execute: a list as it is, a line through `/bin/sh -c`."""
        return as_argv(self.command)


class Terminal(_WithEnv, frozen=True, kw_only=True):
    """`[terminal]`: what a terminal session of the colony runs."""

    command: Annotated[
        Command | None,
        Meta(description="A line for /bin/sh, or arguments. Default: the user's shell"),
    ] = None
    env: Annotated[
        dict[str, str], Meta(description="Its environment, over the colony's and the system's")
    ] = field(default_factory=dict)

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments to execute, as `Service.argv`; () for the user's shell."""
        return () if self.command is None else as_argv(self.command)


class Supervision(Struct, frozen=True, kw_only=True):
    """`[supervision]`: how the services' supervisor restarts them, in OTP's words.

    OTP's own default, 1 restart in 5 s, suits code that is right and gives up while a person is
    still saving the file that breaks the server. 5 in 60 s lets those through and still ends a
    crash loop within seconds. The limit is exceeded by the restart after `intensity`.
    """

    strategy: Annotated[
        Strategy, Meta(description="Which siblings restart with a service that ended")
    ] = "one_for_one"
    intensity: Annotated[
        int, Meta(ge=0, description="How many restarts within `period` are borne; 0: none")
    ] = 5
    period: Annotated[Seconds, Meta(description="The window of `intensity` in seconds")] = 60.0


class EgressPolicy(Struct, frozen=True, kw_only=True):
    """`[network.policy.egress]`: where the colony may go, and nowhere else."""

    allow: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="HOST:PORT and NETWORK/BITS:PORT; with egress proxy *.HOST:PORT, too; "
            "default: as `egress` in [network] says"
        ),
    ] = None


class Policy(Struct, frozen=True, kw_only=True):
    """`[network.policy]`: who may talk to the colony, and to whom it may talk."""

    allow_from: Annotated[
        tuple[Name, ...] | None,
        Meta(
            description="The colonies that may connect to this one; [] for none. "
            "Default: those of its `network`"
        ),
    ] = None
    egress: Annotated[EgressPolicy, Meta(description="Where it may go")] = EgressPolicy()
    api: Annotated[
        bool, Meta(description="Whether what runs in the colony may use this instance's API")
    ] = False


class Network(Struct, frozen=True, kw_only=True):
    """`[network]`: how the colony is reached, and what it may reach."""

    mode: Annotated[
        Mode,
        Meta(
            description="bridge (a network of its own), host (the host's, with nothing of it kept "
            "apart), none (its own, and no way out of it) or share (the one of colony `share`)"
        ),
    ] = "bridge"
    share: Annotated[
        Name | None, Meta(description="With mode share: the colony whose network it lives in")
    ] = None

    egress: Annotated[
        Egress,
        Meta(
            description="The way out: nat (through the host), none, or proxy (an HTTP proxy alone, "
            "which tells of every connection)"
        ),
    ] = "nat"
    network: Annotated[
        Name | None,
        Meta(description="The network that it shares with others, who reach it by its name"),
    ] = None
    ports: Annotated[
        tuple[str, ...],
        Meta(
            description='Ports of the host that lead into the colony, as "8080:8080", '
            '"53:53/udp", "0.0.0.0:443:443" or "auto:3000"'
        ),
    ] = ()
    hostname: Annotated[
        Name | None, Meta(description="A further name for it: NAME and NAME.colony.local")
    ] = None
    ip: Annotated[
        str | None, Meta(description="Its IPv4 address, inside its network's or the pool's")
    ] = None
    expose: Annotated[
        Expose,
        Meta(
            description="Which ports get a URL: declared (those of the services), or auto (also "
            "any that begins to listen, from 1024 to 32767)"
        ),
    ] = "declared"
    policy: Annotated[Policy, Meta(description="Who may talk to whom")] = Policy()


class Config(Struct, frozen=True, kw_only=True):
    """A whole colony.toml, checked.

    services
        By name, in the file's order, which is the order of starting.
    path
        The file as the caller named it.
    workspace
        Its folder, absolute and without symbolic links: services run inside it.
    warnings
        Problems that hinder nothing: deprecated, not supported yet, assumed.
    """

    colony: Colony
    services: dict[str, Service]
    terminal: Terminal = Terminal()
    supervision: Supervision = Supervision()
    network: Network = Network()
    path: str = "colony.toml"
    workspace: str = "/"
    warnings: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """The colony's name."""
        return self.colony.name

    def environment(self, service: Service | Terminal) -> dict[str, str]:
        """The variables that the file adds to the system's: the colony's, then the service's.

        A `${NAME}` that is left in a value refers to the system's: `interpolation.resolved`.
        """
        from colony.config.interpolation import merged

        return merged(self.colony.env, service.env)


def as_argv(command: Command) -> tuple[str, ...]:
    """A command as arguments: a list as it is, a line through `/bin/sh -c`."""
    return ("/bin/sh", "-c", command) if isinstance(command, str) else command


def _names(env: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: …" for name in env) + "}"
