"""The order in which a colony's services are stopped: `config.order.dependents`, which is pure."""

from __future__ import annotations

import pytest

from colony.config.order import dependents

SHOP = {"db": [], "migrate": ["db"], "api": ["migrate"], "web": ["api"], "mail": []}
ORDERS: dict[str, tuple[dict[str, list[str]], str, dict[str, str]]] = {
    "nobody": ({}, "", {}),
    "nobody depends on anybody": ({"a": [], "b": []}, "b a", {"b": "", "a": ""}),
    "one does": ({"a": [], "b": ["a"]}, "b a", {"b": "", "a": "b"}),
    "at any remove": (
        SHOP,
        "mail web api migrate db",
        {"mail": "", "web": "", "api": "web", "migrate": "web api", "db": "web api migrate"},
    ),
    "by way of one that is not there": (SHOP, "web db", {"web": "", "db": "web"}),
    "two ways to the same": (
        {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c", "a"]},
        "d c b a",
        {"d": "", "c": "d", "b": "d", "a": "d c b"},
    ),
    "one that nobody defines": ({"a": ["ghost"]}, "a b", {"a": "", "b": ""}),
    "a circle": ({"a": ["b"], "b": ["a"]}, "a b", {"a": "b", "b": "a"}),
    "itself": ({"a": ["a"]}, "a", {"a": ""}),
}


@pytest.mark.parametrize("case", ORDERS)
def test_whoever_comes_after_it_is_a_dependent(case: str) -> None:
    after, among, found = ORDERS[case]
    wanted = {name: others.split() for name, others in found.items()}
    assert dependents(after, among.split()) == wanted
