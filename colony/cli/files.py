"""Commands about files: validate, schema. And how a colony.toml is read for all others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from colony import config as configuration
from colony.cli import output as out
from colony.cli.session import Failed, Session, json_option, pass_session
from colony.config.schema import Environment
from colony.exits import Exit
from colony.paths import home_directory


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--fix", is_flag=True, help="Rewrite what is deprecated; comments stay.")
@json_option
@pass_session
def validate(session: Session, file: Path | None, fix: bool, as_json: bool) -> None:
    """Check FILE and show every problem at once, also runtimes that are not to be had here.

    FILE is a colony.toml; default: the nearest one, from here upward.
    """
    path = file or session.needed_file()
    if fix:
        _fix(session, path)
    if as_json:
        _validate_json(path)
        return
    loaded = load(session, path)
    problems = _missing_runtimes(loaded, path)
    if problems:
        text = configuration.render(problems, color=session.colour(sys.stderr))
        click.echo(text, err=True, color=True)
        sys.exit(Exit.WRONG)
    count = len(loaded.services)
    services = f"{count} service{'s' if count != 1 else ''}"
    click.echo(f"{path}: colony {loaded.name}, {services}: valid")


def _fix(session: Session, path: Path) -> None:
    """Rewrites the file if there is something to fix in it, and says what was done."""
    from colony.config.fix import fix
    from colony.files import replace_text

    load(session, path, warn=False)
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    fixed = fix(text, str(path))
    if fixed.text != text:
        replace_text(path, fixed.text)
    for line in fixed.done:
        out.message(f"{path}: moved {line}")
    for line in fixed.left:
        out.message(f"{path}: left {line}")


def _validate_json(path: Path) -> None:
    problems: tuple[configuration.Problem, ...]
    try:
        loaded = configuration.load(path)
        missing = _missing_runtimes(loaded, path)
        problems = (*loaded.warnings, *missing)
        status = Exit.WRONG if missing else Exit.OK
    except configuration.ConfigError as error:
        problems, status = error.problems, Exit.WRONG
    out.as_json({"valid": status == Exit.OK, "problems": configuration.as_data(problems)})
    sys.exit(status)


def _missing_runtimes(
    loaded: configuration.Config, path: Path
) -> tuple[configuration.Problem, ...]:
    if loaded.colony.environment == Environment():
        return ()
    import anyio

    from colony.provision.availability import missing_runtimes

    home, text = home_directory().absolute(), path.read_text("utf-8")
    return anyio.run(missing_runtimes, loaded, text, str(path), home, os.environ)


def load(session: Session, path: Path, *, warn: bool = True) -> configuration.Config:
    """The file, with its warnings shown; ends the program with all of its problems."""
    colour = session.colour(sys.stderr)
    try:
        loaded = configuration.load(path)
    except configuration.ConfigError as error:
        if session.json:
            raise _wrong(error) from None
        click.echo(configuration.render(error.problems, color=colour), err=True, color=True)
        sys.exit(Exit.WRONG)
    if loaded.warnings and warn:
        click.echo(configuration.render(loaded.warnings, color=colour), err=True, color=True)
    return loaded


def _wrong(error: configuration.ConfigError) -> Failed:
    """All the file's problems, as `validate --json` has them."""
    first, *others = error.problems
    more = f" (and {len(others)} more)" if others else ""
    data = {"problems": configuration.as_data(error.problems)}
    return Failed(Exit.WRONG, f"{first.message}{more}", first.help, data=data)


@click.command()
@click.option("--openapi", is_flag=True, help="The API's OpenAPI document instead.")
def schema(openapi: bool) -> None:
    """Print the JSON Schema of colony.toml, or with --openapi the API's document."""
    if openapi:
        from colony.api.openapi import document

        out.as_json(document())
        return
    from colony.schema import as_text

    click.echo(as_text(), nl=False)
