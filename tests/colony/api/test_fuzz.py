"""Whatever is asked, the API answers as its document says, and never with a fault of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from colony.api.openapi import document
from colony.api.routes import BY_NAME
from tests.colony.api.support import PATIENCE, TOKEN, rig

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]

NOT_FUZZED = {
    "stop_instance": "it would end what is asked",
    "events": "it goes on",
    "logs": "it may go on",
    "console": "it goes on",
    "forward": "it goes on",
    "exec": "it would run what it is given",
}
EXAMPLES = 25


def fuzz(base: str) -> list[str]:
    """Asks for everything in the document; returns what was answered with a fault."""
    schema = schemathesis.openapi.from_dict(document())
    schema.config.update(base_url=base)
    wrong: list[str] = []
    found: Any = schema.get_all_operations()
    for result in found:
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        if name not in NOT_FUZZED:
            asking(operation, name, wrong)()
    return wrong


def asking(operation: Any, name: str, wrong: list[str]) -> Any:
    """A test that asks for one operation in many ways."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        if name == "wait_service":
            case.query = {**(case.query or {}), "timeout_ms": 1}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = case.call(headers=headers, timeout=PATIENCE)
        if response.status_code >= 500:
            wrong.append(f"{name}: {response.status_code} {response.text[:300]}")

    return ask


async def test_no_request_makes_the_api_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONY_HOME", str(tmp_path / "home"))
    async with rig(tmp_path, tcp=True) as r:
        await r.add({"web": {"command": ["sleep", "1000"]}})
        base = f"http://127.0.0.1:{r.tcp}"
        assert await anyio.to_thread.run_sync(fuzz, base) == []


def test_what_is_not_fuzzed_is_there() -> None:
    assert set(NOT_FUZZED) <= set(BY_NAME)
