"""Commands about whole colonies in an instance that runs: up, down, apply."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from colony.cli import output as out
from colony.cli.logs import DURATION
from colony.cli.session import (
    Failed,
    Session,
    colony_names,
    json_option,
    pass_session,
)
from colony.client import path_of
from colony.exits import Exit

LIVING = ("starting", "running", "stopping")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("-d", "--detach", is_flag=True, help="Return once it is up; do not follow it.")
@click.option("--wait", is_flag=True, help="With -d: return once every service is ready.")
@click.option("--timeout", type=DURATION, default=60.0, help="How long --wait waits. 60s.")
@click.option(
    "--keep", is_flag=True, help="Should providing what it needs fail, leave what was made."
)
@json_option
@pass_session
def up(
    session: Session,
    file: Path | None,
    detach: bool,
    wait: bool,
    timeout: float,
    keep: bool,
    as_json: bool,
) -> None:
    """Start a colony in the instance that runs; start an instance in the background if none does.

    Follows it until Ctrl-C, which leaves it running. With -d, off a terminal, or under a coding
    agent, it returns: then a colony that runs is all the same started anew only if it has ended.
    """
    from colony.cli.files import load

    config = load(session, file or session.needed_file())
    started = _instance(session)
    follow = not detach and not as_json and out.someone_watches()
    if follow:
        from colony.join import join

        if started:
            out.message(started)
        colour, debug = session.colour(), session.debug
        sys.exit(join(session.client, [config], colour=colour, leave=True, keep=keep, debug=debug))
    body = {
        "path": os.path.abspath(config.path),
        "env": dict(os.environ),
        "keep": keep,
        "wait": wait or not detach,
        "timeout_ms": timeout * 1000,
    }
    found = session.client.post("/api/colonies", body)
    if as_json:
        out.as_json(found)
        return
    if started:
        out.message(started)
    _summary(session, found)


def _instance(session: Session) -> str:
    """Sees to it that there is an instance; what to say if one was started."""
    if session.client.answers():
        return ""
    if session.client.address.path is None or session.host is not None:
        session.client.get("/api/version")  # raises why
    from colony.cli.daemon import in_background

    pid = in_background()
    return f"an instance was started in the background, pid {pid} (colony daemon stop ends it)"


def _summary(session: Session, found: dict[str, Any]) -> None:
    colour = session.colour()
    for each in found["services"]:
        url = f"  {each['url']}" if each["url"] else ""
        print(f"{each['name']}  {out.state(each['state'], colour)}{url}")
    name = found["name"]
    nearest = session.nearest()
    here = nearest is not None and os.path.realpath(nearest) == os.path.realpath(found["path"])
    of = "" if here else f" -c {name}"
    out.message(f"logs: colony logs{of} · stop: colony down{'' if here else ' ' + name}")


@click.command()
@click.argument("names", nargs=-1, metavar="[COLONY]...", shell_complete=colony_names)
@click.option("-a", "--all", "every", is_flag=True, help="All colonies.")
@click.option("--kill", is_flag=True, help="Do not wait for services to stop: kill them.")
@json_option
@pass_session
def down(session: Session, names: tuple[str, ...], every: bool, kill: bool, as_json: bool) -> None:
    """Stop colonies; default: the one of the nearest colony.toml."""
    if every and names:
        raise Failed(Exit.WRONG, f"--all, or {' '.join(names)}?")
    if every:
        names = tuple(each["name"] for each in session.colonies)
    done = []
    for name in reversed(names) if every else names or (session.colony(),):
        done.append(session.client.delete(path_of("colonies", name), {"kill": kill}))
        if not as_json:
            print(f"{name}  {out.state(done[-1]['state'], session.colour())}", flush=True)
    if as_json:
        out.as_json(done)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
@pass_session
def apply(session: Session, file: Path | None, dry_run: bool, as_json: bool) -> None:
    """Make a running colony what its file says now; what does not differ is not touched."""
    from colony.cli.files import load

    config = load(session, file or session.needed_file())
    if file is not None:
        session.file = Path(os.path.abspath(file))
    body = {"path": os.path.abspath(config.path), "dry_run": dry_run}
    plan = session.client.post(path_of("colonies", session.colony(), "apply"), body)
    if as_json:
        out.as_json(plan)
        return
    for step in plan["steps"]:
        print(_step(step, session.colour()))
    if plan["colony"] != config.name:
        out.message(_keeps_its_name(plan["colony"], config.name))
    elif not plan["steps"]:
        print(f"{plan['colony']} is as its file says")


def _keeps_its_name(name: str, other: str) -> str:
    return (
        f"{name} keeps the name that it was started with, though its file says {other}; "
        f"for another name: colony down {name}, then colony up"
    )


def _step(step: dict[str, Any], colour: bool) -> str:
    shapes = {"add": ("+", 32), "remove": ("-", 31), "restart": ("~", 33)}
    shape, code = shapes.get(step["action"], ("~", 33))
    what = step["service"] or "the whole colony"
    verb = "restart" if step["action"].startswith("restart") else step["action"]
    return f"{out.paint(shape, code, colour)} {verb} {what}: {step['because']}"
