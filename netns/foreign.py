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
    """A chain of another's that drops what is forwarded unless a rule of its own lets it pass."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        """Who it is and what to do, in one line."""
        where = f"chain {self.chain} of table {self.family} {self.table}"
        links = f"{names.LINK_PREFIX}*"
        if self.table == "firewalld":
            remedy = "firewall-cmd --zone=trusted --add-source=10.200.0.0/16"
        elif self.chain == "FORWARD":
            iptables = "ip6tables" if self.family == "ip6" else "iptables"
            remedy = f"{iptables} -I FORWARD -i {names.LINK_PREFIX}+ -j ACCEPT and the same with -o"
        else:
            remedy = f'a rule in it: iifname "{links}" accept and oifname "{links}" accept'
        return f"{where} drops what colonies send out (not what comes in); to let it pass: {remedy}"


def dropping(listed: Iterable[dict[str, Any]]) -> tuple[ForeignDrop, ...]:
    """The chains that end a way out, of what `list chains` gives. Pure."""
    found = []
    for entry in listed:
        chain = entry.get("chain", {})
        if chain.get("hook") != "forward" or names.instance_of_table(chain["table"]):
            continue
        # firewalld's chain accepts by policy, and rejects in its last rule.
        if chain.get("policy") == "drop" or chain["table"] == "firewalld":
            found.append(ForeignDrop(chain["family"], chain["table"], chain["name"]))
    return tuple(found)


def look() -> tuple[ForeignDrop, ...]:
    """Those in the network namespace that the caller stands in; () without the packet filter."""
    if not nft.available():
        return ()
    with nft.Nft() as here:
        return dropping(here.run([{"list": {"chains": None}}], "looking at others' packet rules"))
