"""What must hold between the fields of a configuration, and between it and its folder.

Each check takes what has been read and reports on the sheet. Those named `with_…` also return
the services as they are after it.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from colony.config import values
from colony.config.positions import Path
from colony.config.problems import Place
from colony.config.schema import Colony, Network, Policy, Service, Supervision
from colony.config.sheet import Sheet, table_name


def default_name(sheet: Sheet, root: str) -> str:
    """The colony's name where the file gives none: its folder's, made valid, with a note."""
    folder = os.path.basename(root)
    name = values.valid_name(folder)
    given = sheet.positions.value(("colony", "name")) is not None
    if given:
        return name or "unnamed"
    if not name:
        sheet.report(
            "the colony has no name, and its folder's cannot be one",
            ("colony",),
            help='write [colony] with name = "my-app"',
        )
        return "unnamed"
    sheet.report(
        f"the colony has no name: it is called `{name}` after its folder",
        ("colony",),
        help=f'to keep that wherever the folder goes, write [colony] with name = "{name}"',
        severity="note",
    )
    return name


def ports_differ(sheet: Sheet, colony: Colony, services: dict[str, Service]) -> None:
    """No two services on one port, also not by the deprecated table."""
    first: dict[int, tuple[str, Path]] = {}
    wanted: list[tuple[int, str, Path]] = [
        (port, name, ("colony", "ports", name))
        for name, port in colony.ports.items()
        if name not in services
    ]
    for name, service in services.items():
        path = _port_path(sheet, name)
        if service.port is not None:
            wanted.append((service.port, name, path))
    for port, name, path in sorted(wanted, key=lambda entry: _place_in_file(sheet, entry[2])):
        if port not in first:
            first[port] = (name, path)
            continue
        other, other_path = first[port]
        sheet.report(
            f"services `{other}` and `{name}` cannot both have port {port}",
            path,
            help="give one of them another port: a colony's services share its localhost",
            related=sheet.places(other_path, f"`{other}` has it here"),
        )


def _port_path(sheet: Sheet, name: str) -> Path:
    path = ("services", name, "port")
    old: Path = ("colony", "ports", name)
    is_old = sheet.positions.value(path) is None and sheet.positions.value(old) is not None
    return old if is_old else path


def _place_in_file(sheet: Sheet, path: Path) -> tuple[int, int]:
    span = sheet.positions.nearest(path)
    return (0, 0) if span is None else (span.line, span.column)


def with_old_ports(
    sheet: Sheet, colony: Colony, services: dict[str, Service]
) -> dict[str, Service]:
    """`[colony.ports]` still works: it gives a port to the service of that name."""
    if sheet.positions.key(("colony", "ports")) is None:
        return services
    merged = dict(services)
    for name, port in colony.ports.items():
        service = services.get(name)
        if service is None:
            continue
        if service.port is None:
            merged[name] = msgspec.structs.replace(service, port=port)
        elif service.port != port:
            sheet.report(
                f"`{name}` has port {service.port}, and {port} in the deprecated [colony.ports]",
                ("services", name, "port"),
                help=f"remove `{name}` from [colony.ports]",
                related=sheet.places(("colony", "ports", name), "the other one"),
            )
    sheet.report(
        "[colony.ports] is deprecated: a port belongs to its service",
        ("colony", "ports"),
        place=_table_place(sheet, ("colony", "ports")),
        help=_migrated(colony, services),
        severity="warning",
    )
    return merged


def _migrated(colony: Colony, services: dict[str, Service]) -> str:
    """The block that does the same as `[colony.ports]` without it."""
    if not colony.ports:
        return "remove it"
    lines = ["write instead:"]
    for name, port in colony.ports.items():
        if name in services and services[name].port is not None:
            continue
        lines.append(f"[services.{name}]")
        lines.append('command = "…"' if name not in services else "# as before, and")
        lines.append(f"port = {port}")
    return "\n".join(lines) if len(lines) > 1 else "remove it: each service has its port already"


def _table_place(sheet: Sheet, path: Path) -> Place | None:
    """A table's header, or its key where it is written inline or dotted."""
    header = sheet.positions.value(path)
    if header is not None and sheet.positions.at(header).startswith("["):
        return sheet.place(header)
    return sheet.key(path)


