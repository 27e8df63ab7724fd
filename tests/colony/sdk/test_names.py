"""What a program imports, and what docs/sdk.md says of it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import colony
from colony import sdk
from colony.sdk import errors
from colony.terminals import driven

DOCS = Path(__file__).parents[3] / "docs" / "sdk.md"


def public(kind: type) -> set[str]:
    """The names of a class, its bases' included, that are for others."""
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("name", colony.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(colony, name).__module__.startswith("colony.")


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'colony' has no attribute 'opne'"):
        colony.opne  # noqa: B018


def test_the_names_are_loaded_when_they_are_used() -> None:
    program = "import colony, sys; print(*{'anyio', 'msgspec', 'trio', 'aiohttp'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_whoever_blocks_can_do_the_same() -> None:
    pairs = (
        (colony.Colony, colony.sync.Colony),
        (colony.Service, colony.sync.Service),
        (colony.Connection, colony.sync.Connection),
        (sdk.Http, colony.sync.Http),
        (driven.Terminal, colony.sync.Terminal),
    )
    for kind, blocking in pairs:
        assert public(kind) - public(blocking) <= {"link", "wire"}
        for name in public(kind) & public(blocking):
            one, other = getattr(kind, name), getattr(blocking, name)
            if callable(one) and callable(other):
                assert parameters(one) == parameters(other), name


def parameters(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def test_the_blocking_one_is_loaded_when_it_is_used() -> None:
    program = "import colony, sys; print('anyio' in sys.modules); colony.sync.connect"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_connection_needs_no_server() -> None:
    heavy = {"aiohttp", "pyroute2", "actors"}
    program = f"import colony, sys; colony.connect; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_both_colonies_can_do_what_a_colony_can() -> None:
    assert public(colony.Colony) <= public(colony.RunningColony) & public(colony.RemoteColony)
    assert public(colony.Service) <= public(colony.RunningService) & public(colony.RemoteService)


@pytest.mark.parametrize("kind", [colony.Colony, colony.Service, colony.Connection])
def test_the_documentation_names_everything(kind: type) -> None:
    text = DOCS.read_text()
    missing = {name for name in public(kind) if not re.search(rf"\b{name}\b", text)}
    assert missing <= {"link", "wire"}


def test_the_documentation_names_every_error() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    names = {each.__name__ for each in kinds if issubclass(each, errors.ColonyError)}
    assert {name for name in names if f"`{name}`" not in DOCS.read_text()} == set()
    assert names <= set(colony.__all__)


def test_the_programs_in_the_documentation_are_programs() -> None:
    blocks = re.findall(r"(?:^    .*\n|^\n)+", DOCS.read_text(), re.MULTILINE)
    programs = [textwrap.dedent(block) for block in blocks if block.strip()]
    assert len(programs) >= 6
    for program in programs:
        body = textwrap.indent(program, "    ")
        ast.parse(f"async def program():\n{body}")
