"""Groups: who wants to hear of something joins, and whoever has news publishes them.

    class Line(Cast[Any], frozen=True):
        text: str

    class Viewer(Actor):
        def __init__(self, logs: Groups[str, Line]) -> None:
            self.logs = logs
            self.seen: list[str] = []

        def start(self) -> None:
            self.logs.join(self.ctx.ref, "web")

        @on(Line)
        def line(self, msg: Line) -> None:
            self.seen.append(msg.text)

    async with System() as system:
        logs: Groups[str, Line] = Groups(system, Line)
        viewer = await system.start(Viewer.spec(logs))
        assert logs.publish("web", Line("ready")) == 1
        assert logs.publish("api", Line("ready")) == 0
        assert logs.members("web") == (viewer,)

A publisher never waits for its readers, and does not know them. Membership belongs to one life of
an actor and ends with it, before anybody hears of the death (R12). That a member handles what is
published is checked when it joins, not when there is news.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from actors.errors import MailboxFull
from actors.messages import Cast
from actors.ref import Ref, slot_of
from actors.registry import KeyTaken, Registry
from actors.system import System

K = TypeVar("K", bound=Hashable)
M = TypeVar("M", bound=Cast[Any])


class Groups(Generic[K, M]):
    """The groups of a system in which messages of one or several kinds are published."""

    def __init__(self, system: System, *kinds: type[M]) -> None:
        if not kinds:
            raise TypeError("Groups needs the classes of the messages that are published in them")
        self._kinds = kinds
        self._registry: Registry[K, Any, None] = Registry(system, "duplicate")

    def __repr__(self) -> str:
        kinds = " | ".join(kind.__name__ for kind in self._kinds)
        return f"<Groups of {kinds}: {len(self._registry)} members>"

    def join(self, ref: Ref[Any], group: K) -> bool:
        """Makes an actor a member; false if it was one.

        Raises `TypeError` if it does not handle every kind of message, `ActorDown` if it is not
        alive.
        """
        for kind in self._kinds:
            if kind not in slot_of(ref).handlers:
                raise TypeError(f"{ref.path} cannot join: it has no handler for {kind.__name__}")
        try:
            self._registry.register(ref, group, None)
        except KeyTaken:
            return False
        return True

    def leave(self, ref: Ref[Any], group: K) -> bool:
        """Ends a membership; false if there was none."""
        return self._registry.unregister(ref, group)

    def members(self, group: K) -> tuple[Ref[Any], ...]:
        """Who is in a group, in the order of joining."""
        return tuple(entry.ref for entry in self._registry.lookup(group))

    def groups_of(self, ref: Ref[Any]) -> tuple[K, ...]:
        """The groups that an actor is in."""
        return self._registry.keys_of(ref)

    def publish(self, group: K, message: M) -> int:
        """Tells all members; returns how many took it.

        A member whose mailbox is full and refuses misses it; the others and the publisher do not
        suffer. Raises `TypeError` for a message of another kind.
        """
        if not isinstance(message, self._kinds):
            kinds = ", ".join(kind.__name__ for kind in self._kinds)
            raise TypeError(f"published here is {kinds}, got: {message!r}")
        return sum(_take(member, message) for member in self.members(group))


def _take(member: Ref[Any], message: Cast[Any]) -> bool:
    try:
        member.tell(message)
    except MailboxFull:
        return False
    return True
