"""Addresses: a pool per instance, one /32 (and one /128) per colony.

Law: the same colony gets the same address again for as long as the pool can afford it, and two
colonies never have one at the same time. Everything here is arithmetic; no kernel is asked.

    pool     10.200.0.0/16          fdxx:xxxx:xxxx::/48       (chosen against the host's routes)
    gateway  10.200.0.1             fdxx:xxxx:xxxx:1::2 …     on the host end of the veth pair
    colony   10.200.0.2 …           fdxx:xxxx:xxxx::2 …       the same number in both

A named network is a pool of its own beside the instance's, with a part of its IPv6:

    backend  10.210.0.0/24          fdxx:xxxx:xxxx:2::/63     gateways 10.210.0.1, fdxx:…:3::2 …

The gateway is one address for all in IPv4. In IPv6 there are plenty, and the kernel looks through
all that are the same whenever it gets one more: with 500 colonies that took it 0.3 ms.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

import msgspec

from netns.errors import NetnsError

DEFAULT_POOL: Final = IPv4Network("10.200.0.0/16")

# Routes shorter than this are ways to everywhere (a default route, or the pair of /1 routes that a
# VPN puts over it), not somebody's network.
SHORTEST_NETWORK: Final = 8

_GATEWAY: Final = 1
_GATEWAYS6: Final = 1 << 64
_PART6: Final = 65  # bits: a /64 for colonies and one for their gateways
_FIRST: Final = 2


class Address(msgspec.Struct, frozen=True):
    """What a colony is reached at, and its way out."""

    v4: IPv4Address
    v6: IPv6Address
    gateway4: IPv4Address
    gateway6: IPv6Address

    def __str__(self) -> str:
        return str(self.v4)


def candidates() -> Iterator[IPv4Network]:
    """The /16 networks to choose from, best first.

    Podman has 10.88 and up, Docker 172.17 to 172.31 and 192.168, libvirt 192.168.122, Tailscale and
    carriers 100.64/10; so 10.200 to 10.254 first, then the quiet ends of the others.
    """
    for second in range(200, 255):
        yield IPv4Network(f"10.{second}.0.0/16")
    for second in (30, 29, 16):
        yield IPv4Network(f"172.{second}.0.0/16")
    for second in range(120, 128):
        yield IPv4Network(f"100.{second}.0.0/16")


def preferring(addresses: Iterable[str]) -> Iterator[IPv4Network]:
    """The same, but first those in which most of these addresses are.

    They are what colonies had before: of an instance that chose when another had the best network
    to itself, the colonies are to have their addresses again although that other has gone.
    """
    counted = Counter(IPv4Network((address, 16), strict=False) for address in addresses)
    known = list(candidates())
    first = [network for network, _ in counted.most_common() if network in known]
    yield from first
    yield from (network for network in known if network not in first)


def overlapping(network: IPv4Network, routes: Iterable[IPv4Network]) -> list[IPv4Network]:
    """The routes that lead to somebody's network inside or around `network`."""
    return [r for r in routes if r.prefixlen >= SHORTEST_NETWORK and r.overlaps(network)]


def choose_network(
    routes: Iterable[IPv4Network], wanted: Iterable[IPv4Network] | None = None
) -> IPv4Network:
    """The first candidate that overlaps none of the host's `routes`.

    `wanted` replaces the candidates. Raises `NetnsError` when every candidate is taken.
    """
    routes = list(routes)
    tried = list(candidates() if wanted is None else wanted)
    for network in tried:
        if not overlapping(network, routes):
            return network
    raise NetnsError(
        f"no free network for the colonies: the host has routes into all of "
        f"{tried[0]} … {tried[-1]}; set another pool"
    )


def ula_network(seed: str) -> IPv6Network:
    """The unique-local /48 (RFC 4193) of a seed; equal seeds give equal networks."""
    digest = hashlib.sha256(b"colony ula " + seed.encode()).digest()[:5]
    return IPv6Network((b"\xfd" + digest + bytes(10), 48))


