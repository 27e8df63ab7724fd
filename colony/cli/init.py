"""`colony init`: writes a colony.toml for what is in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colony.cli import output as out
from colony.cli.session import Failed, Session, json_option, pass_session
from colony.config import values
from colony.exits import Exit

if TYPE_CHECKING:
    from colony.init import Found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--template", metavar="NAME", help="Write it over this template; see template ls.")
@click.option("--name", help="The colony's name; default: the folder's.")
@click.option("--force", is_flag=True, help="Overwrite a colony.toml that is there.")
@click.option("--dry-run", is_flag=True, help="Print it, and write nothing.")
@json_option
@pass_session
def init(
    session: Session,
    folder: Path | None,
    template: str | None,
    name: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a colony.toml for what is in FOLDER, default here, and say what was taken from where.

    Looks at package.json, pyproject.toml and the like, Procfile, docker-compose.yml and
    process-compose.yaml. Nothing of the folder is run.
    """
    from colony.init import AlreadyThere, Folder, detect, text, write

    where = session.here / (folder or "")
    if not where.is_dir():
        raise Failed(Exit.WRONG, f"there is no folder {where}")
    _check(template, name)
    found = detect(Folder(where))
    content = text(found, where.resolve().name, template=template, name=name or "")
    path = where / "colony.toml"
    if not dry_run:
        try:
            write(where, content, force=force)
        except AlreadyThere:
            raise Failed(
                Exit.CONFLICT, f"there is a {path} already", "overwrite it with --force"
            ) from None
        except OSError as error:
            raise Failed(
                Exit.REFUSED, f"{error.filename} cannot be written: {error.strerror}"
            ) from None
    if as_json:
        out.as_json(_as_data(None if dry_run else path, content, found, bool(template)))
        return
    if template is None:
        _say(found)
    print(content if dry_run else path)


def _as_data(path: Path | None, content: str, found: Found, templated: bool) -> dict[str, object]:
    services = () if templated else found.services
    return {
        "path": None if path is None else str(path),
        "text": content,
        "services": [
            {"name": each.name, "command": each.command, "port": each.port, "from": each.origin}
            for each in services
        ],
        "notes": list(found.notes),
    }


def _say(found: Found) -> None:
    """What was taken from where, and what was not."""
    for service in found.services:
        out.message(f"{service.name}  from {service.origin}")
    for line in found.environment:
        out.message(f"{line.field} = {line.value}  from {line.origin}")
    for note in found.notes:
        out.message(f"note: {note}")


def _check(template: str | None, name: str | None) -> None:
    from colony.templates import NoTemplate, default_library

    try:
        if name is not None:
            values.name(name)
        if template is not None:
            default_library().find(template)
    except values.Refused as refused:
        raise Failed(Exit.WRONG, f"--name {refused.message}", refused.help) from None
    except NoTemplate as missing:
        raise Failed(Exit.NOT_FOUND, str(missing), missing.help) from None
