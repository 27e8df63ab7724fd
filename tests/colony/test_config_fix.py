"""`validate --fix`: the same colony, and every other character where it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colony import config
from colony.config.fix import Fixed, fix

OLD = """\
# My app.
[colony]
name = "my-app"   # short

# Where things listen.
[colony.ports]
web = 3000   # Vite
api = 8080

# What one sees.
[services.web]
  command = "npm run dev" # hot
  path = "/"

[services]
api = { command = "npm run api" }
"""

NEW = """\
# My app.
[colony]
name = "my-app"   # short

# Where things listen.

# What one sees.
[services.web]
  command = "npm run dev" # hot
  port = 3000  # Vite
  path = "/"

[services]
api = { command = "npm run api", port = 8080 }
"""


def test_ports_go_to_their_services_and_every_comment_stays() -> None:
    assert fix(OLD) == Fixed(
        NEW, ("web = 3000: to [services.web]", "api = 8080: to [services.api]")
    )
    assert config.parse(NEW).warnings == ()


def test_twice_is_once() -> None:
    assert fix(NEW) == Fixed(NEW)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[colony]\nname = 'a'\nports = { web = 3000 }\n[services.web]\ncommand = 'x'\n",
         "[colony]\nname = 'a'\n[services.web]\ncommand = 'x'\nport = 3000\n"),
        ("[colony]\nname = 'a'\nports.web = 3000\n[services.web]\ncommand = 'x'",
         "[colony]\nname = 'a'\n[services.web]\ncommand = 'x'\nport = 3000\n"),
        ("services.web.command = 'x'\ncolony.name = 'a'\ncolony.ports.web = 3000\n",
         "services.web.command = 'x'\nservices.web.port = 3000\ncolony.name = 'a'\n"),
        ("[colony]\r\nname = 'a'\r\n[colony.ports]\r\nweb = 3000\r\n[services.web]\r\n"
         "command = 'x'\r\n",
         "[colony]\r\nname = 'a'\r\n[services.web]\r\ncommand = 'x'\r\nport = 3000\r\n"),
        ("[colony]\nname = 'a'\n[colony.ports]\n[services.web]\ncommand = 'x'\n",
         "[colony]\nname = 'a'\n[services.web]\ncommand = 'x'\n"),
        ("\ufeff[colony]\nname = 'a'\n[colony.ports]\nweb = 3000\n"
         "[services.web]\nport = 3000\ncommand = '''\nx'''\n",
         "\ufeff[colony]\nname = 'a'\n[services.web]\nport = 3000\ncommand = '''\nx'''\n"),
        ("[colony]\nname = 'a'\n[colony.ports]\nweb = 3000\n[services.web]\n"
         "command = [\n  'x',\n] # list\n",
         "[colony]\nname = 'a'\n[services.web]\ncommand = [\n  'x',\n] # list\nport = 3000\n"),
    ],
)  # fmt: skip
def test_every_form(old: str, new: str) -> None:
    assert fix(old).text == new


def test_a_port_without_a_service_is_left_and_said() -> None:
    text = (
        "[colony]\nname = 'a'\n[colony.ports]\nweb = 3000\napi = 8080\n"
        "[services.web]\ncommand = 'x'\n"
    )
    fixed = fix(text)
    assert fixed.text == (
        "[colony]\nname = 'a'\n[colony.ports]\napi = 8080\n"
        "[services.web]\ncommand = 'x'\nport = 3000\n"
    )
    assert fixed.left == ("api = 8080: there is no [services.api]; write one with a command",)


def test_a_file_that_is_not_valid_is_refused() -> None:
    with pytest.raises(config.ConfigError):
        fix("[colony")


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "colony", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_rewrites_the_file_in_place(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_text(OLD)
    file.chmod(0o640)
    done = run("validate", "--fix", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{file}: colony my-app, 2 services: valid\n"
    assert done.stderr == (
        f"{file}: moved web = 3000: to [services.web]\n"
        f"{file}: moved api = 8080: to [services.api]\n"
    )
    assert file.read_text() == NEW
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["colony.toml"]


def test_the_command_leaves_a_wrong_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_text("[colony")
    assert run("validate", "--fix", file).returncode == 2
    assert file.read_text() == "[colony"
