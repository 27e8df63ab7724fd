"""The example that opens a module's docstring runs as it stands."""

from __future__ import annotations

import ast
import importlib
import inspect
import secrets
import sys
import textwrap
from enum import Enum
from types import ModuleType
from typing import Any

import anyio
import pytest

import actors
from actors.testing import settle

MODULES = (
    "groups",
    "partition",
    "registry",
    "request",
    "restarts",
    "state_machine",
    "supervisor",
    "tasks",
)


def example(module: ModuleType) -> str:
    """All indented blocks of a docstring, as one program."""
    text = module.__doc__ or ""
    lines = [line for line in text.splitlines() if not line or line.startswith("    ")]
    return textwrap.dedent("\n".join(lines))


@pytest.mark.parametrize("name", MODULES)
async def test_the_example_of_a_module_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"actors.{name}")
    home = ModuleType(f"example_of_{name}_{secrets.token_hex(8)}")
    sys.modules[home.__name__] = home
    try:
        names: dict[str, Any] = vars(home)
        names.update({name: getattr(actors, name) for name in actors.__all__})
        names.update(anyio=anyio, Any=Any, Enum=Enum, settle=settle)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(example(module), home.__name__, "exec", flags, dont_inherit=True)
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
    finally:
        del sys.modules[home.__name__]
