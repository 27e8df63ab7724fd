"""The asynchronous face of an instance's network.

    async with NetworkThread() as thread:
        with Instance.claim("/run/colony") as instance:
            network = await Network.open(thread, instance)
            space = await network.create("my-app")
            ...                       # thread.connect(space, 3000), spawn(thread, [...], ...)
            await network.destroy(space)
            await network.close()

Law: a cancelled call leaves nothing half made. `create` either gives a namespace to the caller or
has removed it when it raises.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Final

import anyio

from netns import files, foreign, healing, messages, names, namespace, netlink, userns
from netns.errors import NetnsError
from netns.foreign import ForeignDrop
from netns.host import Host, host_resolv_conf, routed
from netns.instance import Instance
from netns.messages import IPAddress
from netns.namespace import DEFAULT_MTU, EGRESS, Egress, Namespace, OnStep, Plan
from netns.packet_log import PacketLog
from netns.permits import Permit
from netns.pool import Address, Pool
from netns.thread import NetworkThread
from netns.uplink import MTU, WayOut

# The kernel removes a link some 10 to 40 ms after its namespace's last reference, many at once; to
# delete it ourselves takes as long and keeps the network thread from all else meanwhile.
_LINK_LOOKS: Final = 50
_LINK_PAUSE: Final = 0.002  # seconds


class Network:
    """An instance's network: its pool and its colonies' namespaces.

    pool
        The addresses, on the network that was free. It may outlive this object: given to another
        `open` of the same instance, colonies keep their addresses.
    """

    __slots__ = ("_host", "_thread", "_way_out", "pool")

    def __init__(self, thread: NetworkThread, host: Host, way_out: WayOut | None = None) -> None:
        self._thread = thread
        self._host = host
        self._way_out = way_out or WayOut()
        self.pool: Pool = host.pool

    def __repr__(self) -> str:
        return f"<Network of instance {self._host.instance.id} {self.pool!r}>"

    @classmethod
    async def open(
        cls,
        thread: NetworkThread,
        instance: Instance,
        *,
        pool: Pool | None = None,
        wanted: Iterable[IPv4Network] | None = None,
        way_out: WayOut | None = None,
    ) -> Network:
        """Claims addresses on this host for the instance and makes its table of packet rules.

        pool
            One from before, to go on with; its network if that is still free, else another.
        wanted
            Networks to prefer, best first. By default 10.200.0.0/16 and then its likes.
        way_out
            Rootless: the way out of the hub, now and later.

        Raises `NetnsError` when no network is free or the packet filter refuses the rules.
        """

        on_host = thread.on_host
        outside = [] if on_host is thread else await on_host.run(routed)

        def make() -> Host:
            return Host(instance).open(pool, wanted, outside)

        return cls(thread, await thread.run(make, undo=Host.close), way_out)

    @property
    def rules(self) -> bool:
        """Whether the packet filter's library is there; see `Namespace.redirect`."""
        return self._host.rules

    async def create(
        self,
        colony: str,
        *,
        egress: Egress = "nat",
        hosts: Mapping[str, IPAddress | str] | None = None,
        nameservers: Iterable[IPAddress | str] | None = None,
        address: IPv4Address | None = None,
        network: str | None = None,
        mtu: int | None = None,
        on_step: OnStep | None = None,
    ) -> Namespace:
        """Makes the colony's complete network.

        egress
            "nat" (default), "some" or "none"; see `Plan`.
        hosts
            Further names for its hosts file, with their addresses.
        nameservers
            For its resolv.conf, instead of the host's that are not on loopback, or rootless of
            the way out's.
        address
            The one that it shall have, inside its network's pool; default any free one.
        network
            The named network whose addresses it gets, if there is one of that name.
        mtu
            Of its link; default 1500, or rootless the way out's.
        on_step
            Called on the network thread after each step with its name and milliseconds.

        Raises `NetnsError` for a bad argument or a full pool and `StepFailed` otherwise. Whatever
        is raised, cancellation included, nothing is left but the address's being remembered.
        """
        if egress not in EGRESS:
            raise NetnsError(f"egress is one of {', '.join(EGRESS)}, got: {egress!r}")
        pool = self.pool.named.get(network or "", self.pool)
        given = self._allocate(pool, colony, address)

        def make() -> Namespace:
            if pool is not self.pool and len(pool) == 1:
                self._host.claim_named(network or "")  # its first colony
            plan = Plan(
                colony=colony,
                address=given,
                hosts=files.hosts(colony, hosts),
                resolv_conf=self._resolv_conf(nameservers),
                egress=egress,
                mtu=mtu or (MTU if userns.entered() else DEFAULT_MTU),
            )
            return namespace.create(self._thread, self._host, plan, on_step)

        try:
            return await self._thread.run(make, undo=self._take_back)
        except BaseException:
            pool.release(colony)
            raise

    async def prepare(self) -> None:
        """Has a bare namespace ready for the next `create`, which takes it and is 0.9 ms shorter.

        It has no name, no process and no link, takes 180 KiB of the kernel's memory, and ends with
        this process at the latest. Preparing twice is no error. Raises `OSError` or `NetnsError`
        if the kernel makes none: so will the next `create`.
        """
        await self._thread.run(self._host.prepare, self._thread)

    def remember(self, addresses: Mapping[str, str], network: str | None = None) -> None:
        """These colonies shall have these addresses if they can: those of the pool, or of a named
        network, that are nobody's."""
        pool = self.pool.named.get(network or "", self.pool)
        for colony, address in addresses.items():
            with contextlib.suppress(NetnsError, ValueError):
                pool.reserve(colony, IPv4Address(address))

    async def add_network(self, name: str, subnet: IPv4Network) -> None:
        """From now on colonies of this network get addresses of this subnet.

        Raises `NetnsError` if the subnet overlaps another network's, the pool, or a route of the
        host.
        """
        self.pool.name(name, subnet)
        try:
            await self._thread.run(self._host.check_named, name)
        except BaseException:
            del self.pool.named[name]
            raise

    async def remove_network(self, name: str) -> None:
        """Gives the subnet of a network back. Raises `NetnsError` while a colony has an address of
        it; one that is not there is no error."""
        pool = self.pool.named.get(name)
        if pool is None:
            return
        if held := pool.held():
            raise NetnsError(f"network {name} is in use by colonies {', '.join(sorted(held))}")
        del self.pool.named[name]
        await self._thread.run(self._host.unclaim_named, pool.v4)

    async def destroy(self, *spaces: Namespace) -> None:
        """Removes the colonies' networks: when it returns, pins, links, routes, rules and files
        are gone. Destroying twice is no error; cancelling does not interrupt it.

        The kernel needs some 20 ms for a link's end, and as long for many: who has many gives them
        at once.

        Processes inside are the caller's to end first (`sweep.kill_all`). One that is left keeps
        the namespace itself alive, unnamed and without a link. Raises `NetnsError` with all that
        went wrong, having removed the rest.
        """
        wrong: list[str] = []
        with anyio.CancelScope(shield=True):
            going = [space for space in spaces if space.is_open]
            for space in going:
                errors = await self._thread.run(
                    namespace.dismantle, self._thread, self._host, space
                )
                for pool in self.pool.all:
                    pool.release(space.colony)
                wrong += [f"colony {space.colony!r}: {error}" for error in errors]
            await self._await_end([space.link for space in going])
        if wrong:
            raise NetnsError(f"removing a network: {'; '.join(wrong)}")

    async def set_hosts(
        self, space: Namespace, hosts: Mapping[str, IPAddress | str] | None = None
    ) -> None:
        """Rewrites the colony's hosts file; processes inside see it at their next look. Nothing for
        one that is destroyed."""
        text = files.hosts(space.colony, hosts)

        def write() -> None:
            # In one job: a look between the two would put the old text back.
            if not space.is_open:
                return
            space.hosts = text
            healing.rewrite_hosts(self._thread, space, text)

        await self._thread.run(write)

    async def heal(self, space: Namespace, *, thorough: bool = True) -> list[str]:
        """Puts back what somebody else has taken away of a colony's network; says what, in words.
        Processes inside run on. Nothing for one that is destroyed.

        thorough
            False: what is on the host alone, of which the kernel tells; a fifth of the time.
        """

        def look() -> list[str]:
            return healing.heal(self._thread, self._host, space, thorough=thorough)

        return await self._thread.run(look)

    async def heal_host(self) -> list[str]:
        """Puts back what is missing of what all colonies share: the host's table of rules, if it is
        not whole, and its forwarding; says what, in words."""

        def look() -> list[str]:
            self._host.views.drop_if_stale()
            repaired: list[str] = []
            if not self._host.rules_are_whole():
                self._host.restore_rules()
                repaired.append("the host's packet rules")
            if self._host.forward_again():
                repaired.append("the host's setting net.ipv4.ip_forward")
            return repaired

        return await self._thread.run(look)

    async def permit(
        self, peers: frozenset[Permit] = frozenset(), allowed: frozenset[Permit] = frozenset()
    ) -> None:
        """Lets these packets pass from colony to colony (`peers`) and out of the machine, for
        colonies whose egress is "some" (`allowed`), and no others. No two may overlap.

        Raises `NetnsError` when the packet filter refuses, or is missing.
        """
        await self._thread.run(self._host.permit, peers, allowed)

    @property
    def permitted(self) -> tuple[frozenset[Permit], frozenset[Permit]]:
        """What `permit` has let pass: (peers, allowed)."""
        return self._host.permitted

    @property
    def log(self) -> PacketLog | None:
        """Tells of the connections that colonies begin; None where the kernel cannot."""
        return self._host.log

    async def foreign_drops(self) -> tuple[ForeignDrop, ...]:
        """Others' packet rules on this host that end the colonies' way out."""

        def look() -> tuple[ForeignDrop, ...]:
            return foreign.look(str(self.pool.v4), ipv6=self._host.forwards_ipv6())

        return await self._thread.run(look)

    async def nameservers(self) -> tuple[IPAddress, ...]:
        """The name servers that colonies ask, as far as they are addresses."""
        text = await self._thread.run(self._resolv_conf, None)
        return tuple(ip_address(server) for server in files.nameservers(text))

    async def close(self) -> None:
        """Removes what `open` made and puts the machine's settings back, unless another living
        instance needs them. Namespaces are the caller's to destroy first."""
        with anyio.CancelScope(shield=True):
            await self._thread.run(self._host.close)

    def _allocate(self, pool: Pool, colony: str, address: IPv4Address | None) -> Address:
        """Gives the colony an address of the pool: this one, or any."""
        names.check_colony(colony)
        if any(each.holds(colony) for each in self.pool.all):
            raise NetnsError(f"colony {colony!r} has a network in this instance already")
        if address is not None:
            pool.reserve(colony, address)
        return pool.allocate(colony)

    def _resolv_conf(self, nameservers: Iterable[IPAddress | str] | None) -> str:
        """On the network thread."""
        host_text, upstream = host_resolv_conf()
        if userns.entered() and nameservers is None:
            kind = self._way_out.kind
            nameservers = () if kind is None else (kind.nameserver,)
        return files.resolv_conf(host_text, upstream, nameservers)

    def _take_back(self, space: Namespace) -> None:
        """For a creation whose caller was cancelled. On the network thread."""
        namespace.dismantle(self._thread, self._host, space)
        if netlink.exists(space.link):
            self._host.netlink.send(messages.delete_link(space.link))

    async def _await_end(self, links: list[str]) -> None:
        left = links
        for _ in range(_LINK_LOOKS):
            left = await self._thread.run(_still_there, left)
            if not left:
                return
            await anyio.sleep(_LINK_PAUSE)
        # A socket or a process still holds a namespace.
        for link in left:
            await self._thread.run(self._host.netlink.send, messages.delete_link(link))


def _still_there(links: list[str]) -> list[str]:
    return [link for link in links if netlink.exists(link)]
