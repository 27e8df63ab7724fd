"""Where a colony may go, in niso's words: `host:port` and `CIDR:port`. Pure.

"postgres.colony.local:5432"   a colony, by its name
"db.example.com:5432"          a name, whatever addresses it has
"*.example.com:443"            every name below it, itself not: for `egress = "proxy"`
"0.0.0.0/0:443"                any address, this port
"10.1.0.0/16:*"                these addresses, every port
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_network
from typing import Final

import msgspec

ALLOWED: Final = "a destination is HOST:PORT or NETWORK/BITS:PORT; PORT may be * for every one"

_HOST: Final = re.compile(
    r"(?=.{1,253}$)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_-]+)*"
)


class Destination(msgspec.Struct, frozen=True):
    """Somewhere to go. `port` is 0 for every one; `network` None where `host` is a name, or
    "*." and a name for all that are below that."""

    host: str
    port: int
    network: IPv4Network | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port or '*'}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for names that nobody can list, and so cannot look up."""
        return self.host.startswith("*.")

    def covers(self, name: str) -> bool:
        """Whether a name is meant."""
        return name.endswith(self.host[1:]) if self.is_wildcard else name == self.host


def parse(text: str) -> Destination:
    """A destination from its form. Raises `ValueError`, in words, for anything else."""
    host, colon, port = text.strip().lower().rpartition(":")
    if not colon or not host or not (port == "*" or (port.isascii() and port.isdigit())):
        raise ValueError(f"{ALLOWED}, got: {text!r}")
    number = 0 if port == "*" else int(port)
    if port != "*" and not 1 <= number <= 65535:
        raise ValueError(f"a port is 1 to 65535, got: {port} in {text!r}")
    if re.fullmatch(r"[0-9./]+", host):
        try:
            network = IPv4Network(host, strict=False)
        except ValueError as error:
            raise ValueError(f"{error}, in {text!r}") from None
        return Destination(str(network), number, network)
    if ":" in host or "/" in host:
        _no_ipv6(host, text)
    host = host.removesuffix(".")
    if not _HOST.fullmatch(host):
        every = "; every address is 0.0.0.0/0" if host == "*" else ""
        raise ValueError(f"{host!r} is no host name{every}; {ALLOWED}, got: {text!r}")
    return Destination(host, number)


def _no_ipv6(host: str, text: str) -> None:
    try:
        ip_network(host.strip("[]"), strict=False)
    except ValueError:
        return
    raise ValueError(f"colonies go out over IPv4 only: a destination is no IPv6, got: {text!r}")
