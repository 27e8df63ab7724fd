"""Whoever starts an actor may be cancelled at any moment; the actor is gone when it has been."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from actors import Actor, Ignore, System


class Deaf(Actor):
    """Its start takes a while and notices no cancellation."""

    async def start(self) -> Ignore | None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        return None


async def test_a_start_that_ends_after_its_starter_was_cancelled() -> None:
    """The acknowledgement that nobody waits for any more must not be an error."""
    async with System() as system:
        with anyio.move_on_after(0.5) as scope:
            await system.start(Deaf.spec().options(id="deaf"))
        assert scope.cancelled_caught
        ref = system.at("deaf")
        assert ref is not None
        assert not ref.alive
