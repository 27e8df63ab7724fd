"""How Colony's things in the kernel are named and tagged.

Law: whatever an instance makes says whose it is, in the kernel itself, from the very request that
makes it; nothing is identified by a list that could be lost.

    thing            tag
    ───────────────  ─────────────────────────────────────────────────────────────────────
    namespace        its pin is /run/netns/colony-{name}; the alias of its `lo` names the
                     instance; before it is mounted the pin file's text does
    link (veth)      group 0x6C000000 | instance: set by the creating request, and one
                     request deletes them all; alias and altname are for people
    route            protocol 199, metric = the instance's number
    nft table        inet colony_{instance}
    process          COLONY_INSTANCE={instance} in its environment
    file             {runtime}/instances/{instance}/…

An interface's name is never derived from the colony's name: the kernel allows 15 characters, and a
link outlives its namespace's last reference by some milliseconds, so a colony made again at once
would meet its predecessor's.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from netns.errors import NetnsError

COLONY_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
COLONY_NAME_LIMIT: Final = 40
INSTANCE_ID: Final = re.compile(r"[0-9a-f]{6}")
INTERFACE_LIMIT: Final = 15

NAMESPACE_PREFIX: Final = "colony-"
LINK_PREFIX: Final = "vc"
LINK_GROUP_BASE: Final = 0x6C000000
ROUTE_PROTOCOL: Final = 199
INNER_INTERFACE: Final = "eth0"
INNER_INDEX: Final = 2
INNER_TABLE: Final = "colony"
INSTANCE_VARIABLE: Final = "COLONY_INSTANCE"
COLONY_VARIABLE: Final = "COLONY_NAME"

_SERIAL_LIMIT: Final = 1 << 24


def check_colony(name: str) -> str:
    """`name` if it may name a colony; raises `NetnsError` otherwise.

    At most 40 of the characters a–z, 0–9 and "-", neither first nor last a "-".
    """
    if COLONY_NAME.fullmatch(name) and len(name) <= COLONY_NAME_LIMIT:
        return name
    raise NetnsError(
        f"a colony's name is 1 to {COLONY_NAME_LIMIT} of a-z, 0-9 and '-', "
        f"neither beginning nor ending with '-', got: {name!r}"
    )


def check_instance(instance: str) -> str:
    """`instance` if it is an instance's id (six hex digits, not 000000)."""
    if INSTANCE_ID.fullmatch(instance) and int(instance, 16):
        return instance
    raise NetnsError(f"an instance's id is six hex digits other than 000000, got: {instance!r}")


def new_instance() -> str:
    """A random instance id."""
    return f"{secrets.randbelow(0xFFFFFF) + 1:06x}"


def instance_number(instance: str) -> int:
    """The id as a number, 1 to 0xFFFFFF: the metric of the instance's routes."""
    return int(check_instance(instance), 16)


def namespace_name(colony: str) -> str:
    """The name that `ip netns list` shows."""
    return NAMESPACE_PREFIX + check_colony(colony)


def colony_of(namespace: str) -> str | None:
    """The colony of a namespace's name, None if the name is not of our form."""
    colony = namespace.removeprefix(NAMESPACE_PREFIX)
    if colony == namespace or not COLONY_NAME.fullmatch(colony):
        return None
    return colony


def link_prefix(instance: str) -> str:
    """What the names of all links of the instance begin with, and of no other's."""
    return LINK_PREFIX + check_instance(instance)


def link_name(instance: str, serial: int) -> str:
    """The host end of the instance's `serial`-th veth pair; 14 characters."""
    return f"{link_prefix(instance)}{serial % _SERIAL_LIMIT:06x}"


def link_group(instance: str) -> int:
    """The group of all links of the instance."""
    return LINK_GROUP_BASE | instance_number(instance)


def instance_of_group(group: int) -> str | None:
    """The instance whose links have this group, None if it is not of our form."""
    number = group ^ LINK_GROUP_BASE
    return f"{number:06x}" if 0 < number < _SERIAL_LIMIT else None


def altname(colony: str) -> str:
    """A second name for the host end that a person recognises (up to 127 characters)."""
    return namespace_name(colony)


def alias(instance: str, colony: str) -> str:
    """The text that tags a link with its instance and colony."""
    return f"colony:{check_instance(instance)}:{check_colony(colony)}"


def parse_alias(text: str | None) -> tuple[str, str] | None:
    """(instance, colony) of an alias, None if the text is not one."""
    parts = (text or "").split(":")
    if len(parts) != 3 or parts[0] != "colony":
        return None
    if not INSTANCE_ID.fullmatch(parts[1]) or not COLONY_NAME.fullmatch(parts[2]):
        return None
    return parts[1], parts[2]


def table_name(instance: str) -> str:
    """The instance's nft table on the host (family inet)."""
    return f"colony_{check_instance(instance)}"


def instance_of_table(table: str) -> str | None:
    """The instance whose host table this is, None if it is not of our form."""
    instance = table.removeprefix("colony_")
    return instance if instance != table and INSTANCE_ID.fullmatch(instance) else None
