"""What is wrong with a value, in a person's words."""

from __future__ import annotations

from typing import Any

import pytest

from colony.api import types as t
from colony.api.problems import ApiError, converted, decoded


def wrong(body: bytes, kind: type[Any]) -> tuple[str, str]:
    """The status' code and the detail of what a body is refused with."""
    with pytest.raises(ApiError) as caught:
        decoded(body, kind)
    return caught.value.problem.code, caught.value.problem.detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"port": 99999}', "port: this must be a whole number, at most 65535"),
        (b'{"port": 0}', "port: this must be a whole number, at least 1"),
        (b'{"port": "x"}', "port: this must be a whole number, got a text"),
        (b'{"prot": 1}', "prot: unknown field 'prot'; did you mean 'port'?"),
        (b"{}", "port: this field is needed"),
    ],
)
def test_a_wrong_value_is_said_with_its_field(body: bytes, detail: str) -> None:
    assert wrong(body, t.Forward) == ("invalid", detail)


def test_what_is_no_json_is_another_kind_of_wrong() -> None:
    code, detail = wrong(b"{", t.Forward)
    assert (code, detail.startswith("the body is not JSON: ")) == ("invalid_request", True)


def test_a_querys_values_likewise() -> None:
    with pytest.raises(ApiError) as caught:
        converted({"tail": "-1"}, t.LogQuery)
    assert caught.value.problem.detail == "tail: this must be a whole number, at least 0"
