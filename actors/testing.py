"""Deterministic tests: virtual time on asyncio and trio, with one call.

    class Saved(Cast[Any], frozen=True):
        name: str

    async def scenario() -> str:
        async with System() as system:
            probe = await Probe.start(system, Saved)
            await anyio.sleep(3600)                 # returns at once, an hour later
            probe.ref.tell(Saved("x"))
            return (await probe.receive()).name

    assert run(scenario, backend="trio") == "x"
    assert run(scenario, backend="asyncio", seed=7) == "x"

Under the virtual clock time stands still while anything can run, and jumps to the next timer when
nothing can. So a policy of hours is tried in milliseconds, and always with the same outcome. Real
processes, sockets and threads need the real clock: to the virtual one, waiting for them looks like
having nothing to do.

With a seed the order in which actors take their messages is the seed's choice, one actor at a time,
the same on both backends: what fails under one seed fails under it again. Control of the clock is
not control of the order.

`actors.testing_machine` tries a tree with everything that may happen to it; `actors.pytest_plugin`
has fixtures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import anyio

from actors.actor import Actor
from actors.backend import until_idle, virtual_clock
from actors.messages import Handler, Message
from actors.ref import Ref
from actors.scheduling import idle_of_run, schedulers_of_run, seed_of_run
from actors.system import System
from actors.watching import Down, Exit

T = TypeVar("T")

BackendName = Literal["asyncio", "uvloop", "trio"]
BACKENDS: Final[tuple[BackendName, ...]] = ("asyncio", "trio")


def run(
    function: Callable[..., Awaitable[T]],
    *args: Any,
    backend: BackendName = "asyncio",
    virtual: bool = True,
    seed: int | None = None,
) -> T:
    """Runs an async function to its end in a new event loop and returns its result.

    backend
        "asyncio" (default), "uvloop" (real time only) or "trio".
    virtual
        Whether time jumps over idle stretches (default) or is the machine's.
    seed
        Chooses who takes the next message, in virtual time only. Default None: the event loop
        does, and plain actors may be called in place.
    """
    if seed is not None and not virtual:
        raise ValueError("a seed needs virtual time: real time makes choices of its own")

    async def seeded() -> T:
        seed_of_run.set(seed)
        idle_of_run.set(until_idle)
        schedulers_of_run.set([])
        return await function(*args)

    name = "trio" if backend == "trio" else "asyncio"
    options: dict[str, Any] = {}
    if backend == "uvloop":
        if virtual:
            raise ValueError("uvloop has no virtual clock; use backend='asyncio' or virtual=False")
        options["use_uvloop"] = True
    elif virtual:
        options = virtual_clock(name)
    return anyio.run(seeded, backend=name, backend_options=options)


async def settle() -> None:
    """Waits, without letting time pass, until nothing can run any more.

    Exact in virtual time and on trio. On asyncio in real time it lets every task take some steps.
    """
    while True:
        schedulers = schedulers_of_run.get() or []
        given = sum(s.given for s in schedulers)
        await until_idle()
        if given == sum(s.given for s in schedulers) and not any(s.asked for s in schedulers):
            return


class Probe:
    """An actor for tests: takes messages of given types, keeps them, and answers nothing.

    `Down` and `Exit` are among them, so that a probe may monitor and link.
    """

    def __init__(self) -> None:
        self.received: list[Any] = []
        """Everything received so far, in order."""
        self._unread: deque[Any] = deque()
        self._news = anyio.Event()
        self.ref: Ref[Any]

    def __repr__(self) -> str:
        return f"<Probe {len(self.received)} received, {len(self._unread)} unread>"

    @classmethod
    async def start(cls, system: System, *kinds: type[Message], id: str = "probe") -> Probe:
        """Starts a probe for messages of these types."""
        probe = cls()

        def take(_actor: Any, message: Any) -> None:
            probe.received.append(message)
            probe._unread.append(message)
            probe._news.set()

        kind: Any = type("ProbeActor", (Actor,), {"__slots__": ()})
        kind.__handlers__ = {k: Handler(take, awaits=False) for k in (*kinds, Down, Exit)}
        probe.ref = await system.start(kind.spec().options(id=id))
        return probe

    async def receive(self, timeout: float = 5.0) -> Any:
        """The next message. Raises `AssertionError` if none comes within `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while not self._unread:
                self._news = anyio.Event()
                await self._news.wait()
        if not self._unread:
            raise AssertionError(f"no message within {timeout:g} s; so far: {self.received!r}")
        return self._unread.popleft()

    async def expect_nothing(self) -> None:
        """Raises `AssertionError` if a message is unread once everything has run."""
        await settle()
        if self._unread:
            raise AssertionError(f"unexpected: {list(self._unread)!r}")
