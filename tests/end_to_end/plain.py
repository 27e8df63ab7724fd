"""Tests as a plain user, whom the test makes: `programs/as_user.py` becomes one, as root."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from tests.end_to_end.colonies import PROGRAMS, Colony, Run, Shop

UID: Final = 54321
"""Of nobody on this machine."""

as_a_user: Final = pytest.mark.skipif(os.geteuid() != 0, reason="becomes a plain user, as root")


def becoming(*how: str) -> list[str]:
    """What stands before a command to run it as that user; `how` as for the program."""
    return [sys.executable, str(PROGRAMS / "as_user.py"), str(UID), *how, "--"]


def run_as_a_user(
    shop: Shop,
    *colonies: Colony,
    options: Sequence[str] = (),
    how: Sequence[str] = (),
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Run:
    """`colony run` by somebody with no rights at all. `before` stands before the becoming."""
    env = {"HOME": str(shop.folder), **(env or {})}
    return shop.run(*colonies, prefix=[*before, *becoming(*how)], options=options, env=env)


def going_out_by(program: str, shop: Shop) -> dict[str, str]:
    """An environment in which this is the first program that makes a way out: for pasta, one in
    which slirp4netns makes none."""
    if program == "slirp4netns":
        return {}
    broken = shop.folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "slirp4netns").write_text("#!/bin/sh\nexit 1\n")
    (broken / "slirp4netns").chmod(0o755)
    return {"PATH": f"{broken}:{os.environ['PATH']}"}
