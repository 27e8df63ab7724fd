"""What `apply` has to do: the difference between two configurations of one colony. Pure.

in the new file only         add
in the old one only          remove
in both, and different       restart, because of what differs
what all services share      restart_colony: supervision, the network, the colony's environment
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from colony.api.types import Step
from colony.config import Config, Service

_NOT_SHOWN: Final = frozenset({"env"})
"""Fields whose values may be secret: that they differ is said, and not how."""

_DESCRIPTIVE: Final = frozenset({"description", "template"})
"""Fields that no process depends on."""


def steps(old: Config, new: Config) -> tuple[Step, ...]:
    """In the order in which they are done; empty if nothing differs that matters."""
    shared = _shared(old, new)
    if shared:
        return (Step("restart_colony", None, shared),)
    found = [
        Step("remove", name, "it is not in the file any more")
        for name in old.services
        if name not in new.services
    ]
    for name, service in new.services.items():
        before = old.services.get(name)
        if before is None:
            found.append(Step("add", name, "it is new in the file"))
        elif before != service:
            found.append(Step("restart", name, changes(before, service)))
    return tuple(found)


def same(old: Config, new: Config) -> bool:
    """Whether two configurations make the same colony, wherever their files are."""
    return old.workspace == new.workspace and not steps(old, new)


def changes(old: Service | Any, new: Service | Any) -> str:
    """Which fields differ, in words."""
    words = []
    for field in type(new).__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        if before == after or field in _DESCRIPTIVE:
            continue
        if field in _NOT_SHOWN:
            words.append(f"{field} changed")
        else:
            words.append(f"{field} changed from {_shown(before)} to {_shown(after)}")
    return ", ".join(words)


def _shared(old: Config, new: Config) -> str:
    """What differs for all services at once, in words; "" if nothing does."""
    parts = (
        ("[colony]", old.colony, new.colony),
        ("[supervision]", old.supervision, new.supervision),
        ("[network]", old.network, new.network),
    )
    words = [
        f"{name} {difference}"
        for name, before, after in parts
        if before != after and (difference := changes(before, after))
    ]
    if old.workspace != new.workspace:
        words.append(f"the folder changed from {old.workspace} to {new.workspace}")
    return "; ".join(words)


def _shown(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        return "other settings"
    if isinstance(value, tuple) and all(isinstance(word, str) for word in value):
        return f"`{' '.join(value)}`"
    return f"`{value}`" if value is not None else "none"
