"""What both Caddys have in common as front doors: an admin API, our server, its reconciler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import anyio

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import Features, Json, Listen, dynamic_server, server
from proxy.companion import SUFFIX, Companion, address_of
from proxy.errors import CaddyError
from proxy.front_door import Lifetime
from proxy.ports import listeners
from proxy.reconciler import Reconciler, Timing
from proxy.routes import RouteTable

IN_USE: Final = "address already in use"
"""What Caddy says of a port that somebody else was quicker to take."""

_SWITCH_SECONDS: Final = 5.0
"""Many times what it takes, also on a machine that is busy."""

_SWITCH_POLL_SECONDS: Final = 0.001

NOWHERE: Final = Listen(0, ())

Routing = Literal["auto", "static", "dynamic"]
"""How Caddy is told of routes: one of its own for each service, and a change of the configuration
whenever they change (static); or one for all, whose upstream is looked up (dynamic). With "auto" a
Caddy of ours that would cut WebSockets at each change (before 2.7) gets dynamic ones, unless its
admin API is open for others to look at the routes."""

ROUTINGS: Final = ("auto", "static", "dynamic")


class CaddyDoor(Lifetime):
    """The half of a Caddy front door that is told routes. See `CaddyProcess`, `ExistingCaddy`."""

    def __init__(
        self,
        admin: CaddyAdmin,
        ports: Sequence[int],
        features: Features,
        timing: Timing | None,
        refused: Callable[[CaddyError], bool] = lambda _: False,
        routes: Routing = "auto",
    ) -> None:
        self.admin = admin
        self.routing = routes
        self._companion: Companion | None = None
        self._ports = tuple(ports)
        self._listen = NOWHERE
        self._features = features
        self._reconciler = Reconciler(
            admin, self._server, timing=timing, refused=refused, switched=self._switched
        )

    @property
    def port(self) -> int:
        """The HTTP port; 0 while not started."""
        return self._listen.port

    @property
    def addresses(self) -> tuple[str, ...]:
        """The loopback addresses it listens on."""
        return self._listen.addresses

    @property
    def changes(self) -> int:
        """How many times its configuration was changed by us."""
        return self._reconciler.changes

    def want(self, table: RouteTable) -> None:
        """These are the routes: sent within some 30 ms, many changes as one. With dynamic routes
        from the next request on; nothing is sent."""
        if self._companion is not None:
            self._companion.want(table)
        self._reconciler.want(table)

    async def settled(self) -> None:
        """Returns when what was wanted is in place; `run` must be running. Raises `CaddyError`."""
        await self._reconciler.settled()

    @property
    def dynamic(self) -> bool:
        """Whether its configuration stays as it is while routes come and go."""
        return self._companion is not None

    async def _start_companion(self, table: RouteTable) -> None:
        """For dynamic routes: before the first configuration. `_features` must be known."""
        wanted = self.routing == "dynamic"
        if self.routing == "auto":
            wanted = not self._features.stream_close_delay
        if wanted:
            self._companion = Companion()
            await self._companion.start(table)

    async def _stop_companion(self) -> None:
        companion, self._companion = self._companion, None
        if companion is not None:
            await companion.stop()

    def _server(self, table: RouteTable) -> Json:
        companion = self._companion
        if companion is not None:
            companion.show(self._listen.port)
            return dynamic_server(
                (each for each in table if address_of(each) is None),
                self._listen,
                self._features,
                names_port=companion.names_port,
                pages_port=companion.pages_port,
                suffix=SUFFIX,
            )
        return server(table, self._listen, self._features)

    async def _switched(self) -> None:
        """Waits until the listeners of the configuration before are closed.

        Caddy answers as soon as the new ones listen beside them, and while both do the kernel gives
        some of the new connections to the old ones, which know nothing of the change.
        """
        with anyio.move_on_after(_SWITCH_SECONDS):
            while listeners(self.port) > len(self.addresses):  # noqa: ASYNC110
                await anyio.sleep(_SWITCH_POLL_SECONDS)
