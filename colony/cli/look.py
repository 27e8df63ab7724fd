"""Commands that read: ls, ps, tree, events, inspect, url, open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from colony.cli import output as out
from colony.cli.session import (
    Failed,
    Session,
    colony_names,
    json_option,
    pass_session,
    service_names,
    usage,
)
from colony.client import Gone, Unreachable, path_of
from colony.exits import Exit

watch_option = click.option("-w", "--watch", is_flag=True, help="Go on, and show each change.")
NO_INSTANCE = "no instance runs here; start one: colony run, or colony up -d"


@click.command()
@json_option
@watch_option
@click.option("--stale", is_flag=True, help="Workspaces whose colonies do not run, instead.")
@pass_session
def ls(session: Session, as_json: bool, watch: bool, stale: bool) -> None:
    """List colonies."""
    if stale:
        from colony.cli.new import show_stale

        show_stale(session, as_json)
        return

    def show() -> list[str]:
        return _colony_table(session.client.get("/api/colonies"), session.colour())

    if as_json:
        out.as_json(session.client.get("/api/colonies"))
    elif watch:
        _watch(session, show)
    else:
        _print(show())


def _colony_table(colonies: list[dict[str, Any]], colour: bool) -> list[str]:
    if not colonies:
        return ["no colonies; start one: colony up"]
    rows = []
    for each in colonies:
        services = each["services"]
        ready = sum(service["ready"] for service in services)
        urls = [service["url"] for service in services if service["url"]]
        more = f" +{len(urls) - 1}" if len(urls) > 1 else ""
        rows.append(
            (
                each["name"],
                out.state(each["state"], colour),
                f"{ready}/{len(services)}",
                (urls[0] + more) if urls else "-",
                out.ago(each["since"]),
                out.home_relative(each["workspace"]),
            )
        )
    return out.table(("NAME", "STATE", "READY", "URL", "SINCE", "FOLDER"), rows)


@click.command()
@click.argument("name", required=False, metavar="[COLONY]", shell_complete=colony_names)
@json_option
@watch_option
@pass_session
def ps(session: Session, name: str | None, as_json: bool, watch: bool) -> None:
    """List the services of a colony.

    COLONY defaults to the one of the nearest colony.toml.
    """
    name = session.colony(name)
    path = path_of("colonies", name, "services")

    def show() -> list[str]:
        return _service_table(session.client.get(path, {"usage": True}), session.colour())

    if as_json:
        out.as_json(session.client.get(path, {"usage": True}))
    elif watch:
        _watch(session, show, name)
    else:
        _print(show())


def _service_table(services: list[dict[str, Any]], colour: bool) -> list[str]:
    rows = [
        (
            each["name"],
            out.state(each["state"], colour),
            str(each["pid"] or "-"),
            str(each["port"] or "-"),
            each["url"] or "-",
            _restarts(each),
            out.ago(each["since"]),
            "-" if each["cpu"] is None else f"{each['cpu'] * 100:.0f} %",
            out.size(each["memory"]),
            each["detail"] or each["last_exit"] or "-",
        )
        for each in services
    ]
    headers = ("SERVICE", "STATE", "PID", "PORT", "URL", "RESTARTS", "SINCE", "CPU", "MEMORY")
    if all(row[-1] == "-" for row in rows):  # a line has to fit, and here is nothing to read
        return out.table(headers, [row[:-1] for row in rows])
    return out.table((*headers, "LAST EXIT"), rows)


def _restarts(service: dict[str, Any]) -> str:
    """How many, and of the last how many its supervisor bears: `7 (2/5)`."""
    if not service["restarts"]:
        return "0"
    return f"{service['restarts']} ({service['recent']}/{service['intensity']})"


@click.command()
@click.argument("name", required=False, metavar="[COLONY]", shell_complete=colony_names)
@json_option
@watch_option
@pass_session
def tree(session: Session, name: str | None, as_json: bool, watch: bool) -> None:
    """Show the supervision tree: of the whole instance, or of one colony."""
    path = "/api/tree" if name is None else path_of("colonies", name, "tree")

    def show() -> list[str]:
        return list(_branches(session.client.get(path), session.colour()))

    if as_json:
        out.as_json(session.client.get(path))
    elif watch:
        _watch(session, show, name)
    else:
        _print(show())


def _branches(node: dict[str, Any], colour: bool, stem: str = "", joint: str = "") -> Iterator[str]:
    yield f"{stem}{joint}{_node(node, colour)}"
    below = stem + {"": "", "├── ": "│   ", "└── ": "    "}[joint]
    children = node["children"]
    for i, child in enumerate(children):
        last = i == len(children) - 1
        yield from _branches(child, colour, below, "└── " if last else "├── ")


def _node(node: dict[str, Any], colour: bool) -> str:
    shape = out.SHAPES.get(node["status"], "·")
    words = [f"{out.paint(shape, out.COLOURS.get(shape), colour)} {node['id']}"]
    if node["strategy"]:
        words.append(node["strategy"])
    if node["intensity"] is not None:
        words.append(f"{node['intensity']} in {node['period_ms'] / 1000:g} s")
    if node["restarts"]:
        words.append(f"↻ {node['restarts']}")
    if node["status"] != "running":
        words.append(node["status"])
    return "  ".join(words)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option(
    "--since",
    metavar="ID|TIME",
    help="What came after this event; or since a time, out of the journal: 2h, yesterday, 22:30.",
)
@click.option("--timeline", is_flag=True, help="The journal as a picture: a lane for each service.")
@click.option(
    "-c", "--colony", "name", shell_complete=colony_names, help="Of one colony. Default: of all."
)
@click.option("-t", "--type", "types", multiple=True, help="Of this type, as service.exited.")
@json_option
@pass_session
def events(
    session: Session,
    follow: bool,
    since: str | None,
    timeline: bool,
    name: str | None,
    types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what happens.

    Without --follow: what has happened so far. The instance remembers what it has seen; what
    happened since a TIME, and --timeline, come out of the journal on the disk, and need none.
    """
    if timeline and (follow or types):
        usage("--timeline is a picture of the past: it goes without --follow and --type")
    if timeline:
        from colony.cli import recorded

        recorded.timeline(session, name, since, as_json)
        return
    for event in _events(session, follow, since, name, types):
        if as_json:
            out.as_line(event)
        else:
            print(_event_line(event), flush=follow)


