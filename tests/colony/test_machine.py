"""What a machine has, as programs say it of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony.machine import ways_out


def test_a_pasta_that_tells_its_version_to_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pasta"
    program.write_text("#!/bin/sh\ntest -t 1 && echo pasta 0.0~git20250503.587980c-2+deb13u1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ways_out() == ("pasta",)


def test_a_pasta_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pasta"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ways_out() == ()
