"""What a user sees of services, in a real `colony run`: order, crashes, ends, and no orphans."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from netns.sweep import find, with_variable
from tests.end_to_end.colonies import (
    EMBEDDED,
    MARK,
    Run,
    Shop,
    alive,
    answers,
    eventually,
    host,
    page,
    root_only,
)

HOST: Final = ("--network", "host", *EMBEDDED)

both_networks = pytest.mark.parametrize(
    "options",
    [pytest.param(EMBEDDED, marks=root_only, id="namespace"), pytest.param(HOST, id="host")],
)

FAMILY: Final = (
    "setsid sleep 1001 & nohup sleep 1002 >/dev/null 2>&1 & (setsid sleep 1003 &) ; "
    "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1004 & exec sleep 1005' & "
    "(sleep 1006 & exec sleep 1007) & echo up; exec sleep 1000"
)
"""A process with seven descendants, most of which have got away from it."""


def services(run: Run) -> list[int]:
    """The processes of the run's services, itself left out."""
    rule = with_variable(MARK, run.shop.mark)
    named = with_variable("COLONY_SERVICE", "web")
    return [pid for pid in find(lambda pid: rule(pid) and named(pid)) if alive(pid)]


def order(run: Run, *patterns: str) -> list[int]:
    """Where in Colony's own lines the first match of each stands."""
    lines = run.own_lines()
    return [
        next(index for index, line in enumerate(lines) if re.search(pattern, line))
        for pattern in patterns
    ]


@both_networks
def test_services_start_after_what_they_need_and_stop_before_it(
    shop: Shop, options: tuple[str, ...]
) -> None:
    ready = {"ready": {"log": "up"}}
    colony = shop.colony(
        {
            "web": {"command": "echo up; exec sleep 1000", "after": ["db"], **ready},
            "db": {"command": "sleep 0.2; echo up; exec sleep 1000", **ready},
        }
    )
    run = shop.run(colony, options=options)
    run.expect(r"✓ web +ready: a line like up")
    assert run.stop() == 130
    places = order(
        run,
        r"· web +waits for db to be ready",
        r"✓ db +ready",
        r"✓ web +pid",
        r"■ web +stopping",
        r"✓ web +stopped",
        r"■ db +stopping",
        r"✓ db +stopped",
    )
    assert places == sorted(places)


@both_networks
def test_after_a_kill_of_colony_nothing_of_its_services_runs(
    shop: Shop, options: tuple[str, ...]
) -> None:
    run = shop.run(shop.colony({"web": {"command": FAMILY}}), options=options)
    run.expect(r"web \| up")
    eventually(lambda: len(services(run)) == 8)
    run.send(signal.SIGKILL)
    assert run.wait() == 128 + signal.SIGKILL
    eventually(lambda: not shop.processes())
    again = shop.run(shop.colony({"web": {"command": "echo up; exec sleep 1000"}}), options=options)
    again.expect(r"web \| up")
    assert again.stop() == 130


@root_only
def test_what_cleared_its_environment_is_found_by_its_namespace(shop: Shop) -> None:
    script = "env -i setsid sleep 1001 & echo up; exec sleep 1000"
    run = shop.run(shop.colony({"web": {"command": script}}), options=EMBEDDED)
    run.expect(r"web \| up")
    # For a moment there may be two, before the other has cleared its environment.
    web = eventually(lambda: found[0] if len(found := services(run)) == 1 else None)
    assert web is not None
    place = os.stat(f"/proc/{web}/ns/net").st_ino

    def inside() -> list[int]:
        return [pid for pid in find(lambda pid: _in(pid, place)) if alive(pid)]

    assert len(inside()) == 2
    run.send(signal.SIGKILL)
    run.wait()
    eventually(lambda: not inside())
    again = shop.run(
        shop.colony({"web": {"command": "echo up; exec sleep 1000"}}), options=EMBEDDED
    )
    again.expect(r"✓ cleaned ")
    again.expect(r"web \| up")