def _events(
    session: Session, follow: bool, since: str | None, name: str | None, types: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Of the instance; or of the journal, if they are asked for by time."""
    if since is not None and not since.isdecimal():
        from colony.cli import recorded

        if follow:
            usage("--follow goes on after an event's number, not after a time")
        return recorded.lines(since, name, types)
    seen = None if since is None else int(since)
    query = {
        "follow": follow,
        "since": 0 if seen is None and not follow else seen,
        "colony": name,
        "type": types,
    }
    return session.client.events(query)


def _event_line(event: dict[str, Any]) -> str:
    if event["type"] == "gap":
        return f"… {event['lost']} events are lost"
    if event["type"] == "end":
        return f"· {event['why']}"
    clock = event["ts"][11:23]
    named = ("colony", "service", "actor", "supervisor", "child", "kind")
    skipped = ("id", "ts", "at", "instance", "type", *named)
    rest = " ".join(
        f"{key}={_brief(value)}"
        for key, value in event.items()
        if key not in skipped and value not in (None, "", [])
    )
    number = event.get("id", "")  # the journal's have none
    return f"{number:>6} {clock} {event['type']:<26} {_whose(event)} {rest}".rstrip()


def _whose(event: dict[str, Any]) -> str:
    """`blog/web` for what a service does, `blog/services/web` for what its actor does."""
    if event.get("service") is None and event.get("actor"):
        return str(event["actor"]).removeprefix("system/colonies/")
    parts = [event.get(key) for key in ("colony", "service", "child")]
    return "/".join(str(part) for part in parts if part is not None) or event.get("supervisor", "")


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("text", value)
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)


@click.command()
@click.argument("name", required=False, metavar="[COLONY]", shell_complete=colony_names)
@click.option("--timings", is_flag=True, help="How long each step of its start took.")
@click.option("--config", "configuration", is_flag=True, help="What it was started with.")
@json_option
@pass_session
def inspect(
    session: Session, name: str | None, timings: bool, configuration: bool, as_json: bool
) -> None:
    """Show all that is known of a colony."""
    found = session.found(name)
    if configuration:
        out.as_json(session.client.get(path_of("colonies", found["name"], "config")))
    elif timings and as_json:
        out.as_json(found["timings_ms"])
    elif timings:
        rows = [(step, f"{ms:.2f} ms") for step, ms in found["timings_ms"].items()]
        _print(out.table(("STEP", "TOOK"), rows))
    elif as_json:
        out.as_json(found)
    else:
        _print(_facts(found, session.colour()))


def _facts(found: dict[str, Any], colour: bool) -> list[str]:
    facts = [
        ("name", found["name"]),
        ("state", out.state(found["state"], colour)),
        ("why", found["reason"]),
        ("since", f"{found['since']} ({out.ago(found['since'])})"),
        ("file", found["path"]),
        ("folder", found["workspace"]),
        ("address", found["address"]),
    ]
    lines = [f"{name:<9}{value}" for name, value in facts if value]
    for each in found["services"]:
        lines += ["", f"{each['name']:<9}{out.state(each['state'], colour)}"]
        for name in ("command", "cwd", "pid", "port", "url", "restart", "restarts", "last_exit"):
            if each[name] not in (None, ""):
                lines.append(f"  {name:<10}{each[name]}")
    return lines


@click.command()
@click.argument("service", required=False, shell_complete=service_names)
@click.option("-c", "--colony", "name", shell_complete=colony_names, help="Of which colony.")
@json_option
@pass_session
def url(session: Session, service: str | None, name: str | None, as_json: bool) -> None:
    """Print the URL of a service; default: of the only one that has a port."""
    found = _with_url(session, service, name)
    if as_json:
        out.as_json({"service": found["name"], "url": found["url"]})
    else:
        print(found["url"])


@click.command("open")
@click.argument("service", required=False, shell_complete=service_names)
@click.option("-c", "--colony", "name", shell_complete=colony_names, help="Of which colony.")
@pass_session
def open(session: Session, service: str | None, name: str | None) -> None:
    """Open a service in the browser; default: the only one that has a port."""
    found = _with_url(session, service, name)
    print(found["url"])
    if out.someone_watches() and click.launch(found["url"]) != 0:
        raise Failed(Exit.FAILED, "no browser could be started", "open the URL above yourself")


def _with_url(session: Session, service: str | None, name: str | None) -> dict[str, Any]:
    """The service that is meant, which has to have a URL."""
    if service is not None:
        [(owner, wanted)] = session.targets((service,), name)
        answer: dict[str, Any] = session.client.get(path_of("colonies", owner, "services", wanted))
        if answer["url"] is None:
            raise Failed(Exit.FAILED, f"{wanted} has no port, and so no URL")
        return answer
    having = [each for each in session.found(name)["services"] if each["url"]]
    if len(having) != 1:
        names = ", ".join(each["name"] for each in having) or "none has a port"
        raise Failed(Exit.WRONG, f"which service? {names}")
    only: dict[str, Any] = having[0]
    return only


# -- showing ---------------------------------------------------------------------------------------


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _watch(session: Session, show: Callable[[], list[str]], colony: str | None = None) -> None:
    """Shows lines again after each event: in place on a terminal, else only those that changed."""
    live = out.Live() if out.someone_watches() else None
    shown: list[str] = []
    with session.client.stream("/api/events", {"colony": colony}) as stream:
        for piece in stream:
            if b"event: end\n" in piece:
                out.message("· the instance is ending")
                return
            try:
                lines = show()
            except (Gone, Unreachable):
                continue  # why is said by the stream, or by its breaking off
            if live is not None:
                live.draw(lines)
            elif lines != shown:
                _print([line for line in lines if line not in shown])
                sys.stdout.flush()
            shown = lines
