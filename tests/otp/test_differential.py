"""Ours against the Erlang on this machine: 20,000 random commands, on CI always the same ones."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from actors import supervision
from actors.restarts import RESTARTED
from actors.testing import BackendName
from tests.otp.differential import (
    PAUSE,
    NoErlang,
    ask_erlang,
    compare,
    differences,
    in_order,
    main,
    report,
    scenarios,
    seed_of_a_test,
)
from tests.otp.replay import Json


@pytest.mark.parametrize(("backend", "commands"), [("asyncio", 15_000), ("trio", 5_000)])
def test_random_commands_do_the_same_to_erlangs_supervisor_and_to_ours(
    backend: BackendName, commands: int
) -> None:
    seed = seed_of_a_test()
    print(f"repeat with: python -m tests.otp.differential --seed {seed} --backend {backend}")
    try:
        found = list(differences(seed, commands, backend))
    except NoErlang as missing:
        pytest.skip(str(missing))
    assert not found, f"seed {seed}: {len(found)} differ; {report(found[0], backend)}"


@pytest.fixture(scope="module")
def asked() -> list[Json]:
    """Some scenarios in which no time passes, with Erlang's traces. Not those in which it did pass
    all the same, on a busy machine: they differ though no rule is broken."""
    made = [one for one in scenarios(5, 400) if {"do": "advance", "ms": PAUSE} not in one["steps"]]
    try:
        return [one for one in ask_erlang(made) if compare(one, "asyncio") is None]
    except NoErlang as missing:
        pytest.skip(str(missing))


BROKEN: dict[str, Any] = {
    "RESTARTED": {**RESTARTED, ("transient", True): True},
    "_GROUPS": {**supervision._GROUPS, "rest_for_one": supervision._one_for_all},
    "_shuts_down": lambda state, child: False,
    "_comes_back": lambda state, child: False,
}
"""Rules of the core, turned around."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(
    name: str, asked: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, name, BROKEN[name])
    assert any(compare(scenario, "asyncio") for scenario in asked)


def test_a_difference_is_spelled_out_in_the_shortest_scenario_that_shows_it(
    asked: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_shuts_down", BROKEN["_shuts_down"])
    found = [scenario for scenario in asked if compare(scenario, "asyncio")]
    text = report(found[0], "asyncio")
    assert "\n  Erlang: " in text
    steps = json.loads(text.partition("\n  in ")[2])["steps"]
    assert len(steps) < len(found[0]["steps"])
    assert steps[-1]["do"] == "exit"


def test_without_erlang_there_is_one_line_of_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert main(["--commands", "1"]) == 2
    assert capsys.readouterr().err == (
        "differential: erl and erlc are not installed (on Debian: apt-get install erlang-base)\n"
    )


def test_only_the_ends_of_dynamic_siblings_are_put_in_order() -> None:
    end = [["exit", id, 1, "shutdown"] for id in ("b", "a", "z", "y", "d", "c")]
    start = ["start", "a", 2]
    of = {"a": "one", "b": "one", "c": "two", "d": "two"}
    assert in_order([end[0], end[1], start, *end[2:]], of) == [
        *(end[1], end[0], start),
        *(end[2], end[3], end[5], end[4]),
    ]