def _in(pid: int, inode: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == inode
    except OSError:
        return False


@root_only
def test_a_server_that_makes_itself_a_daemon_serves_on_and_is_stopped_with_the_rest(
    shop: Shop,
) -> None:
    web: dict[str, Any] = page("hello")
    words = " ".join(f"'{word}'" for word in web["command"])
    web["command"] = f"setsid {words} & sleep 0.3"
    colony = shop.colony({"web": web})
    run = shop.run(colony, options=EMBEDDED)
    server = int(run.expect(r"· web +detached itself: its server is pid (\d+), ")[1])
    first = answers(run.http_port, host(colony), "hello")
    assert first.pid == server
    os.kill(server, signal.SIGKILL)
    run.expect(r"✗ web +its detached server \(pid \d+\) has ended")
    second = int(run.expect(r"· web +detached itself: its server is pid (\d+), ", 2)[1])
    assert answers(run.http_port, host(colony), "hello").pid == second
    assert run.stop() == 130
    assert not alive(second)


@both_networks
def test_the_exit_code_of_the_service_that_is_the_point_is_that_of_run(
    shop: Shop, options: tuple[str, ...]
) -> None:
    test = {
        "command": "exit 7",
        "restart": "temporary",
        "exit_colony": True,
        "after": {"web": "started"},
    }
    colony = shop.colony({"web": {"command": "exec sleep 1000"}, "test": test})
    run = shop.run(colony, options=options)
    assert run.wait() == 7
    run.expect(r"test, with which it ends, has ended: exit code 7")
    run.expect(r"✓ web +stopped")


def test_a_signal_that_ends_the_service_that_is_the_point_is_told_as_by_a_shell(shop: Shop) -> None:
    test = {"command": "kill -TERM $$", "restart": "temporary", "exit_colony": True}
    run = shop.run(shop.colony({"test": test}), options=HOST)
    assert run.wait() == 143
    run.expect(r"test, with which it ends, has ended: killed by SIGTERM")


def test_a_second_interrupt_kills_what_does_not_want_to_end(shop: Shop) -> None:
    stubborn = {"command": "trap '' TERM; echo up; while :; do sleep 1; done"}
    run = shop.run(shop.colony({"web": stubborn | {"stop": {"grace": 300}}}), options=HOST)
    run.expect(r"web \| up")
    run.send(signal.SIGINT)
    run.expect(r"■ web +pid \d+ is still there, and killed in ")
    run.send(signal.SIGINT)
    assert run.wait() == 130


def test_a_crash_loop_is_slowed_down_then_given_up_with_its_last_words(shop: Shop) -> None:
    command = "echo 'no such table'; echo why >&2; exit 3"
    colony = shop.colony(
        {"web": {"command": command, "backoff": {"min": 0.01}}},
        supervision={"intensity": 2, "period": 60},
    )
    run = shop.run(colony, options=HOST)
    assert run.wait() == 1
    run.expect(r"↻ web +restarting, 1 of at most 2 in 1 min")
    run.expect(r"↻ web +restarting in 1\d ms, 2 of at most 2 in 1 min")
    run.expect_error(r"gave up: web needed more than 2 restarts in 60 s; .*exit code 3")
    run.expect_error(r"web \| no such table")
    run.expect_error(r"web \| why")


def test_giving_up_after_one_restart_says_so(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": "exit 3"}}, supervision={"intensity": 1, "period": 60})
    run = shop.run(colony, options=HOST)
    assert run.wait() == 1
    run.expect_error(r"gave up: web needed more than 1 restart in 60 s; .*exit code 3")


def test_output_is_kept_in_a_file_that_outlives_the_colony(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": "printf 'a\\377b\\n'; echo up >&2; exec sleep 100"}})
    run = shop.run(colony, options=HOST)
    run.expect(r"web \| up")
    assert run.stop() == 130
    file = Path(shop.folder, "home", "logs", colony.name, "web.log")
    one, two = sorted(file.read_bytes().splitlines(), key=lambda line: line.split()[1:])
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z err up", one)
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z out a\xffb", two)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_million_lines_hold_up_nobody_and_fill_no_memory(shop: Shop) -> None:
    flood = "yes 'a line of a web server: GET /a 200 in 12 ms' | head -n 1000000; touch end"
    colony = shop.colony({"web": {"command": f"{flood}; exec sleep 100"}})
    run = shop.run(colony, options=HOST)
    run.expect(r"✓ web +ready")
    eventually(colony.file.with_name("end").exists)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{run.pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) < 200 * 1024
    assert run.stop() == 130


def test_what_a_service_writes_is_never_read_as_markup(shop: Shop) -> None:
    text = '[red]["x"] \\[bold] {0} %s :smile:'
    command = ["sh", "-c", 'printf "%s\\n" "$0"; exec sleep 1000', text]
    run = shop.run(shop.colony({"web": {"command": command}}), options=HOST)
    assert run.expect(r"web \| (.*)")[1] == text
