"""Commands on the network: `net` with all that it has, and focus."""

from __future__ import annotations

import sys
from typing import Any

import click

from colony.cli import output as out
from colony.cli.session import (
    Failed,
    Group,
    Session,
    colony_names,
    json_option,
    network_names,
    pass_session,
)
from colony.client import path_of
from colony.exits import Exit

_NONE = ["no colonies run, and no network was created"]

colony_argument = click.argument("name", metavar="COLONY", shell_complete=colony_names)


@click.group(cls=Group)
def net() -> None:
    """Networks, ports of the host, and who reaches whom."""


@net.command("list")
@json_option
@pass_session
def list_networks(session: Session, as_json: bool) -> None:
    """List networks, created ones and those that colonies name."""
    found = session.client.get("/api/networks")
    if as_json:
        out.as_json(found)
        return
    rows = [
        (
            each["name"] or "-",
            each["subnet"] or "-",
            str(len(each["members"])),
            " ".join(member["colony"] for member in each["members"]),
        )
        for each in found
    ]
    _show(out.table(("NETWORK", "SUBNET", "MEMBERS", "COLONIES"), rows) if rows else _NONE)


@net.command()
@click.argument("network")
@click.option("--subnet", metavar="NETWORK/BITS", help="As 10.210.0.0/24. Default: a free /24.")
@json_option
@pass_session
def create(session: Session, network: str, subnet: str | None, as_json: bool) -> None:
    """Create a network with a subnet of its own.

    Colonies are in it that name it in [network].
    """
    found = session.client.post("/api/networks", {"name": network, "subnet": subnet})
    if as_json:
        out.as_json(found)
    else:
        print(f"network {found['name']} has {found['subnet']}")


@net.command()
@click.argument("network", shell_complete=network_names)
@pass_session
def remove(session: Session, network: str) -> None:
    """Remove a network that no colony uses."""
    session.client.delete(path_of("networks", network))


@net.command()
@click.argument("network", shell_complete=network_names)
@json_option
@pass_session
def inspect(session: Session, network: str, as_json: bool) -> None:
    """Show the members of a network, and whom they reach."""
    found = session.client.get(path_of("networks", network))
    if as_json:
        out.as_json(found)
        return
    rows = [
        (
            each["colony"],
            each["address"],
            " ".join(each["ports"]) or "-",
            " ".join(each["reaches"]) or "-",
        )
        for each in found["members"]
    ]
    if found["subnet"]:
        print(f"subnet {found['subnet']}")
    _show(out.table(("COLONY", "ADDRESS", "PORTS", "REACHES"), rows) if rows else ["no members"])


@net.command()
@json_option
@pass_session
def ports(session: Session, as_json: bool) -> None:
    """Show which ports lead where, and what listens."""
    found = session.client.get("/api/network/ports")
    if as_json:
        out.as_json(found)
        return
    _show(_ports_table(found))


def _ports_table(found: dict[str, Any]) -> list[str]:
    rows = [
        (
            each["colony"],
            each["service"] or "-",
            f"{_joined(each['addresses'])}:{each['host_port']}",
            str(each["port"]),
            each["protocol"],
            each["origin"],
        )
        for each in found["forwards"]
    ]
    forwarded = {(each["colony"], each["port"], each["protocol"]) for each in found["forwards"]}
    rows += [
        (each["colony"], each["service"] or "-", "-", str(each["port"]), each["protocol"], "open")
        for each in found["listening"]
        if (each["colony"], each["port"], each["protocol"]) not in forwarded
    ]
    if not rows:
        return ["no port of the host leads to a colony, and nothing listens in one"]
    return out.table(("COLONY", "SERVICE", "HOST", "PORT", "PROTO", "BY"), rows)


def _joined(addresses: list[str]) -> str:
    if set(addresses) == {"127.0.0.1", "::1"}:
        return "localhost"
    return ",".join(f"[{each}]" if ":" in each else each for each in addresses)


@net.command()
@json_option
@pass_session
def rules(session: Session, as_json: bool) -> None:
    """Show what may pass from where to where.

    From colony to colony, and out for those with an allow list.
    """
    found = session.client.get("/api/network/rules")
    if as_json:
        out.as_json(found)
        return
    _show(
        [
            *([f"nft table {found['table']}"] if found["table"] else ["no namespaces, no rules"]),
            *(f"peer     {each}" for each in found["peers"]),
            *(f"outward  {each}" for each in found["outward"]),
        ]
    )


