"""The command line in this process, against an instance in the test's event loop."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from colony.cli import colony
from tests.colony.api.support import Rig

CLEAN = {
    "COLONY_HOST": None,
    "COLONY_TOKEN": None,
    "NO_COLOR": None,
    "FORCE_COLOR": None,
    "COLONY_AGENT": None,
    "CLAUDECODE": None,
}


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def invoke(
    *words: str,
    runtime: Path,
    home: Path | None = None,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
) -> Ran:
    """Runs a command. A fault of Colony's own is raised here."""
    told: dict[str, str | None] = {
        **CLEAN,
        "COLONY_RUNTIME_DIR": str(runtime),
        "COLONY_HOME": str(home or runtime.parent / "home"),
        **(env or {}),
    }
    result = CliRunner().invoke(colony, list(words), env=told, input=stdin, prog_name="colony")
    # Shown by pytest if the test fails.
    print(f"$ colony {shlex.join(words)} → {result.exit_code}\n{result.stdout}{result.stderr}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


class Shell:
    """Commands against a rig's instance, from inside a colony's folder or nowhere."""

    def __init__(self, rig: Rig, folder: Path | None = None) -> None:
        self.rig = rig
        self.folder = folder or rig.folder

    async def __call__(
        self, *words: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Ran:
        return await self.rig.ask(
            invoke,
            "-C",
            str(self.folder),
            *words,
            runtime=self.rig.folder / "run",
            stdin=stdin,
            env=env,
        )
