"""Tests as a plain user, whom the test makes: `programs/as_user.py` becomes one, as root."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
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
    shop: Shop, *colonies: Colony, options: Sequence[str] = (), how: Sequence[str] = ()
) -> Run:
    """`colony run` by somebody with no rights at all."""
    env = {"HOME": str(shop.folder)}
    return shop.run(*colonies, prefix=becoming(*how), options=options, env=env)
