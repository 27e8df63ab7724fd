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
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.to_thread
import msgspec

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import (
    SERVER_PATH,
    Features,
    Json,
    Listen,
    Version,
    document,
    features,
    parse_version,
    server,
)
from proxy.errors import (
    CaddyError,
    CaddyUnreachable,
    PortsTaken,
    ProcessDied,
    ProxyError,
    StartFailed,
)
from proxy.ports import HTTP_PORTS, Reservation, on_some_port, reason, reserve
from proxy.process import Program, find
from proxy.reconciler import Reconciler, Timing
from proxy.routes import EMPTY, RouteTable

_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_SOCKET_PATH_MAX: Final = 107
_IN_USE: Final = "address already in use"
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


class CaddyProcess:
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
    ) -> None:
        self.directory = directory
        self.admin = CaddyAdmin(admin or f"unix/{directory.absolute() / 'admin.sock'}")
        self.version: Version | None = None
        self._ports = tuple(ports)
        self._binary = binary
        self._env = dict(env or {})
        self._listen = Listen(0, ())
        self._features = Features()
        self._reconciler = Reconciler(self.admin, self._server, timing=timing)
        self._program: Program | None = None
        self._held: list[Reservation] = []
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        return f"<CaddyProcess port={self.port} {self._program!r}>"

    @property
    def port(self) -> int:
        return self._listen.port

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._listen.addresses

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is not started."""
        return None if self._program is None else self._program.pid

    @property
    def changes(self) -> int:
        """How many times its configuration was changed since it started."""
        return self._reconciler.changes

    async def start(self, table: RouteTable = EMPTY) -> None:
        """Starts Caddy with `table`; returns when it answers.

        Raises `BinaryNotFound`, `PortsTaken` or `StartFailed`. Cancelled or failed, nothing of it
        is left.
        """
        if self._program is not None:
            raise RuntimeError("this Caddy was started before: stop it first")
        path = find(self._binary, _HINT)
        self._check_socket_path()
        try:
            self.version = await caddy_version(path)
            self._features = features(self.version)
            await anyio.to_thread.run_sync(_make_private, self.directory)
            self._hold_admin_port()
            port = await on_some_port(
                "the front door", self._ports, lambda port: self._start_here(path, table, port)
            )
            self._held.append(port)
        except BaseException:
            await self.stop(grace=0)
            raise
        self._ports = (port.port, *(other for other in self._ports if other != port.port))
        self._reconciler.start(table)

    def want(self, table: RouteTable) -> None:
        """These are the routes: sent within some 30 ms, many changes as one."""
        self._reconciler.want(table)

    async def settled(self) -> None:
        """Returns when what was wanted is in place; `run` must be running. Raises `CaddyError`."""
        await self._reconciler.settled()

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
                for reservation in self._held:
                    reservation.release()
                self._held.clear()
                self._listen = Listen(0, ())
                await anyio.to_thread.run_sync(_remove, self.directory)

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

    def _server(self, table: RouteTable) -> Json:
        return server(table, self._listen, self._features)

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
            if _IN_USE in error.tail:
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
        if not await self._answers(program):
            self._program = None
            alive = program.status is None
            status = await program.stop(grace=0)
            raise StartFailed("caddy", status=None if alive else status, tail=program.tail())

    async def _answers(self, program: Program) -> bool:
        """Waits for the admin API. False: Caddy ended, or did not answer in time."""
        ready = False
        with anyio.move_on_after(_START_SECONDS):
            async with anyio.create_task_group() as tasks:

                async def until_it_ends() -> None:
                    await program.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_it_ends)
                while not ready:
                    try:
                        ready = await self.admin.get(SERVER_PATH) is not None
                    except (CaddyUnreachable, CaddyError):
                        await anyio.sleep(_POLL_SECONDS)
                tasks.cancel_scope.cancel()
        return ready

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
    """An empty directory for us alone: whoever reaches the admin socket owns every route."""
    _remove(directory)
    directory.mkdir(mode=0o700, parents=True)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
