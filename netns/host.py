"""The host's side of an instance's network: its pool, its table of rules, forwarding.

Law: made once for an instance, before its first namespace, and not touched by a namespace's coming
and going except for one element in a set. All of it runs on the network thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv4Network
from socket import AF_INET
from typing import Final

from netns import files, hostwide, messages, names, nft, permits, ruleset
from netns.errors import NetnsError
from netns.instance import Instance
from netns.messages import IPNetwork
from netns.netlink import Netlink, Route, exists
from netns.permits import Permit
from netns.pool import Address, Pool, candidates, choose_network, ula_network

EGRESS_FILE: Final = "egress"
"""Among a colony's files: how it was let out, so that a later `open` can do it again."""

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


def ipv6_forwarded() -> bool:
    """Whether the host forwards IPv6 already.

    We never turn it on: a host that forwards no longer listens to router advertisements, and so
    would lose its own way out.
    """
    try:
        return hostwide.read_setting(f"{_IPV6}/all/forwarding") == "1"
    except FileNotFoundError:
        return False


def host_resolv_conf() -> tuple[str, str | None]:
    """The host's resolv.conf and systemd-resolved's list of upstream servers, if there is one."""
    return _text(_RESOLV_CONF) or "", _text(files.RESOLVED_UPSTREAM)


def routed() -> list[IPv4Network]:
    """The networks that are routed where the caller stands, other Colonies' pools aside: who is
    behind a hub does not meet them."""
    with Netlink() as netlink:
        routes = netlink.routes(AF_INET)
    foreign = [r.destination for r in routes if r.protocol != names.ROUTE_PROTOCOL]
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
    rules
        Whether the packet filter is there. Without it colonies have no redirect, no nat, and
        "none" confines by the lack of a route alone.
    """

    __slots__ = (
        "_allowed",
        "_forwards",
        "_nft",
        "_outside",
        "_peers",
        "instance",
        "ipv6",
        "netlink",
        "pool",
        "serial",
    )

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.ipv6 = ipv6_enabled()
        self.serial = 0
        self.netlink = Netlink()
        self._nft: nft.Nft | None = None
        self._forwards = False
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
                remove = ruleset.remove_table(names.table_name(instance.id))
                self._nft.run(remove + ruleset.host_rules(instance.id), "making the host's rules")
            for colony, address in self.pool.held().items():
                if _text(str(instance.files_of(colony) / EGRESS_FILE)) == "nat":
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
        self.netlink.close()
        if errors:
            raise errors[0]

    def next_link(self) -> str:
        """The name of a new host end: never one that this instance has used."""
        while True:
            self.serial += 1
            link = names.link_name(self.instance.id, self.serial)
            if not exists(link):  # it does if an earlier `open` of this instance made it
                return link

    def let_out(self, address: Address) -> None:
        """Lets a colony's packets leave the host under the host's address."""
        self._forward()
        self._element("add", address, "letting the colony out")

    def keep_in(self, address: Address) -> None:
        """Takes `let_out` back."""
        self._element("delete", address, "keeping the colony in")

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
        """Whether the table is there with all its rules."""
        if self._nft is None:
            return True
        place = {"family": ruleset.FAMILY, "table": names.table_name(self.instance.id)}
        try:
            counted = 0
            for chain in ruleset.HOST_CHAINS:
                listed = self._nft.run(
                    [{"list": {"chain": {**place, "name": chain}}}], "looking at the rules"
                )
                counted += sum("rule" in entry for entry in listed)
        except NetnsError:
            return False
        return counted == ruleset.host_rule_count(self.instance.id)

    def restore_rules(self) -> None:
        """Makes the table anew, with all who were in its sets."""
        if self._nft is None:
            return
        instance = self.instance.id
        table = names.table_name(instance)
        commands = ruleset.remove_table(table) + ruleset.host_rules(instance)
        for colony, address in self.pool.held().items():
            if _text(str(self.instance.files_of(colony) / EGRESS_FILE)) == "nat":
                v6 = address.v6 if self.ipv6 else None
                commands += ruleset.element("add", instance, address.v4, v6)
        commands += permits.changes(instance, permits.PEERS, (), self._peers)
        commands += permits.changes(instance, permits.ALLOWED, (), self._allowed)
        commands += permits.source_changes(instance, (), self._allowed)
        self._nft.run(commands, "putting the host's rules back")

    @property
    def permitted(self) -> tuple[frozenset[Permit], frozenset[Permit]]:
        """(peers, allowed) as they are now."""
        return self._peers, self._allowed

    def _forward(self) -> None:
        if not self._forwards:
            instance = self.instance
            hostwide.hold_setting(
                hostwide.IP_FORWARD, "1", instance.id, instance.lock, instance.record
            )
            self._forwards = True

    def _element(self, verb: str, address: Address, doing: str) -> None:
        if self._nft is not None:
            v6 = address.v6 if self.ipv6 else None
            self._nft.run(ruleset.element(verb, self.instance.id, address.v4, v6), doing)

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
        return Pool(network, pool.v6 if pool else self.pool.v6)

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
        for network in (self.pool.v4, self.pool.v6):
            self.netlink.send(messages.unclaim_pool(network, self.instance.number))

    def _let_go(self) -> None:
        hostwide.let_go(self.instance.id, self.instance.record)


def write_setting(setting: str, value: str, *, optional: bool = False) -> None:
    """Writes a file below /proc/sys/net, of the namespace that the thread stands in.

    optional
        A setting that this kernel lacks is passed over.
    """
    path = os.path.join("/proc/sys/net", setting)
    try:
        hostwide.write_setting(path, value)
    except FileNotFoundError:
        if not optional:
            raise NetnsError(f"this kernel has no setting {path}") from None
    except OSError as error:
        raise NetnsError(f"setting {path} to {value}: {error.strerror}") from None
