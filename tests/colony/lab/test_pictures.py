from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colony.config import load
from colony.lab.script import load_script, parse_script
from tests.colony.lab.pictures import DOCUMENT, FOLDER, ROOT, commands, drawn

SCRIPTS = ("slow-db.toml", "queue-gone.toml")


def test_every_picture_is_what_its_command_prints(tmp_path: Path) -> None:
    # If not: python -m tests.colony.lab.pictures
    document = DOCUMENT.read_text()
    assert len(commands(document)) >= 10
    assert drawn(document, tmp_path) == document


def test_every_policy_and_every_script_among_the_examples_is_shown() -> None:
    shown = " ".join(commands(DOCUMENT.read_text()))
    assert [file.name for file in sorted(FOLDER.glob("*.toml")) if file.name not in shown] == []


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda file: file.name)
def test_the_examples_are_valid(file: Path) -> None:
    if file.name in SCRIPTS:
        load_script(str(file), ("db", "api", "web", "w1", "w2", "w3", "w4"))
    else:
        assert load(file).warnings == ()


def test_the_scenario_in_the_document_is_one() -> None:
    [block] = [part.split("```")[0] for part in DOCUMENT.read_text().split("```toml\n")[1:]]
    assert len(parse_script(block, "outage.toml", ("db", "api", "web")).faults) == 3


def test_the_test_in_the_document_runs(tmp_path: Path) -> None:
    [block] = [part.split("```")[0] for part in DOCUMENT.read_text().split("```python\n")[1:]]
    shutil.copy(FOLDER / "shop.toml", tmp_path / "colony.toml")
    (tmp_path / "outage.toml").write_text('[[fault]]\ncrash = "db"\nat = "1m"\n')
    (tmp_path / "test_shop.py").write_text(block)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = ["-q", "-p", "actors.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout  # one of them on asyncio and on trio
