"""A plain user where user namespaces are allowed: networks all the same. (Where they are not:
`test_plain_user`.)"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from colony.guardian import PROGRAM as GUARDIAN
from tests.end_to_end.colonies import Run, Shop, alive, answers, children, eventually, host, page
from tests.end_to_end.plain import UID, as_a_user, becoming, run_as_a_user

pytestmark = as_a_user


def status_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def guardian_of(run: Run) -> int:
    """Once it is one: who is just becoming its program has no command for a moment."""

    def look() -> int | None:
        for pid in children(run.pid):
            with suppress(OSError):  # another child may end just now
                if os.fsencode(GUARDIAN) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        return None

    found = eventually(look)
    assert found is not None
    return found


def test_two_colonies_on_one_port(users: Shop) -> None:
    one = users.colony({"web": page("one", 3000, "127.0.0.1")})
    two = users.colony({"web": page("two", 3000, "::1")})
    run = run_as_a_user(users, one, two)
    run.ready(f"{one.name}/web")
    run.ready(f"{two.name}/web")
    assert answers(run.http_port, host(one, 3000), "one")
    assert answers(run.http_port, host(two, 3000), "two")
    assert run.http_port >= 8080
    assert run.expect(rf"✓ namespace +colony-{one.name}, 10\.200\.0\.2")
    assert run.stop() == 130
    assert users.leftovers() == []


def test_a_service_is_its_user_and_no_more(users: Shop) -> None:
    colony = users.colony({"web": page("hello", 3000)})
    run = run_as_a_user(users, colony, options=("--network", "rootless"))
    run.ready()
    status = status_of(run.service_pid())
    assert status["Uid"] == [str(UID)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert status[kind] == ["0" * 16], kind
    assert status_of(guardian_of(run))["CapEff"] == ["0" * 16]


def test_a_killed_one_leaves_nothing_even_without_its_guardian(users: Shop) -> None:
    """What it made lives as long as its processes; those the next run finds, from outside."""
    colony = users.colony(
        {"web": page("hello", 3000), "stray": {"command": "setsid sleep 600 & exec sleep 601"}}
    )
    first = run_as_a_user(users, colony)
    first.ready()
    pids = [first.service_pid(), first.service_pid("stray")]
    users.note_instances()
    guardian = guardian_of(first)
    first.send(signal.SIGSTOP)  # or it has the next guardian, before it is killed itself
    os.kill(guardian, signal.SIGKILL)
    first.send(signal.SIGKILL)
    first.wait()
    assert [alive(pid) for pid in pids] == [True, True]
    second = run_as_a_user(users, colony)
    second.ready()
    answers(second.http_port, host(colony, 3000), "hello")
    assert [alive(pid) for pid in pids] == [False, False]


def test_a_killed_ones_services_end_at_once(users: Shop) -> None:
    colony = users.colony({"web": page("hello", 3000), "stray": {"command": "setsid sleep 600"}})
    run = run_as_a_user(users, colony)
    run.ready()
    pids = [run.service_pid(), run.service_pid("stray")]
    users.note_instances()
    run.send(signal.SIGKILL)
    run.wait()
    eventually(lambda: not any(alive(pid) for pid in pids))
    following = run_as_a_user(users, users.colony({"web": page("next")}))
    following.ready()


PROGRAM = """
import os, sys, anyio, colony
from pathlib import Path

ENTER

async def main():
    options = colony.Options(http_ports=(0,), runtime=Path(sys.argv[2]), home=Path(sys.argv[3]))
    async with colony.Host(options) as host:
        print(host.modes.network)
        print(*[note.partition("; without root: ")[2] for note in host.modes.notices], sep="")

anyio.run(main)
"""


@pytest.mark.parametrize(
    ("enter", "network", "why"),
    [
        ("assert colony.enter()", "rootless", ""),
        ("", "host", "this program has not called colony.enter() before its first thread"),
        (
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
            "assert not colony.enter()",
            "host",
            "this program has 2 threads already, and one alone can enter a user namespace; "
            "call colony.enter() before the first one starts",
        ),
    ],
)
def test_a_program_that_embeds_colony(users: Shop, enter: str, network: str, why: str) -> None:
    script = PROGRAM.replace("ENTER", enter)
    done = subprocess.run(
        [*becoming("tun"), sys.executable, "-c", script, "-", users.runtime, users.folder / "home"],
        env=users.environment() | {"HOME": str(users.folder)},
        cwd=users.folder,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{network}\n{why}\n", done.stderr


@pytest.mark.parametrize(
    ("how", "network", "way_out"),
    [
        (
            ("tun",),
            ["ok", "network namespaces can be made, rootless", ""],
            ["ok", "rootless colonies go out by slirp4netns", ""],
        ),
        (
            ("forbidden", "no-tun"),
            [
                "note",
                f"no network namespaces: user {UID} lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here; "
                "without root: this machine allows no user namespaces "
                "(user.max_user_namespaces is 0)",
                "sudo sysctl user.max_user_namespaces=15000, or run Colony as root",
            ],
            [
                "note",
                "rootless colonies have none: this user may not open /dev/net/tun",
                "as root: chmod 666 /dev/net/tun",
            ],
        ),
    ],
)
def test_doctor_explains(
    users: Shop, how: tuple[str, ...], network: list[str], way_out: list[str]
) -> None:
    done = subprocess.run(
        [*becoming(*how), sys.executable, "-m", "colony", "doctor", "--json"],
        env=users.environment() | {"HOME": str(users.folder)},
        cwd=users.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {each["name"]: each for each in json.loads(done.stdout)}
    for name, wanted in (("network", network), ("way out", way_out)):
        assert [found[name][key] for key in ("level", "text", "fix")] == wanted


def test_one_name_in_two_instances_of_a_user_is_refused_with_its_owner_named(users: Shop) -> None:
    """As for root, though their namespaces know nothing of each other."""
    colony = users.colony({"web": page("first")})
    first = run_as_a_user(users, colony)
    first.ready()
    users.note_instances()
    (owner,) = users.instances
    second = run_as_a_user(users, colony, options=["--separate"])
    assert second.wait() == 1
    (error,) = [line for line in second.err.all() if line.startswith("error:")]
    assert f"colony-{colony.name} belongs to another instance of Colony, {owner}" in error
    answers(first.http_port, host(colony), "first")
    # It is free again once that has ended.
    assert first.stop() == 130
    third = run_as_a_user(users, colony, options=["--separate"])
    third.ready()
    assert third.stop() == 130
