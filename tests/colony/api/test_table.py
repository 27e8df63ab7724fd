"""The table of routes, and what is made of it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from colony.api.openapi import document
from colony.api.operations import Operations
from colony.api.problems import KINDS
from colony.api.routes import BY_NAME, ROUTES, Route
from colony.api.streams import STREAMS
from colony.version import VERSION

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_carried_out(route: Route) -> None:
    if route.stream:
        assert route.name in STREAMS
    else:
        assert inspect.iscoroutinefunction(getattr(Operations, route.name))


def test_no_route_is_there_twice() -> None:
    assert len(BY_NAME) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_errors_of_a_route_are_kinds_of_problems(route: Route) -> None:
    assert set(route.errors) <= set(KINDS)


def test_the_document_is_openapi_3_1() -> None:
    made = document()
    validate(made)
    assert made["openapi"] == "3.1.0"
    assert made["info"]["version"] == VERSION


def test_every_operation_is_in_the_document() -> None:
    paths: dict[str, Any] = document()["paths"]
    assert {
        operation["operationId"] for path in paths.values() for operation in path.values()
    } == set(BY_NAME)


def test_the_documentation_names_every_route() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    missing = [f"{r.method} {r.path}" for r in ROUTES if f"| {r.method} | `{r.path}`" not in text]
    assert missing == []


def test_the_version_is_the_projects() -> None:
    found = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert found is not None
    assert found[1] == VERSION
