"""What an actor's owner does to its mailbox and its life: bounds, suspension, statistics, traces.

    class Job(Cast["Worker"], frozen=True):
        n: int

    class Worker(Actor):
        @on(Job)
        async def work(self, msg: Job) -> None:
            await anyio.sleep(1)

    async with System() as system:
        worker = await system.start(Worker.spec().options(mailbox=Mailbox(2, "reject")))
        worker.tell(Job(0))
        await settle()                              # at work on the first, two may wait
        worker.tell(Job(1))
        worker.tell(Job(2))
        try:
            worker.tell(Job(3))
        except MailboxFull as full:
            assert full.limit == 2

Most actors have no `Control`, and for them it costs one look at an empty attribute. An actor that
has one takes its messages one by one, so that what is decided between two of them counts at once.

The bound of a mailbox has a named policy (`Mailbox`). What is never refused nor dropped, and does
not count: `Exit` and `Down`, without which an owner would wait for the dead; and every signal
(stop, kill, suspend, `get_state`), which does not queue with messages in the first place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from actors.errors import ActorDown, MailboxFull, rejected
from actors.events import DeadLetter, MailboxHigh
from actors.messages import Message
from actors.reasons import Reason
from actors.strict import Strict, one_of
from actors.watching import Down, Exit

if TYPE_CHECKING:
    from actors.backend import Future
    from actors.cell import Cell

Policy = Literal["block", "reject", "drop_oldest"]

HIGH_WATER: Final = 0.8
"""The part of a bounded mailbox that is filled when `MailboxHigh` is published, by default."""


class Mailbox(msgspec.Struct, metaclass=Strict, frozen=True):
    """A bounded mailbox.

    limit
        How many messages may wait; the one being handled does not count.
    policy
        What a full one does with the next: "block" (default): `await ref.send` and `await
        ref.call` wait for room, `ref.tell`, which cannot wait, raises `MailboxFull`; "reject":
        all of them raise it; "drop_oldest": the message that has waited longest is dropped, a tell
        as a dead letter, a call with `MailboxFull` at its caller.
    high_water
        At how many waiting messages `MailboxHigh` is published, once until it has fallen to half
        of that. Default four fifths of the limit.

    Raises `InvalidSpec` when a field is wrong.
    """

    limit: int
    policy: Policy = "block"
    high_water: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or self.limit < 1:
            raise rejected("invalid_mailbox", "a mailbox's limit", self.limit, "a number from 1 up")
        if self.policy not in get_args(Policy):
            raise rejected(
                "invalid_mailbox",
                "a mailbox's policy",
                self.policy,
                one_of(get_args(Policy)),
            )
        high = self.high_water
        if high is not None and (type(high) is not int or not 1 <= high <= self.limit):
            raise rejected(
                "invalid_mailbox",
                "a mailbox's high_water",
                high,
                f"a number from 1 to its limit, {self.limit}, or None",
            )

    @property
    def high(self) -> int:
        """The number of messages that counts as high water."""
        return self.high_water or max(1, int(self.limit * HIGH_WATER))


class Overflow(Reason, frozen=True):
    """The reason of a dead letter that a full mailbox dropped; not an exit reason."""

    limit: int

    def __str__(self) -> str:
        return f"the mailbox is full at {self.limit}"


class Statistics(msgspec.Struct, frozen=True):
    """What an actor has done since its statistics were switched on (R42).

    `since` is the system's time then; `handled` counts messages, `replied` those that were calls.
    """

    since: float
    handled: int
    replied: int


Entry = Any
"""What a mailbox holds: a message that was told, as it is; of a call the message and its future.

