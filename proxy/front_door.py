"""What a front door is, whichever of the three it is: our Caddy, one that runs already, or none.

    door = CaddyProcess(…) │ ExistingCaddy(…) │ EmbeddedProxy(…)
    await door.start(table)      it answers, with these routes
    async with a task group:
        door.run in a task       until it is stopped, or raises because it died
        door.want(table)         as routes come and go
        await door.settled()     what was wanted is in place
    await door.stop()            nothing of it is left

The owner of the wanted routes is not the front door: after one died, another is started with the
same table, and `start` takes the port that it had if that is still to be had.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from proxy.routes import RouteTable


class FrontDoor(Protocol):
    """The common face of `CaddyProcess`, `ExistingCaddy` and `EmbeddedProxy`."""

    @property
    def port(self) -> int:
        """The HTTP port; 0 while not started."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """The loopback addresses it listens on."""
        ...

    async def start(self, table: RouteTable = ...) -> None: ...

    def want(self, table: RouteTable) -> None: ...

    async def settled(self) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class NameServer(Protocol):
    """The common face of `Dnsmasq` and `DnsResponder`."""

    @property
    def port(self) -> int:
        """The UDP port on 127.0.0.1; 0 while not started."""
        ...

    async def start(self) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class Lifetime(ABC):
    """`async with` for what has `start` and `stop`."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
