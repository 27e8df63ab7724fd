"""Colony inside a program of your own, on its event loop, asyncio or trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from colony import config as configuration
from colony.host import DEFAULT, Host, Options, RunningColony


@asynccontextmanager
async def open(
    source: str | Path | configuration.Config, options: Options = DEFAULT
) -> AsyncIterator[RunningColony]:
    """Runs a colony for as long as the block.

    source
        A colony.toml, or what `colony.config` made of one.
    options
        Isolation, front door and so on; see `Options`.

    The block begins once the services' processes run; `service("web").ready()` waits until one
    listens. Leaving it, also by an exception or cancellation, stops everything in order and leaves
    nothing behind.

    Raises `config.ConfigError`, `modes.Impossible`, `HostFailed` or `ColonyFailed`.
    """
    loaded = source if isinstance(source, configuration.Config) else configuration.load(source)
    async with Host(options) as host:
        await host.start()
        yield await host.add(loaded)
