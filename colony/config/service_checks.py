"""What must hold of services beyond the single field: whom they wait for, how they are asked.

As in `checks`: each takes what has been read and reports on the sheet.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from colony.config import values
from colony.config.order import cycle
from colony.config.schema import Health, Ready, Service
from colony.config.sheet import Sheet, table_name

WAYS: Final = {Ready: ("tcp", "http", "exec", "log", "notify", "none")} | {
    Health: ("tcp", "http", "exec", "notify")
}
"""The fields of which one says how a service is asked."""


def dependencies_hold(sheet: Sheet, services: dict[str, Service]) -> None:
    """Every `after` names services that there are, in no cycle, in conditions that can come."""
    for name, service in services.items():
        for other, condition in service.after.items():
            _dependency(sheet, name, other, condition, services)
    found = cycle({name: service.after for name, service in services.items()})
    if found and len(found) > 2:
        first = found[0]
        sheet.report(
            f"these services wait for each other, so that none can start: {' → '.join(found)} "
            "(each is after the next)",
            ("services", first, "after"),
            help="remove one of these",
            related=[
                place
                for name in found[1:-1]
                for place in sheet.places(("services", name, "after"), f"`{name}` waits here")
            ],
        )


def _dependency(
    sheet: Sheet, name: str, other: str, condition: str, services: dict[str, Service]
) -> None:
    path = ("services", name, "after")
    if other == name:
        sheet.report(f"service `{name}` cannot be after itself", path)
    elif other not in services:
        known = [each for each in services if each != name]
        sheet.report(
            f"`after` in {table_name(path[:-1])} names no service of the file: "
            f"{values.quoted(other)}",
            path,
            help=values.meant(other, known) or f"there are {', '.join(known) or 'no others'}",
        )
    elif condition == "completed" and services[other].restart == "permanent":
        sheet.report(
            f"`{name}` waits until `{other}` has completed, which it never will: it is restarted "
            "whenever it ends",
            path,
            help=f'write restart = "transient" in {table_name(("services", other))}',
        )


def probes_make_sense(sheet: Sheet, services: dict[str, Service]) -> None:
    """`ready` and `health` ask in one way each, and of a port that there is."""
    for name, service in services.items():
        for field in ("ready", "health"):
            rule = getattr(service, field)
            if rule is not None:
                _probe(sheet, name, service, field, rule)


def _probe(sheet: Sheet, name: str, service: Service, field: str, rule: Ready | Health) -> None:
    path = ("services", name, field)
    written = sheet.positions.value(path) is not None or sheet.positions.key(path) is not None
    ways = [way for way in WAYS[type(rule)] if getattr(rule, way) not in (None, False)]
    if len(ways) > 1:
        sheet.report(
            f"{table_name(path)} asks in {len(ways)} ways, and one is allowed: {', '.join(ways)}",
            path,
            help="remove all but one",
        )
    if isinstance(rule, Health) and not ways and service.port is None and written:
        sheet.report(f"{table_name(path)} does not say how to ask: {', '.join(WAYS[Health])}", path)
    own_port = (rule.tcp is True or (rule.http is not None and rule.port is None)) and not (
        service.port
    )
    if own_port:
        sheet.report(
            f"{table_name(path)} asks a port, and service `{name}` has none",
            path,
            help=f"write port = … in {table_name(path[:-1])}",
        )


def exits_can_come(sheet: Sheet, services: dict[str, Service]) -> None:
    """A service that ends the colony must be one that can end."""
    for name, service in services.items():
        if service.exit_colony and service.restart == "permanent":
            sheet.report(
                f"service `{name}` has exit_colony, and restart permanent, with which it is "
                "restarted whenever it ends",
                ("services", name, "exit_colony"),
                help='write restart = "transient" or "temporary" beside it',
            )


def terminals_have_names(sheet: Sheet, services: dict[str, Service]) -> None:
    """A service's terminal is named as the service, and sessions have names of their own."""
    for name, service in services.items():
        if service.pty and (name == "terminal" or name.isdigit()):
            sheet.report(
                f"service `{name}` cannot have a terminal: a terminal called {name} is a session",
                ("services", name, "pty"),
                help="give the service another name, or remove pty",
            )


def backoffs_grow(sheet: Sheet, services: dict[str, Service]) -> None:
    """The longest delay is not shorter than the first."""
    for name, service in services.items():
        rule = service.backoff
        if rule.max < rule.min:
            sheet.report(
                f"`max` in {table_name(('services', name, 'backoff'))} must not be less than "
                f"`min`: {rule.max:g} s < {rule.min:g} s",
                ("services", name, "backoff", "max"),
            )


def with_env_files(sheet: Sheet, services: dict[str, Service], root: str) -> dict[str, Service]:
    """Every `env_file` absolute, inside the workspace, and there."""
    return {
        name: msgspec.structs.replace(
            service,
            env_file=tuple(_env_file(sheet, name, file, root) for file in service.env_file),
        )
        if service.env_file
        else service
        for name, service in services.items()
    }


def _env_file(sheet: Sheet, name: str, file: str, root: str) -> str:
    path = ("services", name, "env_file")
    named = f"`env_file` in {table_name(path[:-1])}"
    try:
        target = os.path.realpath(os.path.join(root, file))
        exists = os.path.isfile(target)
    except (OSError, ValueError) as error:
        sheet.report(f"{named} cannot be used: {error}", path)
        return file
    if target != root and not target.startswith(root.rstrip("/") + "/"):
        sheet.report(
            f"{named} leads out of the colony's folder: {values.quoted(file)} is {target}",
            path,
            help=f"stay inside {root}",
        )
    elif not exists and os.path.isdir(root):
        sheet.report(f"{named} {_why_no_file(target)}: {values.quoted(file)} in {root}", path)
    return target


def _why_no_file(target: str) -> str:
    """Why a path does not lead to a regular file. Pipes and devices do not end, or only once."""
    if os.path.isdir(target):
        return "must be a file, and is a folder"
    if os.path.islink(target):  # `realpath` leads through all that lead somewhere
        return "is a link in a circle"
    return "must be a plain file" if os.path.exists(target) else "does not exist"
