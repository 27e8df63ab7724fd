"""`colony attach`: a colony's terminal, in this one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click

from colony.cli.output import message
from colony.cli.session import Failed, Session, not_there, pass_session, terminal_names
from colony.client import path_of
from colony.exits import Exit
from colony.terminals.chord import DEFAULT, parse, spelled

MAIN = "terminal"

COLONY_VARIABLE, TERMINAL_VARIABLE = "COLONY_NAME", "COLONY_TERMINAL"
"""By which a session's processes know where they are."""


class WithCommand(click.Command):
    """What stands after `--` is the command, whether or not a colony is named before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:place])
        ctx.params["words"] = (*ctx.params["words"], *args[place + 1 :])
        return rest


@click.command(cls=WithCommand)
@click.argument(
    "target", required=False, metavar="[COLONY[/TERMINAL]]", shell_complete=terminal_names
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--new", is_flag=True, help="Start a terminal of its own, of COMMAND if given.")
@click.option("-r", "--read-only", is_flag=True, help="Only look; keys do nothing but detach.")
@click.option(
    "--detach-keys",
    default=lambda: os.environ.get("COLONY_DETACH_KEYS") or DEFAULT,
    metavar="KEYS",
    help=f"Keys that detach. Default: {DEFAULT}, or $COLONY_DETACH_KEYS.",
)
@pass_session
def attach(
    session: Session,
    target: str | None,
    words: tuple[str, ...],
    new: bool,
    read_only: bool,
    detach_keys: str,
) -> None:
    """Attach to a terminal inside a colony; detach with Ctrl-] d, and it goes on without you.

    TERMINAL is a number that `colony terminals` lists, or a service with pty = true; default: the
    one of [terminal] in colony.toml, which is started if need be. The exit status is its program's.
    A service goes on being shown over its restarts, until its colony ends.
    """
    try:
        keys = parse(detach_keys)
    except ValueError as error:
        raise Failed(Exit.WRONG, str(error)) from None
    if words and not new:
        raise Failed(
            Exit.WRONG, "a command needs a terminal of its own", "colony attach --new -- COMMAND"
        )
    name, slash, terminal = named(session, target or "").partition("/")
    colony = checked(session, name or None)
    if new:
        if slash:
            raise Failed(Exit.WRONG, f"--new gets a number by itself, got: {target}")
        terminal = _started(session, colony, words)
    within = os.environ.get(COLONY_VARIABLE), os.environ.get(TERMINAL_VARIABLE)
    if within == (colony, terminal or MAIN):
        text = f"this is {colony}/{terminal or MAIN}: within itself it would be shown without end"
        raise Failed(Exit.WRONG, text, "a terminal of its own: colony attach --new")
    sys.exit(_attached(session, colony, terminal or MAIN, read_only, keys))


def named(session: Session, target: str) -> str:
    """`web` → `blog/web`, where blog is the nearest file's colony, and `web` is none."""
    if "/" in target or not target or target in [each["name"] for each in session.colonies]:
        return target
    here = session.nearest()
    for each in session.colonies:
        mine = here is not None and os.path.realpath(each["path"]) == os.path.realpath(here)
        if mine and target in [service["name"] for service in each["services"]]:
            return f"{each['name']}/{target}"
    return target


def checked(session: Session, name: str | None) -> str:
    """The colony that is meant, which is there."""
    colony = session.colony(name)
    known = [each["name"] for each in session.colonies]
    if colony not in known:
        raise not_there("colony", colony, known)
    return colony


def _started(session: Session, colony: str, words: tuple[str, ...]) -> str:
    body: dict[str, Any] = {"argv": words, **size_now()}
    made = session.client.post(path_of("colonies", colony, "terminals"), body)
    return str(made["name"])


def _is_service(session: Session, colony: str, terminal: str) -> bool:
    present = next(each for each in session.colonies if each["name"] == colony)
    return terminal in [each["name"] for each in present["services"]]


def size_now() -> dict[str, int]:
    """The size of the terminal that we are in; nothing without one."""
    from colony.terminals.outer import window_size

    size = window_size(1) or window_size(0)
    return {} if size is None else {"rows": size.rows, "columns": size.columns}


def _attached(session: Session, colony: str, terminal: str, read_only: bool, keys: bytes) -> int:
    from colony.terminals import viewing
    from colony.terminals.connection import Connection

    path = path_of("colonies", colony, "terminals", terminal, "attach")
    where = colony if terminal == MAIN else f"{colony}/{terminal}"
    seated = viewing.at_a_terminal()
    # Not cleared: what stands there is scrolled away, the line about the keys last of all.
    query = {"read_only": read_only, "clear": False, **(size_now() if seated else {})}
    try:
        with Connection(session.client.address, path, query) as connection:
            if not seated:
                # To a service Ctrl-D means its end, to whoever pipes into it that of the input.
                end = b"" if _is_service(session, colony, terminal) else viewing.END_OF_INPUT
                return viewing.code_of(viewing.pipe_through(connection, end))
            message(f"[attached to {where}; {spelled(keys)} detaches]")
            told = viewing.view(connection, keys)
    except viewing.Detached as detached:
        _say(f"\r\n[detached from {where}; to come back: colony attach {where}]")
        return 128 + detached.by if detached.by else 0
    code = viewing.code_of(told)
    _say(f"\r\n[exited {code}]" if told.get("code") is not None else f"\r\n[{told['reason']}]")
    return code


def _say(text: str) -> None:
    """Unless there is nobody: a terminal that takes nothing, or has gone."""
    from colony.terminals.outer import takes

    if takes(2):
        with suppress(OSError):
            message(text)
