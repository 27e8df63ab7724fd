"""Colony inside a program of your own, on its event loop, asyncio or trio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from msgspec.structs import replace

from colony import config as configuration
from colony.host import DEFAULT, Host, Options, RunningColony

Source = str | Path | Mapping[str, Any] | configuration.Config


@asynccontextmanager
async def open(
    source: Source,
    options: Options = DEFAULT,
    *,
    name: str | None = None,
    workspace: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningColony]:
    """Runs a colony for as long as the block.

    source
        A colony.toml, or what one says as an object, or what `colony.config` made of one.
    options
        Isolation, front door and so on; see `Options`.
    name
        Over the one in `source`: copies of one project need names of their own.
    workspace
        With an object: the folder that its services run in.
    env
        The environment under the colony's own; default this process's.

    The block begins once the services' processes run; `service("web").ready()` waits until one
    listens. Leaving it, also by an exception or cancellation, stops everything in order and leaves
    nothing behind.

    Raises `config.ConfigError` for a file and `Refused` for an object or a name that is wrong,
    `modes.Impossible`, `HostFailed` or `ColonyFailed`.
    """
    folder = None if workspace is None else os.path.abspath(workspace)  # noqa: ASYNC240 - no I/O
    loaded = await anyio.to_thread.run_sync(_loaded, source, name, folder)
    async with Host(options) as host:
        await host.start()
        yield await host.add(loaded, env)


def _loaded(source: Source, name: str | None, workspace: str | None) -> configuration.Config:
    from colony.api.problems import ApiError
    from colony.api.sources import renamed, sought
    from colony.api.types import CreateColony
    from colony.sdk.errors import error_of

    try:
        if isinstance(source, Mapping):
            return sought(CreateColony(name, config=dict(source), workspace=workspace))
        if not isinstance(source, configuration.Config):
            source = configuration.load(source)
        # Absolute, for the program may go elsewhere while it runs.
        return renamed(replace(source, path=os.path.abspath(source.path)), name)
    except ApiError as error:
        raise error_of(error.problem) from None
