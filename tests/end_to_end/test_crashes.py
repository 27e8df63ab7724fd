"""Let it crash: what dies is back, and what lives does not notice."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from netns.sweep import find, with_variable
from tests.end_to_end.colonies import (
    Run,
    Shop,
    alive,
    answers,
    both_doors,
    eventually,
    get,
    host,
    page,
    program,
    root_only,
)

pytestmark = root_only


def part_of(run: Run, name: str) -> int:
    """The process of the instance's Caddy or dnsmasq."""
    run.shop.note_instances()
    (instance,) = run.shop.instances

    def look() -> int | None:
        for pid in find(with_variable("COLONY_INSTANCE", instance)):
            with open(f"/proc/{pid}/comm") as comm:
                if comm.read().strip() == name and alive(pid):
                    return pid
        return None

    found = eventually(look)
    assert found is not None
    return found


@both_doors
def test_a_killed_service_answers_again(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello"), "other": page("other", 4002)})
    run = shop.run(colony, options=door)
    run.ready("web")
    run.ready("other")
    first = answers(run.http_port, host(colony), "hello").pid
    neighbour = answers(run.http_port, host(colony, 4002), "other").pid
    assert first == run.service_pid()

    os.kill(first, signal.SIGKILL)

    run.expect(r"✗ web +killed by SIGKILL after ")
    run.expect(r"↻ web +restarting, 1 of at most 5 in 1 min")
    run.ready("web", nth=2)
    second = answers(run.http_port, host(colony), "hello").pid
    assert second == run.service_pid(nth=2) != first
    assert get(run.http_port, host(colony, 4002)).pid == neighbour


@both_doors
def test_a_service_that_ends_by_itself_is_started_again(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello")})
    run = shop.run(colony, options=door)
    run.ready()
    answers(run.http_port, host(colony), "hello")
    get_and_forget(run, host(colony), "/crash")
    run.expect(r"web \| told to crash")
    run.expect(r"✗ web +exit code 3 after ")
    run.ready(nth=2)
    answers(run.http_port, host(colony), "hello")


def get_and_forget(run: Run, name: str, path: str) -> None:
    """A request whose answer does not matter: the service may die of it."""
    try:
        get(run.http_port, name, path)
    except OSError:
        return


@both_doors
def test_while_a_service_is_down_there_is_a_page_that_says_so(
    shop: Shop, door: tuple[str, ...]
) -> None:
    """The second life waits for a file before it listens: so there is time to look."""
    go = shop.folder / "go"
    go.touch()
    wait = (
        "import os, sys, time\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    served = page("hello")
    served["command"] = [sys.executable, "-c", wait, *served["command"]]
    colony = shop.colony({"web": served})
    run = shop.run(colony, options=door)
    run.ready()
    first = answers(run.http_port, host(colony), "hello").pid

    go.unlink()
    os.kill(first, signal.SIGKILL)
    run.service_pid(nth=2)
    down = eventually(lambda: (r := get(run.http_port, host(colony))).status == 503 and r)
    assert down
    assert colony.name in down.text
    assert "web" in down.text

    go.touch()
    run.ready(nth=2)
    answers(run.http_port, host(colony), "hello")


def test_a_killed_caddy_is_back_with_every_route_on_the_same_port(shop: Shop) -> None:
    colony = shop.colony({"web": page("one"), "api": page("two", 4002)})
    run = shop.run(colony)
    run.ready("web")
    run.ready("api")
    port = run.http_port
    pids = {number: answers(port, host(colony, number), "").pid for number in (4001, 4002)}

    caddy = part_of(run, "caddy")
    os.kill(caddy, signal.SIGKILL)

    run.expect(r"✗ door +caddy ended with signal 9; restarted at once, 1 of 10 in 60 s")
    again = run.expect(r"✓ caddy .*\[::1\] port (\d+)", nth=2)
    assert int(again[1]) == port
    for number, pid in pids.items():
        assert answers(port, host(colony, number), "").pid == pid
    assert part_of(run, "caddy") != caddy


def test_a_killed_dnsmasq_is_back_on_the_same_port(shop: Shop) -> None:
    colony = shop.colony({"web": page("hello")})
    run = shop.run(colony)
    run.ready()
    port, pid = run.dns_port, run.service_pid()

    dnsmasq = part_of(run, "dnsmasq")
    os.kill(dnsmasq, signal.SIGKILL)

    run.expect(r"✗ dns +dnsmasq ended with signal 9; restarted at once, 1 of 10 in 60 s")
    again = run.expect(r"✓ dnsmasq .*\.colony\.local .*port (\d+)", nth=2)
    assert int(again[1]) == port
    assert part_of(run, "dnsmasq") != dnsmasq
    assert answers(run.http_port, host(colony), "hello").pid == pid


@both_doors
def test_a_colony_that_gives_up_says_why_and_exits_1(shop: Shop, door: tuple[str, ...]) -> None:
    say = "import sys; print('last words'); print('a reason', file=sys.stderr); sys.exit(7)"
    colony = shop.colony(
        {"bad": {"command": [sys.executable, "-c", say]}, "good": page("good")},
        supervision={"intensity": 2, "period": 60},
    )
    run = shop.run(colony, options=door)
    assert run.wait() == 1
    errors = "\n".join(run.err.all())
    assert (
        f"error: colony {colony.name} gave up: bad needed more than 2 restarts in 60 s; "
        "the last time: exit code 7"
    ) in errors
    assert "the last lines of bad:" in errors
    assert "last words" in errors
    assert "a reason" in errors
    assert "Traceback" not in run.transcript()
    restarts = [line for line in run.own_lines() if "restarting" in line]
    assert len(restarts) == 2


def test_a_crash_leaves_no_child_of_the_service_behind(shop: Shop) -> None:
    """The service's own children die with it, and do not keep the port from its next life."""
    command = " ".join(program("page", 4001, "hello"))
    shell = ["/bin/sh", "-c", f"{command} & wait"]
    colony = shop.colony({"web": {"command": shell, "port": 4001}})
    run = shop.run(colony)
    run.ready()
    child = answers(run.http_port, host(colony), "hello").pid
    parent = run.service_pid()
    assert child != parent
    os.kill(parent, signal.SIGKILL)
    run.ready(nth=2)
    assert answers(run.http_port, host(colony), "hello").pid != child
    assert not alive(child)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_siblings_restart_as_the_strategy_says(shop: Shop, strategy: str) -> None:
    colony = shop.colony(
        {"first": page("1", 4001), "second": page("2", 4002), "third": page("3", 4003)},
        supervision={"strategy": strategy},
    )
    run = shop.run(colony)
    names = ("first", "second", "third")
    for name in names:
        run.ready(name)
    before = {name: run.service_pid(name) for name in names}
    os.kill(before["second"], signal.SIGKILL)
    run.ready("second", nth=2)
    run.ready("third", nth=2)
    assert not alive(before["third"])
    if strategy == "one_for_all":
        run.ready("first", nth=2)
        assert not alive(before["first"])
    else:
        assert answers(run.http_port, host(colony), "1").pid == before["first"]
