"""The machine that services run on, as their actors see it: all that a port actor asks of outside.

A `PortActor` decides: which phase follows which, what is a crash, who is told. What it knows of the
world it asks of a `Site`, one for each life, which a `Machine` makes:

    machine.site(plan, system) ─▶ taken? ─▶ spawn ─▶ until_ready ─▶ check, check, …
                                              │
                      process.wait ◀──────────┴──▶ ask_to_end ─▶ strays_ended ─▶ sweep ─▶ drained

There are two. `colony.services.linux` starts processes of the operating system; it is what runs a
colony. `colony.lab.processes` only plays them, on a virtual clock: so what `colony simulate` shows
was decided by the very actors that decide at night.

The line between actor and site: the site knows how to find something out and how often to look,
and the actor what it means. So a site that knows beforehand when something will change need not
look at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from actors import System
from colony.services.holder import Holder
from colony.services.plan import Probe, ServicePlan
from netns import ExitStatus


class Running(Protocol):
    """A process that was started, held until `aclose`; `netns.Process` is one."""

    @property
    def pid(self) -> int:
        """Its number, which is its group's too."""
        ...

    async def wait(self) -> ExitStatus:
        """Waits for its end. Cancelling changes nothing."""
        ...

    def signal(self, number: int) -> object:
        """Sends it a signal; nothing happens if it has ended."""
        ...

    def signal_group(self, number: int) -> object:
        """The same for its whole group, also after its own end."""
        ...

    async def aclose(self) -> None:
        """Lets go of it, killed if it still runs. Closing twice is no error."""
        ...


class Site(Protocol):
    """Where one life of one service takes place. A method that waits may be cancelled."""

    # -- from start to ready

    async def taken(self) -> Holder | None:
        """Who has the service's port; a stray of an earlier life is ended and has it no more."""
        ...

    async def spawn(self, found: Callable[[], None]) -> Running:
        """Starts the process. `found` is called once a line that it writes matches `ready.log`.

        Raises `SpawnError`, and `OSError` or `ValueError` for what it would be given.
        """
        ...

    async def until_ready(self, probe: Probe) -> None:
        """Returns once an attempt at the probe has succeeded."""
        ...

    async def settle(self) -> None:
        """Whatever can wait until the service is ready, and has the processor no more."""
        ...

    def unready(self) -> str:
        """Why the last attempt of `until_ready` failed; "" if none has, or nobody asked."""
        ...

    async def told(self) -> Mapping[str, str]:
        """What the service says of itself next, by sd_notify(3)."""
        ...

    async def routed(self) -> None:
        """Returns once the front door leads to the service, or does not seem to come to it."""
        ...

    async def check(self, probe: Probe, interval: float) -> str:
        """Waits for the next health check, `interval` seconds on: why it failed, "" if it did not.

        After one that succeeded others that succeed may be left out.
        """
        ...

    # -- the ends

    async def left_server(self, patience: float) -> Holder | None:
        """The server of its own that the process, which has ended in good order, left behind.

        It may take `patience` seconds to listen, as long as anything of the service's is left.
        """
        ...

    async def successor(self, pid: int) -> Holder | None:
        """Waits until such a server has ended; who of its own listens instead."""
        ...

    def signal_server(self, pid: int, number: int) -> None:
        """Sends such a server a signal; nothing happens if it has ended."""
        ...

    async def ask_to_end(self, pid: int) -> str:
        """Asks the process, or the server `pid`, and its strays to end, as `stop` says: by its
        command, or by its signal. That is sent after a command that failed, too: why it did."""
        ...

    async def strays_ended(self) -> None:
        """Waits until nothing is left that the process had started."""
        ...

    def over(self) -> bool:
        """Whether it can be told at once that a process which has ended left nothing behind: nobody
        who is to be killed, and nothing to read; what little there is to read is read. If so, the
        process is let go of as well."""
        ...

    async def sweep(self) -> int:
        """Kills what is left of the service; how many besides its process that were."""
        ...

    async def drained(self) -> None:
        """Waits until what a dead process had written is read; not for ever."""
        ...

    def write(self, data: bytes) -> int:
        """Writes to its standard input; how many bytes that took. Raises `OSError`."""
        ...

    def close(self) -> None:
        """Lets go of its channels. Closing twice is no error."""
        ...


class Machine(Protocol):
    """Makes the sites of services."""

    async def site(self, plan: ServicePlan, system: System) -> Site:
        """Where one life of a service is to take place. Raises `ActorDown` without its network."""
        ...