def one_strategy(sheet: Sheet, colony: Colony, supervision: Supervision) -> Supervision:
    """`[colony] restart_strategy` and `[supervision] strategy` are one setting."""
    documented = colony.restart_strategy
    if documented is None:
        return supervision
    path = ("supervision", "strategy")
    if sheet.positions.value(path) is None:
        return msgspec.structs.replace(supervision, strategy=documented)
    if documented != supervision.strategy:
        sheet.report(
            f"`strategy` is {supervision.strategy}, and `restart_strategy` in [colony], which "
            f"means the same, is {documented}",
            path,
            help="remove one of them",
            related=sheet.places(("colony", "restart_strategy"), "the other one"),
        )
    return supervision


def with_directories(sheet: Sheet, services: dict[str, Service], root: str) -> dict[str, Service]:
    """Every `cwd` absolute, inside the workspace (symbolic links followed) and a folder."""
    return {
        name: msgspec.structs.replace(service, cwd=_directory(sheet, service, root))
        for name, service in services.items()
    }


def _directory(sheet: Sheet, service: Service, root: str) -> str:
    if not service.cwd:
        return root
    path = ("services", service.name, "cwd")
    named = f"`cwd` in {table_name(path[:-1])}"
    shown = values.quoted(service.cwd)
    try:
        target = os.path.realpath(os.path.join(root, service.cwd))
        exists, is_folder = os.path.lexists(target), os.path.isdir(target)
    except (OSError, ValueError) as error:
        sheet.report(f"{named} cannot be used: {error}", path)
        return root
    if target != root and not target.startswith(root.rstrip("/") + "/"):
        home = " (`~` is not expanded)" if service.cwd.startswith("~") else ""
        sheet.report(
            f"{named} leads out of the colony's folder: {shown} is {target}{home}",
            path,
            help=f"stay inside {root}",
        )
    elif exists and not is_folder:
        sheet.report(f"{named} must be a folder: {shown} is a file", path)
    elif not exists and os.path.isdir(root):
        sheet.report(f"{named} does not exist: {shown} in {root}", path)
    return target


def network_makes_sense(sheet: Sheet, colony: Colony, network: Network) -> None:
    """`share` and `mode` belong together; and what a mode leaves no room for is not asked for."""
    if (network.mode == "share") != (network.share is not None):
        key = "mode" if network.mode == "share" else "share"
        sheet.report(
            "[network] has `mode` share and no colony to share with"
            if network.mode == "share"
            else f"`share` in [network] needs `mode` share: it is {network.mode}",
            ("network", key),
            help='write both, as in mode = "share" and share = "db"',
        )
    if network.share == colony.name:
        sheet.report("a colony cannot share its own network", ("network", "share"))
    wild = [each for each in network.policy.egress.allow or () if each.startswith("*.")]
    if wild and network.egress != "proxy":
        sheet.report(
            f"`allow` in [network.policy.egress] has {wild[0]}, and egress is {network.egress}: "
            "names that nobody can list cannot be looked up",
            ("network", "policy", "egress", "allow"),
            help='set egress = "proxy" in [network], or write the names themselves',
        )
    if network.mode == "bridge":
        return
    kept: dict[str, object] = {
        "ip": network.ip,
        "network": network.network,
        "hostname": network.hostname,
    }
    kept |= {"policy": network.policy if network.policy != Policy() else None}
    for key, value in kept.items():
        if value is not None:
            sheet.report(
                f"`{key}` in [network] is only for mode bridge: the colony has mode {network.mode}",
                ("network", key),
                help="remove one of the two",
            )


def something_to_run(sheet: Sheet, document: dict[str, Any]) -> None:
    """A file from which nothing would start is a mistake, most likely in its folder or name."""
    if document.get("services") or "terminal" in document:
        return
    colony = document.get("colony")
    if isinstance(colony, dict) and {"ports", "template"} & set(colony):
        return
    if any(problem.severity == "error" for problem in sheet.problems):
        return  # `[service.web]` is one mistake, not two
    sheet.report(
        "the file describes no service",
        ("services",),
        help='write one:\n[services.web]\ncommand = "python3 -m http.server 4001"\nport = 4001',
    )
