"""The way out of the hub: a program that passes a tap device's packets on as a user's own sockets.

    colony ─▶ hub ─▶ tap ─▶ slirp4netns or pasta ─▶ the host's network, as this user

Law: it opens nothing inward, and not the host's loopback. Both programs would by default: what is
sent to the gateway reaches a server on the host's 127.0.0.1, and pasta listens on the host for what
listens inside.

pasta before 2024 loses what comes from behind the hub, and waits for ever where it may not open
/dev/net/tun; so that one is not used, and the others get a time to be ready in. The veth pairs have
the tap's MTU (`MTU`): with a smaller one uploads through pasta stall.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Final

import anyio
import msgspec

from netns import linux, userns
from netns.errors import NetnsError
from netns.netlink import Netlink
from netns.process import Process, spawn
from netns.thread import NetworkThread, Place

MTU: Final = 65520
PATIENCE: Final = 5.0
"""Seconds for the program to be ready; it takes 10 to 30 ms."""

TUN: Final = "/dev/net/tun"

PASTA_SINCE: Final = 2024

SLIRP: Final = IPv4Network("10.199.255.0/24")
"""Between the hub and slirp4netns. Its own choice, 10.0.2.0/24, is every VirtualBox guest's LAN."""

_PAUSE: Final = 0.002
_RIGHTS: Final = 1 << linux.CAP_SYS_ADMIN | 1 << linux.CAP_NET_ADMIN
_EVERYWHERE: Final = ip_network("0.0.0.0/0")
_LAST_WORDS: Final = 4096
_QUESTION: Final = bytes.fromhex(
    "c01001000001000000000000" + "00" + "0002" + "0001"
)  # NS of the root
_ANSWER_SECONDS: Final = 3.0


class Kind(msgspec.Struct, frozen=True):
    """A program that makes a way out.

    nameserver
        Where it answers name queries, by asking the host's resolver.
    argv
        Its command, from the hub's descriptor and that of a pipe whose end is to be its end.
    """

    name: str
    nameserver: IPv4Address
    argv: Callable[[int, int], tuple[str, ...]]


def _slirp(hub: int, pipe: int) -> tuple[str, ...]:
    options = ("--configure", f"--mtu={MTU}", f"--cidr={SLIRP}", "--disable-host-loopback")
    where = ("--netns-type=path", f"/proc/self/fd/{hub}", "tap0")
    return ("slirp4netns", *options, *where, f"--exit-fd={pipe}")


def _pasta(hub: int, _pipe: int) -> tuple[str, ...]:
    nothing_inward = ("-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw")
    options = ("--foreground", "--quiet", "--config-net", "--dns-forward", "169.254.1.1", "-4")
    return ("pasta", *options, *nothing_inward, "--netns", f"/proc/self/fd/{hub}")


KINDS: Final[Mapping[str, Kind]] = {
    "slirp4netns": Kind("slirp4netns", SLIRP[3], _slirp),
    "pasta": Kind("pasta", IPv4Address("169.254.1.1"), _pasta),
}


class WayOut:
    """Which way out there is now, for as long as the instance: its owner writes, others read."""

    __slots__ = ("kind", "pid")

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.pid = 0

    def __repr__(self) -> str:
        return f"<WayOut {self.kind.name if self.kind else 'none'}>"


def usable(slirp: bool, pasta: str) -> tuple[str, ...]:
    """The programs to try, in turn. Pure.

    slirp
        Whether slirp4netns is installed.
    pasta
        What pasta says of its version, "" if it is not installed.
    """
    year = re.search(r"(?<!\d)(20\d\d)[_-]?\d\d", pasta)
    new = year is not None and int(year[1]) >= PASTA_SINCE
    return (*(["pasta"] if new else []), *(["slirp4netns"] if slirp else []))


async def start(thread: NetworkThread, kind: Kind, instance: str) -> tuple[Process, int]:
    """Starts the program, and returns once the hub has a way out: the process, and a descriptor
    that is to be closed with it. Raises `NetnsError`, with nothing left, if it never has."""
    hub = userns.hub()
    words = os.memfd_create("last words")
    read, write = os.pipe2(os.O_CLOEXEC)
    process: Process | None = None
    try:
        process = await spawn(
            thread,
            kind.argv(hub, read),
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
            instance=instance,
            stdout=words,
            stderr=words,
            pass_fds=(hub, read),
            session=True,
            capabilities=_RIGHTS,
        )
        await _until_ready(thread, process, kind, words)
    except BaseException:
        os.close(write)
        if process is not None:
            await process.aclose()
        raise
    finally:
        os.close(words)
        os.close(read)
    return process, write


async def answers(thread: NetworkThread, kind: Kind) -> bool:
    """Whether its name server answers within 3 seconds; it does so by the way out."""
    with await thread.socket(Place(userns.hub()), socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(kind.nameserver), 53))
            asking.send(_QUESTION)
            with anyio.fail_after(_ANSWER_SECONDS):
                await anyio.wait_readable(asking)
            asking.recv(_LAST_WORDS)
        except OSError:  # TimeoutError is one
            return False
    return True


async def _until_ready(thread: NetworkThread, process: Process, kind: Kind, words: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await thread.run(_has_way_out):
        if (status := process.poll()) is not None:
            raise NetnsError(f"{kind.name} makes no way out: {_last(words) or status}")
        if time.monotonic() > deadline:
            raise NetnsError(f"{kind.name} makes no way out: it was not ready in {PATIENCE:g} s")
        await anyio.sleep(_PAUSE)


def _has_way_out() -> bool:
    """On the network thread."""
    with Netlink() as hub:
        return any(r.destination == _EVERYWHERE for r in hub.routes(socket.AF_INET))


def _last(words: int) -> str:
    text = os.pread(words, _LAST_WORDS, 0).decode(errors="replace")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
