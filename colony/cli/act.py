"""Commands that act on services: start, stop, restart, signal, send, wait, port-forward."""

from __future__ import annotations

import re
import signal as signals
import sys
from typing import Any

import click

from colony.cli import output as out
from colony.cli.logs import DURATION
from colony.cli.session import (
    Failed,
    Session,
    colony_names,
    first_colony,
    json_option,
    pass_session,
    service_names,
    signal_names,
)
from colony.client import path_of
from colony.exits import Exit

services_argument = click.argument(
    "services", nargs=-1, metavar="[SERVICE]...", shell_complete=service_names
)
service_argument = click.argument("service", shell_complete=service_names)
colony_option = click.option(
    "-c", "--colony", "name", shell_complete=colony_names, help="Of which colony."
)


@click.command()
@services_argument
@colony_option
@json_option
@pass_session
def start(session: Session, services: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Start services that are down; without SERVICE, a colony that has ended."""
    if not services:
        found = session.client.post(path_of("colonies", session.colony(name), "start"))
        _tell_colony(session, found, as_json)
        return
    _each(session, services, name, "start", as_json)


@click.command()
@services_argument
@colony_option
@json_option
@pass_session
def stop(session: Session, services: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Stop services; they stay stopped. To stop a whole colony: colony down."""
    if not services:
        raise Failed(Exit.WRONG, "which service?", "to stop a whole colony: colony down")
    _each(session, services, name, "stop", as_json)


@click.command()
@services_argument
@colony_option
@json_option
@pass_session
def restart(session: Session, services: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Restart services; without SERVICE, the whole colony. Not counted as restarts."""
    if not services:
        found = session.client.post(path_of("colonies", session.colony(name), "restart"))
        _tell_colony(session, found, as_json)
        return
    _each(session, services, name, "restart", as_json)


@click.command("signal")
@service_argument
@click.argument("sig", metavar="SIGNAL", shell_complete=signal_names)
@colony_option
@json_option
@pass_session
def signal(session: Session, service: str, sig: str, name: str | None, as_json: bool) -> None:
    """Send a signal to a service's processes: HUP, SIGUSR1, 15."""
    [(owner, wanted)] = session.targets((service,), name)
    path = path_of("colonies", owner, "services", wanted, "signal")
    _tell(session, [session.client.post(path, {"signal": sig})], as_json)


@click.command()
@service_argument
@click.argument("text", required=False)
@click.option("-n", "--no-newline", is_flag=True, help="Without a line end after TEXT.")
@colony_option
@json_option
@pass_session
def send(
    session: Session,
    service: str,
    text: str | None,
    no_newline: bool,
    name: str | None,
    as_json: bool,
) -> None:
    r"""Write TEXT to a service's standard input; without TEXT, what comes on ours.

    The escapes \n, \r, \t and \xNN are understood.
    """
    [(owner, wanted)] = session.targets((service,), name)
    data = sys.stdin.read() if text is None else _unescaped(text) + ("" if no_newline else "\n")
    path = path_of("colonies", owner, "services", wanted, "stdin")
    _tell(session, [session.client.post(path, {"text": data})], as_json)


@click.command()
@service_argument
@click.option(
    "--for",
    "condition",
    default="ready",
    metavar="ready|exit|log=RE",
    help="What to wait for. Default: ready.",
)
@click.option("--timeout", type=DURATION, default=60.0, help="How long. Default: 60s.")
@colony_option
@json_option
@pass_session
def wait(
    session: Session,
    service: str,
    condition: str,
    timeout: float,
    name: str | None,
    as_json: bool,
) -> None:
    """Wait until a service is ready, has ended, or has written a line that matches."""
    [(owner, wanted)] = session.targets((service,), name)
    kind, _, pattern = condition.partition("=")
    if kind not in ("ready", "exit", "log") or bool(pattern) != (kind == "log"):
        raise Failed(Exit.WRONG, f"--for takes ready, exit or log=RE, got: {condition}")
    query = {"for": kind, "pattern": pattern, "timeout_ms": timeout * 1000}
    waited = session.client.get(path_of("colonies", owner, "services", wanted, "wait"), query)
    found = waited["service"]
    if as_json:
        out.as_json(waited)
    elif waited["met"]:
        print(waited["line"] or _line(found, session.colour()))
    if waited["met"]:
        return
    if found["state"] in ("failed", "stopped", "completed"):
        why = found["detail"] or found["last_exit"]
        text = f"{wanted} is {found['state']}" + (f": {why}" if why else "")
        raise Failed(Exit.FAILED, text, f"colony logs {service}")
    raise Failed(
        Exit.TIMEOUT,
        f"not so after {timeout:g} s: {wanted} is {found['state']}",
        "wait longer: --timeout 5m",
    )


@click.command("port-forward")
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="[COLONY] [HOST_PORT:]PORT",
    shell_complete=first_colony,
)
@colony_option
@json_option
@pass_session
def port_forward(session: Session, words: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Open a port of a colony on this host's loopback, until Ctrl-C.

    Without HOST_PORT the same port, or 0 for any free one.
    """
    *colonies, ports = words
    if len(colonies) > 1 or (colonies and name):
        raise Failed(Exit.WRONG, f"one colony and one port, got: {' '.join(words)}")
    name = colonies[0] if colonies else name
    found = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})", ports)
    if found is None:
        raise Failed(Exit.WRONG, f"a port is PORT or HOST_PORT:PORT, got: {ports}")
    port = int(found[2])
    body = {"port": port, "host_port": port if found[1] is None else int(found[1])}
    colony = session.colony(name)
    path = path_of("colonies", colony, "forward")
    with session.client.stream(path, method="POST", body=body) as stream:
        signals.signal(signals.SIGTERM, lambda *_: sys.exit(Exit.TERMINATED))
        signals.signal(signals.SIGINT, lambda *_: sys.exit(Exit.CTRL_C))
        for line in stream.lines():
            if line:
                _tell_forward(line, as_json)
    raise Failed(Exit.FAILED, f"colony {colony} has ended")


def _tell_forward(line: bytes, as_json: bool) -> None:
    import json

    standing = json.loads(line)
    if as_json:
        out.as_line(standing)
    else:
        where = f"http://localhost:{standing['host_port']}/"
        print(f"{where} leads to port {standing['port']} of {standing['colony']}", flush=True)


# -- what they share -------------------------------------------------------------------------------


def _each(
    session: Session, services: tuple[str, ...], name: str | None, verb: str, as_json: bool
) -> None:
    done = []
    for owner, service in session.targets(services, name):
        done.append(session.client.post(path_of("colonies", owner, "services", service, verb)))
        if not as_json:
            print(_line(done[-1], session.colour()), flush=True)
    if as_json:
        out.as_json(done)


def _tell(session: Session, services: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        out.as_json(services)
        return
    for each in services:
        print(_line(each, session.colour()))


def _tell_colony(session: Session, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        out.as_json(found)
    else:
        print(f"{found['name']}  {out.state(found['state'], session.colour())}")


def _line(service: dict[str, Any], colour: bool) -> str:
    pid = f"  pid {service['pid']}" if service["pid"] else ""
    url = f"  {service['url']}" if service["url"] and service["ready"] else ""
    return f"{service['name']}  {out.state(service['state'], colour)}{pid}{url}"


def _unescaped(text: str) -> str:
    simple = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
    return re.sub(
        r"\\(?:x([0-9A-Fa-f]{2})|([nrt\\]))",
        lambda found: chr(int(found[1], 16)) if found[1] else simple[found[2]],
        text,
    )
