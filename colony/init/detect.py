"""Which source's services are taken: one that lists processes comes before one that guesses them.

The law: all sources are asked, so that whatever was seen is said; the services are those of the
first source that has any, the environment is everybody's, the first word on a runtime counting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from colony.init.found import Folder, Found, FoundService, Wanted
from colony.init.node import node
from colony.init.processes import compose, process_compose, procfile
from colony.init.python import python

SOURCES: Final[tuple[tuple[str, Callable[[Folder], Found]], ...]] = (
    ("process-compose", process_compose),
    ("Procfile", procfile),
    ("docker-compose", compose),
    ("package.json", node),
    ("Python", python),
)
GUESSED: Final = ("package.json", "Python")
"""Two that together are one application: its frontend and its backend."""


def detect(folder: Folder) -> Found:
    """What is in a folder. Reads from the disk."""
    every = [(name, source(folder)) for name, source in SOURCES]
    taken = next((name for name, found in every if found.services), "")
    services: dict[str, FoundService] = {}
    notes: list[str] = []
    wanted: dict[str, Wanted] = {}
    for name, found in every:
        for line in found.environment:
            wanted.setdefault(line.field, line)
        if name == taken or (name in GUESSED and taken in GUESSED):
            for service in found.services:
                services.setdefault(service.name, service)
            notes += found.notes
        elif found.services and taken:
            notes += [
                f"{service.origin}: not taken, {taken} has services" for service in found.services
            ]
    # A file that is there and says nothing is worth a word only if no other does.
    if not services:
        notes = [note for _, found in every for note in found.notes]
    distinct, said = _distinct_ports(services)
    return Found(
        services=distinct,
        environment=tuple(wanted.values()),
        notes=(*folder.notes, *notes, *said),
    )


def _distinct_ports(
    services: dict[str, FoundService],
) -> tuple[tuple[FoundService, ...], list[str]]:
    """The services, no two on one port: the later one is left to the user."""
    owner: dict[int, str] = {}
    found, notes = [], []
    for service in services.values():
        if (
            service.port is not None
            and owner.setdefault(service.port, service.name) != service.name
        ):
            notes.append(
                f"{service.name}: no port taken, for {owner[service.port]} has {service.port}"
            )
            service = msgspec.structs.replace(service, port=None, port_from="", ready="")
        found.append(service)
    return tuple(found), notes
