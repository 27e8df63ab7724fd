"""`colony doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from colony.cli import output as out
from colony.cli.session import Session, json_option, pass_session
from colony.exits import Exit

if TYPE_CHECKING:
    from colony.doctor import Finding

SHAPES = {"ok": ("✓", 32), "note": ("·", 34), "problem": ("✗", 31)}


@click.command()
@click.option("--fix", is_flag=True, help="Do what can be done; asks first on a terminal.")
@json_option
@pass_session
def doctor(session: Session, fix: bool, as_json: bool) -> None:
    """Check this machine: what Colony finds, what it lacks, and how to get that.

    Exit status 1 if there is a problem; a note is none.
    """
    from colony import doctor as machine

    found = machine.examine()
    if not as_json:
        _show(session, found)
    if fix and _fix(found):
        found = machine.examine()
        if not as_json:
            print()
            _show(session, found)
    if as_json:
        out.as_json([each._asdict() for each in found])
    if any(each.level == "problem" for each in found):
        sys.exit(Exit.FAILED)


def _show(session: Session, found: list[Finding]) -> None:
    for each in found:
        shape, colour = SHAPES[each.level]
        print(f"{out.paint(shape, colour, session.colour())} {each.name:<10} {each.text}")
        if each.fix:
            print(f"             {each.fix}")
    sys.stdout.flush()


def _fix(found: list[Finding]) -> bool:
    """Repairs what can be, if that is agreed to; whether there was anything."""
    from colony import doctor as machine

    tried = False
    for each in found:
        remedy = machine.remedy(each)
        if remedy and _agreed(remedy):
            tried = True
            if not machine.fix(each):
                out.message(f"{each.name}: that did not work")
    return tried


def _agreed(remedy: str) -> bool:
    if out.someone_watches() and sys.stdin.isatty():
        return click.confirm(f"{remedy}?", err=True)
    out.message(remedy)
    return True
