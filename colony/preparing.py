"""What a colony's `[colony.environment]` asks for, provided before its tree is started.

    Host.add ─▶ prepared ─▶ provision.workspace_stages ─▶ ProvisionStep events
                   │
                   └─ for the block: if the colony's start fails, everything is taken back

A colony without the table needs nothing of it. Setup commands of a workspace of ours run only with
a consent that was given before, by `colony new`: an instance has nobody to ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread

from colony.config import Config, Environment
from colony.events import ProvisionStep
from colony.provision import (
    Busy,
    Journal,
    Progress,
    ProvisionFailed,
    Work,
    provisioning,
    recover,
    workspace_stages,
)
from colony.running import ColonyFailed

NOT_PROVIDED: Final = "not_provided"
"""The `code` of a `ColonyFailed` where its environment could not be provided."""


@asynccontextmanager
async def prepared(
    config: Config,
    home: Path,
    environ: Mapping[str, str],
    marks: Mapping[str, str],
    publish: Callable[[ProvisionStep], None],
    now: Callable[[], float],
    *,
    keep: bool = False,
) -> AsyncIterator[dict[str, str]]:
    """The environment for the colony's services, with what was provided in it, for the block in
    which it is started. `marks` are variables by which what is run can be found after a crash.

    Raises `ColonyFailed`, with everything as before; with `keep` what was made stays.
    """
    if config.colony.environment == Environment():
        yield dict(environ)
        return
    work = Work(
        config.name, Path(config.workspace), Journal(home), {**environ, **marks}, config=config
    )

    def report(progress: Progress) -> None:
        publish(_event(config.name, now(), progress))

    try:
        async with provisioning(work, workspace_stages(), report, keep=keep):
            yield {**environ, **work.added}
    except ProvisionFailed as failed:
        cause = failed.cause
        raise ColonyFailed(
            str(failed), help=cause.help, last_lines=cause.last_lines, code=NOT_PROVIDED
        ) from failed
    except Busy as busy:
        help = "wait until it is done"
        raise ColonyFailed(str(busy), help=help, code=NOT_PROVIDED) from None


def _event(colony: str, at: float, progress: Progress) -> ProvisionStep:
    return ProvisionStep(
        at=at,
        colony=colony,
        step=progress.step,
        state=progress.state,
        detail=progress.detail,
        seconds=progress.seconds,
        percent=progress.percent,
    )


async def taken_back(home: Path) -> list[str]:
    """Takes back what processes that died have left half done; the names of the colonies."""
    return await anyio.to_thread.run_sync(recover, Journal(home))
