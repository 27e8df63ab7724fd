"""What passes the host's packet filter beyond the rule: from a colony, to a network, at some ports.

Law: permits are elements of two sets, `peers4` (from colony to colony) and `allow4` (out of the
machine), and `Permits` knows which elements are there, so that a change costs as many elements as
it has. No two in a set may overlap; whoever makes them sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

import msgspec

from netns import names
from netns.ruleset import FAMILY, Command

EVERY_PORT: Final = (0, 65535)

PEERS: Final = "peers4"
ALLOWED: Final = "allow4"
SOME: Final = "some4"


class Permit(msgspec.Struct, frozen=True):
    """`source` may send to these ports (first and last) of `network`."""

    source: IPv4Address
    network: IPv4Network
    ports: tuple[int, int] = EVERY_PORT

    def __str__(self) -> str:
        low, high = self.ports
        port = "*" if self.ports == EVERY_PORT else str(low) if low == high else f"{low}-{high}"
        return f"{self.source} → {self.network}:{port}"


def bounds(permit: Permit) -> tuple[bytes, bytes]:
    """The first and the last key of its element, as the kernel has them."""
    source, (low, high) = permit.source.packed, permit.ports
    first, last = permit.network[0].packed, permit.network[-1].packed
    return (
        source + first + low.to_bytes(2, "big") + bytes(2),
        source + last + high.to_bytes(2, "big") + bytes(2),
    )


def changes(
    instance: str, name: str, old: Iterable[Permit], new: Iterable[Permit]
) -> list[Command]:
    """What makes the set `name` hold `new` where it held `old`."""
    before, after = frozenset(old), frozenset(new)
    return [
        *_elements("delete", instance, name, [_element(each) for each in before - after]),
        *_elements("add", instance, name, [_element(each) for each in after - before]),
    ]


def source_changes(instance: str, old: Iterable[Permit], new: Iterable[Permit]) -> list[Command]:
    """The same for the set of those who may leave for some places."""
    before = {str(each.source) for each in old}
    after = {str(each.source) for each in new}
    return [
        *_elements("delete", instance, SOME, sorted(before - after)),
        *_elements("add", instance, SOME, sorted(after - before)),
    ]


def _elements(verb: str, instance: str, name: str, elements: list[Any]) -> list[Command]:
    if not elements:
        return []
    place = {"family": FAMILY, "table": names.table_name(instance), "name": name}
    return [{verb: {"element": {**place, "elem": elements}}}]


def _element(permit: Permit) -> Any:
    first, last = permit.network[0], permit.network[-1]
    low, high = permit.ports
    where: Any = str(first) if first == last else {"range": [str(first), str(last)]}
    return {"concat": [str(permit.source), where, low if low == high else {"range": [low, high]}]}
