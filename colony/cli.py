"""The command line. Exit statuses:

    0    done
    1    a service or a colony failed
    2    wrong usage, or a colony.toml that is wrong
    130  ended by Ctrl-C
    143  ended by SIGTERM

Commands import what they need themselves, so that `colony --version` does not wait for what only
`colony run` uses.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from colony import config as configuration

WRONG: Final = 2
FILE: Final = "colony.toml"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_version("colony"), prog_name="colony")
@click.option("--debug", is_flag=True, help="Show tracebacks of Colony's own errors.")
@click.pass_context
def colony(context: click.Context, debug: bool) -> None:
    """Isolated development environments, supervised as Erlang/OTP supervises processes.

    Exit status: 0 done, 1 a service or colony failed, 2 wrong usage or wrong colony.toml,
    130 ended by Ctrl-C, 143 ended by SIGTERM.
    """
    context.obj = {"debug": debug}


@colony.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "--network",
    type=click.Choice(["auto", "namespace", "host"]),
    default="auto",
    help="A network namespace for each colony, or the host's network. Default: auto.",
)
@click.option(
    "--proxy",
    type=click.Choice(["auto", "caddy", "embedded"]),
    default="auto",
    help="The front door. Default: auto, which is Caddy where it is installed.",
)
@click.option(
    "--dns",
    type=click.Choice(["auto", "dnsmasq", "embedded", "none"]),
    default="auto",
    help="The name server for *.colony.local. Default: auto.",
)
@click.option("--caddy", metavar="URL", help="Use the Caddy that runs at this admin address.")
@click.option(
    "--caddy-admin", metavar="ADDR", help="Open our own Caddy's admin API here: localhost:2019."
)
@click.option("--http-port", type=click.IntRange(1, 65535), help="Where to serve HTTP, alone.")
def run(files: tuple[Path, ...], **wishes: Any) -> None:
    """Run the colonies of FILE..., in the foreground.

    FILE is a colony.toml; default: the nearest one, from here upward. Ctrl-C stops them and
    leaves nothing behind; a second one kills.
    """
    configs = [_load(file) for file in files or (_nearest(),)]
    _refuse_twins(configs)
    from colony.host import Options
    from colony.modes import Wishes
    from colony.run import run as run_in_foreground

    port = wishes["http_port"]
    options = Options(
        wishes=Wishes(wishes["network"], wishes["proxy"], wishes["dns"]),
        caddy=wishes["caddy"],
        caddy_admin=wishes["caddy_admin"],
        http_ports=None if port is None else (port,),
    )
    sys.exit(run_in_foreground(configs, options, colour=_colour(sys.stdout)))


@colony.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Problems as one JSON document on stdout.")
def validate(file: Path | None, as_json: bool) -> None:
    """Check FILE and show every problem at once.

    FILE is a colony.toml; default: the nearest one, from here upward.
    """
    path = file or _nearest()
    if as_json:
        _validate_json(path)
        return
    loaded = _load(path)
    count = len(loaded.services)
    services = f"{count} service{'s' if count != 1 else ''}"
    click.echo(f"{path}: colony {loaded.name}, {services}: valid")


def _validate_json(path: Path) -> None:
    import json

    problems: tuple[configuration.Problem, ...]
    try:
        problems, status = configuration.load(path).warnings, 0
    except configuration.ConfigError as error:
        problems, status = error.problems, WRONG
    valid = status == 0
    click.echo(json.dumps({"valid": valid, "problems": configuration.as_data(problems)}))
    sys.exit(status)


def _load(path: Path) -> configuration.Config:
    """The file, with its warnings shown; ends the program with all of its problems."""
    colour = _colour(sys.stderr)
    try:
        loaded = configuration.load(path)
    except configuration.ConfigError as error:
        click.echo(configuration.render(error.problems, color=colour), err=True, color=True)
        sys.exit(WRONG)
    if loaded.warnings:
        click.echo(configuration.render(loaded.warnings, color=colour), err=True, color=True)
    return loaded


def _nearest() -> Path:
    """The colony.toml of this directory, or of the nearest one above that has one."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / FILE).is_file():
            return Path(os.path.relpath(directory / FILE))
    return _usage(f"there is no {FILE} in {here} or above it; name one: colony run FILE")


def _refuse_twins(configs: list[configuration.Config]) -> None:
    paths: dict[str, str] = {}
    for config in configs:
        other = paths.setdefault(config.name, config.path)
        if other != config.path or configs.count(config) > 1:
            _usage(
                f"two colonies have the name {config.name!r}: {other} and {config.path}; "
                "give one of them another [colony] name"
            )


def _usage(text: str) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(WRONG)


def _colour(stream: Any) -> bool:
    """Whether to colour what goes to a stream (no-color.org; FORCE_COLOR wins)."""
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(stream.isatty())
