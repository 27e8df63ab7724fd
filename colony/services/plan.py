"""What a port actor is told: everything about its service, decided beforehand, as a value."""

from __future__ import annotations

import msgspec

from actors import Reason
from netns import ExitStatus


class ServicePlan(msgspec.Struct, frozen=True):
    """One service, ready to be started any number of times.

    colony, service
        Their names.
    argv, cwd, env
        What is executed, where, and its whole environment.
    port
        Where it will listen inside its colony; None if it listens nowhere.
    grace
        Seconds between SIGTERM and SIGKILL.
    instance
        Whose it is: marks the process for the sweep after a crash of Colony.
    isolated
        Whether it runs in its colony's namespace; else on the host's network.
    """

    colony: str
    service: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    port: int | None
    grace: float
    instance: str
    isolated: bool

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


class PortTaken(Reason, frozen=True):
    """On the host's network: another process listens where the service wants to."""

    port: int
    holder: str

    def __str__(self) -> str:
        return (
            f"port {self.port} is taken by {self.holder}; stop that, or change the service's port "
            "(with network namespaces, which need root, every colony has its own ports)"
        )
