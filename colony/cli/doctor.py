"""`colony doctor`."""

from __future__ import annotations

import sys

import click

from colony.cli import output as out
from colony.cli.session import Session, json_option, pass_session
from colony.exits import Exit

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
    if as_json:
        out.as_json([each._asdict() for each in found])
    else:
        for each in found:
            shape, colour = SHAPES[each.level]
            print(f"{out.paint(shape, colour, session.colour())} {each.name:<10} {each.text}")
            if each.fix:
                print(f"             {each.fix}")
    if fix:
        for each in found:
            if each.command and _agreed(each):
                machine.fix(each)
        found = machine.examine()
    if any(each.level == "problem" for each in found):
        sys.exit(Exit.FAILED)


def _agreed(finding: object) -> bool:
    command = " ".join(getattr(finding, "command", ()))
    if out.someone_watches() and sys.stdin.isatty():
        return click.confirm(f"run `{command}`?", err=True)
    out.message(f"running: {command}")
    return True
