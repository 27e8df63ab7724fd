"""What holds in every test of `netns`."""

from __future__ import annotations

import pytest

from netns import view


@pytest.fixture(autouse=True)
def _no_mould_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten seconds a mould of the views is let go of by whoever meets it next. That a test may
    take on a busy machine, and then other descriptors are open after it than were before."""
    monkeypatch.setattr(view, "RENEWED", 300.0)  # longer than a test may take at all
