"""Looking into a running system, as Erlang's `sys` and observer do (R39–R43).

    class Counter(Actor):
        def __init__(self) -> None:
            self.n = 3

    async with System() as system:
        ref = await system.start(Counter.spec())
        assert await get_state(ref, lambda counter: counter.n) == 3
        await suspend(ref)
        assert as_text(tree(system)) == "└─ counter Counter suspended"

What reads or changes an actor does so between two of its messages, never in the midst of one, and
passes queued messages by. A suspended actor takes no message; what it is asked here it still
answers, and it can be stopped and killed. A call to it waits, and is handled after `resume`, even
if its caller has given up by then (R40).

`tree` costs nothing until it is asked for: it reads what is there anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from actors import deadlock
from actors.control import CLOSED, DONE, Control, Hook, Statistics
from actors.errors import ActorDown
from actors.reasons import NoProc

if TYPE_CHECKING:
    from actors.backend import Future
    from actors.cell import Cell
    from actors.ref import Ref
    from actors.system import System

__all__ = [
    "DONE",
    "Hook",
    "Node",
    "Statistics",
    "as_text",
    "get_log",
    "get_state",
    "install",
    "keep_log",
    "replace_state",
    "resume",
    "start_statistics",
    "statistics",
    "suspend",
    "tree",
]

T = TypeVar("T")
A = TypeVar("A")


async def get_state(ref: Ref[A], read: Callable[[A], T]) -> T:
    """What `read(actor)` returns, called between two messages.

    Its exception is raised here and leaves the actor alone. Raises `ActorDown` if the actor is not
    alive, or ends before it has come to a point between two messages. Cancelling reads nothing.
    """
    return await _between(_living(ref), read)


async def replace_state(ref: Ref[A], change: Callable[[A], T]) -> T:
    """Calls `change(actor)` between two messages; as `get_state`.

    If it raises, the actor's attributes are put back as they were (R41): those, not what lies in
    them, so replace a list rather than append to it.
    """

    def guarded(actor: A) -> T:
        before = _attributes(actor)
        try:
            return change(actor)
        except BaseException:
            for name in _attributes(actor).keys() - before.keys():
                delattr(actor, name)
            for name, value in before.items():
                setattr(actor, name, value)
            raise

    return await _between(_living(ref), guarded)


async def suspend(ref: Ref[Any]) -> None:
    """Keeps the actor from its messages until `resume`; returns once the one at hand is done."""
    cell = _living(ref)
    control = _controlled(cell)

    def hold(_actor: Any) -> None:
        control.suspended = True

    await _between(cell, hold)


def resume(ref: Ref[Any]) -> None:
    """Lets a suspended actor go on. Does nothing to one that is not."""
    cell = _living(ref)
    if cell.control is not None and cell.control.suspended:
        cell.control.suspended = False
        cell.wake()


def start_statistics(ref: Ref[Any]) -> None:
    """Begins to count the actor's messages, from zero (R42)."""
    cell = _living(ref)
    _controlled(cell).counts = [cell.system.now(), 0, 0]


def statistics(ref: Ref[Any]) -> Statistics | None:
    """What was counted since `start_statistics`; None if that was never called."""
    control = _living(ref).control
    if control is None or control.counts is None:
        return None
    since, handled, replied = control.counts
    return Statistics(since, int(handled), int(replied))


def install(ref: Ref[Any], hook: Hook) -> Callable[[], None]:
    """Calls `hook("in", message)` before each handler and `hook("out", message)` after it.

    It must neither block nor fail. It may return `DONE` to be removed (R42); so does the function
    that is returned.
    """
    control = _controlled(_living(ref))
    control.hooks.append(hook)

    def remove() -> None:
        if hook in control.hooks:
            control.hooks.remove(hook)

    return remove


def keep_log(ref: Ref[Any], size: int = 10) -> None:
    """Keeps the last `size` events, ("in", message) and ("out", message); 0 keeps none any more."""
    _controlled(_living(ref)).log = deque(maxlen=size) if size > 0 else None


def get_log(ref: Ref[Any]) -> tuple[tuple[str, Any], ...]:
    """The events kept since `keep_log`, the oldest first."""
    control = _living(ref).control
    return () if control is None or control.log is None else tuple(control.log)


