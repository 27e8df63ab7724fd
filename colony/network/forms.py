"""Ports of the host that lead into a colony, in niso's words. Pure.

    "8080"                the same port on both sides
    "8080:80"             host port 8080 leads to port 80 of the colony
    "8080:80/tcp"         the same, said in full
    "53:53/udp"           UDP
    "0.0.0.0:443:443"     for other machines, too; also "[::]:443:443", or any address of the host
    "auto:3000"           any free port of the host

Without an address a forward is on 127.0.0.1 and ::1, that is `localhost`: what a colony serves is
not shown to the network unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal

import msgspec

Protocol = Literal["tcp", "udp"]
IPAddress = IPv4Address | IPv6Address

LOCALHOST: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

ALLOWED: Final = (
    "a port is PORT, HOST_PORT:PORT or ADDRESS:HOST_PORT:PORT, with /tcp or /udp behind it if "
    "wanted; HOST_PORT may be `auto`"
)

_FORM: Final = re.compile(
    r"(?:(?:(?P<address>\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?(?P<host>\d{1,5}|auto):)?"
    r"(?P<port>\d{1,5})(?:/(?P<protocol>[a-zA-Z]+))?"
)


class Forward(msgspec.Struct, frozen=True, order=True):
    """A port of the host that leads to a port of a colony.

    host_port
        0: any free one.
    address
        Of the host, as text; "": 127.0.0.1 and ::1.
    """

    host_port: int
    port: int
    protocol: Protocol = "tcp"
    address: str = ""

    def __str__(self) -> str:
        """As it is written in colony.toml."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        front = f"{host}:" if host else ""
        back = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{front}{self.host_port or 'auto'}:{self.port}{back}"

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Where it is on the host."""
        return (ip_address(self.address),) if self.address else LOCALHOST


def parse(text: str) -> Forward:
    """A forward from its form. Raises `ValueError`, in words, for anything else."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{ALLOWED}, got: {text!r}")
    protocol = (found["protocol"] or "tcp").lower()
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"a port's protocol is tcp or udp, got: {found['protocol']!r}")
    port = _number(found["port"], text)
    host = found["host"]
    return Forward(
        host_port=0 if host == "auto" else port if host is None else _number(host, text),
        port=port,
        protocol="udp" if protocol == "udp" else "tcp",
        address=_address(found["address"], text),
    )


def _number(digits: str, text: str) -> int:
    if not 1 <= int(digits) <= 65535:
        raise ValueError(f"a port is 1 to 65535, got: {digits} in {text!r}")
    return int(digits)


def _address(written: str | None, text: str) -> str:
    if written is None:
        return ""
    try:
        return str(ip_address(written.strip("[]")))
    except ValueError:
        raise ValueError(f"{written} is no address of a host, in {text!r}") from None


def overlap(one: Forward, other: Forward) -> bool:
    """Whether two forwards want the same port of the host at the same address."""
    if one.protocol != other.protocol or one.host_port != other.host_port or not one.host_port:
        return False
    return any(
        a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))
        for a in one.addresses
        for b in other.addresses
    )


def doubles(forwards: Iterable[Forward]) -> tuple[Forward, Forward] | None:
    """Two of them that cannot both be; None if there are none."""
    seen: list[Forward] = []
    for forward in forwards:
        for other in seen:
            if overlap(forward, other):
                return other, forward
        seen.append(forward)
    return None
