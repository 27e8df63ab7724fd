"""The tests of networks once more, as a plain user: in processes that are rootless from their
beginning. On asyncio alone: with trio the same kernel is asked the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from tests.conftest import ROOTLESS
from tests.end_to_end.colonies import ROOT
from tests.end_to_end.plain import UID, as_a_user, becoming

SUITES = (
    "test_hello",
    "test_network_commands",
    "test_network_egress",
    "test_network_healing",
    "test_network_isolation",
    "test_network_modes",
    "test_network_neighbours",
    "test_network_ports",
    "test_network_reach",
    "test_owners",
    "test_terminals_exec",
)


@as_a_user
@pytest.mark.parametrize("suite", SUITES)
def test_it_passes_rootless(suite: str) -> None:
    with tempfile.TemporaryDirectory(prefix="colony-user-") as folder:
        os.chown(folder, UID, UID)
        own = {"HOME": folder, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1", ROOTLESS: "1"}
        words = ["-p", "no:cacheprovider", f"--basetemp={folder}/t", "-k", "not trio"]
        done = subprocess.run(
            [
                *becoming("tun"),
                sys.executable,
                "-m",
                "pytest",
                *words,
                f"tests/end_to_end/{suite}.py",
            ],
            cwd=ROOT,
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert done.returncode == 0, done.stdout
