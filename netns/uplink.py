"""The way out of the hub: a program that passes a tap device's packets on as a user's own sockets.

    colony ─▶ hub ─▶ tap ─▶ slirp4netns or pasta ─▶ the host's network, as this user

Law: it opens nothing inward, and not the host's loopback. Both programs would by default: what is
sent to the gateway reaches a server on the host's 127.0.0.1, and pasta listens on the host for what
listens inside.

slirp4netns comes first. pasta before 2024 loses what comes from behind the hub, and waits for ever
where it may not open /dev/net/tun; so that one is not used, and the others get a time to be ready
in. With that of 2025 uploads stall for seconds (3 MB took 0.2 to 12 s, with slirp4netns at most 1),
and always with veth pairs of a smaller MTU than the tap's (`MTU`).

IPv6 goes out where the machine itself does (it has a default route): a way that leads nowhere would
cost every client a timeout. slirp4netns would tell the hub its address by a router advertisement,
some seconds later, and a hub that forwards listens to none; so it gets its address by us.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Final

import anyio
import msgspec

from netns import linux, messages, netlink, userns
from netns.errors import NetnsError
from netns.hostwide import write_setting
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

SLIRP6: Final = IPv6Address("fd00::2")
"""slirp4netns itself, to the hub; it cannot be told another."""

IPV6_FORWARDING: Final = "/proc/sys/net/ipv6/conf/all/forwarding"

_PAUSE: Final = 0.002
_RIGHTS: Final = 1 << linux.CAP_SYS_ADMIN | 1 << linux.CAP_NET_ADMIN
_EVERYWHERE: Final = ip_network("0.0.0.0/0")
_EVERYWHERE6: Final = ip_network("::/0")
_LOOPBACK_INDEX: Final = 1
_HUB: Final = "/proc/self/fd/0"  # the one kind of descriptor that pasta does not close at once
_TAP: Final = "tap0"
_HUB6: Final = SLIRP6 + 0xFE
_METRIC: Final = 1024
_SETTLE: Final = 1.0  # seconds for pasta's IPv6, which comes within a millisecond of its IPv4
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
        Its command, from the descriptor of a pipe whose end is to be its end, and whether IPv6
        goes out. The hub is its standard input.
    gateway6
        Where the hub sends IPv6; None where the program sees to that.
    """

    name: str
    nameserver: IPv4Address
    argv: Callable[[int, bool], tuple[str, ...]]
    gateway6: IPv6Address | None = None


def _slirp(pipe: int, ipv6: bool) -> tuple[str, ...]:
    options = ("--configure", f"--mtu={MTU}", f"--cidr={SLIRP}", "--disable-host-loopback")
    more = ("--enable-ipv6",) if ipv6 else ()
    where = ("--netns-type=path", _HUB, _TAP)
    return ("slirp4netns", *options, *more, *where, f"--exit-fd={pipe}")


def _pasta(_pipe: int, ipv6: bool) -> tuple[str, ...]:
    nothing_inward = ("-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw")
    options = ("--foreground", "--quiet", "--config-net", "--dns-forward", "169.254.1.1")
    less = () if ipv6 else ("-4",)
    return ("pasta", *options, *less, *nothing_inward, "--netns", _HUB)


KINDS: Final[Mapping[str, Kind]] = {
    "slirp4netns": Kind("slirp4netns", SLIRP[3], _slirp, SLIRP6),
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
    return (*(["slirp4netns"] if slirp else []), *(["pasta"] if new else []))


async def start(thread: NetworkThread, kind: Kind, instance: str) -> tuple[Process, int]:
    """Starts the program, and returns once the hub has a way out: the process, and a descriptor
    that is to be closed with it. Raises `NetnsError`, with nothing left, if it never has."""
    hub = userns.hub()
    ipv6 = await thread.on_host.run(_has_way_out, socket.AF_INET6)
    words = os.memfd_create("last words")
    read, write = os.pipe2(os.O_CLOEXEC)
    process: Process | None = None
    try:
        process = await spawn(
            thread,
            kind.argv(read, ipv6),
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
            instance=instance,
            stdin=hub,
            stdout=words,
            stderr=words,
            pass_fds=(read,),
            session=True,
            capabilities=_RIGHTS,
        )
        await _until_ready(thread, process, kind, words)
        if ipv6:
            await _lead_ipv6(thread, kind)
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
    while not await thread.run(_has_way_out, socket.AF_INET):
        if (status := process.poll()) is not None:
            raise NetnsError(f"{kind.name} makes no way out: {_last(words) or status}")
        if time.monotonic() > deadline:
            raise NetnsError(f"{kind.name} makes no way out: it was not ready in {PATIENCE:g} s")
        await anyio.sleep(_PAUSE)


async def _lead_ipv6(thread: NetworkThread, kind: Kind) -> None:
    """Lets the colonies' IPv6 go out by the program. Where that turns out to have none, not."""
    if kind.gateway6 is not None:
        await thread.run(_send_ipv6_to, kind.gateway6)
    deadline = time.monotonic() + _SETTLE
    while not (leads := await thread.run(_has_way_out, socket.AF_INET6)):
        if time.monotonic() > deadline:
            break
        await anyio.sleep(_PAUSE)
    if leads:
        await thread.run(write_setting, IPV6_FORWARDING, "1")


def _send_ipv6_to(gateway: IPv6Address) -> None:
    """On the network thread. The address is the hub's own towards the program."""
    with Netlink() as hub:
        tap = netlink.index_of(_TAP)
        hub.send(
            messages.add_address(tap, _HUB6),
            messages.add_route(ip_network(gateway), tap, _METRIC),
            messages.add_route(_EVERYWHERE6, tap, _METRIC, gateway=gateway),
        )


def _has_way_out(family: int) -> bool:
    """Whether there is a default route where the calling thread stands."""
    everywhere = _EVERYWHERE6 if family == socket.AF_INET6 else _EVERYWHERE
    with Netlink() as here:
        routes = here.routes(family)
    return any(r.destination == everywhere and r.link > _LOOPBACK_INDEX for r in routes)


def _last(words: int) -> str:
    text = os.pread(words, _LAST_WORDS, 0).decode(errors="replace")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
