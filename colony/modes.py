"""How Colony runs on this machine: with what isolation, behind what front door. Pure.

wanted      possible            chosen
auto        namespaces          namespaces
auto        no namespaces       host, and one line that says what is lost
namespace   no namespaces       an error with the reason
host        (either)            host
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

NetworkWish = Literal["auto", "namespace", "host"]
ProxyWish = Literal["auto", "caddy", "embedded"]
DnsWish = Literal["auto", "dnsmasq", "embedded", "none"]

NETWORK_WISHES: Final = ("auto", "namespace", "host")
PROXY_WISHES: Final = ("auto", "caddy", "embedded")
DNS_WISHES: Final = ("auto", "dnsmasq", "embedded", "none")


class Impossible(Exception):
    """What was asked for cannot be had on this machine; the text says why and what to do."""


class Modes(msgspec.Struct, frozen=True):
    """What was chosen, and the lines that the user should read about it."""

    isolated: bool
    proxy: Literal["caddy", "embedded"]
    dns: Literal["dnsmasq", "embedded", "none"]
    notices: tuple[str, ...] = ()


class Wishes(msgspec.Struct, frozen=True):
    """What the user asked for: `--network`, `--proxy`, `--dns`."""

    network: NetworkWish = "auto"
    proxy: ProxyWish = "auto"
    dns: DnsWish = "auto"


class Machine(msgspec.Struct, frozen=True):
    """What the machine has. `why_not` is why it has no namespaces, "" if it has them."""

    why_not: str
    caddy: bool
    dnsmasq: bool


def choose(wishes: Wishes, machine: Machine, *, existing_caddy: bool = False) -> Modes:
    """Decides. Raises `Impossible` when a wish by name cannot be met."""
    notices: list[str] = []
    isolated = _isolated(wishes.network, machine, notices)
    proxy: Literal["caddy", "embedded"] = "embedded"
    if wishes.proxy == "caddy" and not (machine.caddy or existing_caddy):
        raise Impossible(
            "--proxy caddy: there is no caddy on this machine; install it "
            "(apt-get install caddy), or use --proxy embedded"
        )
    if wishes.proxy != "embedded" and (machine.caddy or existing_caddy):
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
    return Modes(isolated, proxy, dns, tuple(notices))


def _isolated(wish: NetworkWish, machine: Machine, notices: list[str]) -> bool:
    if wish == "host":
        return False
    if not machine.why_not:
        return True
    if wish == "namespace":
        raise Impossible(f"--network namespace: {machine.why_not}")
    notices.append(
        "no network namespaces here, so services share the host's ports and two colonies cannot "
        f"use the same one: {machine.why_not}"
    )
    return False
