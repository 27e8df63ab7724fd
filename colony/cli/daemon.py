"""`colony daemon start|stop|status|logs|token`: the instance in the background."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from colony.cli import output as out
from colony.cli.run import instance_options, options_of
from colony.cli.session import Failed, Group, Session, json_option, pass_session
from colony.client import Gone, Unreachable
from colony.exits import Exit

PATIENCE = 60.0


@click.group(cls=Group)
def daemon() -> None:
    """Control the instance in the background.

    `colony run` and `colony up` need none: the first hosts one, the second starts one.
    """


@daemon.command()
@click.option("--foreground", is_flag=True, help="Do not go into the background.")
@instance_options
@json_option
@pass_session
def start(session: Session, foreground: bool, as_json: bool, **wishes: Any) -> None:
    """Start the instance, without any colony. Nothing is done if one runs."""
    if foreground:
        from colony.daemon import run
        from colony.entering import enter

        enter(wishes["network"])
        sys.exit(run(options_of(wishes, daemon=True)))
    found = _version(session)
    if found is None:
        in_background(_again(wishes))
        found = session.client.get("/api/version")
    if as_json:
        out.as_json(found)
    else:
        print(f"instance {found['instance']} runs, pid {found['pid']}")


def in_background(options: list[str] | None = None) -> int:
    """Starts an instance in the background; its process. Raises `Failed`."""
    from colony.daemon import NotStarted
    from colony.daemon import start as start_in_background

    try:
        return start_in_background(options)
    except NotStarted as error:
        refused = error.status == Exit.REFUSED
        raise Failed(Exit.REFUSED if refused else Exit.FAILED, str(error)) from None


def _again(wishes: dict[str, Any]) -> list[str]:
    """The options as they stand on a command line."""
    words: list[str] = []
    for name, value in wishes.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}={value}"]
    return words


@daemon.command()
@click.option("--force", is_flag=True, help="Also when it has colonies: they are stopped.")
@json_option
@pass_session
def stop(session: Session, force: bool, as_json: bool) -> None:
    """End the instance, and wait until it has ended."""
    found = _version(session)
    if found is None:
        _tell_no_instance(session, as_json)
        return
    pid = found["pid"] if session.client.address.path is not None else None
    answer = session.client.post("/api/stop", query={"force": force})
    deadline = time.monotonic() + PATIENCE
    while session.client.answers() or (pid is not None and _lives(pid)):
        if time.monotonic() > deadline:
            raise Failed(Exit.TIMEOUT, f"it has not ended in {PATIENCE:g} s", "colony daemon logs")
        time.sleep(0.02)
    if as_json:
        out.as_json(answer)
    else:
        print("stopped")


def _lives(pid: int) -> bool:
    """Whether a process runs: a zombie does not, though its parent has not looked yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _tell_no_instance(session: Session, as_json: bool) -> None:
    if as_json:
        out.as_json({"stopping": False, "colonies": 0})
    else:
        print("no instance runs")


@daemon.command()
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show how the instance is; exit status 4 if none runs."""
    found = session.client.get("/api/health")
    if as_json:
        out.as_json(found)
        return
    network = "namespaces" if found["isolated"] else "the host's network"
    facts = [
        ("instance", f"{found['instance']}, pid {found['pid']}, version {found['version']}"),
        ("up", out.span(found["uptime_ms"] / 1000)),
        ("kind", "in the background" if found["daemon"] else "hosted by a colony run"),
        ("colonies", str(found["colonies"])),
        ("network", network),
        ("door", f"{found['proxy']}, port {found['http_port']}, .{found['suffix']}"),
        ("dns", found["dns"]),
        ("api", " and ".join(filter(None, (str(session.client.address), found["listen"])))),
    ]
    for name, value in facts:
        print(f"{name:<9} {value}")


@daemon.command()
@click.option("-n", "--tail", type=click.IntRange(0), default=100, help="Last lines: 100.")
@json_option
def logs(tail: int, as_json: bool) -> None:
    """Show what the instance in the background has said."""
    from colony.daemon import log_path

    try:
        lines = log_path().read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        raise Failed(Exit.NOT_FOUND, f"there is no {log_path()}: none has run") from None
    shown = lines[-tail:] if tail else []
    if as_json:
        out.as_json({"lines": shown})
        return
    for line in shown:
        print(line)


@daemon.command()
@json_option
def token(as_json: bool) -> None:
    """Print the token for the API over TCP.

    One is made if there is none.
    """
    from colony.api.tokens import ensure_token

    found = ensure_token()
    if as_json:
        out.as_json({"token": found})
        return
    print(found)


def _version(session: Session) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = session.client.get("/api/version")
    except (Unreachable, Gone):
        return None
    return found
