"""`colony new`: a workspace of a repository, provisioned; `colony rm`: its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colony.cli import output as out
from colony.cli.session import Failed, Session, json_option, pass_session
from colony.client import path_of
from colony.config import values
from colony.exits import Exit
from colony.paths import home_directory

if TYPE_CHECKING:
    from colony.cli.steps import Steps
    from colony.provision import Progress, ProvisionFailed, Work
    from colony.provision.removing import Workspace


@click.command()
@click.argument("source")
@click.option("--name", help="The colony's name; default: the repository's.")
@click.option("--branch", default="", help="The branch; for a worktree one that may be new.")
@click.option("-y", "--yes", is_flag=True, help="Run the repository's setup commands unasked.")
@click.option("--keep", is_flag=True, help="Should a step fail, leave what was made.")
@click.option("--resume", is_flag=True, help="Go on where an attempt with --keep has failed.")
@json_option
@pass_session
def new(
    session: Session,
    source: str,
    name: str | None,
    branch: str,
    yes: bool,
    keep: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Make a workspace of SOURCE, in ~/.colony/workspaces, with all that it needs.

    SOURCE is the URL of a git repository, which is cloned, or the folder of one here, which gets
    a worktree. Then come the runtimes of [colony.environment], the dependencies by their lock
    files, and the setup commands, if you say yes to them: once for a repository, as long as they
    stay the same. If a step fails, or on Ctrl-C, everything is as it was before.
    """
    from colony.cli.steps import Steps
    from colony.provision import Busy, ProvisionFailed, Source

    if "://" not in source and (session.here / source).is_dir():
        source = str((session.here / source).resolve())
    work = _work(source, name)
    watched = sys.stderr.isatty() and out.someone_watches()
    steps = None if as_json else Steps(colour=session.colour(sys.stderr), terminal=watched)
    go = partial(_provision, work, Source(source, branch), yes, steps, keep, resume)
    try:
        status = _until_done(go)
    except ProvisionFailed as failed:
        raise _told(failed, keep, source) from None
    except Busy as busy:
        raise Failed(Exit.CONFLICT, str(busy)) from None
    if status != Exit.OK:
        out.message("cancelled; " + ("what was made is kept" if keep else "all is as before"))
        sys.exit(status)
    if as_json:
        out.as_json({"name": work.name, "workspace": str(work.workspace), "source": source})
        return
    print(work.workspace)
    out.message(f"start it: colony up {out.home_relative(str(work.workspace / 'colony.toml'))}")


def _work(source: str, name: str | None) -> Work:
    """What is to be made of a source, under a name that a colony may have."""
    from colony.provision import Journal, Work, name_of

    chosen = name or name_of(source)
    try:
        values.name(chosen)
    except values.Refused as refused:
        raise Failed(Exit.WRONG, f"the colony's name {refused.message}", "choose --name") from None
    home = home_directory().absolute()
    return Work(chosen, home / "workspaces" / chosen, Journal(home), os.environ)


async def _provision(
    work: Any, source: Any, yes: bool, steps: Steps | None, keep: bool, resume: bool
) -> None:
    import anyio

    from colony.provision import all_stages, allow, provisioning
    from colony.provision.guarding import guarded

    stages = all_stages(source, allow if yes else _ask)
    async with anyio.create_task_group() as tasks:
        if steps is not None and steps.terminal:
            tasks.start_soon(steps.follow)
        report = _nothing if steps is None else steps.report
        failure: Exception | None = None
        try:
            async with guarded() as marks:
                work.environ |= marks
                async with provisioning(work, stages, report, keep=keep, resume=resume):
                    pass
        except Exception as error:  # out of a task group it would come as a group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _nothing(progress: Progress) -> None:
    return


async def _ask(source: str, commands: tuple[str, ...]) -> bool:
    """Asks, where somebody is there to answer; else no."""
    if not (sys.stdin.isatty() and out.someone_watches()):
        return False
    import anyio.to_thread

    out.message(f"{source} wants to run in its workspace:")
    for command in commands:
        out.message(f"    {command}")
    return await anyio.to_thread.run_sync(partial(click.confirm, "Run it?", err=True))


