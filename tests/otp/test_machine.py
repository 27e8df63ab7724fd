"""What Hypothesis did to a tree of ours, Erlang does to its own: the same results and events.

The machine of `actors.testing_machine` speaks the recordings' alphabet, so what it has done is a
scenario, and the Erlang on this machine can be asked about it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from actors import ChildSpec, Supervisor
from actors.testing import BackendName
from actors.testing_machine import TreeMachine
from tests.otp.differential import AGAIN, PERIOD, NoErlang, ask_erlang, compare
from tests.otp.replay import Json, Worker

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")


def worker(id: str, restart: str, **more: Any) -> Json:
    return {"type": "worker", "id": id, "restart": restart, **more}


def supervisor(id: str, strategy: str, children: list[Json], **more: Any) -> Json:
    node = {"type": "supervisor", "id": id, "strategy": strategy, "intensity": 2, "period": PERIOD}
    return {**node, "restart": "permanent", "auto_shutdown": "never", "children": children, **more}


TREE: Json = supervisor(
    "root",
    "rest_for_one",
    [
        supervisor(
            strategy,
            strategy,
            [
                worker(f"{strategy}-p", "permanent"),
                worker(f"{strategy}-t", "transient", significant=True),
                worker(f"{strategy}-x", "temporary", shutdown="brutal_kill"),
            ],
            auto_shutdown="all_significant",
        )
        for strategy in STRATEGIES
    ],
    intensity=100,
)


def spec_of(node: Json) -> ChildSpec[Any]:
    made: ChildSpec[Any]
    if node["type"] == "worker":
        made = Worker.spec(node, Counter())
        if "shutdown" in node:
            made = made.options(shutdown=node["shutdown"])
    else:
        made = Supervisor.spec(
            [spec_of(child) for child in node["children"]],
            strategy=node["strategy"],
            intensity=node["intensity"],
            period=node["period"],
            auto_shutdown=node["auto_shutdown"],
        )
    return made.options(
        id=node["id"], restart=node["restart"], significant=node.get("significant", False)
    )


NODES: dict[str, Json] = {
    node["id"]: node for top in (TREE, *TREE["children"]) for node in (top, *top["children"])
}


class Played(TreeMachine):
    """Keeps what it has done as scenarios."""

    pauses = ()  # Erlang's time is the machine's, and a scenario would take as long as it says
    scenarios: ClassVar[list[Json]]

    def tree(self) -> ChildSpec[Any]:
        return spec_of(TREE)

    def teardown(self) -> None:
        super().teardown()
        steps = [
            {**step, "spec": NODES[step["spec"]]} if "spec" in step else step for step in self.steps
        ]
        name = f"machine-{len(self.scenarios)}"
        self.scenarios.append({"name": name, "exact": True, "tree": TREE, "steps": steps})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_the_machine_did_to_ours_does_the_same_to_erlangs(backend: BackendName) -> None:
    kind: Any = type("Played", (Played,), {"backend": backend, "scenarios": []})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    try:
        asked = ask_erlang(kind.scenarios)
    except NoErlang as missing:
        pytest.skip(str(missing))
    done = {step["do"] for one in asked for step in one["steps"]}
    assert {"exit", "terminate_child", "count_children", "stop"} <= done
    for scenario in asked:
        again = 0
        while compare(scenario, backend) is not None and again < AGAIN:
            [scenario] = ask_erlang([scenario])
            again += 1
        assert compare(scenario, backend) is None
