"""What this machine has for Colony, what it lacks, and how to get it. Blocks; for the command line.

Every check is a function without arguments that gives a `Finding`; `CHECKS` is the table of them.
A finding that can be repaired carries the command, as words and never as a line for a shell, or has
its function in `REPAIRS`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from colony.paths import home_directory, runtime_directory

Level = Literal["ok", "note", "problem"]

STDERR: Final = 2

SETUP_DNS: Final = Path(__file__).parent.parent / "scripts" / "setup-dns.sh"
"""There where Colony runs from its sources."""

DISK_LEAST: Final = 512 * 1024 * 1024
"""Bytes that should be free for logs and workspaces."""

DROPS_ROUTES: Final = (2, 7)
"""Caddy before this closes WebSockets at each change of its routes."""


class Finding(NamedTuple):
    """One thing that was looked at. `fix` says what to do; `command` does it, if it is one."""

    name: str
    level: Level
    text: str
    fix: str = ""
    command: tuple[str, ...] = ()


def _namespaces() -> Finding:
    from netns import capability, rootless

    found = capability.probe()
    if found.namespaces:
        return Finding("network", "ok", "network namespaces can be made")
    text = f"no network namespaces: {found.reason}"
    # Whoever has the rights, and yet cannot, would fail in a user namespace as well.
    if capability.missing_rights() is None:
        return Finding("network", "note", text, found.remedy)
    without = rootless.probe()
    if without is None:
        return Finding("network", "ok", "network namespaces can be made, rootless")
    text = f"{text}; without root: {without.reason}"
    return Finding("network", "note", text, f"{without.remedy}, or run Colony as root")


def _way_out() -> Finding:
    from colony.machine import may_open_tun, ways_out
    from colony.modes import why_no_way_out
    from netns import capability

    if capability.missing_rights() is None:
        return _past_firewalls()
    programs = ways_out()
    reason, remedy = why_no_way_out(programs, may_open_tun())
    if not reason:
        return Finding("way out", "ok", f"rootless colonies go out by {programs[0]}")
    return Finding("way out", "note", f"rootless colonies have none: {reason}", remedy)


def _past_firewalls() -> Finding:
    """As root colonies go out by the host, unless others' packet rules end that."""
    from netns import foreign
    from netns.host import routed
    from netns.pool import choose_network

    drops = foreign.look(str(choose_network(routed())))
    if not drops:
        return Finding("way out", "ok", "the host's own")
    chains = ", ".join(drop.where for drop in drops)
    text = f"{chains} drops what colonies send out (not what comes in)"
    return Finding("way out", "note", text, " && ".join(drop.remedy for drop in drops))


def _audit() -> Finding:
    from netns.callers import reason_against, reason_against_udp

    reason = reason_against()
    if not reason and (reason := reason_against_udp()):
        text = f"who sent by UDP and has ended is not named: {reason}"
        return Finding("audit", "note", text, "share the host's processes (--pid=host)")
    if not reason:
        return Finding("audit", "ok", "connections are told of with the process, ended or not")
    text = f"who connected and has ended is not named: no tracepoints ({reason.lower()})"
    return Finding("audit", "note", text, "run Colony as root, where the kernel has perf events")


def _caddy() -> Finding:
    path = shutil.which("caddy")
    if path is None:
        return Finding(
            "caddy",
            "note",
            "not installed: the embedded front door takes its place",
            "apt-get install caddy",
            ("apt-get", "install", "-y", "caddy"),
        )
    version = _caddy_version(path)
    if version < DROPS_ROUTES:
        shown = ".".join(map(str, version)) or "unknown"
        text = f"{path}, {shown}: --caddy-routes is dynamic, so that WebSockets outlive its changes"
        return Finding("caddy", "ok", text)
    return Finding("caddy", "ok", path)


def _caddy_version(path: str) -> tuple[int, ...]:
    done = subprocess.run([path, "version"], capture_output=True, text=True, timeout=10)
    words = done.stdout.split()
    numbers = words[0].lstrip("v").split(".") if words else []
    return tuple(int(each) for each in numbers if each.isdigit())


def _dnsmasq() -> Finding:
    if shutil.which("dnsmasq") or os.path.exists("/usr/sbin/dnsmasq"):
        return Finding("dnsmasq", "ok", "installed")
    return Finding(
        "dnsmasq",
        "note",
        "not installed: the embedded name server takes its place",
        "apt-get install dnsmasq-base",
        ("apt-get", "install", "-y", "dnsmasq-base"),
    )


