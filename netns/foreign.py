"""Others' packet rules that end a colony's way out, found and said in words.

Law: an `accept` of ours does not overrule a `drop` of another table at the same hook. So nothing
can be done about it here but to name who drops and what lets colonies through. Nothing is changed:
those rules are somebody's wish.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netns import names, nft


class ForeignDrop(msgspec.Struct, frozen=True):
    """A chain of another's that drops what is forwarded unless a rule of its own lets it pass.

    remedy
        A command that lets colonies through, or where there is none a rule to add.
    """

    family: str
    table: str
    chain: str
    remedy: str

    def __str__(self) -> str:
        """Who it is and what to do, in one line."""
        told = "drops what colonies send out (not what comes in)"
        return f"{self.where} {told}; to let it pass: {self.remedy}"

    @property
    def where(self) -> str:
        return f"chain {self.chain} of table {self.family} {self.table}"


def dropping(
    listed: Iterable[dict[str, Any]], pool: str, *, ipv6: bool = False
) -> tuple[ForeignDrop, ...]:
    """The chains that end a way out, of what `list chains` gives. Pure.

    pool
        The colonies' addresses, for remedies that name them.
    ipv6
        Whether IPv6 goes out at all; chains of IPv6 alone do not matter otherwise.
    """
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    beside: dict[tuple[str, str], set[str]] = {}
    for chain in chains:
        beside.setdefault((chain["family"], chain["table"]), set()).add(chain["name"])
    found = []
    for chain in chains:
        family, table, name = chain["family"], chain["table"], chain["name"]
        if chain.get("hook") != "forward" or names.instance_of_table(table):
            continue
        if family not in ("ip", "inet") and not (family == "ip6" and ipv6):
            continue
        # firewalld's chain accepts by policy, and rejects in its last rule.
        if chain.get("policy") == "drop" or table == "firewalld":
            remedy = _remedy(family, table, name, beside[family, table], pool)
            found.append(ForeignDrop(family, table, name, remedy))
    return tuple(found)


def _remedy(family: str, table: str, chain: str, beside: set[str], pool: str) -> str:
    """What lets colonies through, by whose chains there are in the table."""
    links = names.LINK_PREFIX
    if table == "firewalld":
        return f"firewall-cmd --zone=trusted --add-source={pool}"
    if chain != "FORWARD":
        return f'a rule in it: iifname "{links}*" accept and oifname "{links}*" accept'
    if "DOCKER-USER" not in beside and "ufw-user-forward" in beside:
        return f"ufw route allow from {pool}"
    # Docker's own chain for such rules outlives a restart of Docker's, and comes before ufw's.
    chain = "DOCKER-USER" if "DOCKER-USER" in beside else chain
    iptables = "ip6tables" if family == "ip6" else "iptables"
    each = (f"{iptables} -I {chain} {way} {links}+ -j ACCEPT" for way in ("-i", "-o"))
    return " && ".join(each)


def look(pool: str, *, ipv6: bool = False) -> tuple[ForeignDrop, ...]:
    """Those in the network namespace that the caller stands in; () without the packet filter."""
    if not nft.available():
        return ()
    with nft.Nft() as here:
        listed = here.run([{"list": {"chains": None}}], "looking at others' packet rules")
        return dropping(listed, pool, ipv6=ipv6)
