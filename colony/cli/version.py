"""`colony version`."""

from __future__ import annotations

import click

from colony.cli.output import as_json as print_json
from colony.cli.session import json_option
from colony.version import VERSION


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": VERSION, "api": 1})
    else:
        print(f"colony {VERSION}")
