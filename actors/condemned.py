"""The condemned: what has been cancelled for good and has not ended of it.

    class Sleep(Cast["Deaf"], frozen=True):
        pass

    class Deaf(Actor):
        @on(Sleep)
        async def sleep(self, msg: Sleep) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.5)

    async with System() as system:
        deaf = await system.start(Deaf.spec())
        deaf.tell(Sleep())
        await settle()
        with system.events.subscribe() as stream:
            system.kill(deaf)
            ignored = await anext(stream)
        assert isinstance(ignored, KillIgnored)
        assert (ignored.actor, ignored.seconds, ignored.message) == ("deaf", 1.0, Sleep())

A kill is a cancellation, said again until the task has left its scope. A handler that swallows it
in a loop burns a processor, and one that shields itself keeps its supervisor waiting; to an event
loop neither is an error, so nobody would hear of it. So the system notes down whom it has killed,
and if one still runs after `PATIENCE` seconds it publishes a `KillIgnored` with the stack on which
the task stands; and again each time that it has lasted twice as long. So it is, too, with a
`stopping` that goes on after its deadline: that is a cancellation, and after the report a kill.

It costs a dict entry between a kill and the end, and one timer for all of them.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.events import KillIgnored

if TYPE_CHECKING:
    from actors.system import System

PATIENCE: Final = 1.0
"""Seconds from a kill to the first report."""


class Mortal(Protocol):
    """A cell, or a task of one: `life` is its coroutine, `described` what a report says of it."""

    life: Any

    def described(self) -> tuple[str, str | None, Any]:
        """The actor's path, the task's name if it is one, the message at hand."""

    def insist(self) -> None:
        """It has been reported: one who was only cancelled is killed from now on."""


class Condemned:
    """Those whom one system has killed and who are not gone yet."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._since: dict[Mortal, tuple[float, float]] = {}
        self._armed = False

    def __repr__(self) -> str:
        return f"<Condemned {len(self._since)}>"

    def __len__(self) -> int:
        return len(self._since)

    def add(self, mortal: Mortal) -> None:
        """It has just been cancelled."""
        self._since.setdefault(mortal, (self._system.now(), PATIENCE))
        self._arm()

    def discard(self, mortal: Any) -> None:
        """It is gone, or waits for others to go."""
        self._since.pop(mortal, None)

    def _arm(self) -> None:
        if self._since and not self._armed:
            self._armed = True
            self._system.timers.after(PATIENCE, self._look)

    def _look(self) -> None:
        self._armed = False
        now = self._system.now()
        for mortal, (since, patience) in tuple(self._since.items()):
            if now - since >= patience:
                self._since[mortal] = since, 2 * patience
                self._report(mortal, now, now - since)
                mortal.insist()
        self._arm()

    def _report(self, mortal: Mortal, now: float, seconds: float) -> None:
        actor, task, message = mortal.described()
        self._system.publish(
            KillIgnored(
                at=now,
                actor=actor,
                task=task,
                message=message,
                seconds=seconds,
                stack=stack_of(mortal.life),
            )
        )


def stack_of(coroutine: Any) -> str:
    """Where a suspended coroutine stands, as text, the innermost frame last."""
    frames = ((frame, frame.f_lineno) for frame in _frames(coroutine))
    return "".join(traceback.StackSummary.extract(frames).format())


def _frames(awaitable: Any) -> Iterator[FrameType]:
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None:
            yield frame
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
