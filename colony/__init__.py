"""Colony: isolated development environments, supervised as Erlang/OTP supervises processes.

    import anyio, colony

    async def main() -> None:
        async with colony.open("colony.toml") as c:
            web = c.service("web")
            await web.ready()
            print(web.url)

    anyio.run(main)                     # or trio.run(main)

`colony.connect()` gives the same objects for an instance that runs already; `colony.sync` has both
for programs without an event loop; docs/sdk.md.

The names here are loaded when they are first used, so that a command which needs none of them
starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colony import sync as sync
    from colony.embed import open
    from colony.entering import enter
    from colony.host import Host, HostFailed, Options, RunningColony, RunningService
    from colony.modes import Impossible, Wishes
    from colony.sdk import (
        Colony,
        ColonyError,
        ColonyFailed,
        CommandFailed,
        Conflict,
        Connection,
        Event,
        Failed,
        InstanceLost,
        NotFound,
        Refused,
        RemoteColony,
        RemoteService,
        Response,
        Service,
        ServiceFailed,
        TimedOut,
        connect,
    )

__all__ = [
    "Colony",
    "ColonyError",
    "ColonyFailed",
    "CommandFailed",
    "Conflict",
    "Connection",
    "Event",
    "Failed",
    "Host",
    "HostFailed",
    "Impossible",
    "InstanceLost",
    "NotFound",
    "Options",
    "Refused",
    "RemoteColony",
    "RemoteService",
    "Response",
    "RunningColony",
    "RunningService",
    "Service",
    "ServiceFailed",
    "TimedOut",
    "Wishes",
    "connect",
    "enter",
    "open",
]

_HOMES = {
    "enter": "colony.entering",
    "open": "colony.embed",
    "Impossible": "colony.modes",
    "Wishes": "colony.modes",
    "Host": "colony.host",
    "HostFailed": "colony.host",
    "Options": "colony.host",
    "RunningColony": "colony.host",
    "RunningService": "colony.host",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "sync":
        return import_module("colony.sync")
    if name not in __all__:
        raise AttributeError(f"module 'colony' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "colony.sdk")), name)