def _names() -> Finding:
    try:
        found = socket.getaddrinfo("doctor.colony.local", None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    if found and all(each[4][0] in ("127.0.0.1", "::1") for each in found):
        return Finding("names", "ok", "*.colony.local leads here")
    return Finding(
        "names",
        "note",
        "*.colony.local is not known here; *.colony.localhost works in browsers and curl",
        "scripts/setup-dns.sh (while an instance runs, it answers)",
        ("sh", str(SETUP_DNS)) if SETUP_DNS.exists() else (),
    )


def _ports() -> Finding:
    for port in (80, 8080):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                why = f"port {port}: {(error.strerror or str(error)).lower()}"
                continue
            if port == 80:
                return Finding("ports", "ok", "port 80 can be had")
            return Finding("ports", "note", "URLs have :8080, as 80 cannot be had")
    return Finding("ports", "note", f"another port will be taken ({why})")


def _leftovers() -> Finding:
    from netns.instance import dead_instances
    from netns.lost import lost_instances

    found = dead_instances(runtime_directory()) + lost_instances()
    for dead in found:
        dead.bury(remove=False)
    if not found:
        return Finding("leftovers", "ok", "nothing is left of instances that died")
    names = ", ".join(dead.id for dead in found)
    return Finding(
        "leftovers",
        "problem",
        f"of dead instances: {names}",
        "colony doctor --fix removes it, and so does the next colony run",
    )


def _remove_leftovers() -> bool:
    import anyio

    from netns.errors import NetnsError
    from netns.reap import reap_all
    from netns.thread import NetworkThread

    async def remove() -> None:
        async with NetworkThread() as thread:
            await reap_all(thread, runtime_directory())

    try:
        anyio.run(remove)
    except NetnsError:
        return False
    return True


def _disk() -> Finding:
    home = home_directory()
    there = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < DISK_LEAST:
        return Finding("disk", "problem", f"{_size(free)} are free at {there}", "make room")
    return Finding("disk", "ok", f"{_size(free)} are free at {there}")


def _size(count: int) -> str:
    return f"{count / 2**30:.0f} GiB" if count >= 10 * 2**30 else f"{count // 2**20} MiB"


def _counted(colonies: int) -> str:
    return "1 colony" if colonies == 1 else f"{colonies} colonies"


def _instance() -> Finding:
    from colony.client import Client, ClientError, Paused

    try:
        found = Client.find().get("/api/health")
    except Paused as error:
        text, _, fix = str(error).partition("; ")
        return Finding("instance", "problem", text, fix)
    except ClientError as error:
        return Finding("instance", "ok", str(error))
    return Finding("instance", "ok", f"pid {found['pid']} runs, {_counted(found['colonies'])}")


CHECKS: Final[tuple[Callable[[], Finding], ...]] = (
    _namespaces,
    _way_out,
    _audit,
    _caddy,
    _dnsmasq,
    _names,
    _ports,
    _leftovers,
    _disk,
    _instance,
)


def examine() -> list[Finding]:
    """Every finding. A check that breaks is a finding, too, and stops no other."""
    found = []
    for check in CHECKS:
        try:
            found.append(check())
        except Exception as error:
            found.append(Finding(check.__name__.strip("_"), "problem", f"cannot be told: {error}"))
    return found


REPAIRS: Final[dict[str, Callable[[], bool]]] = {"leftovers": _remove_leftovers}
"""By a finding's name, what repairs it without a command."""


def remedy(finding: Finding) -> str:
    """What `fix` would do, for the person who is asked; "" if it can do nothing."""
    if finding.command:
        return f"run `{' '.join(finding.command)}`"
    return f"remove the {finding.name}" if finding.level == "problem" and _repair(finding) else ""


def fix(finding: Finding) -> bool:
    """Repairs what was found; whether it worked. The command's output goes to stderr."""
    if finding.command:
        done = subprocess.run(finding.command, stdin=subprocess.DEVNULL, stdout=STDERR)
        return done.returncode == 0
    repair = _repair(finding)
    return repair is not None and repair()


def _repair(finding: Finding) -> Callable[[], bool] | None:
    return REPAIRS.get(finding.name)
