"""Colonies beside each other: the same port in each, and each its own content."""

from __future__ import annotations

import signal

from tests.end_to_end.colonies import (
    Shop,
    answers,
    both_doors,
    eventually,
    get,
    host,
    page,
    root_only,
)

pytestmark = root_only


@both_doors
def test_two_colonies_of_one_instance_on_one_port(shop: Shop, door: tuple[str, ...]) -> None:
    one = shop.colony({"web": page("one")})
    two = shop.colony({"web": page("two")})
    run = shop.run(one, two, options=door)
    run.ready(f"{one.name}/web")
    run.ready(f"{two.name}/web")
    first = answers(run.http_port, host(one), "one").pid
    second = answers(run.http_port, host(two), "two").pid
    assert first == run.service_pid(f"{one.name}/web")
    assert second == run.service_pid(f"{two.name}/web")
    run.expect(rf"^{one.name}/web \| one listens")
    run.expect(rf"^{two.name}/web \| two listens")


@both_doors
def test_a_second_run_joins_the_instance_that_runs(shop: Shop, door: tuple[str, ...]) -> None:
    """It adds its colony there, shows it, and its Ctrl-C stops that colony only."""
    one = shop.colony({"web": page("one")})
    two = shop.colony({"web": page("two")})
    first = shop.run(one, options=door)
    first.ready()
    answers(first.http_port, host(one), "one")
    second = shop.run(two)
    second.ready()
    answers(first.http_port, host(two), "two")
    assert second.stop() == 130
    assert "Traceback" not in second.transcript()
    eventually(lambda: get(first.http_port, host(two)).status == 404)
    answers(first.http_port, host(one), "one")


@both_doors
def test_two_instances_at_the_same_time(shop: Shop, door: tuple[str, ...]) -> None:
    """Started together; each gets a front door and a name server of its own, and says where."""
    one = shop.colony({"web": page("one")})
    two = shop.colony({"web": page("two")})
    first, second = (shop.run(each, options=(*door, "--separate")) for each in (one, two))
    for run in (first, second):
        run.ready()
    assert first.http_port != second.http_port
    assert first.dns_port != second.dns_port
    answers(first.http_port, host(one), "one")
    answers(second.http_port, host(two), "two")
    assert get(first.http_port, host(two)).status == 404
    assert get(second.http_port, host(one)).status == 404
    for run in (first, second):
        url = run.expect(r"· web +http://([^/:]+)(?::(\d+))?/")
        assert int(url[2] or 80) == run.http_port

    # The end of one is nothing to the other.
    assert first.stop(signal.SIGTERM) == 143
    answers(second.http_port, host(two), "two")
    assert not second.out.find("✗", 1)


def test_one_name_in_two_instances_is_refused_with_its_owner_named(shop: Shop) -> None:
    colony = shop.colony({"web": page("first")})
    first = shop.run(colony)
    first.ready()
    shop.note_instances()
    (owner,) = shop.instances
    second = shop.run(colony, options=["--separate"])
    assert second.wait() == 1
    (error,) = [line for line in second.err.all() if line.startswith("error:")]
    assert f"colony-{colony.name} belongs to another instance of Colony, {owner}" in error
    assert "Traceback" not in second.transcript()
    answers(first.http_port, host(colony), "first")


def test_when_one_colony_gives_up_the_other_goes_on(shop: Shop) -> None:
    bad = shop.colony({"bad": {"command": ["false"]}}, supervision={"intensity": 1})
    good = shop.colony({"web": page("good")})
    run = shop.run(bad, good)
    run.expect_error(f"colony {bad.name} gave up")
    run.ready(f"{good.name}/web")
    answers(run.http_port, host(good), "good")
    assert run.stop() == 130
