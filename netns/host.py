"""The host's side of an instance's network: its pool, its table of rules, forwarding.

Law: made once for an instance, before its first namespace, and not touched by a namespace's coming
and going except for one element in a set. All of it runs on the network thread.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from socket import AF_INET
from typing import Final

from netns import files, hostwide, messages, names, nft, permits, ruleset
from netns.bare import Bare, make_bare, redirect_home
from netns.errors import NetnsError, PacketFilterError
from netns.instance import Instance, hidden_of_others
from netns.messages import IPNetwork
from netns.netlink import Netlink, Route, exists
from netns.nfnetlink import Packets
from netns.packet_log import PacketLog
from netns.permits import Permit
from netns.pins import Label
from netns.pool import Address, Pool, candidates, choose_network, overlapping, ula_network
from netns.settings import Settings
from netns.thread import NetworkThread
from netns.view import Views

_IPV6: Final = "/proc/sys/net/ipv6/conf"
_RESOLV_CONF: Final = "/etc/resolv.conf"


def ipv6_enabled() -> bool:
    """Whether this kernel has IPv6 and the host has not turned it off."""
    try:
        return all(
            hostwide.read_setting(f"{_IPV6}/{which}/disable_ipv6") == "0"
            for which in ("all", "default")
        )
    except FileNotFoundError:
        return False


def host_resolv_conf() -> tuple[str, str | None]:
    """The host's resolv.conf and systemd-resolved's list of upstream servers, if there is one."""
    return _resolv_conf_as_of(_stamp(_RESOLV_CONF), _stamp(files.RESOLVED_UPSTREAM))


@functools.lru_cache(maxsize=1)
def _resolv_conf_as_of(_own: Stamp, _upstream: Stamp) -> tuple[str, str | None]:
    return _text(_RESOLV_CONF) or "", _text(files.RESOLVED_UPSTREAM)


Stamp = tuple[int, int, int, int] | None


def _stamp(path: str) -> Stamp:
    """Another one whenever the file is another, or changed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def routed() -> list[IPv4Network]:
    """The networks that are routed where the caller stands, other Colonies' pools aside: who is
    behind a hub does not meet them."""
    with Netlink() as netlink:
        routes = netlink.routes(AF_INET)
        ours = {link.index for link in netlink.links() if names.instance_of_group(link.group)}
    foreign = [
        route.destination
        for route in routes
        if route.protocol != names.ROUTE_PROTOCOL and route.link not in ours
    ]
    return [network for network in foreign if isinstance(network, IPv4Network)]


def _text(path: str) -> str | None:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return None


