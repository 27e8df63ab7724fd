"""The pictures of docs/restart-policies.md, as the commands above them print them.

python -m tests.colony.lab.pictures        writes them anew
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.colony.cli.support import invoke

ROOT: Final = Path(__file__).parents[3]
DOCUMENT: Final = ROOT / "docs" / "restart-policies.md"
FOLDER: Final = ROOT / "examples" / "policies"

_BLOCK: Final = re.compile(r"```console\n\$ colony (simulate [^\n]*)\n.*?```", re.DOTALL)


def drawn(document: str, runtime: Path) -> str:
    """The document with its pictures as they are now."""

    def draw(block: re.Match[str]) -> str:
        words = [*shlex.split(block[1]), "--timeline", "lanes", "--width", "76"]
        with contextlib.chdir(FOLDER), in_utc():
            env = {"COLUMNS": "76"}
            shown = invoke(*words, runtime=runtime, home=FOLDER / "night", env=env).out
        return f"```console\n$ colony {block[1]}\n{shown}```"

    return _BLOCK.sub(draw, document)


@contextlib.contextmanager
def in_utc() -> Iterator[None]:
    """Times of day as the document has them, wherever it is drawn."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def commands(document: str) -> list[str]:
    """The commands whose pictures are in it."""
    return [block[1] for block in _BLOCK.finditer(document)]


if __name__ == "__main__":
    DOCUMENT.write_text(drawn(DOCUMENT.read_text(), ROOT / "nowhere"))
