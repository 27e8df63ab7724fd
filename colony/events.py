"""What happens to colonies and services, as typed events on the system's stream.

They stand beside the kernel's own (`actors.events`): those tell of actors, these of what the
actors do. Formatting is `colony.console`'s.
"""

from __future__ import annotations

from typing import Literal

from actors import Event

Stream = Literal["stdout", "stderr"]


class StepDone(Event, frozen=True, kw_only=True):
    """One step of starting is done.

    `colony` is "" for what all colonies share. `seconds` is how long it took, None if that says
    nothing.
    """

    colony: str
    step: str
    detail: str
    seconds: float | None = None


class Notice(Event, frozen=True, kw_only=True):
    """Something that the user should know and that hinders nothing."""

    colony: str
    text: str


class ProvisionStep(Event, frozen=True, kw_only=True):
    """A step of providing what a colony needs: state is begun, running (with how far it is, in
    `percent`), done, skipped, failed or undone."""

    colony: str
    step: str
    state: str
    detail: str
    seconds: float | None = None
    percent: int | None = None


class ServiceWaiting(Event, frozen=True, kw_only=True):
    """A service is not started yet: it comes after others. `waits_for` says what of whom, as
    "db to be ready"."""

    colony: str
    service: str
    waits_for: tuple[str, ...]


class ServiceStarted(Event, frozen=True, kw_only=True):
    """A service's process runs; its life number `incarnation` has begun."""

    colony: str
    service: str
    pid: int
    incarnation: int


class ServiceReady(Event, frozen=True, kw_only=True):
    """A service is ready, by whatever its `ready` says, `seconds` after its process was started.

    `how` says by what: "port 4001", "/health answers 200"; "" if it is ready as soon as it runs.
    """

    colony: str
    service: str
    port: int | None
    incarnation: int
    seconds: float
    how: str = ""


class ServiceDetached(Event, frozen=True, kw_only=True):
    """A service's process has ended in good order and left a server behind, process `pid`, which
    listens on the service's port and is from now on what is looked after."""

    colony: str
    service: str
    pid: int
    command: str


class ServiceUnhealthy(Event, frozen=True, kw_only=True):
    """A service failed its health check for the `failures`-th time in a row. When that is the last
    of `allowed`, it is ended, which counts as a crash."""

    colony: str
    service: str
    reason: str
    failures: int
    allowed: int


class ServiceRemark(Event, frozen=True, kw_only=True):
    """What is known of why a service that runs or waits is as it is: its `own` word (STATUS of
    sd_notify(3)), why it is not ready yet, or that it waits for what has failed."""

    colony: str
    service: str
    text: str
    own: bool = False


class ServiceFailed(Event, frozen=True, kw_only=True):
    """A service cannot run, and trying again would not help: it stays down until an operator
    starts it."""

    colony: str
    service: str
    reason: str


class ServiceExited(Event, frozen=True, kw_only=True):
    """A service's life has ended by itself: once for each life that does.

    `status` is how, in words; `orderly` whether that is no failure; `code` the exit code if there
    is one. `strays` processes that it had left behind were killed.
    """

    colony: str
    service: str
    incarnation: int
    status: str
    seconds: float
    orderly: bool = False
    code: int | None = None
    strays: int = 0


class ServiceStopping(Event, frozen=True, kw_only=True):
    """A service is being told to stop."""

    colony: str
    service: str
    pid: int


class ServiceLingers(Event, frozen=True, kw_only=True):
    """A service that was told to stop still runs; it will be killed in `seconds`."""

    colony: str
    service: str
    pid: int
    seconds: float


class ServiceStopped(Event, frozen=True, kw_only=True):
    """A service has been stopped; `killed` if it took the kill to do it, `strays` how many
    processes had left its group and were killed. `status` is "" if no process ran."""

    colony: str
    service: str
    status: str
    killed: bool
    seconds: float
    strays: int = 0


class ServiceOutput(Event, frozen=True, kw_only=True):
    """What a service wrote: raw bytes, as read, on one of its streams.

    `position` is up to where the logs reach now, to ask them for what follows; `dropped` is how
    many bytes before these were not shown, since the event loop was too slow for them.
    """

    colony: str
    service: str
    stream: Stream
    data: bytes
    position: int = 0
    dropped: int = 0
