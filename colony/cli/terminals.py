"""`colony terminals` and `colony capture`: the terminals that there are, and what one shows."""

from __future__ import annotations

from typing import Any

import click

from colony.cli import output as out
from colony.cli.attach import MAIN, checked, named
from colony.cli.session import (
    Session,
    colony_names,
    json_option,
    pass_session,
    terminal_names,
)
from colony.client import path_of


@click.command()
@click.argument("colony", required=False, shell_complete=colony_names)
@click.option("--end", metavar="TERMINAL", help="Hang this one up.")
@json_option
@pass_session
def terminals(session: Session, colony: str | None, end: str | None, as_json: bool) -> None:
    """List the terminals of a colony: sessions, and services with pty = true. Without COLONY and
    its file, of all."""
    if end is not None:
        name = checked(session, colony)
        done = session.client.delete(path_of("colonies", name, "terminals", end))
        out.as_json(done) if as_json else print(f"{name}/{end} is gone")
        return
    found: list[dict[str, Any]] = []
    for name in _meant(session, colony):
        found += session.client.get(path_of("colonies", name, "terminals"))
    if as_json:
        out.as_json(found)
        return
    for each in found:
        seen = f"{each['viewers']} attached" if each["viewers"] else "detached"
        size = f"{each['columns']}×{each['rows']}"
        title = f"  {printable(each['title'])}" if each["title"] else ""
        command = printable(" ".join(each["command"]))
        name = f"{each['colony']}/{each['name']}"
        process = f"pid {each['pid']}" if each["pid"] else "down"
        print(f"{name}  {process}  {size}  {seen}  {command}{title}")


def _meant(session: Session, colony: str | None) -> list[str]:
    if colony is not None or session.nearest() is not None:
        return [checked(session, colony)]
    return [each["name"] for each in session.colonies if each["state"] == "running"]


@click.command()
@click.argument(
    "target", required=False, metavar="[COLONY[/TERMINAL]]", shell_complete=terminal_names
)
@json_option
@pass_session
def capture(session: Session, target: str | None, as_json: bool) -> None:
    """Print what a terminal shows, as text."""
    name, _, terminal = named(session, target or "").partition("/")
    colony = checked(session, name or None)
    path = path_of("colonies", colony, "terminals", terminal or MAIN, "screen")
    screen = session.client.get(path)
    if as_json:
        out.as_json(screen)
    else:
        print("\n".join(screen["lines"]).rstrip("\n"))


def printable(text: str) -> str:
    """A text that a program chose, without what would act on the terminal that shows it."""
    return "".join(each if each.isprintable() else "?" for each in text)
