"""What the tests of `netns` share: an open network, and an independent look at what is left."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from netns import linux, names
from netns.instance import DeadInstance, Instance
from netns.network import Network
from netns.reap import reap
from netns.thread import NetworkThread

PATIENCE: Final = 30.0
"""Seconds after which a test gives up waiting; nothing is asserted about how long it took."""


class Rig(NamedTuple):
    """A network thread, an instance and its network, all open."""

    thread: NetworkThread
    instance: Instance
    network: Network


@asynccontextmanager
async def rig(runtime: Path) -> AsyncIterator[Rig]:
    """Opens everything, and closes it; after a failed test removes what that left, too."""
    async with NetworkThread() as thread:
        with Instance.claim(runtime) as instance:
            network = await Network.open(thread, instance)
            try:
                yield Rig(thread, instance, network)
            except BaseException:
                await network.close()
                left = os.open(instance.lock, os.O_RDONLY)
                await reap(thread, DeadInstance(instance.id, instance.directory, left))
                raise
            await network.close()


def unique(prefix: str = "t") -> str:
    """A colony's name that no other test, helper or Colony uses."""
    return f"{prefix}{os.getpid()}-{secrets.token_hex(3)}"


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def read(path: str | Path) -> str:
    return Path(path).read_text().strip()


def is_there(path: str) -> bool:
    return os.path.exists(path)


def entries(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def query(*argv: str) -> list[dict[str, Any]]:
    """What `ip -j` lists: all of it. A list that somebody's change interrupted lacks entries."""
    while True:
        ran = subprocess.run(argv, check=True, capture_output=True, text=True)
        if "interrupted" not in ran.stderr:
            return json.loads(ran.stdout) if ran.stdout.strip() else []


def open_descriptors() -> set[str]:
    """What this process has open, by what it is and by number.

    To be compared by `<=`: what an earlier test has left to the garbage collector may go meanwhile.
    One mount namespace is as good as another: the mould of the views is made anew whenever anybody
    on the machine mounts something.
    """
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{fd}")
            found.add(f"{fd} {'mnt' if what.startswith('mnt:[') else what}")
        except OSError:
            continue
    return {entry for entry in found if "/proc/" not in entry}


def traces(instance: str, runtime: Path, *colonies: str) -> list[str]:
    """Everything on this machine that bears the instance's tag or a colony's name, as `ip`, `nft`
    and the file system show it."""
    tag = names.link_prefix(instance)
    number = names.instance_number(instance)
    found = [f"link {link['ifname']}" for link in query("ip", "-j", "link") if tag in str(link)]
    for family in ("-4", "-6"):
        routes = query("ip", "-j", family, "route", "show", "table", "all")
        found += [f"route {r['dst']}" for r in routes if r.get("metric") == number]
    if os.geteuid() == 0:
        tables = json.loads(output("nft", "-j", "list", "tables"))["nftables"]
        found += [f"table {t['table']['name']}" for t in tables if instance in str(t)]
    for colony in colonies:
        if os.path.exists(f"/run/netns/{names.namespace_name(colony)}"):
            found.append(f"pin {colony}")
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [f"mount {colony}" for line in mounts.splitlines() if colony in line]
    for top, directories, files in os.walk(runtime):  # which bears what goes meanwhile
        found += [f"file {os.path.join(top, name)}" for name in (*directories, *files)]
    with contextlib.suppress(FileNotFoundError, PermissionError):  # others' comes and goes; root's
        found += ["record"] if instance in Path("/run/colony-host.json").read_text() else []
    return found


def listen(sock: socket.socket, host: str, port: int) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    return sock


def answer(server: socket.socket, client: socket.socket, text: bytes) -> bytes:
    """Accepts the client's connection, sends `text` through it and returns what arrived."""
    server.setblocking(True)
    server.settimeout(PATIENCE)
    client.setblocking(True)
    client.settimeout(PATIENCE)
    with client:
        served, _ = server.accept()
        with served:
            served.sendall(text)
        return client.recv(100)


def reach(address: object, port: int, server: socket.socket, text: bytes) -> bytes:
    """What a client on the host gets from `address`, where `server` is to be found."""
    return answer(server, socket.create_connection((str(address), port), timeout=PATIENCE), text)


def in_own_network(function: Callable[[], None]) -> None:
    """Runs the function on a thread with a network of its own, which ends with it."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            linux.unshare(linux.CLONE_NEWNET, "test")
            function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
