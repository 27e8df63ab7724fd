"""R16: a start has a time of its own, kept by whoever starts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import (
    Actor,
    ChildRefused,
    Ignore,
    InvalidSpec,
    StartChild,
    StartFailed,
    StartTimeout,
    Supervisor,
    System,
    events,
)
from actors.testing import settle
from tests.actors.helpers import recorded
from tests.actors.supervised import top_of


class Slow(Actor):
    """Its start takes some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def start(self) -> Ignore | None:
        await anyio.sleep(self.seconds)
        return None


async def test_a_start_that_takes_too_long_is_killed_and_has_failed() -> None:
    async with System() as system:
        with recorded(system, events.StartFailed) as seen:
            began = system.now()
            with pytest.raises(StartFailed) as failed:
                await system.start(Slow.spec(60).options(start_timeout=2.0))
        assert system.now() - began == 2.0
        assert failed.value.reason == StartTimeout(2.0)
        assert str(failed.value) == ("slow failed to start: its start was not done within 2 s")
        [event] = seen
        assert isinstance(event, events.StartFailed)
        assert event.reason == StartTimeout(2.0)
        assert system.tree() == ()


async def test_a_start_in_time_is_left_alone() -> None:
    async with System() as system:
        ref = await system.start(Slow.spec(1).options(start_timeout=2.0))
        await anyio.sleep(10)
        assert ref.alive


async def test_a_supervisor_gives_up_on_it() -> None:
    async with System() as system:
        top = await system.start(Supervisor.spec().options(id="top"))
        with pytest.raises(ChildRefused) as refused:
            await top.call(StartChild(Slow.spec(60).options(start_timeout=2.0)))
        assert (refused.value.code, refused.value.reason) == ("start_failed", StartTimeout(2.0))


async def test_a_restart_that_takes_too_long_is_tried_again_and_counts() -> None:
    """R71: one in time, then three that are not, with an intensity of two."""

    lives: list[float] = []

    class Worse(Actor):
        async def start(self) -> Ignore | None:
            lives.append(self.ctx.now)
            await anyio.sleep(0 if len(lives) == 1 else 60)
            return None

    async with System() as system:
        top = await system.start(
            top_of(Worse.spec().options(id="w", start_timeout=3.0), intensity=2, period=100.0)
        )
        ref = system.at("top/w")
        assert ref is not None
        system.kill(ref)
        await anyio.sleep(50)
        await settle()
        assert not top.alive
        assert len(lives) == 3


@pytest.mark.parametrize("value", [0, -1.0, "5", True, float("nan")])
def test_a_time_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSpec) as refused:
        Slow.spec(1).options(start_timeout=value)
    assert refused.value.code == "invalid_start_timeout"
    assert str(refused.value) == (
        f"start_timeout must be a number of seconds above 0, or None, got: {value!r}"
    )
