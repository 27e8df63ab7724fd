"""A colony has the same address in every life: after a restart, after `kill -9`."""

from __future__ import annotations

import json
import signal

import pytest

from tests.end_to_end.colonies import EMBEDDED, Run, Shop, eventually, page, root_only

pytestmark = root_only


def address(run: Run, colony: str) -> str:
    return run.expect(rf"✓ namespace +colony-{colony}, ([0-9.]+)")[1]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_same_address_in_the_next_life(shop: Shop, end: int) -> None:
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two", 4002)})
    first = shop.run(one, two, options=EMBEDDED)
    first.ready(f"{one.name}/web")
    first.ready(f"{two.name}/web")
    had = address(first, two.name)
    assert had != address(first, one.name)
    kept = shop.folder / "home" / "addresses.json"
    eventually(lambda: json.loads(kept.read_text())[""].get(two.name) == had)
    first.send(end)
    first.wait()
    second = shop.run(two, options=EMBEDDED)
    second.ready()
    assert address(second, two.name) == had
