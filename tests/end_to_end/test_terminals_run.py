"""`colony run --attach`: from the lines into the terminal, and back."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.end_to_end.attaching import PROMPT, SLEEPER, TERMINAL, at_terminal, command, status
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, eventually, root_only

pytestmark = root_only

TALKER = {"command": ["sh", "-c", "while sleep 0.1; do echo tick-$((1+1)); done"]}


def sitting(shop: Shop, *options: str) -> tuple[Colony, Any]:
    colony = shop.colony({"web": TALKER}, terminal=TERMINAL)
    child = at_terminal(shop, "run", *options, "--attach", str(colony.file), inside=False)
    child.expect_exact(f"[attached to {colony.name}; Ctrl-] d detaches]")
    child.expect_exact(PROMPT)
    return colony, child


@pytest.mark.parametrize("joined", [False, True])
def test_lines_wait_while_one_sits_in_the_terminal(shop: Shop, joined: bool) -> None:
    if joined:
        shop.run(shop.colony({"other": SLEEPER}), options=EMBEDDED).expect("other +pid")
    colony, child = sitting(shop, *(() if joined else EMBEDDED))
    child.send("sleep 0.3; echo in-$COLONY_NAME-$((1+2))\r")
    child.expect_exact(f"in-{colony.name}-3\r\n")
    assert b"tick-2" not in child.before
    child.send("\x1dd")
    child.expect_exact(f"[detached from {colony.name}; to come back: colony attach {colony.name}]")
    child.expect_exact("tick-2")
    again = at_terminal(shop, "attach", colony.name)
    again.send("exit\r")
    assert status(again) == 0
    child.send("\x03")
    child.expect("stopping")
    assert status(child) == 130
    assert colony.name not in command(shop, "ls").stdout.decode()


def test_an_instance_of_its_own_beside_another(shop: Shop) -> None:
    """Its terminal is its own; commands reach it when they are told where, and else the first."""
    other = shop.colony({"other": SLEEPER})
    shop.run(other, options=EMBEDDED).expect("other +pid")
    colony = shop.colony({"web": TALKER}, terminal=TERMINAL)
    words = ("run", *EMBEDDED, "--separate", "--attach", str(colony.file))
    child = at_terminal(shop, *words, inside=False)
    child.expect(r"another instance runs; this one answers to: colony --host (unix://\S+)")
    where = child.match[1].decode()
    child.expect_exact(f"[attached to {colony.name}; Ctrl-] d detaches]")
    child.expect_exact(PROMPT)
    child.send("echo in-$COLONY_NAME-$((1+2))\r")
    child.expect_exact(f"in-{colony.name}-3\r\n")
    listed = command(shop, "--host", where, "terminals", colony.name, "--json").stdout
    assert json.loads(listed)[0]["viewers"] == 1
    assert command(shop, "attach", colony.name).returncode == 5
    assert other.name in command(shop, "ls").stdout.decode()
    child.send("\x1dd")
    child.expect_exact("tick-2")
    child.send("\x03")
    assert status(child) == 130
    assert not os.path.exists(where.removeprefix("unix://"))


def test_the_shells_end_leads_back_and_a_signal_ends_all(shop: Shop) -> None:
    colony, child = sitting(shop, *EMBEDDED)
    child.send("exit 7\r")
    child.expect_exact("[exited 7]")
    child.expect_exact("tick-2")
    child.kill(signal.SIGINT)
    assert status(child) == 130
    colony, child = sitting(shop, *EMBEDDED)
    child.kill(signal.SIGTERM)
    child.expect_exact("[detached from")
    child.expect("stopping")
    assert status(child) == 143
    eventually(lambda: colony.name not in command(shop, "ls").stdout.decode())


def test_attach_is_for_one_colony_and_a_terminal(shop: Shop) -> None:
    colony = shop.colony({"web": SLEEPER})
    ran = command(shop, "run", "--attach", str(colony.file))
    assert (ran.returncode, b"--attach needs a terminal" in ran.stderr) == (2, True)
    ran = command(shop, "run", "--attach", str(colony.file), str(colony.file))
    assert (ran.returncode, b"--attach is for one colony" in ran.stderr) == (2, True)
