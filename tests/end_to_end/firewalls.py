"""Others' packet rules, for tests beside them: as they were recorded, and by the programs that make
them, where they are installed.

    rules/NAME.nft      what `nft list ruleset` showed of docker 20.10, ufw 0.36, firewalld 1.3 as
                        they come, with iptables-nft 1.8 (of ufw's rules for IPv6 without the
                        matches of `icmp6` that `nft` cannot read)
    PROGRAMS            what starts each on a machine of a test's (`outside`), with all that it
                        writes in that machine's own /run
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.end_to_end.outside import There

RULES: Final = Path(__file__).parent / "rules"

_OWN = """
own() {
    test -d "$1" || return 0
    mkdir -p "/run/own$1"; cp -a "$1/." "/run/own$1"; mount --bind "/run/own$1" "$1"
}
trap 'kill $daemons 2>/dev/null; wait' EXIT
until_true() { for try in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; exit 1; }
mkdir -p /run/lock
"""

_HELD = "echo; read -r _ || true"

# Each ends when its rules are in force; what it has begun in `daemons` ends with the shell.
PROGRAMS: Final = {
    "docker": (
        "dockerd",
        """
dockerd --data-root /run/data --exec-root /run/exec --pidfile /run/docker.pid \
    --host unix:///run/docker.sock --storage-driver vfs >/run/log 2>&1 &
daemons=$!
until_true grep "API listen" /run/log
""",
    ),
    "ufw": (
        "ufw",
        """
own /etc/ufw; own /etc/default; own /var/lib/ufw
ufw --force enable >/run/log 2>&1
""",
    ),
    "firewalld": (
        "firewalld",
        """
own /etc/firewalld
mkdir -p /run/dbus /run/firewalld
dbus-daemon --system --nofork --nopidfile >/run/bus.log 2>&1 &
daemons=$!
firewalld --nofork --nopid >/run/log 2>&1 &
daemons="$! $daemons"
until_true firewall-cmd --state
""",
    ),
}

INSTALLED: Final = tuple(
    name
    for name, (program, _) in PROGRAMS.items()
    if shutil.which(program) and os.environ.get("CI") != "true"
)
"""On CI none: what a machine happens to have is not to decide there."""


@contextmanager
def firewall(there: There, name: str) -> Iterator[None]:
    """The program itself, on that machine; it has ended when the block has."""
    script = f"set -e\n{_OWN}{PROGRAMS[name][1]}{_HELD}"
    argv = [*there.prefix, "bash", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline(), there.run("cat", "/run/log")
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(30)


def recorded(there: There, name: str) -> None:
    """Its rules on that machine, without the program."""
    there.run("nft", "-f", str(RULES / f"{name}.nft"))
