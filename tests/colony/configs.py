"""What the tests of colony.toml's reader share: a minimal file, and problems in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony import config
from colony.config import Config, ConfigError, Problem

MINIMAL = """\
[colony]
name = "hello-colony"
[services.web]
command = "python3 -m http.server 4001"
port = 4001
"""


NOWHERE = Path("/nonexistent/app")


def parse(text: str, workspace: Path = NOWHERE) -> Config:
    return config.parse(text, workspace=str(workspace))


def problems(text: str, workspace: Path = NOWHERE) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, workspace)
    return caught.value.problems


def problem(text: str, workspace: Path = NOWHERE) -> tuple[str, str, str]:
    """The only problem: its words, its help, and the text that it points at."""
    [only] = problems(text, workspace)
    return only.message, only.help, pointed(only)


def pointed(problem: Problem) -> str:
    place = problem.place
    assert place is not None
    return place.source[place.column - 1 : place.column - 1 + place.length]


def service(line: str) -> str:
    """A valid file with one more line in its service."""
    return MINIMAL + line + "\n"
