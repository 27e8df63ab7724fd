"""Packages from npm for tests that are about something else, from a registry that may be slow.

npm asks again for what did not begin to come, and gives up on what has begun and breaks off.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

TRIES: Final = 4


def npm_install(folder: Path, *packages: str) -> None:
    """Installs some packages in a folder, or what its package.json names."""
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", *packages]
    said = ""
    for _ in range(TRIES):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said += done.stdout + done.stderr
    raise AssertionError(f"{' '.join(command)} failed {TRIES} times: {said}")
