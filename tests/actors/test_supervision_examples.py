"""The example that opens a module's docstring runs as it stands."""

from __future__ import annotations

import ast
import importlib
import inspect
import secrets
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

import anyio
import pytest

import actors
from actors.testing import settle

MODULES = (
    "actor",
    "condemned",
    "context",
    "control",
    "crashes",
    "errors",
    "events",
    "groups",
    "introspection",
    "messages",
    "partition",
    "reasons",
    "ref",
    "registry",
    "request",
    "restarts",
    "spec",
    "state_machine",
    "strict",
    "supervisor",
    "system",
    "tasks",
    "timers",
    "watching",
)
WITHOUT_A_LOOP = ("testing", "testing_machine")
"""Those whose examples start their own."""


def example(module: ModuleType) -> str:
    """All indented blocks of a docstring, as one program."""
    text = module.__doc__ or ""
    lines = [line for line in text.splitlines() if not line or line.startswith("    ")]
    return textwrap.dedent("\n".join(lines))


@pytest.mark.parametrize("name", MODULES)
async def test_the_example_of_a_module_runs(name: str) -> None:
    with running(importlib.import_module(f"actors.{name}")) as result:
        if inspect.iscoroutine(result):
            await result


async def test_the_example_of_the_package_runs() -> None:
    with running(actors) as result:
        await result


@pytest.mark.parametrize("name", WITHOUT_A_LOOP)
def test_the_example_of_a_module_runs_without_a_loop(name: str) -> None:
    with running(importlib.import_module(f"actors.{name}")) as result:
        assert result is None


@contextmanager
def running(module: ModuleType) -> Iterator[Any]:
    """What the example evaluates to, with the module's own names and the package's at hand."""
    home = ModuleType(f"example_of_{module.__name__}_{secrets.token_hex(8)}")
    sys.modules[home.__name__] = home
    try:
        names: dict[str, Any] = vars(home)
        names.update({name: getattr(actors, name) for name in actors.__all__})
        own = {name: value for name, value in vars(module).items() if not name.startswith("__")}
        names.update(own | {"anyio": anyio, "Any": Any, "Enum": Enum, "settle": settle})
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(example(module), home.__name__, "exec", flags, dont_inherit=True)
        yield eval(code, names)
    finally:
        del sys.modules[home.__name__]
