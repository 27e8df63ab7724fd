"""The text of a colony's own hosts and resolv.conf.

Law: in a colony `localhost` is 127.0.0.1 and nothing else. With a ::1 line beside it Node, and so
Vite, binds ::1 alone, which no packet redirected from outside can reach.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netns.errors import NetnsError

IPAddress = IPv4Address | IPv6Address

# systemd-resolved's stub listens on the host's loopback, which a colony does not have; this is
# where it writes the servers behind it.
RESOLVED_UPSTREAM: Final = "/run/systemd/resolve/resolv.conf"

_LIMIT: Final = 3  # glibc reads no more nameservers than these
_KEPT: Final = ("search ", "domain ", "options ", "sortlist ")


def hosts(colony: str, others: Mapping[str, IPAddress | str] | None = None) -> str:
    """The hosts file of a colony.

    `others` maps further names (services, neighbours) to addresses; a name may stand for 127.0.0.1.
    Raises `NetnsError` for a name that would break the file.
    """
    lines = ["# Written by Colony; changes are lost.", f"127.0.0.1 localhost {colony}"]
    for name, address in (others or {}).items():
        if not name or any(c.isspace() or c == "#" for c in name):
            raise NetnsError(f"a host name has no spaces and no '#', got: {name!r}")
        lines.append(f"{ip_address(str(address))} {name}")
    return "\n".join(lines) + "\n"


def nameservers(text: str) -> list[str]:
    """The nameserver addresses in a resolv.conf, in order, as written."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            found.append(words[1])
    return found


def is_loopback(server: str) -> bool:
    """Whether a nameserver is on its host's own loopback. What is no address counts as one."""
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def resolv_conf(
    host: str, upstream: str | None = None, servers: Iterable[IPAddress | str] | None = None
) -> str:
    """A colony's resolv.conf, from the host's.

    host
        The host's /etc/resolv.conf. Its loopback nameservers are dropped: a colony has a loopback
        of its own. Search list and options are kept.
    upstream
        `RESOLVED_UPSTREAM`'s text if there is one; used when nothing is left of the host's.
    servers
        Nameservers to use instead of all those.
    """
    return _resolv_conf(host, upstream, None if servers is None else tuple(map(str, servers)))


@functools.lru_cache(maxsize=16)
def _resolv_conf(host: str, upstream: str | None, servers: tuple[str, ...] | None) -> str:
    chosen = servers if servers is not None else _outside(host) or _outside(upstream or "")
    lines = ["# Written by Colony; changes are lost."]
    lines += [f"nameserver {server}" for server in chosen[:_LIMIT]]
    if not chosen:
        lines.append("# The host has only nameservers on its own loopback: no DNS in here.")
    lines += [line.strip() for line in host.splitlines() if line.strip().startswith(_KEPT)]
    return "\n".join(lines) + "\n"


def _outside(text: str) -> tuple[str, ...]:
    # A link-local server needs the host's interface; a colony has another.
    return tuple(s for s in nameservers(text) if not is_loopback(s) and "%" not in s)