class Host:
    """An instance's things on the host, from `open` to `close`.

    pool
        The addresses; on the network that this instance claimed.
    log
        Tells of the connections that colonies begin; None where the kernel cannot.
    label, settings, views
        What makes pins, settings and views at the same cost however many colonies there are.
    rules
        Whether the packet filter is there. Without it colonies have no redirect, no nat, and
        "none" confines by the lack of a route alone.
    """

    __slots__ = (
        "_allowed",
        "_forwards",
        "_nft",
        "_outside",
        "_packets",
        "_peers",
        "_spare",
        "instance",
        "ipv6",
        "label",
        "log",
        "netlink",
        "pool",
        "serial",
        "settings",
        "views",
    )

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.ipv6 = ipv6_enabled()
        self.serial = 0
        self.netlink = Netlink()
        self.log: PacketLog | None = None
        self.settings = Settings()
        self.label = Label(instance.id, instance.pins)
        self.views = Views(
            instance.pins,
            instance.own,
            instance.files_of,
            lambda: hidden_of_others(instance.own),
        )
        self._nft: nft.Nft | None = None
        self._packets: Packets | None = None
        self._forwards = False
        self._spare: Bare | None = None
        self._outside: tuple[IPv4Network, ...] = ()
        self._peers: frozenset[Permit] = frozenset()
        self._allowed: frozenset[Permit] = frozenset()
        self.pool = Pool(v6=ula_network(instance.id))

    def __repr__(self) -> str:
        return f"<Host {self.instance.id} {self.pool!r}>"

    @property
    def rules(self) -> bool:
        return self._nft is not None

    def open(
        self,
        pool: Pool | None,
        wanted: Iterable[IPv4Network] | None,
        outside: Iterable[IPv4Network] = (),
    ) -> Host:
        """Claims a pool and makes the table; undoes both if either fails.

        Colonies that hold an address in `pool` (their namespaces live on from an earlier `open` of
        this instance) are let out again as they were. `outside` are networks that are routed
        where the colonies' way out leads, and so none of theirs.
        """
        instance = self.instance
        self._outside = tuple(outside)
        try:
            hostwide.hold_pin_directory(instance.id, instance.lock, instance.record, instance.pins)
            self.pool = self._claim(pool, wanted)
            if nft.available():
                self._nft = nft.Nft()
                self._packets = Packets()
                remove = ruleset.remove_table(names.table_name(instance.id))
                self.log = self._open_log()
                made = ruleset.host_rules(instance.id, self._group)
                self._nft.run(remove + made, "making the host's rules")
            for network, named in self.pool.named.items():
                if named.held():
                    self.claim_named(network)
            for address in self.pool.out & {a for p in self.pool.all for a in p.held().values()}:
                self.let_out(address)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Removes what `open` made and lets go of the machine's settings. All of it, even if a
        part fails; then raises the first error."""
        errors: list[Exception] = []
        for undo in (self._remove_table, self._unclaim, self._let_go):
            try:
                undo()
            except Exception as error:
                errors.append(error)
        if self._nft is not None:
            self._nft.close()
            self._nft = None
        if self._packets is not None:
            self._packets.close()
            self._packets = None
        if self.log is not None:
            self.log.close()
            self.log = None
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        self.settings.close()
        self.views.close()
        self.label.close()
        self.netlink.close()
        if errors:
            raise errors[0]

    def check_named(self, network: str) -> None:
        """Raises `NetnsError` if a route of the host leads into a named network's addresses."""
        wanted = self.pool.named[network].v4
        for other in overlapping(wanted, self._foreign(self.netlink.routes(AF_INET))):
            raise NetnsError(
                f"subnet {wanted} of network {network} overlaps {other}, to which this host has a "
                "route; choose another --subnet"
            )

    def claim_named(self, network: str) -> None:
        """Claims a named network's addresses on this host; claimed already is no error. As
        `check_named` raises."""
        self.check_named(network)
        wanted, number = self.pool.named[network].v4, self.instance.number
        unclaim = messages.unclaim_pool(wanted, number)
        self.netlink.send(unclaim, messages.claim_pool(wanted, number))

    def unclaim_named(self, wanted: IPv4Network) -> None:
        """Takes it back."""
        self.netlink.send(messages.unclaim_pool(wanted, self.instance.number))

    @property
    def _group(self) -> int:
        return 0 if self.log is None else self.log.group

    def _open_log(self) -> PacketLog | None:
        """The packet log, None where the kernel has none or its rules' `log`: tried by using it."""
        try:
            log = PacketLog(self.instance.number)
        except (OSError, PacketFilterError):
            return None
        trial = names.table_name(self.instance.id)
        rules = ruleset.host_rules(self.instance.id, log.group)
        assert self._nft is not None
        try:
            self._nft.run(ruleset.remove_table(trial) + rules, "trying the packet log")
        except PacketFilterError:
            log.close()
            return None
        return log

    def prepare(self, thread: NetworkThread) -> None:
        """Has a bare namespace ready for the next colony, with its packet rules; one that is ready
        already is enough."""
        if self._spare is not None:
            return
        made = make_bare(thread, self.settings)
        try:
            assert made.packets is not None
            made.redirect = redirect_home(made.packets, required=self.rules)
        except BaseException:
            made.close()
            raise
        self._spare = made

    def take_bare(self, thread: NetworkThread) -> Bare:
        """A bare namespace, the caller's from now on: the one that is ready, or a new one."""
        spare, self._spare = self._spare, None
        return spare or make_bare(thread, self.settings)

    def next_link(self) -> str:
        """The name of a new host end: never one that this instance has used."""
        while True:
            self.serial += 1
            link = names.link_name(self.instance.id, self.serial)
            if not exists(link):  # it does if an earlier `open` of this instance made it
                return link

    def forwards_ipv6(self) -> bool:
        """Whether the host forwards IPv6 already.

        We never turn it on: a host that forwards no longer listens to router advertisements, and
        so would lose its own way out.
        """
        return self.settings.read("ipv6/conf/all/forwarding") == "1"

    def let_out(self, address: Address) -> None:
        """Lets a colony's packets leave the host under the host's address."""
        self._forward()
        self.pool.out.add(address)
        if self._packets is not None:
            elements = ruleset.let_out(self.instance.id, *self._addresses(address))
            self._packets.apply("letting the colony out", *elements)

    def keep_in(self, address: Address) -> None:
        """Takes `let_out` back."""
        self.pool.out.discard(address)
        if self._packets is not None:
            elements = ruleset.keep_in(self.instance.id, *self._addresses(address))
            self._packets.apply("keeping the colony in", *elements)

    def forward_again(self) -> bool:
        """Sets the host's forwarding again where somebody has taken it; whether that was so."""
        if not self._forwards or self.settings.read("ipv4/ip_forward") == "1":
            return False
        self._forwards = False
        self._forward()
        return True

    def permit(self, peers: frozenset[Permit], allowed: frozenset[Permit]) -> None:
        """These may pass from colony to colony, and out of the machine, and no others. Raises
        `NetnsError` where there is no packet filter and something is to pass."""
        if (peers, allowed) == (self._peers, self._allowed):
            return
        if self._nft is None:
            raise NetnsError(f"colonies cannot reach each other: {nft.MISSING}")
        if peers or allowed:
            self._forward()
        commands = [
            *permits.changes(self.instance.id, permits.PEERS, self._peers, peers),
            *permits.changes(self.instance.id, permits.ALLOWED, self._allowed, allowed),
            *permits.source_changes(self.instance.id, self._allowed, allowed),
        ]
        self._nft.run(commands, "permitting what colonies may reach")
        self._peers, self._allowed = peers, allowed

    def rules_are_whole(self) -> bool:
        """Whether the table is there with all its rules and all who are in its sets."""
        packets = self._packets
        if packets is None:
            return True
        table = names.table_name(self.instance.id)
        counted = sum(packets.count_rules(table, chain) for chain in ruleset.HOST_CHAINS)
        if counted != ruleset.host_rule_count(self.instance.id, self._group):
            return False
        return all(
            set(packets.elements(table, name)) == wanted for name, wanted in self._wanted().items()
        )

    def _wanted(self) -> dict[str, set[tuple[bytes, bytes]]]:
        """What each set of the table has to hold."""
        v6 = {(address.v6.packed, b"") for address in self.pool.out} if self.ipv6 else set()
        return {
            "nat4": {(address.v4.packed, b"") for address in self.pool.out},
            "nat6": v6,
            permits.PEERS: {permits.bounds(each) for each in self._peers},
            permits.ALLOWED: {permits.bounds(each) for each in self._allowed},
            permits.SOME: {(each.source.packed, b"") for each in self._allowed},
        }

    def restore_rules(self) -> None:
        """Makes the table anew, with all who were in its sets."""
        if self._nft is None:
            return
        instance = self.instance.id
        table = names.table_name(instance)
        commands = ruleset.remove_table(table) + ruleset.host_rules(instance, self._group)
        for address in self.pool.out:
            commands += ruleset.element("add", instance, *self._addresses(address))
        commands += permits.changes(instance, permits.PEERS, (), self._peers)
        commands += permits.changes(instance, permits.ALLOWED, (), self._allowed)
        commands += permits.source_changes(instance, (), self._allowed)
        self._nft.run(commands, "putting the host's rules back")

    @property
    def permitted(self) -> tuple[frozenset[Permit], frozenset[Permit]]:
        """(peers, allowed) as they are now."""
        return self._peers, self._allowed

    def _addresses(self, address: Address) -> tuple[IPv4Address, IPv6Address | None]:
        return address.v4, address.v6 if self.ipv6 else None

    def _forward(self) -> None:
        if not self._forwards:
            instance = self.instance
            hostwide.hold_setting(
                hostwide.IP_FORWARD, "1", instance.id, instance.lock, instance.record
            )
            self._forwards = True

    def _claim(self, pool: Pool | None, wanted: Iterable[IPv4Network] | None) -> Pool:
        """Chooses a network and claims it, each candidate at most once.

        Two instances that choose at the same moment see each other's claim after making their own;
        both then step back and go on to the next candidate.
        """
        left = [pool.v4] if pool else list(wanted or ())
        left += [network for network in candidates() if network not in left]
        while True:
            routes = self.netlink.routes(AF_INET)
            network = choose_network(self._foreign(routes), left)
            self.netlink.send(*self._claims(network))
            if not any(n == network for n in self._foreign(self.netlink.routes(AF_INET))):
                break
            self.netlink.send(messages.unclaim_pool(network, self.instance.number))
            left.remove(network)
        if pool is not None and pool.v4 == network:
            return pool
        made = Pool(network, pool.v6 if pool else self.pool.v6)
        made.named = pool.named if pool else {}
        return made

    def _claims(self, network: IPv4Network) -> list[messages.Request]:
        networks: list[IPNetwork] = [network]
        if self.ipv6:
            networks.append(self.pool.v6)
        return [
            request
            for claimed in networks
            for request in (
                messages.unclaim_pool(claimed, self.instance.number),
                messages.claim_pool(claimed, self.instance.number),
            )
        ]

    def _foreign(self, routes: Iterable[Route]) -> list[IPv4Network]:
        group = names.link_group(self.instance.id)
        mine = {link.index for link in self.netlink.links() if link.group == group}
        here = [
            route.destination
            for route in routes
            if isinstance(route.destination, IPv4Network)
            and route.link not in mine
            and not self._is_ours(route)
        ]
        return [*here, *self._outside]

    def _is_ours(self, route: Route) -> bool:
        return route.protocol == names.ROUTE_PROTOCOL and route.metric == self.instance.number

    def _remove_table(self) -> None:
        if self._nft is not None:
            table = names.table_name(self.instance.id)
            self._nft.run(ruleset.remove_table(table), "removing the host's rules")

    def _unclaim(self) -> None:
        ranges: list[IPNetwork] = [*(each.v4 for each in self.pool.all), self.pool.v6]
        for network in ranges:
            self.netlink.send(messages.unclaim_pool(network, self.instance.number))

    def _let_go(self) -> None:
        hostwide.let_go(self.instance.id, self.instance.record)
