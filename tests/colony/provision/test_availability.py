"""`colony validate` on the runtimes that a file asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.colony.provision.support import PYTHON
from tests.colony.provision.test_removing import Cli

pytestmark = pytest.mark.real_time

TEXT = f"""\
[colony]
name = "shop"
[colony.environment]
python_version = "{PYTHON}"
ruby_version = "0.1"  # nobody has it
[services.web]
command = "true"
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_one_that_is_not_to_be_had(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_text(TEXT)
    done = cli("validate", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: ruby 0.1 is not to be had here: tried PATH, mise, asdf\n"
        f" --> {file}:5:16\n"
        "  |\n"
        '5 | ruby_version = "0.1"  # nobody has it\n'
        "  |                ^^^^^\n"
        "  = help: install it, or change ruby_version in [colony.environment]\n"
    )
    said = json.loads(cli("validate", file, "--json").stdout)
    assert said["valid"] is False
    assert [(each["key"], each["line"], each["column"]) for each in said["problems"]] == [
        ("colony.environment.ruby_version", 5, 16)
    ]
    assert not (tmp_path / "home").exists()


def test_what_is_there_or_can_be_provided(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_text(TEXT.replace('ruby_version = "0.1"', 'package_manager = "pnpm"'))
    done = cli("validate", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "home").exists()


def test_a_template_asks_for_it(cli: Cli, tmp_path: Path) -> None:
    """What is not written in the file has no place in it."""
    mine = tmp_path / "home" / "templates" / "mine"
    mine.mkdir(parents=True)
    (mine / "colony.toml").write_text(TEXT.replace('name = "shop"\n', ""))
    file = tmp_path / "colony.toml"
    file.write_text('[colony]\nname = "shop"\ntemplate = "mine"\n')
    done = cli("validate", file)
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "error: ruby 0.1 is not to be had here: tried PATH, mise, asdf",
        f" --> {file}",
    ]