class Pool:
    """Which colony has which address. Plain state: no lock, no I/O, one owner.

    A released address is remembered for its colony. It goes to another one only when no fresh
    address is left, the longest released first.
    """

    __slots__ = ("_held", "_names", "_next", "_released", "_spare", "named", "out", "v4", "v6")

    def __init__(self, v4: IPv4Network = DEFAULT_POOL, v6: IPv6Network | None = None) -> None:
        if v4.prefixlen > 29:
            raise NetnsError(f"a pool needs at least a /29, got: {v4}")
        self.v4 = v4
        self.v6 = v6 or ula_network(str(v4))
        self._held: dict[str, int] = {}  # colony → number
        self._names: dict[int, str] = {}  # number → colony, held or remembered
        self._released: dict[str, int] = {}  # in order of release
        self._spare: list[int] = []  # passed by `_next`, and nobody's
        self._next = _FIRST
        self.named: dict[str, Pool] = {}
        """The pools of the named networks, by name."""
        self.out: set[Address] = set()
        """Who is let out of the machine, of this pool or a named network's; a later owner of the
        network lets them out again."""

    def __repr__(self) -> str:
        return f"<Pool {self.v4} {len(self._held)} held, {len(self._released)} remembered>"

    def __len__(self) -> int:
        return len(self._held)

    @property
    def all(self) -> tuple[Pool, ...]:
        """This pool and those of the named networks."""
        return (self, *self.named.values())

    def name(self, network: str, v4: IPv4Network) -> None:
        """Makes a pool for a named network, with the next free part of this one's IPv6.

        Raises `NetnsError` if it overlaps another of these, or is there already.
        """
        for name, other in (("", self), *self.named.items()):
            if other.v4.overlaps(v4):
                whose = f"of network {name}" if name else "of colonies in no such network"
                raise NetnsError(f"subnet {v4} overlaps {other.v4}, the addresses {whose}")
        if network in self.named:
            raise NetnsError(f"network {network} is there already, with {self.named[network].v4}")
        taken = {other.v6 for other in self.named.values()}
        number = next(n for n in itertools.count(1) if self._part6(n) not in taken)
        self.named[network] = Pool(v4, self._part6(number))

    def _part6(self, number: int) -> IPv6Network:
        return IPv6Network((int(self.v6.network_address) + (number << _PART6), 128 - _PART6))

    @property
    def gateway4(self) -> IPv4Address:
        return self.v4[_GATEWAY]

    def holds(self, colony: str) -> bool:
        """Whether the colony has an address now."""
        return colony in self._held

    def colony_at(self, address: IPv4Address | IPv6Address) -> str | None:
        """Whose address it is, in this pool or a named network's; None for nobody's."""
        for pool in self.all:
            network = pool.v4 if address.version == 4 else pool.v6
            number = int(address) - int(network.network_address)
            if pool._names.get(number) in pool._held:
                return pool._names[number]
        return None

    def held(self) -> dict[str, Address]:
        """Every colony that has an address now."""
        return {colony: self._address(number) for colony, number in self._held.items()}

    def remembered(self) -> dict[str, IPv4Address]:
        """Held and released alike, to be stored and given back to `reserve` in another life."""
        return {colony: self.v4[number] for number, colony in self._names.items()}

    def allocate(self, colony: str) -> Address:
        """The colony's address: the one it has, the one it had, or a free one.

        Raises `NetnsError` when the pool is full.
        """
        if (number := self._held.get(colony)) is not None:
            return self._address(number)
        number = self._released.pop(colony, None) or self._fresh() or self._recycled()
        self._held[colony] = number
        self._names[number] = colony
        return self._address(number)

    def release(self, colony: str) -> None:
        """Frees the colony's address and remembers it. Releasing nothing is no error."""
        if (number := self._held.pop(colony, None)) is not None:
            self._released[colony] = number

    def reserve(self, colony: str, address: IPv4Address) -> None:
        """Remembers `address` for a colony that does not run now: from an earlier life, or because
        it is wanted by number. It is taken from one that is only remembered.

        Raises `NetnsError` if the address is outside the pool, not a colony's, or another's.
        """
        number = int(address) - int(self.v4.network_address)
        if not self._usable(number):
            raise NetnsError(
                f"address {address} is not a colony's address in the pool {self.v4}, which has "
                f"{self.v4[_FIRST]} to {self.v4[-2]}"
            )
        owner = self._names.get(number)
        if owner in self._held and owner != colony:
            raise NetnsError(
                f"cannot reserve {address} for colony {colony!r}: it belongs to colony {owner!r}"
            )
        if colony in self._held:
            raise NetnsError(f"colony {colony!r} holds {self.v4[self._held[colony]]} already")
        self._forget(colony)
        if owner is not None:
            self._forget(owner)  # who was only remembered gets another
        self._released[colony] = number
        self._names[number] = colony

    def _forget(self, colony: str) -> None:
        if (number := self._released.pop(colony, None)) is not None:
            del self._names[number]
            if number < self._next:
                self._spare.append(number)

    def _usable(self, number: int) -> bool:
        # An address that ends in .0 or .255 is legal in a /16, and some software refuses it.
        return _FIRST <= number < self.v4.num_addresses - 1 and number % 256 not in (0, 255)

    def _fresh(self) -> int | None:
        while self._spare:
            if (number := self._spare.pop()) not in self._names:
                return number
        while self._next < self.v4.num_addresses:
            number = self._next
            self._next += 1
            if self._usable(number) and number not in self._names:
                return number
        return None

    def _recycled(self) -> int:
        if not self._released:
            raise NetnsError(
                f"the pool {self.v4} is full: {len(self._held)} colonies have addresses"
            )
        colony = next(iter(self._released))
        number = self._released.pop(colony)
        del self._names[number]
        return number

    def _address(self, number: int) -> Address:
        gateway6 = self.v6[_GATEWAYS6 | number]
        return Address(self.v4[number], self.v6[number], self.gateway4, gateway6)
