"""Monitors and the two messages that tell of a death.

    class Watch(Call["Watcher", None], frozen=True):
        ref: Ref[Any]

    class Watcher(Actor):
        def __init__(self, news: list[Reason]) -> None:
            self.news = news

        @on(Watch)
        def watch(self, msg: Watch) -> None:
            self.ctx.monitor(msg.ref)

        @on(Down)
        def down(self, msg: Down) -> None:
            self.news.append(msg.reason)

    news: list[Reason] = []
    async with System() as system:
        watcher = await system.start(Watcher.spec(news))
        other = await system.start(Actor.spec())
        await watcher.call(Watch(other))
        system.kill(other)
        await settle()
    assert news == [Killed()]

A *link* is symmetric and carries the death itself: whoever does not trap exits dies along (R3, R4).
A *monitor* goes one way and carries only the news, once (R9). An actor handles the news like any
other message, with a method marked `@on(Down)` or `@on(Exit)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.messages import Cast
from actors.reasons import NoProc, Reason

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.ref import Ref


class Down(Cast[Any], frozen=True):
    """The actor behind a monitor has died, or was not alive when it was set up (R9).

    `monitor` is what `Context.monitor` returned, so that two of them on one actor can be told
    apart; `reason` is the real exit reason, or `NoProc`.
    """

    monitor: Monitor
    ref: Ref[Any]
    reason: Reason


class Exit(Cast[Any], frozen=True):
    """A linked actor has died, and this one traps exits (R4).

    `serial` tells that life from every other one in the system.
    """

    ref: Ref[Any]
    serial: int
    reason: Reason


class Monitor:
    """One watch of one cell over another: fires once, or is cancelled and never fires (R9)."""

    __slots__ = ("_ref", "_target", "_watcher")

    def __init__(self, watcher: Cell, target: Cell | None, ref: Ref[Any]) -> None:
        self._watcher = watcher
        self._target = target
        self._ref = ref
        if target is None or target.down is not None:
            self.fire(NoProc())
        else:
            target.tie().watchers[self] = None
            watcher.tie().watching[self] = None

    def __repr__(self) -> str:
        return f"<Monitor of {self._watcher.path} on {self._ref.path}>"

    def fire(self, reason: Reason) -> None:
        """Delivers the news."""
        self.cancel()
        self._watcher.deliver(Down(self, self._ref, reason))

    def cancel(self) -> None:
        """Ends the watch: no `Down` is sent afterwards; `flush` sees to one that was."""
        if self._target is not None and self._target.ties is not None:
            self._target.ties.watchers.pop(self, None)
        if self._watcher.ties is not None:
            self._watcher.ties.watching.pop(self, None)

    def flush(self) -> None:
        """Removes a `Down` of this monitor that waits in the mailbox."""
        self._watcher.withdraw(self)