@net.command()
@json_option
@pass_session
def routes(session: Session, as_json: bool) -> None:
    """Show which names the front door knows, and where they lead."""
    found = session.client.get("/api/routes")
    if as_json:
        out.as_json(found)
        return
    rows = [
        (
            each["url"],
            each["colony"],
            each["service"],
            each["upstream"],
            out.state(each["state"], session.colour()) if each["state"] else "open",
        )
        for each in found
    ]
    none = ["the front door leads nowhere: no service with a port runs"]
    _show(out.table(("URL", "COLONY", "SERVICE", "LEADS TO", "STATE"), rows) if rows else none)


@net.command()
@json_option
@pass_session
def dns(session: Session, as_json: bool) -> None:
    """Show the name server, and who knows whom by which name."""
    found = session.client.get("/api/network/names")
    if as_json:
        out.as_json(found)
        return
    at = f" at {found['address']}:{found['port']} (UDP)" if found["port"] else ""
    remedy = "no: scripts/setup-dns.sh makes it ask (.colony.localhost needs nothing)"
    _show(
        [
            f"server    {found['server']}{at}",
            f"answers   {', '.join(f'*.{each}' for each in found['suffixes'])}",
            f"resolver  {'this machine asks it' if found['asked'] else remedy}",
        ]
    )
    rows = [
        (each["name"], each["address"], each["colony"], " ".join(each["known_to"]) or "-")
        for each in found["names"]
        if not each["name"].endswith(".colony.local")
    ]
    if rows:
        _show(["", *out.table(("NAME", "ADDRESS", "COLONY", "KNOWN TO"), rows)])
        _show(["", "each name also with .colony.local; a colony itself knows its own as 127.0.0.1"])


@net.command()
@click.argument("source", shell_complete=colony_names)
@click.argument("target", shell_complete=colony_names)
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="Default: its first service's.")
@json_option
@pass_session
def ping(session: Session, source: str, target: str, port: int | None, as_json: bool) -> None:
    """Try to reach one colony from inside another.

    Exit status 0 if it is reached, else 1.
    """
    body = {"source": source, "target": target, "port": port}
    found = session.client.post("/api/network/ping", body)
    if as_json:
        out.as_json(found)
    elif found["ok"]:
        listens = "" if found["listens"] else ", nothing listens"
        where = f"{target} ({found['address']}:{found['port']})"
        print(f"{source} → {where}: ok ({found['ms']:g} ms{listens})")
    if not found["ok"]:
        raise Failed(Exit.FAILED, f"{source} does not reach {target}: {found['why']}")


@net.command()
@colony_argument
@click.argument("ports", metavar="[ADDRESS:]HOST_PORT:PORT[/udp]")
@json_option
@pass_session
def forward(session: Session, name: str, ports: str, as_json: bool) -> None:
    """Lead a port of the host into a colony.

    Until it ends, or `colony net unforward`.
    """
    found = session.client.post(path_of("colonies", name, "forwards"), {"ports": ports})
    if as_json:
        out.as_json(found)
    else:
        where = f"{_joined(found['addresses'])}:{found['host_port']}"
        print(f"{where} leads to port {found['port']}/{found['protocol']} of {name}")


@net.command()
@colony_argument
@click.argument("port", metavar="HOST_PORT[/udp]")
@pass_session
def unforward(session: Session, name: str, port: str) -> None:
    """Take a forward back."""
    number, _, protocol = port.partition("/")
    path = path_of("colonies", name, "forwards", number)
    session.client.delete(path, {"protocol": protocol or "tcp"})


@click.command()
@click.argument("name", metavar="[COLONY]", required=False, shell_complete=colony_names)
@click.option("--off", is_flag=True, help="Give the plain ports to nobody.")
@json_option
@pass_session
def focus(session: Session, name: str | None, off: bool, as_json: bool) -> None:
    """Give the plain localhost:PORT of its services to one colony at a time.

    What others have is said; if that is every port, the exit status is 1.
    """
    wanted = "" if off else session.colony(name)
    found = session.client.post("/api/network/focus", {"colony": wanted})
    if as_json:
        out.as_json(found)
    else:
        for port in found["ports"]:
            print(f"http://localhost:{port}/ is {wanted}'s")
        for why in found["missed"]:
            click.echo(why, err=True)
    if found["missed"] and not found["ports"]:
        sys.exit(Exit.FAILED)


def _show(lines: list[str]) -> None:
    for line in lines:
        print(line)
