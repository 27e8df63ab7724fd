"""dnsmasq as the DNS server for the colonies' names: a foreground process, on loopback only.

    find ─► reserve a port ─► dnsmasq ─► it answered a question ─► … ─► SIGTERM, SIGKILL, gone

The law: every name under our suffixes leads to the front door, for every type there is an answer,
and no other name is answered. `--address` alone would make dnsmasq REFUSE the types it has no
address for, which resolvers take for a broken server; `--local` makes that an empty answer.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from proxy.dns import Zone, is_answer, query
from proxy.errors import ProcessDied, StartFailed
from proxy.front_door import Lifetime
from proxy.ports import DNS_PORTS, Claims, Reservation, on_some_port, preferring
from proxy.process import Program, find
from proxy.routes import SUFFIXES

_HINT: Final = "install it (`apt install dnsmasq-base`), or use the embedded DNS server"
_START_SECONDS: Final = 10.0
_INTERFACES: Final = "failed to find list of interfaces"
"""What it says, and ends, when a network interface goes away while it looks for those that there
are: on a machine where colonies come and go that happens."""

_ATTEMPTS: Final = 20
_ASK_AGAIN_SECONDS: Final = 0.005
_NETWORK_TROUBLE: Final = 2
"""dnsmasq's exit code for an address that it cannot have."""


def arguments(port: int, zone: Zone, hosts_directory: Path | None = None) -> list[str]:
    """dnsmasq's arguments, without the program. Pure."""
    argv = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        f"--port={port}",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local-ttl=0",
    ]
    for suffix in zone.suffixes:
        argv += [f"--address=/{suffix}/{address}" for address in (zone.ipv4, zone.ipv6) if address]
        argv.append(f"--local=/{suffix}/")
    if hosts_directory is not None:
        argv.append(f"--hostsdir={hosts_directory}")
    return argv


class Dnsmasq(Lifetime):
    """A dnsmasq of our own. `async with`, or `start` and `stop`; may be started again after `stop`.

    ports
        Tried in turn. Default: 5354 and up.
    zone
        The names and where they lead. Without ::1 at the front door give `Zone(ipv6="")`.
    hosts_directory
        Files of the form of /etc/hosts whose names are served too; a change counts at once. Started
        by root, dnsmasq becomes `nobody` or `dnsmasq` and must be able to read it.
    binary
        The program. Default: `dnsmasq` on PATH or in an sbin.
    env
        Added to its environment, which holds PATH and nothing else.
    claims
        Where the claim on its port is kept between two lives, so that the next has it again.

    Once started: `port` and `pid`.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int] = DNS_PORTS,
        zone: Zone | None = None,
        hosts_directory: Path | None = None,
        binary: str = "dnsmasq",
        env: Mapping[str, str] | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.port = 0
        self.zone = zone or Zone()
        self._ports = tuple(ports)
        self._hosts_directory = hosts_directory
        self._binary = binary
        self._env = dict(env or {})
        self._program: Program | None = None
        self._held: Reservation | None = None
        self._claims = claims
        self._ending = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Dnsmasq port={self.port} {self._program!r}>"

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is not started."""
        return None if self._program is None else self._program.pid

    async def start(self) -> None:
        """Returns when it has answered a question.

        Raises `BinaryNotFound`, `PortsTaken` or `StartFailed`. Cancelled or failed, nothing of it
        is left.
        """
        if self._program is not None:
            raise RuntimeError("this dnsmasq was started before: stop it first")
        path = find(self._binary, _HINT)
        try:
            self._held = await on_some_port(
                "DNS",
                self._ports,
                lambda port: self._start_here(path, port),
                (socket.SOCK_DGRAM, socket.SOCK_STREAM),
                self._claims,
            )
        except BaseException:
            await self.stop(grace=0)
            raise
        self.port = self._held.port
        self._ports = preferring(self.port, self._ports)

    async def run(self) -> None:
        """Returns when it was stopped, at once if it is not started.

        Raises `ProcessDied` when dnsmasq ends by itself.
        """
        program = self._program
        if program is None:
            return
        status = await program.wait()
        if not program.stopping:
            raise ProcessDied("dnsmasq", status=status, tail=program.tail())

    async def stop(self, grace: float = 2.0) -> None:
        """Ends it (SIGKILL after `grace` seconds). Not cut short by cancel; may be called again."""
        with anyio.CancelScope(shield=True):
            async with self._ending:
                program, self._program = self._program, None
                if program is not None:
                    await program.stop(grace)
                if self._held is not None:
                    self._held.release()
                self.port = 0

    async def _start_here(self, path: str, port: Reservation) -> bool:
        """Whether it now answers there; False if somebody else took the port."""
        port.unbind()
        for attempt in range(1, _ATTEMPTS + 1):
            error = await self._start_once(path, port)
            if error is None:
                return True
            if error.status == _NETWORK_TROUBLE and "in use" in error.tail:
                return False
            if _INTERFACES not in error.tail or attempt == _ATTEMPTS:
                raise error
        return False

    async def _start_once(self, path: str, port: Reservation) -> StartFailed | None:
        program = self._program = await Program.start(
            "dnsmasq",
            [path, *arguments(port.port, self.zone, self._hosts_directory)],
            env={"PATH": os.environ.get("PATH", os.defpath), **self._env},
            cwd=Path("/"),
        )
        if await program.ready(partial(_until_answer, port.port), _START_SECONDS):
            return None
        self._program = None
        return await program.start_failed()


async def _until_answer(port: int) -> None:
    """Asks for a name of ours until an answer comes."""
    ident = secrets.randbits(16)
    question = query(f"ready.{SUFFIXES[0]}", ident)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        while True:
            try:
                sock.send(question)
                with anyio.fail_after(_ASK_AGAIN_SECONDS):
                    await anyio.wait_readable(sock)
                if is_answer(sock.recv(512), ident):
                    return
            except TimeoutError:
                continue
            except OSError:  # nobody listens yet
                await anyio.sleep(_ASK_AGAIN_SECONDS)
