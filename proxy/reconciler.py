"""Keeps Caddy as it is wanted: many changes become one request, and what others change is healed.

    want(table) ──┐ quiet for 30 ms, or 100 ms since the first
    every 5 s  ───┤
    a failure  ───┘ after 0.1, 0.2 … 2 s
                  └──► GET our server ─► compare ─► nothing, or one PUT or PATCH

The law: nothing is remembered of what Caddy was told. Each time the actual configuration is read
and compared, so a Caddy that was restarted, or edited by hand, is brought back by the same step
that adds a route. Everyone who changes our server does it here: Caddy 2.6 sends its ETag where no
client can read it, so two writers could not tell that they overwrite each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import msgspec

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import SERVER_PATH, Json, change
from proxy.errors import CaddyError, CaddyUnreachable
from proxy.routes import EMPTY, RouteTable


class Timing(msgspec.Struct, frozen=True):
    """When the reconciler acts, in seconds.

    quiet
        After this long without a further change. Default 0.03.
    patience
        Or this long after the first one, however many follow. Default 0.1.
    check
        Without any change, this often, against edits by others. Default 5.
    retry, retry_max
        After a failure: doubling from the one to the other. Default 0.1 and 2.
    """

    quiet: float = 0.03
    patience: float = 0.1
    check: float = 5.0
    retry: float = 0.1
    retry_max: float = 2.0


class Clock(msgspec.Struct, frozen=True):
    """What has happened and when, as far as it decides when to act next. Pure.

    `first` and `last` are the first and the last unsent change, None when all is sent; `done` is
    the last comparison; `failures` counts those in a row.
    """

    done: float
    first: float | None = None
    last: float | None = None
    failures: int = 0

    def changed(self, now: float) -> Clock:
        first = now if self.first is None else self.first
        return msgspec.structs.replace(self, first=first, last=now)

    def succeeded(self, now: float, *, changed_since: float | None) -> Clock:
        """All was sent, except what changed while it was being sent."""
        return Clock(done=now, first=changed_since, last=changed_since)

    def failed(self, now: float) -> Clock:
        return msgspec.structs.replace(self, done=now, failures=self.failures + 1)

    def due(self, timing: Timing) -> float:
        """When to compare next."""
        if self.failures:
            return self.done + min(timing.retry * 2.0 ** (self.failures - 1), timing.retry_max)
        if self.first is None or self.last is None:
            return self.done + timing.check
        return min(self.last + timing.quiet, self.first + timing.patience)


class Reconciler:
    """The one writer of one Caddy's server. `run` is the task that does it.

    admin
        The Caddy.
    server
        Makes the whole of our server from a table.
    refused
        Told when Caddy refuses a change; True: `server` makes another one now, try at once.
    switched
        Waits after a change until it holds for every new connection.

    `changes` counts the requests that changed something, `refusal` is the last one that was
    refused, None since one succeeded.
    """

    def __init__(
        self,
        admin: CaddyAdmin,
        server: Callable[[RouteTable], Json],
        *,
        timing: Timing | None = None,
        refused: Callable[[CaddyError], bool] = lambda _: False,
        switched: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    ) -> None:
        self.timing = timing or Timing()
        self.changes = 0
        self.refusal: CaddyError | None = None
        self._admin = admin
        self._server = server
        self._refused = refused
        self._switched = switched
        self._table = EMPTY
        self._clock = Clock(done=0.0)
        self._wanted = 0  # counts `want`
        self._tried = 0  # the last of them that Caddy was asked for
        self._sent = 0  # the last of them that is in place
        self._changed = anyio.Event()
        self._compared = anyio.Event()

    def __repr__(self) -> str:
        state = "settled" if self._sent == self._wanted else "behind"
        return f"<Reconciler {self._admin.address} {state} changes={self.changes}>"

    def start(self, table: RouteTable) -> None:
        """What is in place already, before `run`."""
        self._table = table
        self._tried = self._sent = self._wanted
        self._clock = Clock(done=anyio.current_time())

    def want(self, table: RouteTable) -> None:
        """From soon on, these are the routes. In the host loop's thread."""
        self._table = table
        self._wanted += 1
        self._clock = self._clock.changed(anyio.current_time())
        self._changed.set()

    async def settled(self) -> None:
        """Returns when all that has been wanted so far is in place; `run` must be running.

        Raises `CaddyError` if Caddy refuses it. Waits on while Caddy does not answer.
        """
        goal = self._wanted
        while self._sent < goal:
            await self._compared.wait()
            if self._sent < goal <= self._tried and self.refusal is not None:
                raise self.refusal

    async def run(self) -> None:
        """Keeps the server as wanted, until cancelled."""
        while True:
            await self._until_due()
            await self.compare()

    async def compare(self) -> None:
        """One comparison, and the change that it calls for. Never raises what Caddy says."""
        now, goal, table = anyio.current_time(), self._wanted, self._table
        try:
            await self.apply(table)
        except (CaddyError, CaddyUnreachable) as error:
            self.refusal = error if isinstance(error, CaddyError) else None
            self._clock = self._clock.failed(anyio.current_time())
        else:
            self.refusal = None
            self._sent = goal
            since = None if goal == self._wanted else now
            self._clock = self._clock.succeeded(anyio.current_time(), changed_since=since)
        self._tried = goal
        self._compared.set()
        self._compared = anyio.Event()

    async def apply(self, table: RouteTable) -> None:
        """Compares and changes, now. Raises `CaddyError` and `CaddyUnreachable`."""
        actual = await self._admin.get(SERVER_PATH)
        needed = change(self._server(table), actual)
        if needed is None:
            return
        try:
            await self._admin.send(needed.method, needed.path, needed.body)
        except CaddyError as error:
            if not self._refused(error):
                raise
            await self.apply(table)
        else:
            await self._switched()
            self.changes += 1

    async def _until_due(self) -> None:
        while (wait := self._clock.due(self.timing) - anyio.current_time()) > 0:
            self._changed = anyio.Event()
            with anyio.move_on_after(wait):
                await self._changed.wait()
