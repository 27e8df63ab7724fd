"""Packages from npm for tests that are about something else, from a registry that may be slow.

npm asks again for what did not begin to come, and gives up on what has begun and breaks off; and
each of its requests may take long before it does. So it is started again, with what it has fetched
in its cache, when it fails and when it takes too long. The first test that needs the packages waits
for them: its module has `SLOWLY` in its `pytestmark`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

TRIES: Final = 5

LONGEST: Final = 100.0
"""Seconds for one of them."""

SLOWLY: Final = pytest.mark.timeout(TRIES * LONGEST + 240)


def npm_install(folder: Path, *packages: str) -> None:
    """Installs some packages in a folder, or what its package.json names."""
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", *packages]
    said = ""
    for _ in range(TRIES):
        code, words = _ran(command, folder)
        if code == 0:
            return
        said += words
    raise AssertionError(f"{' '.join(command)} failed {TRIES} times: {said}")


def _ran(command: list[str], folder: Path) -> tuple[int, str]:
    """Its exit code and what it said. Neither it nor what it runs outlives this."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        text=True,
        process_group=0,
    ) as npm:
        try:
            said, _ = npm.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(npm.pid, signal.SIGKILL)
            said = f"{npm.communicate()[0]}\nno end after {LONGEST:g} s\n"
        except BaseException:
            os.killpg(npm.pid, signal.SIGKILL)
            raise
    return npm.returncode, said
