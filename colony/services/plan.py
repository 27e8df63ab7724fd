"""What a port actor is told: everything about its service, decided beforehand, as a value."""

from __future__ import annotations

import signal
from typing import Final, Literal

import msgspec

from actors import Reason
from colony.services.status import Condition
from netns import ExitStatus

ProbeKind = Literal["none", "tcp", "http", "exec", "log", "notify"]


DETACH: Final = 2.0
"""Seconds that a server which was left behind may take until it listens; more, where something of
the service's is still at work on it."""

HEALTH_INTERVAL: Final = 10.0
"""Seconds between two health checks, if nothing else is said."""


PROBED: Final = frozenset({"tcp", "http", "exec"})
"""Kinds of probe that ask the service, again and again."""


class Probe(msgspec.Struct, frozen=True):
    """One way of asking a service whether it is well.

    kind
        "none": it is ready as soon as it runs. "tcp": something accepts connections on `port`.
        "http": `path` on `port` answers 2xx or 3xx. "exec": `argv` ends with status 0. "log": a
        line that it writes matches `pattern`. "notify": it says so itself, as sd_notify(3).
    interval
        Seconds between two attempts. None: soon at first, then less often.
    timeout
        Seconds for one attempt.
    deadline
        Seconds after which a service that is not ready has failed. None: it may take for ever.
    failures
        How many attempts in a row must fail for a health check to have failed.
    """

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    argv: tuple[str, ...] = ()
    pattern: str = ""
    interval: float | None = None
    timeout: float = 5.0
    deadline: float | None = None
    failures: int = 3

    def __str__(self) -> str:
        shell = self.argv[:2] == ("/bin/sh", "-c")
        return {
            "none": "running",
            "tcp": f"port {self.port}",
            "http": f"GET {self.path} on port {self.port}",
            "exec": " ".join(self.argv[2 if shell else 0 :]),
            "log": f"a line like {self.pattern}",
            "notify": "its own word (sd_notify)",
        }[self.kind]


class Wait(msgspec.Struct, frozen=True):
    """A service that another one comes after, and in what condition."""

    service: str
    condition: Condition

    def __str__(self) -> str:
        verb = {"started": "be started", "ready": "be ready", "completed": "have completed"}
        return f"{self.service} to {verb[self.condition]}"


class StopPlan(msgspec.Struct, frozen=True):
    """How a service is ended: `command`, if there is one, and unless that works `signal` to its
    group; `grace` seconds for both; then SIGKILL."""

    signal: int = signal.SIGTERM
    grace: float = 5.0
    command: tuple[str, ...] = ()


class ServicePlan(msgspec.Struct, frozen=True):
    """One service, ready to be started any number of times.

    colony, service
        Their names.
    argv, cwd
        What is executed, and where.
    env, env_files, env_over
        Its whole environment: `env`, then the files, which are read anew for each life, then
        `env_over`.
    port
        Where it will listen inside its colony; None if it listens nowhere.
    after
        What must hold before it is started.
    ready, health
        How it is asked whether it is ready, and whether it still is; no health check by default.
    stop
        How it is ended.
    pty
        Whether it runs on a terminal of its own instead of pipes.
    instance
        Whose it is: marks the process for the sweep after a crash of Colony.
    isolated
        Whether it runs in its colony's namespace; else on the host's network.
    runtime
        The instance's own directory, for a socket of the service's.
    """

    colony: str
    service: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    port: int | None
    instance: str
    isolated: bool
    env_files: tuple[str, ...] = ()
    env_over: dict[str, str] = {}
    after: tuple[Wait, ...] = ()
    ready: Probe = Probe("none")
    health: Probe | None = None
    stop: StopPlan = StopPlan()
    pty: bool = False
    runtime: str = ""

    @property
    def notifies(self) -> bool:
        """Whether the service is to say of itself how it is."""
        return "notify" in (self.ready.kind, self.health and self.health.kind)

    def __repr__(self) -> str:
        # env may hold secrets, and a repr ends up in logs.
        return f"<ServicePlan {self.colony}/{self.service} {' '.join(self.argv)!r}>"


class ProcessExited(Reason, frozen=True):
    """A service's process ended by itself.

    Orderly is exit code 0 alone, so that a transient service is restarted after any failure.
    """

    status: ExitStatus

    @property
    def orderly(self) -> bool:
        return self.status.ok

    def __str__(self) -> str:
        return str(self.status)


class ServerGone(Reason, frozen=True):
    """A service had detached itself, and the server that it had left behind has ended."""

    pid: int

    def __str__(self) -> str:
        return f"its detached server (pid {self.pid}) has ended"


class Sick(Reason, frozen=True):
    """A service was ended because it was not ready in time, or failed its health check."""

    text: str

    def __str__(self) -> str:
        return self.text


class PortTaken(Reason, frozen=True):
    """Another process listens where the service wants to. `isolated`: in its own colony."""

    port: int
    holder: str
    isolated: bool = False

    def __str__(self) -> str:
        if self.isolated:
            return f"port {self.port} is taken by {self.holder}; stop that, then start the service"
        return (
            f"port {self.port} is taken by {self.holder}; stop that, or change the service's port "
            "(with a network of its own, see `colony doctor`, every colony has its own ports)"
        )
