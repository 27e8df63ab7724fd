"""Colony: isolated development environments, supervised as Erlang/OTP supervises processes.

    import anyio, colony

    async def main() -> None:
        async with colony.open("colony.toml") as c:
            web = c.service("web")
            await web.ready()
            print(web.url)

    anyio.run(main)                     # or trio.run(main)

The names here are loaded when they are first used, so that a command which needs none of them
starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colony.embed import open
    from colony.host import (
        ColonyFailed,
        Host,
        HostFailed,
        Options,
        RunningColony,
        RunningService,
        ServiceFailed,
    )
    from colony.modes import Impossible, Wishes

__all__ = [
    "ColonyFailed",
    "Host",
    "HostFailed",
    "Impossible",
    "Options",
    "RunningColony",
    "RunningService",
    "ServiceFailed",
    "Wishes",
    "open",
]

_HOMES = {
    "open": "colony.embed",
    "Impossible": "colony.modes",
    "Wishes": "colony.modes",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'colony' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "colony.host")), name)
