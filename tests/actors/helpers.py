"""Two actors that do in their handlers what a test tells them: `Puppet` with `async` handlers, so
that it has a task, and `Doll` with plain ones, so that it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from actors import Actor, Call, Cast, Down, Event, Exit, Ignore, Reason, System, on


class Do(Call[Any, Any], frozen=True):
    """Run `work(actor)` and reply with its result."""

    work: Callable[[Any], Any]


class Act(Cast[Any], frozen=True):
    """Run `work(actor)`."""

    work: Callable[[Any], Any]


class Note(Cast[Any], frozen=True):
    """Append `word` to the actor's log."""

    word: Any


Hook = Callable[[Any], Any]


def nothing(_actor: Any) -> None:
    """A hook that does nothing."""


class Puppet(Actor):
    """Has a task: its handlers may await."""

    def __init__(
        self,
        log: list[Any] | None = None,
        starting: Hook = nothing,
        continuing: Hook = nothing,
        ending: Hook = nothing,
    ) -> None:
        self.log: list[Any] = [] if log is None else log
        self.hooks = starting, continuing, ending

    async def start(self) -> Ignore | None:
        result: Ignore | None = await resolved(self.hooks[0](self))
        return result

    async def started(self) -> None:
        await resolved(self.hooks[1](self))

    async def stopping(self, reason: Reason) -> None:
        self.log.append(("stopping", reason))
        await resolved(self.hooks[2](self))

    @on(Do)
    async def do(self, msg: Do) -> Any:
        return await resolved(msg.work(self))

    @on(Act)
    async def act(self, msg: Act) -> None:
        await resolved(msg.work(self))

    @on(Note)
    async def note(self, msg: Note) -> None:
        self.log.append(msg.word)

    @on(Down)
    async def down(self, msg: Down) -> None:
        self.log.append(msg)

    @on(Exit)
    async def exit(self, msg: Exit) -> None:
        self.log.append(msg)


class Doll(Actor):
    """Has no task: every method is plain."""

    def __init__(
        self,
        log: list[Any] | None = None,
        starting: Hook = nothing,
        continuing: Hook = nothing,
        ending: Hook = nothing,
    ) -> None:
        self.log: list[Any] = [] if log is None else log
        self.hooks = starting, continuing, ending

    def start(self) -> Ignore | None:
        result: Ignore | None = self.hooks[0](self)
        return result

    def started(self) -> None:
        self.hooks[1](self)

    def stopping(self, reason: Reason) -> None:
        self.log.append(("stopping", reason))
        self.hooks[2](self)

    @on(Do)
    def do(self, msg: Do) -> Any:
        return msg.work(self)

    @on(Act)
    def act(self, msg: Act) -> None:
        msg.work(self)

    @on(Note)
    def note(self, msg: Note) -> None:
        self.log.append(msg.word)

    @on(Down)
    def down(self, msg: Down) -> None:
        self.log.append(msg)

    @on(Exit)
    def exit(self, msg: Exit) -> None:
        self.log.append(msg)


async def resolved(value: Any) -> Any:
    """The value, awaited if it wants to be."""
    return await value if isawaitable(value) else value


def raises(error: BaseException) -> Hook:
    """A hook that raises."""

    def hook(_actor: Any) -> None:
        raise error

    return hook


@contextmanager
def recorded(system: System, *kinds: type[Event]) -> Iterator[list[Event]]:
    """The events of these kinds that happen within the block."""
    seen: list[Event] = []
    leave = system.events.listen(lambda e: seen.append(e) if isinstance(e, kinds) else None)
    try:
        yield seen
    finally:
        leave()