def _until_done(go: Callable[[], Any]) -> Exit:
    """Runs it to its end; or a signal cancels it, so that it takes back what it has done, and the
    exit status for that is returned."""
    import anyio

    status = Exit.CTRL_C

    def terminated(number: int, frame: object) -> None:
        nonlocal status
        status = Exit.TERMINATED
        signal.raise_signal(signal.SIGINT)

    # The event loop turns SIGINT into a cancellation if it is Python's own handler that it finds.
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminated),
    }
    try:
        anyio.run(go)
    except KeyboardInterrupt:
        return status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return Exit.OK


def _told(failed: ProvisionFailed, keep: bool, source: str) -> Failed:
    for line in failed.last_lines:
        out.message(f"  | {line}")
    help = failed.cause.help
    if keep:
        again = f"go on: colony new {source} --name {failed.colony} --resume"
        help = f"{help}; {again}" if help else again
    return Failed(Exit.NOT_PROVIDED, str(failed), help)


# -- rm --------------------------------------------------------------------------------------------


@click.command()
@click.argument("name")
@click.option("--workspace", is_flag=True, help="Its workspace in ~/.colony/workspaces, too.")
@click.option("--force", is_flag=True, help="Also with work that is nowhere else.")
@json_option
@pass_session
def rm(session: Session, name: str, workspace: bool, force: bool, as_json: bool) -> None:
    """Remove what outlasts the colony NAME: its database and logs, with --workspace its folder.

    Refuses while it runs, and a folder with changes or commits that are nowhere else.
    """
    from colony.provision.removing import Dirty, NotOurs, remove

    _refuse_living(session, name)
    try:
        values.name(name)
        removed = remove(home_directory().absolute(), name, workspace=workspace, force=force)
    except values.Refused as refused:
        raise Failed(Exit.WRONG, f"a colony's name {refused.message}") from None
    except Dirty as dirty:
        for line in dirty.lost:
            out.message(f"  {line}")
        raise Failed(Exit.CONFLICT, str(dirty), "remove it all the same with --force") from None
    except NotOurs as not_ours:
        raise Failed(Exit.NOT_FOUND, str(not_ours)) from None
    except OSError as error:
        raise Failed(Exit.REFUSED, f"{error.filename}: {error.strerror or error}") from None
    if as_json:
        out.as_json({"name": name, "removed": removed})
        return
    for each in removed:
        print(out.home_relative(each))
    if not removed:
        out.message(f"there is nothing of {name}")
    if not workspace and Path(home_directory() / "workspaces" / name).is_dir():
        out.message(f"its workspace stays; colony rm {name} --workspace removes it")


def _refuse_living(session: Session, name: str) -> None:
    if not session.client.answers():
        return
    for each in session.colonies:
        if each["name"] == name and each["state"] in ("starting", "running", "stopping"):
            raise Failed(Exit.CONFLICT, f"colony {name} runs", f"stop it: colony down {name}")
    # One that has ended is only remembered: forgetting it is a part of this.
    if any(each["name"] == name for each in session.colonies):
        session.client.delete(path_of("colonies", name))


# -- ls --stale ------------------------------------------------------------------------------------


def show_stale(session: Session, as_json: bool) -> None:
    """Lists the workspaces whose colonies do not run, the longest unused first."""
    from colony.provision.removing import workspaces

    living = set()
    if session.client.answers():
        living = {
            each["name"]
            for each in session.colonies
            if each["state"] in ("starting", "running", "stopping")
        }
    found = [each for each in workspaces(home_directory().absolute()) if each.name not in living]
    if as_json:
        out.as_json([_described(each) for each in found])
    elif not found:
        print("no workspace is unused")
    else:
        rows = [_row(each) for each in found]
        print("\n".join(out.table(("NAME", "UNUSED", "SIZE", "WORK", "SOURCE"), rows)))
        out.message("remove one: colony rm NAME --workspace")


def _described(each: Workspace) -> dict[str, Any]:
    return {
        "name": each.name,
        "path": each.path,
        "source": each.source,
        "used": each.used,
        "size": each.size,
        "lost": list(each.lost),
    }


def _row(each: Workspace) -> tuple[str, ...]:
    return (
        each.name,
        out.span(time.time() - each.used),
        out.size(each.size),
        f"{len(each.lost)} not saved" if each.lost else "clean",
        each.source or out.home_relative(each.path),
    )
