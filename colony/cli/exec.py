"""`colony exec`: one command inside a colony, with our streams or our terminal as its own."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from colony.cli import output as out
from colony.cli.attach import checked, size_now
from colony.cli.logs import DURATION
from colony.cli.session import (
    Failed,
    Session,
    colony_names,
    first_colony,
    json_option,
    pass_session,
)
from colony.client import path_of
from colony.exits import Exit


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=first_colony,
)
@click.option(
    "-c", "--colony", "name", shell_complete=colony_names, help="In which colony, or: COLONY -- …"
)
@click.option("-t", "--tty", "tty", flag_value="yes", help="On a terminal.")
@click.option("-T", "--no-tty", "tty", flag_value="no", help="Without. Default: as we are.")
@click.option("--timeout", type=DURATION, help="End it after this. Default: never.")
@json_option
@pass_session
def exec(
    session: Session,
    words: tuple[str, ...],
    name: str | None,
    tty: str | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run COMMAND inside a colony: its network, its environment, its folder.

    \b
    colony exec blog -- npm test        in the colony blog
    colony exec npm test                in that of the nearest colony.toml

    Without a terminal its three streams are ours, byte for byte, and so are signals. The exit
    status is the command's; 126 and 127, as in a shell, if it cannot be run or is not there.
    """
    if words[1:2] == ("--",):
        name, words = words[0], words[2:]
    if not words:
        raise Failed(Exit.WRONG, "which command?", "colony exec COLONY -- COMMAND...")
    colony = session.found(name and checked(session, name))
    inside = _inside(colony["workspace"])
    if as_json or timeout is not None:
        sys.exit(_waited_for(session, colony["name"], words, inside, timeout, as_json))
    sys.exit(_run(session, colony["name"], words, inside, tty))


def _run(
    session: Session, colony: str, words: tuple[str, ...], cwd: str | None, tty: str | None
) -> int:
    from colony.terminals import viewing
    from colony.terminals.connection import Connection

    seated = viewing.at_a_terminal()
    if tty == "yes" and not seated:
        raise Failed(Exit.WRONG, "-t needs a terminal at stdin and stdout", "use -T")
    on_terminal = tty == "yes" or (tty is None and seated)
    start: dict[str, Any] = {"argv": words, "tty": on_terminal, "cwd": cwd}
    if on_terminal:
        start |= size_now()
    try:
        with Connection(session.client.address, path_of("colonies", colony, "attach")) as one:
            one.tell("start", **start)
            told = viewing.view(one, None) if on_terminal else viewing.run_on_pipes(one)
    except viewing.Refused as refused:
        out.message(f"error: {refused}")
        if words[0] in [each["name"] for each in session.colonies]:
            out.message(f"  = help: colony exec {words[0]} -- COMMAND...")
        return refused.code
    except viewing.Detached as detached:
        return 128 + detached.by
    except BrokenPipeError:  # whoever read our output has left: what SIGPIPE does to everybody
        out.to_nobody()
        return 141
    return viewing.code_of(told)


def _waited_for(
    session: Session,
    colony: str,
    words: tuple[str, ...],
    cwd: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Without its input, and its output at the end: for agents."""
    seconds = 600.0 if timeout is None else timeout
    body = {"argv": words, "timeout_ms": seconds * 1000, "cwd": cwd}
    done = session.client.post(path_of("colonies", colony, "exec"), body)
    if as_json:
        out.as_json(done)
    else:
        sys.stdout.write(done["stdout"])
        sys.stdout.flush()
        sys.stderr.write(done["stderr"])
    if done["timed_out"]:
        raise Failed(Exit.TIMEOUT, f"it was ended after {seconds:g} s", "--timeout 1h")
    return int(done["code"])


def _inside(workspace: str) -> str | None:
    """Where we are, if that is in the colony's folder; None for the folder itself."""
    here = os.path.realpath(os.getcwd())
    return here if here.startswith(workspace.rstrip("/") + "/") else None
