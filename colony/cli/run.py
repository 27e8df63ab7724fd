"""`colony run`: joins the instance that runs, or is one."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from colony.cli.session import Failed, Session, pass_session
from colony.client import Address, Client
from colony.exits import Exit
from colony.paths import socket_path

if TYPE_CHECKING:
    from colony.config import Config
    from colony.host import Options


DEFER_API: Final = 1.0
"""Seconds that the API of a `colony run` waits for its first service to get ready, at most."""


def instance_options(command: Any) -> Any:
    """The options of a command that makes an instance."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--network",
        type=click.Choice(["auto", "namespace", "rootless", "host"]),
        default="auto",
        help="A network for each colony, made as root or without, or the host's. Default: auto.",
    ),
    click.option(
        "--proxy",
        type=click.Choice(["auto", "caddy", "embedded"]),
        default="auto",
        help="The front door. Default: auto, which is Caddy where it is installed.",
    ),
    click.option(
        "--dns",
        type=click.Choice(["auto", "dnsmasq", "embedded", "none"]),
        default="auto",
        help="The name server for *.colony.local. Default: auto.",
    ),
    click.option("--caddy", metavar="URL", help="Use the Caddy that runs at this admin address."),
    click.option(
        "--caddy-admin", metavar="ADDR", help="Open our own Caddy's admin API here: localhost:2019."
    ),
    click.option(
        "--caddy-routes",
        type=click.Choice(["auto", "static", "dynamic"]),
        default="auto",
        help="One route for each service, or one that is looked up, so that nothing is reloaded. "
        "Default: auto, which is dynamic before Caddy 2.7, unless --caddy-admin is given.",
    ),
    click.option("--http-port", type=click.IntRange(1, 65535), help="Where to serve HTTP, alone."),
    click.option(
        "--listen",
        metavar="[HOST:]PORT",
        is_flag=False,
        flag_value="8000",
        help="Serve the API over TCP, too, for those with the token. Default: 127.0.0.1:8000.",
    ),
)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@instance_options
@click.option(
    "--separate", is_flag=True, help="Be an instance of its own, also where one runs already."
)
@click.option(
    "--keep", is_flag=True, help="Should providing what it needs fail, leave what was made."
)
@click.option(
    "--attach", is_flag=True, help="Once it is ready, attach to its terminal, until that is left."
)
@pass_session
def run(
    session: Session,
    files: tuple[Path, ...],
    separate: bool,
    keep: bool,
    attach: bool,
    **wishes: Any,
) -> None:
    """Run the colonies of FILE..., in the foreground.

    FILE is a colony.toml; default: the nearest one, from here upward. Where an instance runs
    already, the colonies join it, unless one of the options above asks for something of its own.
    Ctrl-C stops them and leaves nothing behind; a second one kills.

    With --attach its lines wait while you are in the terminal of [terminal]; when you leave that by
    Ctrl-] d, or its program ends, they come back, and Ctrl-C stops the colony as ever.
    """
    from colony.cli.files import load

    if attach:
        _refuse_to_attach(files)
    configs = [load(session, file) for file in files or (session.needed_file(),)]
    _refuse_twins(configs)
    if not separate and not _asks_for_its_own(wishes) and _instance_answers():
        from colony.join import join

        go = partial(join, Client(Address(socket_path())), configs)
    else:
        from colony.entering import enter

        enter(wishes["network"])
        from colony.run import run as run_in_foreground

        go = partial(run_in_foreground, configs, options_of(wishes))
    sys.exit(go(colour=session.colour(), keep=keep, attach=attach, debug=session.debug))


def options_of(wishes: dict[str, Any], *, daemon: bool = False) -> Options:
    """The instance that the options ask for."""
    from colony.host import Options
    from colony.modes import Wishes

    port = wishes["http_port"]
    return Options(
        wishes=Wishes(wishes["network"], wishes["proxy"], wishes["dns"]),
        caddy=wishes["caddy"],
        caddy_admin=wishes["caddy_admin"],
        caddy_routes=wishes["caddy_routes"],
        http_ports=None if port is None else (port,),
        serve=True,
        listen=None if wishes["listen"] is None else listen_at(wishes["listen"]),
        daemon=daemon,
        defer_api=0.0 if daemon else DEFER_API,
    )


def listen_at(address: str) -> Any:
    """`8000`, `127.0.0.1:8000`, `[::1]:8000` → where to serve the API, with its token."""
    from colony.api.owner import Listen
    from colony.api.tokens import ensure_token

    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise Failed(Exit.WRONG, f"--listen takes PORT or HOST:PORT, got: {address}")
    try:
        return Listen(host.strip("[]") or "127.0.0.1", int(port), ensure_token())
    except (ValueError, OSError) as error:
        raise Failed(Exit.REFUSED, f"--listen needs a token, and {error}") from None


def _asks_for_its_own(wishes: dict[str, Any]) -> bool:
    """Whether an option asks for an instance that is made in some way."""
    return any(value not in (None, "auto") for value in wishes.values())


def _instance_answers() -> bool:
    path = socket_path()
    return path.exists() and Client(Address(path)).answers()


def _refuse_to_attach(files: tuple[Path, ...]) -> None:
    from colony.terminals.viewing import at_a_terminal

    if len(files) > 1:
        raise Failed(Exit.WRONG, f"--attach is for one colony, got: {len(files)} files")
    if not at_a_terminal():
        raise Failed(Exit.WRONG, "--attach needs a terminal at stdin and stdout")


def _refuse_twins(configs: list[Config]) -> None:
    paths: dict[str, str] = {}
    for config in configs:
        other = paths.setdefault(config.name, config.path)
        if other != config.path or configs.count(config) > 1:
            raise Failed(
                Exit.WRONG,
                f"two colonies have the name {config.name!r}: {other} and {config.path}; "
                "give one of them another [colony] name",
            )
