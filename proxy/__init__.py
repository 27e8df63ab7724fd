"""The front door: every service of every colony behind one HTTP port, by host name.

    import anyio
    from proxy import EmbeddedProxy, Route, RouteTable, TcpUpstream

    async def main() -> None:
        web = Route("my-app", 3000, TcpUpstream(3000), service="web")
        door = EmbeddedProxy()
        await door.start(RouteTable([web]))
        try:
            print(web.url(door.port))       # http://my-app-3000.colony.local:8080/
            await door.run()
        finally:
            await door.stop()

    anyio.run(main)

Three front doors have one face (`FrontDoor`): `CaddyProcess`, `ExistingCaddy` and `EmbeddedProxy`;
two name servers have another (`NameServer`): `Dnsmasq` and `DnsResponder`. All run on asyncio and
trio, own what they start, and leave nothing when they are stopped. None restarts anything: that is
for whoever supervises them.

What is decided apart from what does it: `routes`, `pages`, `caddy_config`, `http1` and the answers
of `dns` are pure.
"""

from proxy.caddy import CaddyProcess, caddy_version
from proxy.caddy_admin import CaddyAdmin
from proxy.dns import DnsResponder, Zone
from proxy.dnsmasq import Dnsmasq
from proxy.embedded import EmbeddedProxy, dial
from proxy.errors import (
    AlreadyServed,
    BinaryNotFound,
    CaddyError,
    CaddyUnreachable,
    PortsTaken,
    ProcessDied,
    ProxyError,
    StartFailed,
)
from proxy.existing_caddy import ExistingCaddy
from proxy.front_door import FrontDoor, NameServer
from proxy.ports import DNS_PORTS, HTTP_PORTS, Claims
from proxy.reconciler import Reconciler, Timing
from proxy.routes import (
    EMPTY,
    LOCAL,
    LOCALHOST,
    SUFFIXES,
    Route,
    RouteTable,
    TcpUpstream,
    UnixUpstream,
    Upstream,
)
from proxy.splice import Dialer

__all__ = [
    "DNS_PORTS",
    "EMPTY",
    "HTTP_PORTS",
    "LOCAL",
    "LOCALHOST",
    "SUFFIXES",
    "AlreadyServed",
    "BinaryNotFound",
    "CaddyAdmin",
    "CaddyError",
    "CaddyProcess",
    "CaddyUnreachable",
    "Claims",
    "Dialer",
    "DnsResponder",
    "Dnsmasq",
    "EmbeddedProxy",
    "ExistingCaddy",
    "FrontDoor",
    "NameServer",
    "PortsTaken",
    "ProcessDied",
    "ProxyError",
    "Reconciler",
    "Route",
    "RouteTable",
    "StartFailed",
    "TcpUpstream",
    "Timing",
    "UnixUpstream",
    "Upstream",
    "Zone",
    "caddy_version",
    "dial",
]
