"""What stands beside a Caddy whose configuration never changes: it says where a host leads.

    Host: app-3000.colony.local ─► Caddy ─► one route for all of ours: dial
                                             app-3000.colony.internal, port 3000
                                    │  asks 127.0.0.1:NAMES (this) for that name ─► 10.200.0.2
                                    └─ 502: nobody there ─► 127.0.0.1:PAGES (this) ─► 503 or 404

The law: Caddy is told everything once, and the table is ours. Every change of Caddy's configuration
ends the streams of the one before, and before 2.7 nothing can keep a WebSocket through that; so on
such a Caddy a colony that comes or goes would cut the others' hot reload.

What a name cannot say (an upstream at another port, a unix socket) gets a route of Caddy's own, and
a change of that reloads. The pages' server is the embedded front door, with nobody behind it.
"""

from __future__ import annotations

import random
import socket
from ipaddress import ip_address
from typing import Final

from proxy.dns import AAAA, ANY, A, DnsResponder
from proxy.embedded import EmbeddedProxy
from proxy.front_door import Lifetime
from proxy.ports import LOOPBACK
from proxy.routes import EMPTY, Route, RouteTable, TcpUpstream, Upstream

SUFFIX: Final = "colony.internal"
"""Under it a route's label has the address of its upstream; known to nobody else."""

_TRIED: Final = 64
_FROM, _TO = 20000, 32000  # below what the kernel gives to whoever does not care


class RouteNames:
    """The addresses of the routes by their labels, as a zone for the responder."""

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[str, ...]] = {}

    def want(self, table: RouteTable) -> None:
        """From the next question on. From any thread: the dict is replaced, not changed."""
        found = {route.label: address_of(route) for route in table}
        self._addresses = {
            f"{label}.{SUFFIX}": addresses for label, addresses in found.items() if addresses
        }

    def holds(self, name: str) -> bool:
        return name in self._addresses

    def records(self, name: str, kind: int) -> list[tuple[int, bytes]]:
        """As `Zone.records`."""
        found: list[tuple[int, bytes]] = []
        for text in self._addresses.get(name, ()):
            address = ip_address(text)
            own = A if address.version == 4 else AAAA
            if kind in (own, ANY):
                found.append((own, address.packed))
        return found


class Companion(Lifetime):
    """The names and the pages. `async with`, or `start` and `stop`; may be started again.

    Once started, `names_port` (UDP) and `pages_port` (TCP), both on 127.0.0.1.
    """

    def __init__(self) -> None:
        ports = tuple(random.sample(range(_FROM, _TO), _TRIED))
        self._zone = RouteNames()
        self._names = DnsResponder(ports=ports[::2], zone=self._zone)
        self._pages = EmbeddedProxy(ports=ports[1::2], dialer=_refuse)

    def __repr__(self) -> str:
        return f"<Companion names={self.names_port} pages={self.pages_port}>"

    @property
    def names_port(self) -> int:
        return self._names.port

    @property
    def pages_port(self) -> int:
        return self._pages.port

    async def start(self, table: RouteTable = EMPTY) -> None:
        """Returns when both answer. Raises `PortsTaken`. Cancelled or failed, nothing is left."""
        self.want(table)
        try:
            await self._names.start()
            await self._pages.start(table)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Not cut short by cancel; may be called again."""
        await self._pages.stop()
        await self._names.stop()

    def want(self, table: RouteTable) -> None:
        """From the next request on, these are the routes."""
        self._zone.want(table)
        self._pages.want(table)

    def show(self, port: int) -> None:
        """The pages' links lead to this port: Caddy's."""
        self._pages.show(port)


async def _refuse(upstream: Upstream) -> socket.socket:
    """Caddy has tried it, and may have sent half a request: it is not sent again."""
    raise ConnectionRefusedError(f"Caddy found nobody at {upstream}")


def address_of(route: Route) -> tuple[str, ...] | None:
    """The addresses that the route's name stands for; None if a name cannot say it. Pure."""
    upstream = route.upstream
    if not isinstance(upstream, TcpUpstream) or upstream.port != route.port:
        return None
    if upstream.address == "localhost":
        return LOOPBACK
    try:
        return (str(ip_address(upstream.address)),)
    except ValueError:
        return None
