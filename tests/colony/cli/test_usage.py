"""Wrong command lines, and how their errors look: for people and under --json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from colony.cli import ALIASES, COMMANDS
from tests.colony.cli.support import Ran, invoke


def error_of(ran: Ran) -> dict[str, Any]:
    """What goes to stderr under --json, and nothing else does."""
    assert (ran.status, ran.out) == (2, "")
    found: dict[str, Any] = json.loads(ran.err)["error"]
    return found


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["lgos"],
            [
                "error: there is no command 'lgos'; did you mean 'logs'?",
                "  = usage: colony [OPTIONS] COMMAND [ARGS]...",
                "  = help: colony --help",
            ],
        ),
        (
            ["ls", "--jsn"],
            [
                "error: there is no option '--jsn'; did you mean '--json'?",
                "  = usage: colony ls [OPTIONS]",
                "  = help: colony ls --help",
            ],
        ),
        (
            ["wait"],
            [
                "error: missing argument 'SERVICE'",
                "  = usage: colony wait [OPTIONS] SERVICE",
                "  = help: colony wait --help",
            ],
        ),
        (
            ["net", "lst"],
            [
                "error: no such command 'lst'; did you mean 'list'?",
                "  = usage: colony net [OPTIONS] COMMAND [ARGS]...",
                "  = help: colony net --help",
            ],
        ),
        (
            ["completion", "tcsh"],
            [
                "error: invalid value for '{bash|zsh|fish}': "
                "'tcsh' is not one of 'bash', 'zsh', 'fish'",
                "  = usage: colony completion [OPTIONS] {bash|zsh|fish}",
                "  = help: colony completion --help",
            ],
        ),
        (
            ["simulate", "x", "--seed"],
            ["error: option '--seed' requires an argument", "  = help: colony simulate --help"],
        ),
    ],
)
def test_a_wrong_command_line_is_an_error_like_all_others(
    tmp_path: Path, words: list[str], lines: list[str]
) -> None:
    ran = invoke(*words, runtime=tmp_path)
    assert (ran.status, ran.out, ran.err.splitlines()) == (2, "", lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lgos", "--json"], "there is no command 'lgos'; did you mean 'logs'?"),
        (["ls", "--json", "--jsn"], "there is no option '--jsn'; did you mean '--json'?"),
        (["--clor", "never", "ls", "--json"], "there is no option '--clor'; did you mean"),
        (["--json", "ls"], "--json stands after the command, as in: colony ls --json"),
        (["wait", "--json"], "missing argument 'SERVICE'"),
        (["net", "lst", "--json"], "no such command 'lst'; did you mean 'list'?"),
        (["wait", "web", "--timeout", "x", "--json"], "invalid value for '--timeout': a duration"),
    ],
)
def test_under_json_it_is_json(tmp_path: Path, words: list[str], message: str) -> None:
    error = error_of(invoke(*words, runtime=tmp_path))
    assert set(error) == {"code", "message", "help", "problem"}
    assert error["code"] == 2
    assert error["message"].startswith(message)
    assert error["help"].endswith("--help")


def test_what_is_behind_two_dashes_is_another_commands(tmp_path: Path) -> None:
    ran = invoke("exec", "--tyt", "--", "ls", "--json", runtime=tmp_path)
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize("command", ["up", "apply"])
def test_a_wrong_file_under_json_comes_with_every_problem(tmp_path: Path, command: str) -> None:
    file = tmp_path / "colony.toml"
    file.write_text('[services.web]\ncomand = "x"\nport = 80\n')
    error = error_of(invoke("-f", str(file), command, "--json", runtime=tmp_path / "run"))
    problems = error["problem"]["problems"]
    assert error["message"] == f"{problems[0]['message']} (and {len(problems) - 1} more)"
    assert (error["code"], error["help"]) == (2, problems[0]["help"])
    validated = invoke("-f", str(file), "validate", "--json", runtime=tmp_path / "run")
    assert (validated.status, validated.json["problems"]) == (2, problems)


def test_a_group_alone_shows_what_it_has(tmp_path: Path) -> None:
    ran = invoke("net", runtime=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: colony net [OPTIONS] COMMAND")


def test_the_usual_other_names_are_known(tmp_path: Path) -> None:
    assert invoke("net", "ls", runtime=tmp_path).status == 4
    assert invoke("net", "list", runtime=tmp_path).status == 4
    listed = invoke("template", "list", runtime=tmp_path)
    assert listed.status == 0
    assert listed == invoke("template", "ls", runtime=tmp_path)
    assert set(ALIASES.values()) <= set(COMMANDS)


def test_every_line_of_help_is_whole(tmp_path: Path) -> None:
    """Click cuts what is too long for its line: none of ours is."""
    groups = [name for name in COMMANDS if _is_group(name)]
    assert {"net", "daemon", "template"} <= set(groups)
    for words in ([], *([name] for name in groups)):
        ran = invoke(*words, "--help", runtime=tmp_path, env={"COLUMNS": "80"})
        assert "...\n" not in ran.out.partition("Commands:")[2], words


def _is_group(name: str) -> bool:
    from colony.cli import colony

    command = colony.get_command(click.Context(colony), name)
    return isinstance(command, click.Group)
