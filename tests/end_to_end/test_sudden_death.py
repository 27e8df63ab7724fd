"""`kill -9` of Colony itself: its services end, and the next run finds and removes the rest."""

from __future__ import annotations

import signal
from pathlib import Path

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
from tests.ports import free_port


def kill(run: Run) -> None:
    run.shop.note_instances()
    run.send(signal.SIGKILL)
    assert run.wait() == 128 + signal.SIGKILL


def clean_up(shop: Shop, options: tuple[str, ...]) -> None:
    """A run that finds what a dead one left, and ends."""
    run = shop.run(shop.colony({"web": page("next")}), options=options)
    run.ready()
    assert run.stop() == 130


def strays(pids: list[int]) -> int:
    """How many of these sleep."""
    return sum(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in pids)


@root_only
@both_doors
def test_the_next_run_cleans_up_and_works(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello")})
    first = shop.run(colony, options=door)
    first.ready()
    answers(first.http_port, host(colony), "hello")
    kill(first)

    second = shop.run(colony, options=door)
    second.ready()
    cleaned = second.expect(r"✓ cleaned +(.*)$")[1]
    assert f"namespace colony-{colony.name}" in cleaned
    assert "left by a Colony that was killed" in cleaned
    assert answers(second.http_port, host(colony), "hello").pid == second.service_pid()
    assert second.stop() == 130
    assert shop.leftovers() == []


@root_only
@both_doors
def test_services_end_with_it(shop: Shop, door: tuple[str, ...]) -> None:
    """Without any next run: what would hold ports and write to nobody is gone."""
    colony = shop.colony({"web": page("hello"), "stray": {"command": "setsid sleep 600"}})
    run = shop.run(colony, options=door)
    run.ready()
    pids = [run.service_pid("web"), run.service_pid("stray")]
    kill(run)
    eventually(lambda: not any(alive(pid) for pid in pids))
    clean_up(shop, door)


@root_only
def test_what_lives_is_not_cleaned_up(shop: Shop) -> None:
    """Beside a dead instance lives another, in the same runtime directory: it is left alone."""
    one, two = shop.colony({"web": page("one")}), shop.colony({"web": page("two")})
    living = shop.run(one, options=EMBEDDED)
    living.ready()
    dying = shop.run(two, options=[*EMBEDDED, "--separate"])
    dying.ready()
    kill(dying)
    next_run = shop.run(two, options=[*EMBEDDED, "--separate"])
    next_run.ready()
    cleaned = next_run.expect(r"✓ cleaned +(.*)$")[1]
    assert f"colony-{two.name}" in cleaned
    assert one.name not in cleaned
    assert answers(living.http_port, host(one), "one").pid == living.service_pid()
    answers(next_run.http_port, host(two), "two")


def test_on_the_hosts_network_processes_are_known_by_their_mark(shop: Shop) -> None:
    """There a process that got away is found by its environment alone."""
    port = free_port()
    colony = shop.colony(
        {"web": page("hello", port), "stray": {"command": "setsid sleep 600 & exec sleep 601"}}
    )
    options = ["--network", "host", *EMBEDDED]
    first = shop.run(colony, options=options)
    first.ready()
    first.service_pid("stray")
    shop.note_instances()
    eventually(lambda: strays(shop.processes()) == 2)
    before = shop.processes()
    kill(first)

    second = shop.run(colony, options=options)
    second.ready()
    second.service_pid("stray")
    answers(second.http_port, host(colony, port), "hello")
    assert [pid for pid in before if alive(pid)] == []
