"""A Caddy of our own as the front door.

    find ─► `caddy version` ─► reserve ports ─► `caddy run`, whole configuration on stdin
         ─► the admin API answers ─► changes through a `Reconciler` ─► SIGTERM, SIGKILL, all gone

The law: this starts and ends Caddy, and restarts nothing. `run` raises when Caddy dies, and whoever
supervises it starts it again with the routes that are wanted by then; they are all in the
configuration that it starts with, so there is no moment with some of them.

Ports are tried in turn (see `ports`): reserved by us, let go, and bound by Caddy. Between the two
somebody may be quicker; then Caddy says so, and the next port is tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import (
    SERVER_PATH,
    Features,
    Listen,
    Version,
    document,
    features,
    parse_version,
)
from proxy.caddy_door import IN_USE, NOWHERE, CaddyDoor, Routing
from proxy.errors import (
    CaddyError,
    CaddyUnreachable,
    PortsTaken,
    ProcessDied,
    ProxyError,
    StartFailed,
)
from proxy.ports import HTTP_PORTS, Claims, Reservation, on_some_port, preferring, reason, reserve
from proxy.process import Program, find
from proxy.reconciler import Timing
from proxy.routes import EMPTY, RouteTable

_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_SOCKET_PATH_MAX: Final = 107
_OWN_FILES: Final = frozenset({"admin.sock", "config", "data"})
_HINT: Final = "install it (`apt install caddy`), or use the embedded front door"


async def caddy_version(binary: str = "caddy") -> Version | None:
    """The version of the installed Caddy; None for a build that does not say. `BinaryNotFound`."""
    path = find(binary, _HINT)
    program = await Program.start(
        "caddy-version", [path, "version"], env={"HOME": "/"}, cwd=Path("/")
    )
    try:
        await program.wait()
    finally:
        await program.stop(grace=0)
    return parse_version((program.tail().strip().splitlines() or [""])[-1])  # after any warnings


class CaddyProcess(CaddyDoor):
    """A Caddy of our own. `async with`, or `start` and `stop`; may be started again after `stop`.

    directory
        Where its socket and its data go. Made with mode 0700, removed at stop, shared with no one.
    admin
        Where its admin API listens. Default: a unix socket in `directory`. `localhost:2019` is the
        documented place, open to every process of this machine.
    ports
        Tried in turn for HTTP. Default: 80, then 8080 and up.
    binary
        The program. Default: `caddy` on PATH.
    env
        Added to its environment, which holds PATH and its own directories and nothing else.
    timing
        When changes are sent.
    routes
        See `Routing`.
    claims
        Where the claim on its port is kept between two lives, so that the next has it again.

    Once started: `port`, `addresses`, `pid`, `version`, `admin` (a `CaddyAdmin`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        admin: str | None = None,
        ports: Sequence[int] = HTTP_PORTS,
        binary: str = "caddy",
        env: Mapping[str, str] | None = None,
        timing: Timing | None = None,
        routes: Routing = "auto",
        claims: Claims | None = None,
    ) -> None:
        path = f"unix/{directory.absolute() / 'admin.sock'}"
        if routes == "auto" and admin is not None:
            routes = "static"  # whoever opens the API wants to see the routes there
        super().__init__(CaddyAdmin(admin or path), ports, Features(), timing, routes=routes)
        self.directory = directory
        self.version: Version | None = None
        self._binary = binary
        self._env = dict(env or {})
        self._program: Program | None = None
        self._held: list[Reservation] = []
        self._claims = claims
        self._made = False
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        return f"<CaddyProcess port={self.port} {self._program!r}>"

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is not started."""
        return None if self._program is None else self._program.pid

    async def start(self, table: RouteTable = EMPTY) -> None:
        """Starts Caddy with `table`; returns when it answers.

        Raises `BinaryNotFound`, `PortsTaken` or `StartFailed`. Cancelled or failed, nothing of it
        is left.
        """
        if self._program is not None:
            raise RuntimeError("this Caddy was started before: stop it first")
        path = find(self._binary, _HINT)
        self._check_socket_path()
        self._reconciler.start(table)  # first: what is wanted while Caddy starts is sent after it
        try:
            self.version = await caddy_version(path)
            self._features = features(self.version)
            await self._start_companion(table)
            await anyio.to_thread.run_sync(_make_private, self.directory)
            self._made = True
            self._hold_admin_port()
            port = await on_some_port(
                "the front door",
                self._ports,
                lambda port: self._start_here(path, table, port),
                claims=self._claims,
            )
            self._held.append(port)
        except BaseException:
            await self.stop(grace=0)
            raise
        self._ports = preferring(port.port, self._ports)

    async def run(self) -> None:
        """Keeps the routes as wanted until it is stopped; returns at once if it is not started.

        Raises `ProcessDied` when Caddy ends by itself.
        """
        program = self._program
        if program is None:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reconciler.run)
            status = await program.wait()
            tasks.cancel_scope.cancel()
        if not program.stopping:
            raise ProcessDied("caddy", status=status, tail=program.tail())

    async def stop(self, grace: float = 5.0) -> None:
        """Ends Caddy (SIGKILL after `grace` seconds) and removes its directory.

        Not cut short by cancel; may be called again.
        """
        with anyio.CancelScope(shield=True):
            async with self._ending:
                program, self._program = self._program, None
                if program is not None:
                    await program.stop(grace)
                await self._stop_companion()
                for reservation in self._held:
                    reservation.release()
                self._held.clear()
                self._listen = NOWHERE
                if self._made:
                    await anyio.to_thread.run_sync(_remove, self.directory)
                self._made = False

    def _check_socket_path(self) -> None:
        path = self.admin.unix_path
        if path and len(os.fsencode(path)) > _SOCKET_PATH_MAX:
            raise ProxyError(
                f"Caddy's socket path is {len(path)} bytes long, at most {_SOCKET_PATH_MAX} are "
                f"possible: choose a shorter directory than {str(self.directory)!r}"
            )

    def _hold_admin_port(self) -> None:
        """Caddy shares an admin port with another Caddy without a word; a reservation does not."""
        port = self.admin.tcp_port
        if not port:
            return
        try:
            reservation = reserve(port)
        except OSError as error:
            raise PortsTaken("Caddy's admin API", {port: reason(error)}) from error
        reservation.unbind()
        self._held.append(reservation)

    async def _start_here(self, path: str, table: RouteTable, port: Reservation) -> bool:
        port.unbind()
        self._listen = Listen(port.port, port.addresses)
        try:
            await self._start_program(path, table)
        except StartFailed as error:
            if IN_USE in error.tail:
                return False
            raise
        return True

    async def _start_program(self, path: str, table: RouteTable) -> None:
        config = document(self._server(table), self.admin.listen)
        program = self._program = await Program.start(
            "caddy",
            [path, "run", "--config", "-"],
            env=self._environment(),
            cwd=self.directory,
            stdin=msgspec.json.encode(config),
        )
        if not await program.ready(self._until_answer, _START_SECONDS):
            self._program = None
            raise await program.start_failed()

    async def _until_answer(self) -> None:
        """It answers only when its whole configuration runs, with every listener."""
        while True:
            try:
                if await self.admin.get(SERVER_PATH) is not None:
                    return
            except (CaddyUnreachable, CaddyError):
                await anyio.sleep(_POLL_SECONDS)

    def _environment(self) -> dict[str, str]:
        directory = str(self.directory.absolute())
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": directory,
            "XDG_DATA_HOME": f"{directory}/data",
            "XDG_CONFIG_HOME": f"{directory}/config",
            **self._env,
        }


def _make_private(directory: Path) -> None:
    """An empty directory for us alone: whoever reaches the admin socket owns every route.

    What a Caddy of ours has left there goes; anything else is somebody's and stays.
    """
    if directory.exists():
        strange = sorted({entry.name for entry in directory.iterdir()} - _OWN_FILES)
        if strange:
            raise ProxyError(
                f"{str(directory)!r} is not for Caddy alone, it holds {strange[0]!r}: "
                "name a directory that does not exist"
            )
        _remove(directory)
    directory.mkdir(mode=0o700, parents=True)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
