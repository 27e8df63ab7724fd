"""The end: in reverse order, politely, then not; and nothing of it stays, whenever it comes."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    Run,
    Shop,
    alive,
    answers,
    both_doors,
    eventually,
    host,
    page,
    root_only,
)

pytestmark = root_only


@both_doors
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_reverse_and_is_the_status(
    shop: Shop, door: tuple[str, ...], number: int, status: int
) -> None:
    one = shop.colony({"first": page("1", 4001), "second": page("2", 4002, after=["first"])})
    two = shop.colony({"third": page("3", 4003)})
    run = shop.run(one, two, options=door)
    for service in ("first", "second", "third"):
        run.ready(service)
    assert run.stop(number) == status
    assert [line for line in endings(run) if line] == [
        f"■ {two.name}",
        f"■ {two.name}/third",
        f"✓ {two.name}/third stopped",
        f"✓ namespace colony-{two.name} removed",
        f"■ {one.name}",
        f"■ {one.name}/second",
        f"✓ {one.name}/second stopped",
        f"■ {one.name}/first",
        f"✓ {one.name}/first stopped",
        f"✓ namespace colony-{one.name} removed",
    ]
    assert run.err.all() == []


def test_a_terminal_that_is_closed_stops_it_too(shop: Shop) -> None:
    """SIGHUP, unless `nohup` says otherwise."""
    colony = shop.colony({"web": page("hello")})
    run = shop.run(colony, options=EMBEDDED)
    run.ready()
    assert run.stop(signal.SIGHUP) == 129
    run.expect(r"✓ web +stopped")

    kept = shop.run(colony, options=EMBEDDED, prefix=["nohup"])
    kept.ready()
    kept.send(signal.SIGHUP)
    answers(kept.http_port, host(colony), "hello")
    assert kept.stop(signal.SIGTERM) == 143


def endings(run: Run) -> list[str]:
    """What the lines of the stop are about, in order."""
    found = []
    for line in run.own_lines():
        shape, name, rest = (*line.split(maxsplit=2), "")[:3]
        if shape == "■":
            found.append(f"■ {name}")
        elif shape == "✓" and rest.startswith("stopped"):
            found.append(f"✓ {name} stopped")
        elif shape == "✓" and re.search(r"\bremoved\b", rest):
            found.append(f"✓ {name} {rest.split(' removed')[0]} removed")
    return found


STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 600 & wait; done"


@both_doors
def test_a_second_signal_kills_what_ignores_the_first(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": {"command": STUBBORN, "stop.grace": 300}})
    run = shop.run(colony, options=door)
    run.expect(r"web \| deaf")
    run.send(signal.SIGINT)
    run.expect(r"■ web +stopping pid")
    # As a person would: no sooner than somebody can press a key twice.
    eventually(lambda: second_counts(run))
    run.expect(r"■ colony +killing what is left")
    assert run.wait() == 130


def second_counts(run: Run) -> bool:
    """Sends a further signal; whether it was taken for one."""
    if run.popen.poll() is None:
        run.send(signal.SIGINT)
        time.sleep(0.05)
    return run.out.find("killing what is left", 1) is not None


def test_a_second_signal_kills_all_at_once_also_those_that_have_not_been_told(shop: Shop) -> None:
    deaf = {"command": STUBBORN, "stop.grace": 300}
    colony = shop.colony({"db": deaf, "api": {**deaf, "after": ["db"]}, "mail": deaf})
    run = shop.run(colony, options=EMBEDDED)
    for service in ("db", "api", "mail"):
        run.expect(rf"{service} +\| deaf")
    run.send(signal.SIGINT)
    for service in ("api", "mail"):
        run.expect(rf"■ {service} +stopping pid")
    eventually(lambda: second_counts(run))
    assert run.wait() == 130
    assert "killing what is left" in run.transcript().partition("■ db")[0]
    assert "restarting" not in run.transcript()


MEETS = """
trap 'touch {name}.told
until [ -e a.told ] && [ -e b.told ] && [ -e c.told ]; do sleep 0.05; done
touch {name}.done; exit 0' TERM
echo up; while :; do sleep 600 & wait; done
"""
COMES_LAST = """
trap '[ -e a.done ] && [ -e b.done ] && [ -e c.done ] && echo all gone; exit 0' TERM
echo up; while :; do sleep 600 & wait; done
"""


@both_doors
def test_what_is_independent_stops_together_and_what_it_needs_stops_last(
    shop: Shop, door: tuple[str, ...]
) -> None:
    """None of three ends before all three have been told; told one by one they would be killed."""
    three = {
        name: {"command": MEETS.format(name=name), "after": ["db"], "stop.grace": 50}
        for name in ("a", "b", "c")
    }
    colony = shop.colony({"db": {"command": COMES_LAST, "stop.grace": 50}, **three})
    run = shop.run(colony, options=door)
    for service in ("db", *three):
        run.expect(rf"{service} +\| up")
    assert run.stop() == 130
    assert run.err.all() == []
    lines = endings(run)
    assert [lines[:4], sorted(lines[4:7]), lines[7:]] == [
        [f"■ {colony.name}", "■ c", "■ b", "■ a"],
        ["✓ a stopped", "✓ b stopped", "✓ c stopped"],
        ["■ db", "✓ db stopped", f"✓ namespace colony-{colony.name} removed"],
    ]
    run.expect(r"db +\| all gone")


def test_a_service_that_ignores_the_signal_is_killed_after_its_grace(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": STUBBORN, "stop.grace": 0.2}})
    run = shop.run(colony, options=EMBEDDED)
    run.expect(r"web \| deaf")
    assert run.stop() == 130
    run.expect(r"✓ web +killed, it did not stop in time")


def test_a_service_without_a_grace_is_killed_at_once(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": STUBBORN, "stop.grace": 0}})
    run = shop.run(colony, options=EMBEDDED)
    run.expect(r"web \| deaf")
    assert run.stop() == 130
    run.expect(r"✓ web +killed at once, its grace is 0")


ESCAPES = {
    "setsid": "setsid {sleep} & ",
    "double fork": "( ( {sleep} & ) & ) ; ",
    "nohup": "nohup {sleep} >/dev/null 2>&1 & ",
    "setsid double fork": "( setsid sh -c '{sleep} & ' & ) ; ",
    "closed pipes": "setsid {sleep} </dev/null >/dev/null 2>&1 & ",
    "no environment": "env -i /usr/bin/setsid {sleep} & ",
}


@pytest.mark.parametrize("network", ["namespace", "host"])
def test_no_grandchild_gets_away(shop: Shop, network: str) -> None:
    """Whatever a service starts and however that hides; by environment alone where there is no
    namespace to find it by."""
    mark = secrets.randbelow(10**6) * 100
    seconds = {escape: f"sleep {10**9 + mark + n}" for n, escape in enumerate(ESCAPES)}
    if network == "host":
        del seconds["no environment"]
    starts = "".join(ESCAPES[escape].format(sleep=seconds[escape]) for escape in seconds)
    colony = shop.colony({"web": {"command": f"{starts} echo all started; exec sleep 600"}})
    run = shop.run(colony, options=["--network", network, *EMBEDDED])
    run.expect("all started")
    strays = eventually(lambda: all_of(list(seconds.values())))
    assert run.stop() == 130
    assert [pid for pid in strays if alive(pid)] == []
    run.expect(r"✓ web +stopped")


def all_of(commands: list[str]) -> list[int]:
    """The processes with these commands, once all are there."""
    listing = subprocess.check_output(["ps", "-eo", "pid=,args="], text=True)
    found = [
        int(line.split(maxsplit=1)[0])
        for line in listing.splitlines()
        if line.split(maxsplit=1)[1] in commands
    ]
    return found if len(found) == len(commands) else []


MOMENTS = {
    "at once": None,
    "name server": r"\.colony\.local",
    "front door": r"\[::1\] port",
    "namespace": r"✓ namespace",
    "service": r"✓ first +pid",
    "second service": r"✓ second +pid",
}


@pytest.mark.parametrize("moment", MOMENTS)
@both_doors
def test_a_signal_in_the_midst_of_the_start(shop: Shop, door: tuple[str, ...], moment: str) -> None:
    colony = shop.colony({"first": page("1", 4001), "second": page("2", 4002)})
    run = shop.run(colony, options=door)
    pattern = MOMENTS[moment]
    if pattern is None:
        eventually(lambda: takes(run.pid, signal.SIGTERM))
    else:
        run.expect(pattern)
    assert run.stop() == 130, run.transcript()
    assert "Traceback" not in run.transcript()
    assert "error" not in "\n".join(run.err.all())


def takes(pid: int, number: int, how: str = "SigCgt") -> bool:
    """Whether the process has a handler for a signal, or with "SigIgn", ignores it."""
    with open(f"/proc/{pid}/status") as file:
        (signals,) = (line.split()[1] for line in file if line.startswith(how))
    return bool(int(signals, 16) & (1 << (number - 1)))


@pytest.mark.parametrize("milliseconds", [0, 30, 100, 200, 300, 400])
def test_a_signal_at_any_time_leaves_nothing(shop: Shop, milliseconds: int) -> None:
    """Also before Colony listens for signals: then it has made nothing, and just ends."""
    colony = shop.colony({"web": page("1")})
    run = shop.run(colony)
    eventually(lambda: at_work(run.pid))
    time.sleep(milliseconds / 1000)
    assert run.stop() == 130
    assert "Traceback" not in run.transcript()
    assert run.err.all() == []


IMPORTED = 200_000
"""Bytes that Python has not read by far when it takes SIGINT, and has when it runs Colony."""


def at_work(pid: int) -> bool:
    """Whether Colony's own code runs. Python, starting, first ignores SIGPIPE and then takes
    SIGINT, when it has read next to nothing; Colony, starting, gives SIGINT up again, and once it
    listens takes SIGTERM, too."""
    read = int(re.findall(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[0])
    gave_up = takes(pid, signal.SIGPIPE, "SigIgn") and not takes(pid, signal.SIGINT)
    return (gave_up and read > IMPORTED) or takes(pid, signal.SIGTERM)


def test_a_reader_that_goes_away_ends_nothing(shop: Shop) -> None:
    """`colony run | head -1`: the services live on, and Ctrl-C still stops them."""
    chatter = [sys.executable, "-uc", "import time\nwhile 1: print('x' * 999); time.sleep(0.001)"]
    colony = shop.colony({"web": page("hello"), "talk": {"command": chatter}})
    run = shop.run(colony, options=EMBEDDED)
    run.ready()
    port = run.http_port
    run.out.close_early()
    for _ in range(3):
        answers(port, host(colony), "hello")
    assert run.stop() == 130
    assert "Traceback" not in run.transcript()
