"""Client commands import nothing heavy: that is what makes them start at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from colony.version import VERSION

HEAVY = ("aiohttp", "trio", "asyncio", "anyio", "pyroute2", "rich", "textual", "tomlkit", "msgspec")
SLOW = ("email", "ssl", "http.client", "importlib.metadata", "typing_extensions")

PROGRAM = """
import json, sys
sys.argv = ["colony", *json.loads(sys.argv[1])]
try:
    from colony.__main__ import main
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules(words: list[str], runtime: Path) -> set[str]:
    """What is loaded at the end of a command."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        capture_output=True,
        text=True,
        env={"COLONY_RUNTIME_DIR": str(runtime), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_answered_before_anything_is_imported(
    tmp_path: Path, words: list[str]
) -> None:
    ours = {name for name in modules(words, tmp_path) if name.split(".")[0] in ("colony", "click")}
    assert ours == {"colony", "colony.__main__", "colony.version"}


def test_the_version_is_the_same_however_it_is_asked_for(tmp_path: Path) -> None:
    asked = [["version"], ["--version"], ["--color", "never", "version"], ["--debug", "--version"]]
    said = {
        subprocess.run(
            [sys.executable, "-m", "colony", *words], capture_output=True, text=True, check=True
        ).stdout
        for words in asked
    }
    assert said == {f"colony {VERSION}\n"}


@pytest.mark.parametrize(
    "words",
    [
        ["version", "--json"],
        ["--help"],
        ["ls"],
        ["ps", "x"],
        ["logs", "-c", "x"],
        ["tree"],
        ["events"],
        ["inspect", "x"],
        ["url", "-c", "x"],
        ["down", "x"],
        ["start", "-c", "x"],
        ["stop", "x"],
        ["restart", "x"],
        ["signal", "x", "HUP"],
        ["send", "x", "y"],
        ["wait", "x"],
        ["exec", "x"],
        ["attach", "x"],
        ["terminals", "x"],
        ["capture", "x"],
        ["port-forward", "1"],
        ["daemon", "status"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_a_client_command_imports_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    loaded = modules(words, tmp_path)
    assert sorted(loaded & {*HEAVY, *SLOW}) == []
