"""`colony template ls|show|new`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "colony", "template", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLONY_HOME": str(home)},
    )


def test_ls(tmp_path: Path) -> None:
    run(tmp_path, "new", "mine", "--template", "web-app")
    found = run(tmp_path, "ls")
    assert found.returncode == 0, found.stderr
    assert [line.split()[0] for line in found.stdout.splitlines()] == [
        "NAME", "api-service", "full-stack", "mine", "python-app", "web-app",
    ]  # fmt: skip
    listed = json.loads(run(tmp_path, "ls", "--json").stdout)
    assert [each["path"] for each in listed if each["name"] == "mine"] == [
        str(tmp_path / "templates/mine/colony.toml")
    ]


def test_show_with_what_is_beneath(tmp_path: Path) -> None:
    run(tmp_path, "new", "mine", "--template", "web-app")
    shown = run(tmp_path, "show", "mine").stdout
    assert 'template = "web-app"' in shown
    assert "# -- over web-app" in shown
    assert 'command = "npm run dev"' in shown


def test_show_of_none(tmp_path: Path) -> None:
    shown = run(tmp_path, "show", "web-ap")
    assert shown.returncode == 5
    assert shown.stderr == (
        'error: there is no template "web-ap"\n'
        "  = help: did you mean `web-app`? there are api-service, full-stack, python-app, web-app; "
        f"yours go into {tmp_path}/templates/NAME/colony.toml\n"
    )


def test_new_is_valid_and_never_twice(tmp_path: Path) -> None:
    made = run(tmp_path, "new", "mine")
    file = tmp_path / "templates/mine/colony.toml"
    assert (made.returncode, made.stdout) == (0, f"{file}\n")
    again = run(tmp_path, "new", "mine")
    assert again.returncode == 6
    assert again.stderr == f"error: there is a template mine already: {file}\n"
    assert run(tmp_path, "new", "../mine").returncode == 2


def test_new_from_a_file(tmp_path: Path) -> None:
    source = tmp_path / "colony.toml"
    source.write_text("[services.web]\ncommand = 'x'\n")
    assert run(tmp_path, "new", "copy", "--from", str(source)).returncode == 0
    assert (tmp_path / "templates/copy/colony.toml").read_text() == source.read_text()
