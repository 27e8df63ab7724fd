"""A simulation in a plain function: each step runs to its end before the next line does.

    with simulated("colony.toml") as sim:
        sim.crash("db")
        sim.advance("5m")
        assert sim.state("web") == "ready"

The simulation lives in a thread of its own, where an event loop runs in virtual time, and stands
still between two steps. So it is for tests without an event loop: plain ones, unittest's, the rules
of a Hypothesis state machine.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, Final

from actors.testing import BackendName, run
from colony.lab.faults import What
from colony.lab.trace import Trace
from colony.lab.world import Simulation
from colony.services.status import ServiceStatus, State

_LEAVE: Final = object()


class Stepped:
    """A simulation that is driven from plain code. Each method returns once all that follows from
    it has happened; they are `Simulation`'s, and raise what those raise."""

    def __init__(self, lab: Simulation, backend: BackendName = "asyncio") -> None:
        self._lab = lab
        self._backend = backend
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        # In a context of its own: the caller's may say that a loop runs already.
        self._thread = threading.Thread(
            target=Context().run, args=(self._live,), name="simulation", daemon=True
        )

    def __repr__(self) -> str:
        return f"<Stepped {self._lab!r}>"

    # -- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the colony. Raises what entering the simulation raises."""
        self._thread.start()
        self._answer()

    def stop(self) -> None:
        """Stops it; what has happened can still be looked at."""
        self._work.put(_LEAVE)
        self._answer()
        self._thread.join()

    def _live(self) -> None:
        error: BaseException | None = None
        try:
            run(self._serve, backend=self._backend)
        except BaseException as raised:
            error = raised
        self._answers.put((None, error))

    async def _serve(self) -> None:
        async with self._lab:
            await self._lab.settle()
            self._answers.put((None, None))
            # Blocks the loop, and is meant to: nothing happens until the next step.
            while (work := self._work.get()) is not _LEAVE:
                value, error = None, None
                try:
                    value = work()
                    if inspect.isawaitable(value):
                        value = await value
                    await self._lab.settle()
                except Exception as raised:
                    error = raised
                self._answers.put((value, error))

    def _answer(self) -> Any:
        value, error = self._answers.get()
        if error is not None:
            raise error
        return value

    def _step(self, work: Callable[[], Any]) -> Any:
        if not self._thread.is_alive():
            raise RuntimeError("the simulation is over: its `with` block has been left")
        self._work.put(work)
        return self._answer()

    # -- what is done to it --------------------------------------------------------------------

    def crash(self, *services: str, signal: int = 9) -> None:
        """Ends the services' processes by a signal, SIGKILL by default."""
        self._step(lambda: self._lab.crash(*services, signal=signal))

    def exit(self, service: str, code: int = 0) -> None:
        """Has a service's process exit with a code."""
        self._step(lambda: self._lab.exit(service, code))

    def hang(self, service: str, lasting: str | float | None = None) -> None:
        """Has a service's process run on and answer no more."""
        self._step(lambda: self._lab.hang(service, lasting))

    def strike(
        self, services: Iterable[str], what: What, lasting: str | float | None = None
    ) -> None:
        """Does something to services, to all of them at one instant."""
        self._step(lambda: self._lab.strike(services, what, lasting))

    def advance(self, duration: str | float) -> None:
        """Lets time pass: a number of seconds, or a text as "5m"."""
        self._step(lambda: self._lab.advance(duration))

    def stop_service(self, service: str) -> ServiceStatus:
        """Stops a service as an operator does."""
        return self._step(lambda: self._lab.stop_service(service))  # type: ignore[no-any-return]

    def start_service(self, service: str) -> ServiceStatus:
        """Starts a service that is down, as an operator does."""
        return self._step(lambda: self._lab.start_service(service))  # type: ignore[no-any-return]

    def restart_service(self, service: str) -> ServiceStatus:
        """Stops a service and starts it, as an operator does."""
        return self._step(lambda: self._lab.restart_service(service))  # type: ignore[no-any-return]

    # -- what has happened; its loop stands still, so this may be looked at from here ------------

    @property
    def now(self) -> float:
        """Seconds since the colony's start."""
        return self._step(lambda: self._lab.now)  # type: ignore[no-any-return]

    @property
    def ended(self) -> bool:
        """Whether the colony has ended."""
        return self._lab.ended

    def state(self, service: str) -> State:
        """How a service is now. Raises `KeyError`, with the names that there are."""
        return self._lab.state(service)

    def status(self, service: str) -> ServiceStatus:
        """All that is known of a service. Raises `KeyError`."""
        return self._lab.status(service)

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        return self._step(lambda: self._lab.trace)  # type: ignore[no-any-return]
