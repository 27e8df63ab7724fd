"""How Colony runs on this machine: with what isolation, behind what front door. Pure.

wanted      possible                    chosen
auto        namespaces                  namespaces
auto        a user namespace            rootless: namespaces around a hub of this process's own
auto        neither                     host, and one line that says what is lost
namespace   no namespaces               an error with the reason
rootless    no user namespace           an error with the reason
host        (any)                       host
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

NetworkWish = Literal["auto", "namespace", "rootless", "host"]
Network = Literal["namespace", "rootless", "host"]
ProxyWish = Literal["auto", "caddy", "embedded"]
DnsWish = Literal["auto", "dnsmasq", "embedded", "none"]

NETWORK_WISHES: Final = ("auto", "namespace", "rootless", "host")
PROXY_WISHES: Final = ("auto", "caddy", "embedded")
DNS_WISHES: Final = ("auto", "dnsmasq", "embedded", "none")


class Impossible(Exception):
    """What was asked for cannot be had on this machine; the text says why and what to do."""


class Modes(msgspec.Struct, frozen=True):
    """What was chosen, and the lines that the user should read about it."""

    network: Network
    proxy: Literal["caddy", "embedded"]
    dns: Literal["dnsmasq", "embedded", "none"]
    notices: tuple[str, ...] = ()
    ways_out: tuple[str, ...] = ()

    @property
    def isolated(self) -> bool:
        """Whether colonies have networks of their own."""
        return self.network != "host"


class Wishes(msgspec.Struct, frozen=True):
    """What the user asked for: `--network`, `--proxy`, `--dns`."""

    network: NetworkWish = "auto"
    proxy: ProxyWish = "auto"
    dns: DnsWish = "auto"


class Machine(msgspec.Struct, frozen=True):
    """What the machine has.

    why_not
        Why it has no namespaces, "" if it has them.
    rootless
        Whether this process stands in a user namespace of its own; `why_not` is about that then.
    why_not_rootless
        Why it does not.
    ways_out
        Rootless: the programs by which colonies could go out, in the order to try them.
    tun
        Whether this user may open /dev/net/tun, which they need.
    """

    why_not: str
    caddy: bool
    dnsmasq: bool
    rootless: bool = False
    why_not_rootless: str = ""
    ways_out: tuple[str, ...] = ()
    tun: bool = True


def choose(
    wishes: Wishes, machine: Machine, *, existing_caddy: bool = False, caddy_admin: bool = False
) -> Modes:
    """Decides. Raises `Impossible` when a wish by name cannot be met.

    existing_caddy, caddy_admin
        Whether a Caddy that runs is to be used, and whether our own is to open its admin API.
    """
    notices: list[str] = []
    network = _network(wishes.network, machine, notices)
    proxy: Literal["caddy", "embedded"] = "embedded"
    if wishes.proxy == "caddy" and not (machine.caddy or existing_caddy):
        raise Impossible(
            "--proxy caddy: there is no caddy on this machine; install it "
            "(apt-get install caddy), or use --proxy embedded"
        )
    # Rootless Caddy has to be led in by us, so it is there for who asks for it.
    chosen = machine.caddy and (network != "rootless" or caddy_admin or wishes.proxy == "caddy")
    if wishes.proxy != "embedded" and (chosen or existing_caddy):
        proxy = "caddy"
    dns: Literal["dnsmasq", "embedded", "none"] = "embedded"
    if wishes.dns == "dnsmasq" and not machine.dnsmasq:
        raise Impossible(
            "--dns dnsmasq: there is no dnsmasq on this machine; install it "
            "(apt-get install dnsmasq-base), or use --dns embedded"
        )
    if wishes.dns == "none":
        dns = "none"
    elif wishes.dns != "embedded" and machine.dnsmasq:
        dns = "dnsmasq"
    ways_out = _ways_out(machine, notices) if network == "rootless" else ()
    return Modes(network, proxy, dns, tuple(notices), ways_out)


def why_no_way_out(programs: tuple[str, ...], tun: bool) -> tuple[str, str]:
    """Why rootless colonies cannot go out, and what to do about it; ("", "") if they can."""
    if not programs:
        return "slirp4netns is not installed", "apt-get install slirp4netns"
    if not tun:
        return "this user may not open /dev/net/tun", "as root: chmod 666 /dev/net/tun"
    return "", ""


def _ways_out(machine: Machine, notices: list[str]) -> tuple[str, ...]:
    reason, remedy = why_no_way_out(machine.ways_out, machine.tun)
    if not reason:
        return machine.ways_out
    notices.append(
        f'colonies have no way out, but by egress = "proxy": {reason} ({remedy}); '
        "the ways in are all there"
    )
    return ()


def _network(wish: NetworkWish, machine: Machine, notices: list[str]) -> Network:
    if wish == "host":
        return "host"
    if wish == "namespace" and machine.rootless:
        raise Impossible(
            "--network namespace: this process has entered a user namespace already; "
            "use --network rootless"
        )
    if wish == "rootless" and not machine.rootless:
        raise Impossible(f"--network rootless: {machine.why_not_rootless}")
    if not machine.why_not:
        return "rootless" if machine.rootless else "namespace"
    if wish != "auto":
        raise Impossible(f"--network {wish}: {machine.why_not}")
    without_root = f"; without root: {machine.why_not_rootless}" if machine.why_not_rootless else ""
    notices.append(
        "no network namespaces here, so services share the host's ports and two colonies cannot "
        f"use the same one: {machine.why_not}{without_root}"
    )
    return "host"
