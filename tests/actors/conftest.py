"""Every test of the kernel runs in each of the ways in which plain actors can run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from actors.system import Plain, default_plain


@pytest.fixture(params=get_args(Plain), autouse=True)
def plain(request: pytest.FixtureRequest) -> Iterator[Plain]:
    """How actors without an `async` method run: `System(plain=...)`."""
    token = default_plain.set(request.param)
    yield request.param
    default_plain.reset(token)
