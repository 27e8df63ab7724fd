"""A Caddy that runs already as the front door: one key of its configuration is ours.

    apps/http/servers/colony      made by us, kept as it is wanted, removed at stop
    everything beside it          never written; `POST /load`, which replaces all, is never sent

The law: at the end that Caddy is as it was found. What had to be made above our key goes too,
unless somebody else has put something there since. Two Colonies in one Caddy would overwrite each
other's key, so the second is refused (see `ports.Claim`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import anyio

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import (
    SERVER_PATH,
    Features,
    Listen,
    is_shell,
    missing_parent,
)
from proxy.caddy_door import IN_USE, NOWHERE, CaddyDoor, Routing
from proxy.errors import AlreadyServed, CaddyError, CaddyUnreachable
from proxy.ports import HTTP_PORTS, Claim, Reservation, on_some_port, preferring
from proxy.reconciler import Timing
from proxy.routes import EMPTY, RouteTable


class ExistingCaddy(CaddyDoor):
    """A Caddy that runs already, of which only our own server is touched, and that removed at stop.

    address
        Its admin API: `http://localhost:2019`, or `unix//path`.
    ports, timing
        As for `CaddyProcess`.
    routes
        See `Routing`; "auto" is static, for its version is not to be had from outside.

    If Caddy is restarted by its owner, our server is put back at the next check.
    """

    def __init__(
        self,
        address: str,
        *,
        ports: Sequence[int] = HTTP_PORTS,
        timing: Timing | None = None,
        routes: Routing = "auto",
    ) -> None:
        newest = Features(stream_close_delay=True)
        super().__init__(CaddyAdmin(address), ports, newest, timing, self._without_news, routes)
        self._claim: Claim | None = None
        self._held: Reservation | None = None
        self._made: str | None = None
        self._placed = False
        self._stopped = anyio.Event()
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        return f"<ExistingCaddy {self.admin.address} port={self.port}>"

    async def start(self, table: RouteTable = EMPTY) -> None:
        """Puts our server there with `table`; returns when it is in place.

        What a Colony that was killed has left there is taken over. Raises `CaddyUnreachable`,
        `AlreadyServed` (another Colony lives in that Caddy), `PortsTaken` or `CaddyError`.
        """
        if self._claim is not None:
            raise RuntimeError("this front door was started before: stop it first")
        try:
            self._claim = Claim(f"caddy/{self.admin.address.removeprefix('http://')}")
        except OSError as error:
            raise AlreadyServed(
                f"another Colony already keeps its routes in the Caddy at {self.admin.address}: "
                "let one of the two start a Caddy of its own"
            ) from error
        self._stopped = anyio.Event()
        self._reconciler.start(table)  # first: what is wanted meanwhile is sent after it
        try:
            await self._start_companion(table)
            self._made = missing_parent(await self.admin.get("/config/"))
            await self._place(table)
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Keeps the routes as wanted until it is stopped; returns at once if it is not started.

        While Caddy is away it tries again.
        """
        if self._claim is None:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reconciler.run)
            await self._stopped.wait()
            tasks.cancel_scope.cancel()

    async def stop(self) -> None:
        """Takes our server out, and what had to be made for it. Not cut short by cancel."""
        with anyio.CancelScope(shield=True):
            async with self._ending:
                self._stopped.set()
                if self._placed:
                    with contextlib.suppress(
                        CaddyError, CaddyUnreachable
                    ):  # then it is out already
                        await self._take_out()
                self._placed = False
                await self._stop_companion()
                for held in (self._held, self._claim):
                    if held is not None:
                        held.release()
                self._held = self._claim = None
                self._listen = NOWHERE

    def _without_news(self, error: CaddyError) -> bool:
        """Its version is not to be had from outside, so what it refuses tells what it knows."""
        if not self._features.stream_close_delay or "stream_close_delay" not in error.detail:
            return False
        self._features = Features()
        return True

    async def _place(self, table: RouteTable) -> None:
        left = Listen.of(await self.admin.get(SERVER_PATH))
        if left is not None:
            self._listen = left
            await self._put(table)
            return
        port = await on_some_port(
            "the front door", self._ports, lambda port: self._place_here(table, port)
        )
        self._held = port
        self._ports = preferring(port.port, self._ports)

    async def _place_here(self, table: RouteTable, port: Reservation) -> bool:
        port.unbind()
        self._listen = Listen(port.port, port.addresses)
        try:
            await self._put(table)
        except CaddyError as error:
            if IN_USE in error.detail:
                return False
            raise
        return True

    async def _put(self, table: RouteTable) -> None:
        self._placed = True
        await self._reconciler.apply(table)

    async def _take_out(self) -> None:
        await self.admin.delete(SERVER_PATH)
        if self._made is not None and is_shell(await self.admin.get(self._made)):
            await self.admin.delete(self._made)
