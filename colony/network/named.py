"""Networks with a subnet of their own, which are there whether a colony names them or not.

    colony net create backend --subnet 10.210.0.0/24        → networks.json in Colony's home

Law: the file is the truth, and is written before anybody is told. A network is a name with a range
of addresses; who of its members reaches whom is said by `policy` alone. Its range is claimed on the
host when the first colony of it starts, so that a network that nobody uses is in nobody's way.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import anyio.to_thread
import msgspec

from actors import Actor, Call, Event, Ignore, Refused, on
from colony.events import Notice
from netns import NetnsError, Network
from netns.actors import (
    ADDRESSES,
    NETWORK,
    AddressBook,
    GetNetwork,
    GetRemembered,
    NetworkOwner,
)
from netns.locks import locked

NETWORKS: Final = "networks"
"""The name of `NamedNetworks` in its system."""

NETWORKS_FILE: Final = "networks.json"

AUTOMATIC: Final = IPv4Network("10.199.0.0/16")
"""Where a network without `--subnet` gets a /24."""

LONGEST: Final = 29
SHORTEST: Final = 12


class NetworkCreated(Event, frozen=True, kw_only=True):
    """A named network is there from now on."""

    network: str
    subnet: str


class NetworkRemoved(Event, frozen=True, kw_only=True):
    """A named network is gone."""

    network: str
    subnet: str


class CreateNetwork(Call["NamedNetworks", str], frozen=True):
    """Makes a network; its subnet, one of our choice without `subnet`. `Refused` in words."""

    name: str
    subnet: str | None = None


class RemoveNetwork(Call["NamedNetworks", str], frozen=True):
    """Removes a network that no colony uses; its subnet. `Refused` in words."""

    name: str


class GetNetworks(Call["NamedNetworks", dict[str, str]], frozen=True):
    """The subnet of each network."""


def read_subnet(text: str) -> IPv4Network:
    """A subnet from its form. Raises `ValueError`, in words. Pure."""
    try:
        subnet = IPv4Network(text.strip())
    except ValueError as error:
        raise ValueError(f"a subnet is NETWORK/BITS, as 10.210.0.0/24: {error}") from None
    if not SHORTEST <= subnet.prefixlen <= LONGEST:
        raise ValueError(f"a subnet is a /{SHORTEST} to a /{LONGEST}, got: {text}")
    if subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or not subnet.is_private:
        raise ValueError(f"a subnet is of private addresses, as 10.210.0.0/24, got: {text}")
    return subnet


def free_subnets(taken: Iterable[IPv4Network]) -> Iterable[IPv4Network]:
    """Those to choose from, best first. Pure."""
    known = tuple(taken)
    return (
        each
        for each in itertools.islice(AUTOMATIC.subnets(new_prefix=24), 1, None)
        if not any(each.overlaps(other) for other in known)
    )


class NamedNetworks(Actor):
    """Keeps the named networks and their subnets.

    file
        Where they are kept; None: for this life only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.subnets: dict[str, str] = {}

    async def start(self) -> Ignore | None:
        self.subnets = await anyio.to_thread.run_sync(self._read)
        network = await self._network()
        for name, subnet in self.subnets.items():
            there = network.pool.named.get(name)
            if there is not None and str(there.v4) == subnet:
                continue
            try:
                await network.add_network(name, read_subnet(subnet))
                addresses = self.ctx.system.named(ADDRESSES, AddressBook)
                network.remember(await addresses.call(GetRemembered(name)), name)
            except (NetnsError, ValueError) as error:
                text = f"network {name} has no subnet in this instance: {error}"
                self.ctx.system.publish(Notice(at=self.ctx.now, colony="", text=text))
        return None

    @on(GetNetworks)
    def get(self, _msg: GetNetworks) -> dict[str, str]:
        return dict(self.subnets)

    @on(CreateNetwork)
    async def create(self, msg: CreateNetwork) -> str:
        if msg.name in self.subnets:
            raise Refused(f"network {msg.name} is there already, with {self.subnets[msg.name]}")
        network = await self._network()
        try:
            subnet = await self._add(network, msg)
        except (NetnsError, ValueError) as error:
            raise Refused(str(error)) from None
        try:
            await self._keep({msg.name: str(subnet)}, ())
        except OSError as error:
            await network.remove_network(msg.name)
            raise Refused(f"network {msg.name} cannot be kept in {self.file}: {error}") from None
        created = NetworkCreated(at=self.ctx.now, network=msg.name, subnet=str(subnet))
        self.ctx.system.publish(created)
        return str(subnet)

    @on(RemoveNetwork)
    async def remove(self, msg: RemoveNetwork) -> str:
        if msg.name not in self.subnets:
            there = ", ".join(sorted(self.subnets)) or "none"
            raise Refused(f"no network {msg.name} was created; there are: {there}")
        try:
            await (await self._network()).remove_network(msg.name)
        except NetnsError as error:
            raise Refused(f"{error}; stop them first") from None
        subnet = self.subnets[msg.name]
        await self._keep({}, (msg.name,))
        removed = NetworkRemoved(at=self.ctx.now, network=msg.name, subnet=subnet)
        self.ctx.system.publish(removed)
        return subnet

    async def _add(self, network: Network, msg: CreateNetwork) -> IPv4Network:
        if msg.subnet is not None:
            subnet = read_subnet(msg.subnet)
            await network.add_network(msg.name, subnet)
            return subnet
        for subnet in free_subnets(pool.v4 for pool in network.pool.all):
            with contextlib.suppress(NetnsError):  # the host has a route there
                await network.add_network(msg.name, subnet)
                return subnet
        raise ValueError(f"no free subnet is left in {AUTOMATIC}; choose one with --subnet")

    async def _network(self) -> Network:
        return await self.ctx.system.named(NETWORK, NetworkOwner).call(GetNetwork())

    # -- the file ------------------------------------------------------------------------------

    async def _keep(self, more: dict[str, str], less: Iterable[str]) -> None:
        def change() -> dict[str, str]:
            if self.file is None:
                found = self.subnets | more
            else:
                with locked(self.file.with_suffix(".lock")):
                    found = self._read() | more
                    for name in less:
                        found.pop(name, None)
                    new = self.file.with_suffix(".new")
                    new.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
                    new.replace(self.file)
            return {name: subnet for name, subnet in found.items() if name not in less}

        self.subnets = await anyio.to_thread.run_sync(change)

    def _read(self) -> dict[str, str]:
        if self.file is None:
            return dict(self.subnets)
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise NetnsError(
                f"{self.file}, where the networks are kept, cannot be read: {error.strerror}; "
                "COLONY_HOME names the folder"
            ) from None
        except msgspec.DecodeError as error:
            raise NetnsError(f"{self.file} is not a list of networks ({error})") from None
