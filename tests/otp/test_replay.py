"""Conformance: what Erlang's supervisor did, ours does, event by event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from actors.system import Plain, default_plain
from actors.testing import BACKENDS, BackendName
from tests.otp.replay import main, replay_file

RECORDINGS = Path(__file__).with_name("supervisor_traces.jsonl")


@pytest.mark.parametrize("plain", get_args(Plain))
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_recorded_scenario_replays_event_by_event(backend: BackendName, plain: Plain) -> None:
    token = default_plain.set(plain)
    try:
        found = replay_file(str(RECORDINGS), backend)
    finally:
        default_plain.reset(token)
    assert found == (431, [])


def test_a_difference_is_found_and_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = json.loads(RECORDINGS.read_text("utf-8").splitlines()[0])
    scenario["trace"][1]["events"] = [["exit", "n13", 1, "normal"]]
    changed = tmp_path / "changed.jsonl"
    changed.write_text(json.dumps(scenario) + "\n", "utf-8")
    assert main([str(changed)]) == 1
    assert capsys.readouterr().out == (
        "1 scenarios on asyncio, 1 differ\n"
        'first difference: scenario spublic-0, step 1 ({"do": "exit", "child": "n13", '
        '"reason": "kill"}): events\n'
        '  Erlang: [["exit", "n13", 1, "normal"]]\n'
        '  ours:   [["exit", "n13", 1, "killed"], ["start", "n13", 2]]\n'
    )


def test_an_unreadable_file_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent.jsonl")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
