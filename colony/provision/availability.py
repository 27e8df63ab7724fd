"""Whether the runtimes that a colony.toml asks for are to be had here, before it is started.

Only looked at: nothing is installed. A runtime that somebody here can provide is as good as there,
except that what a version manager does not know it says only when it is asked to install it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from colony.config import Config
from colony.config.positions import scan
from colony.config.problems import Problem
from colony.config.sheet import Sheet
from colony.provision.journal import Journal
from colony.provision.runtimes import RUNTIMES, runtime_stages
from colony.provision.work import StepFailed, Work

_FIELD: Final = {
    **{each.name: each.field for each in RUNTIMES},
    "package manager": "package_manager",
}


async def missing_runtimes(
    config: Config, text: str, filename: str, home: Path, environ: Mapping[str, str]
) -> tuple[Problem, ...]:
    """A problem for each runtime and package manager that nobody here has or can provide.

    `text` is the file's, for the places; what stands in a template has the file as a whole.
    """
    work = Work(config.name, Path(config.workspace), Journal(home), environ, config)
    sheet = Sheet(filename, scan(text))
    for stage in runtime_stages():
        try:
            await stage.prepare(work)
        except StepFailed as failed:
            path = ("colony", "environment", _FIELD[stage.name])
            written = sheet.positions.value(path) is not None
            sheet.report(str(failed), path if written else (), help=failed.help)
    return tuple(sheet.problems)
