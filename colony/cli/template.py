"""Commands about templates: ls, show, new."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from colony import config as configuration
from colony.cli import output as out
from colony.cli.session import Failed, Group, Session, json_option, pass_session
from colony.config import values
from colony.exits import Exit

if TYPE_CHECKING:
    from colony.templates import Template

SKELETON = """\
# {name}: say here in one line what it is for.
[colony]
{parent}
# [colony.environment]
# node_version = "22"

# [services.web]
# command = "npm run dev"
# port = 3000
"""


@click.group(cls=Group)
def template() -> None:
    """List, show and make templates.

    A colony.toml with `template = "NAME"` in [colony] is written over that template: its own
    fields replace the template's, its own services are added.
    """


@template.command("ls")
@json_option
@pass_session
def ls(session: Session, as_json: bool) -> None:
    """List templates, yours and those of Colony itself.

    Yours are in ~/.colony/templates.
    """
    from colony.templates import default_library

    library = default_library()
    rows = []
    for each in library.all():
        try:
            said = each.description()
        except configuration.ConfigError as error:
            said = f"cannot be used: {error.problems[0].message}"
        path = None if each.built_in else str(each.path)
        rows.append({"name": each.name, "description": said, "path": path})
    if as_json:
        out.as_json(rows)
        return
    home = [out.home_relative(str(row["path"])) if row["path"] else "built in" for row in rows]
    lines = [
        (str(row["name"]), where, str(row["description"]))
        for row, where in zip(rows, home, strict=True)
    ]
    print("\n".join(out.table(("NAME", "WHERE", "DESCRIPTION"), lines)))


def _names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from colony.templates import default_library

    return [name for name in default_library().names() if name.startswith(incomplete)]


@template.command("show")
@click.argument("name", shell_complete=_names)
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """Print a template, and those that it is written over."""
    from colony.templates import NoTemplate, default_library

    try:
        chain = default_library().chain(name)
    except NoTemplate as missing:
        raise Failed(Exit.NOT_FOUND, str(missing), missing.help) from None
    except configuration.ConfigError as error:
        _refuse(session, error)
    if as_json:
        out.as_json([_as_data(each) for each in chain])
        return
    for number, each in enumerate(chain):
        if number:
            print(f"\n# -- over {each.name}: {out.home_relative(str(each.path))}\n")
        print(each.text(), end="")


def _as_data(template: Template) -> dict[str, object]:
    path = None if template.built_in else str(template.path)
    return {"name": template.name, "path": path, "text": template.text()}


def _refuse(session: Session, error: configuration.ConfigError) -> NoReturn:
    colour = session.colour(sys.stderr)
    click.echo(configuration.render(error.problems, color=colour), err=True, color=True)
    sys.exit(Exit.WRONG)


@template.command("new")
@click.argument("name")
@click.option("--template", "parent", metavar="NAME", help="The template that it is written over.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A colony.toml to copy; default: a commented skeleton.",
)
@pass_session
def new(session: Session, name: str, parent: str | None, source: Path | None) -> None:
    """Make a template of your own.

    It is ~/.colony/templates/NAME/colony.toml.
    """
    from colony.templates import NoTemplate, default_library

    library = default_library()
    try:
        values.name(name)
        if parent is not None:
            library.find(parent)
    except values.Refused as refused:
        raise Failed(Exit.WRONG, f"a template's name {refused.message}", refused.help) from None
    except NoTemplate as missing:
        raise Failed(Exit.NOT_FOUND, str(missing), missing.help) from None
    line = f'template = "{parent}"' if parent else '# template = "web-app"'
    text = source.read_text("utf-8") if source else SKELETON.format(name=name, parent=line)
    try:
        path = library.write(name, text)
    except FileExistsError as error:
        raise Failed(
            Exit.CONFLICT, f"there is a template {name} already: {error.filename}"
        ) from None
    except OSError as error:
        raise Failed(
            Exit.REFUSED, f"{error.filename} cannot be written: {error.strerror}"
        ) from None
    print(os.fspath(path))
    out.message(f'use it: [colony] with template = "{name}", or colony init --template {name}')