def _living(ref: Ref[Any]) -> Cell:
    cell = ref._slot.cell
    if cell is None or cell.down is not None:
        raise ActorDown(ref.path, NoProc() if cell is None or cell.down is None else cell.down)
    return cell


def _controlled(cell: Cell) -> Control:
    if cell.control is None:
        cell.control = Control()
        cell.take_control()
    assert cell.control is not CLOSED
    return cell.control


async def _between(cell: Cell, work: Callable[[Any], T]) -> T:
    """Does some work with the actor between two of its messages."""
    if cell.between_messages():
        return work(cell.actor)
    future: Future[T] = cell.system.backend.future()

    def request(actor: Any) -> None:
        if future.done():
            return
        if actor is None:
            future.set_exception(ActorDown(cell.path, cell.down or NoProc()))
            return
        try:
            future.set_result(work(actor))
        except Exception as error:
            future.set_exception(error)

    _controlled(cell).requests.append(request)
    return await future


def _attributes(actor: Any) -> dict[str, Any]:
    """The actor's own attributes, in `__dict__` or in slots."""
    found = dict(getattr(actor, "__dict__", {}))
    for kind in type(actor).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name != "_cell" and hasattr(actor, name):
                found[name] = getattr(actor, name)
    return found


# -- the tree ------------------------------------------------------------------------------------


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One living actor, as `tree` saw it.

    path, name
        Its place, and its name in the whole system, if it has one.
    kind
        The actor's class.
    state
        "starting", "idle", "busy", "suspended" or "stopping".
    mailbox
        How many messages wait.
    message, age
        The message at hand, and for how many seconds; None between messages.
    restarts
        How many lives this place has had before.
    waits_for
        The paths of the actors whose answer it waits for.
    children
        In start order.
    """

    path: str
    name: str | None
    kind: str
    state: str
    mailbox: int
    message: Any
    age: float | None
    restarts: int
    waits_for: tuple[str, ...]
    children: tuple[Node, ...]


def tree(system: System) -> tuple[Node, ...]:
    """The living actors of a system, those at the top in start order."""
    return tuple(_node(cell) for cell in system.top_cells())


def _node(cell: Cell) -> Node:
    message, since = cell.handling()
    age = None if since is None else cell.system.now() - since
    children = () if cell.ties is None else tuple(cell.ties.children)
    return Node(
        path=cell.path,
        name=cell.spec.name,
        kind=cell.slot.kind.__name__,
        state=_state(cell, message),
        mailbox=cell.depth,
        message=message,
        age=age,
        restarts=cell.incarnation - 1,
        waits_for=tuple(dict.fromkeys(callee.path for callee in deadlock.waits_for(cell))),
        children=tuple(_node(child) for child in children),
    )


def _state(cell: Cell, message: Any) -> str:
    if not cell.acked:
        return "starting"
    if cell.signal is not None or (cell.ties is not None and cell.ties.doomed is not None):
        return "stopping"
    if message is not None:
        return "busy"
    if cell.control is not None and cell.control.suspended:
        return "suspended"
    return "idle"


def as_text(nodes: tuple[Node, ...]) -> str:
    """A tree as lines for a person."""
    return "\n".join(_lines(nodes, ""))


def _lines(nodes: tuple[Node, ...], indent: str) -> Iterator[str]:
    for n, node in enumerate(nodes):
        last = n == len(nodes) - 1
        yield f"{indent}{'└─' if last else '├─'} {_line(node)}"
        yield from _lines(node.children, indent + ("   " if last else "│  "))


def _line(node: Node) -> str:
    words = [node.path.rpartition("/")[2], node.kind, node.state]
    if node.name is not None:
        words.insert(1, f"({node.name})")
    if node.message is not None:
        age = "" if node.age is None else f" for {node.age:.3g} s"
        words.append(f"with {type(node.message).__name__}{age}")
    if node.mailbox:
        words.append(f"mailbox {node.mailbox}")
    if node.restarts:
        words.append(f"restarts {node.restarts}")
    if node.waits_for:
        words.append(f"waits for {', '.join(node.waits_for)}")
    return " ".join(words)
