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


class ServiceStarted(Event, frozen=True, kw_only=True):
    """A service's process runs; its life number `incarnation` has begun."""

    colony: str
    service: str
    pid: int
    incarnation: int


class ServiceReady(Event, frozen=True, kw_only=True):
    """A service listens on its port, `seconds` after its process was started."""

    colony: str
    service: str
    port: int
    incarnation: int
    seconds: float


class ServiceExited(Event, frozen=True, kw_only=True):
    """A service's process has ended by itself."""

    colony: str
    service: str
    incarnation: int
    status: str
    seconds: float


class ServiceStopping(Event, frozen=True, kw_only=True):
    """A service is being told to stop."""

    colony: str
    service: str
    pid: int


class ServiceStopped(Event, frozen=True, kw_only=True):
    """A service has been stopped; `killed` if it took the kill to do it."""

    colony: str
    service: str
    status: str
    killed: bool
    seconds: float


class ServiceOutput(Event, frozen=True, kw_only=True):
    """What a service wrote: raw bytes, as read, on one of its streams."""

    colony: str
    service: str
    stream: Stream
    data: bytes