A pair for each tell would be a third of what it costs, the garbage collector's part included.
"""


def parts(entry: Entry) -> tuple[Any, Future[Any] | None]:
    """The message of an entry, and the future of its caller if it has one."""
    return entry if type(entry) is tuple else (entry, None)


Hook = Callable[[str, Any], object]
"""Called with "in" and the message before its handler, with "out" and the message after it."""


class Control:
    """One actor's bound, suspension, statistics, hooks and log."""

    __slots__ = (
        "alarmed",
        "counts",
        "hooks",
        "log",
        "mailbox",
        "parked",
        "requests",
        "room",
        "suspended",
    )

    def __init__(self, mailbox: Mailbox | None = None) -> None:
        self.mailbox = mailbox
        self.alarmed = False
        self.room: deque[Future[None]] = deque()
        self.suspended = False
        self.parked = False
        self.requests: list[Callable[[Any], None]] = []
        self.counts: list[float] | None = None
        self.hooks: list[Hook] = []
        self.log: deque[tuple[str, Any]] | None = None

    # -- the bound -------------------------------------------------------------------------------

    async def wait_for_room(self, cell: Cell) -> None:
        """Waits until one more message may wait, if that is the policy.

        Raises `ActorDown` if the actor ends first. Cancelling leaves no trace.
        """
        while self.mailbox is not None and self.mailbox.policy == "block":
            if cell.down is not None or cell.depth < self.mailbox.limit:
                return
            waiter: Future[None] = cell.system.backend.future()
            self.room.append(waiter)
            await waiter

    def admits(self, cell: Cell, message: Any, reply: Future[Any] | None) -> bool:
        """Whether a message may be queued now; makes room as the policy says.

        Raises `MailboxFull` at the sender of a tell; a call's future gets it.
        """
        if cell.down is not None:
            cell.bounce(message, reply, cell.down)
            return False
        box = self.mailbox
        if box is None or isinstance(message, Exit | Down):
            return True
        depth = cell.depth + 1
        if depth >= box.high and not self.alarmed:
            self.alarmed = True
            cell.system.publish(
                MailboxHigh(at=cell.system.now(), actor=cell.path, depth=depth, limit=box.limit)
            )
        if depth <= box.limit:
            return True
        if box.policy == "drop_oldest":
            return self._drop_oldest(cell, box)
        error = MailboxFull(cell.path, box.limit)
        if reply is None:
            raise error
        reply.set_exception(error)
        return False

    def _drop_oldest(self, cell: Cell, box: Mailbox) -> bool:
        for queue in cell.queues():
            for n, entry in enumerate(queue):
                message, reply = parts(entry)
                if not isinstance(message, Message) or isinstance(message, Exit | Down):
                    continue
                if message is cell.handling()[0]:
                    continue
                del queue[n]
                if reply is None:
                    cell.system.publish(
                        DeadLetter(
                            at=cell.system.now(),
                            actor=cell.path,
                            message=message,
                            reason=Overflow(box.limit),
                        )
                    )
                elif not reply.done():
                    reply.set_exception(MailboxFull(cell.path, box.limit))
                return True
        return True

    def _has_read(self, cell: Cell) -> None:
        box = self.mailbox
        if box is None:
            return
        depth = cell.depth
        if self.alarmed and depth * 2 <= box.high:
            self.alarmed = False
        free = box.limit - depth
        while self.room and free > 0:
            waiter = self.room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    # -- around each message ---------------------------------------------------------------------

    def before(self, cell: Cell, message: Any) -> None:
        """A message has been taken from the mailbox."""
        self._has_read(cell)
        self._note("in", message)

    def after(self, cell: Cell, actor: Any, message: Any, *, replied: bool = False) -> None:
        """Its handler has returned."""
        if self.counts is not None:
            self.counts[1] += 1
            self.counts[2] += replied
        self._note("out", message)
        self.run_requests(actor)

    def _note(self, direction: str, message: Any) -> None:
        if self.log is not None:
            self.log.append((direction, message))
        for hook in tuple(self.hooks):
            if hook(direction, message) is DONE:
                self.hooks.remove(hook)

    def run_requests(self, actor: Any) -> None:
        """Does what was asked for while a handler was at work."""
        requests, self.requests = self.requests, []
        for request in requests:
            request(actor)

    def close(self, path: str, reason: Reason) -> None:
        """The actor is gone: whoever waits for room or for its state hears it."""
        self.run_requests(None)
        for waiter in self.room:
            if not waiter.done():
                waiter.set_exception(ActorDown(path, reason))
        self.room.clear()


DONE: Final = object()
"""What a hook returns to remove itself (R42)."""

CLOSED: Final = Control()
"""The control of every dead actor that had none: it bounces whatever comes."""
