"""When the reconciler acts, and what it does with what Caddy says."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from proxy.caddy_admin import CaddyAdmin
from proxy.caddy_config import SERVER_PATH, Json
from proxy.errors import CaddyError
from proxy.reconciler import Clock, Reconciler, Timing
from proxy.routes import RouteTable, TcpUpstream
from tests.ports import free_ports
from tests.proxy.support import PATIENCE, route, strangers_caddy

TIMING = Timing(quiet=0.03, patience=0.1, check=5.0, retry=0.1, retry_max=2.0)


def test_without_a_change_it_looks_now_and_then() -> None:
    assert Clock(done=10.0).due(TIMING) == 15.0


def test_a_change_is_sent_when_it_is_quiet() -> None:
    clock = Clock(done=10.0).changed(11.0)
    assert clock == Clock(done=10.0, first=11.0, last=11.0)
    assert clock.due(TIMING) == 11.03
    assert clock.changed(11.0625).due(TIMING) == 11.0925


def test_changes_without_end_are_sent_all_the_same() -> None:
    clock = Clock(done=10.0)
    for hundredth in range(20):
        clock = clock.changed(11.0 + hundredth / 100)
    assert clock.due(TIMING) == 11.1


def test_after_success_it_is_as_at_first() -> None:
    clock = Clock(done=10.0).changed(11.0).succeeded(12.0, changed_since=None)
    assert clock == Clock(done=12.0)


def test_what_changed_meanwhile_is_not_forgotten() -> None:
    clock = Clock(done=10.0).changed(11.0).succeeded(12.0, changed_since=11.5)
    assert clock == Clock(done=12.0, first=11.5, last=11.5)


def test_failures_are_retried_ever_more_slowly() -> None:
    clock, waits = Clock(done=0.0).changed(1.0), []
    for _ in range(7):
        clock = clock.failed(10.0)
        waits.append(round(clock.due(TIMING) - 10.0, 3))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert clock.first == 1.0
    assert clock.succeeded(20.0, changed_since=None).failures == 0


def server(table: RouteTable, port: int, name: str) -> Json:
    return {
        "listen": [f"127.0.0.1:{port}"],
        "routes": [{"handle": [{"handler": name, "body": entry.colony}]} for entry in table],
    }


@pytest.mark.real_time
async def test_a_refused_change_is_told_to_who_waits_and_the_next_is_tried(tmp_path: Path) -> None:
    [port] = free_ports(1)

    def make(table: RouteTable) -> Json:
        bad = any(entry.colony == "bad" for entry in table)
        return server(table, port, "nonsense" if bad else "static_response")

    async with strangers_caddy(tmp_path, {}) as stranger, anyio.create_task_group() as tasks:
        reconciler = Reconciler(stranger.admin, make)
        tasks.start_soon(reconciler.run)
        reconciler.want(RouteTable([route("bad", TcpUpstream(1))]))
        with pytest.raises(CaddyError, match=r"unknown module: .*nonsense"):
            await reconciler.settled()
        reconciler.want(RouteTable([route("good", TcpUpstream(1))]))
        await reconciler.settled()
        [entry] = (await stranger.admin.get(SERVER_PATH))["routes"]
        assert entry["handle"][0]["body"] == "good"
        assert (reconciler.changes, reconciler.refusal) == (1, None)
        tasks.cancel_scope.cancel()


@pytest.mark.real_time
async def test_what_is_wanted_while_another_change_is_sent_is_sent_too(tmp_path: Path) -> None:
    [port] = free_ports(1)
    later = [RouteTable([route("second", TcpUpstream(1))])]

    def make(table: RouteTable) -> Json:
        while later:
            reconciler.want(later.pop())
        return server(table, port, "static_response")

    async with strangers_caddy(tmp_path, {}) as stranger, anyio.create_task_group() as tasks:
        reconciler = Reconciler(stranger.admin, make, timing=Timing(check=1000.0))
        tasks.start_soon(reconciler.run)
        reconciler.want(RouteTable([route("first", TcpUpstream(1))]))
        await reconciler.settled()
        with anyio.fail_after(PATIENCE):
            await reconciler.settled()
        [entry] = (await stranger.admin.get(SERVER_PATH))["routes"]
        assert entry["handle"][0]["body"] == "second"
        tasks.cancel_scope.cancel()


async def test_a_start_settles_what_was_wanted_of_the_life_before() -> None:
    reconciler = Reconciler(CaddyAdmin("localhost:1"), lambda table: {})
    reconciler.want(RouteTable())
    reconciler.start(RouteTable())
    await reconciler.settled()


@pytest.mark.real_time
async def test_a_field_that_caddy_does_not_know_may_be_left_out(tmp_path: Path) -> None:
    [port] = free_ports(1)
    known = [False]

    def make(table: RouteTable) -> Json:
        wanted = server(table, port, "static_response")
        return wanted if known[0] else {**wanted, "from_the_future": 1}

    def refused(error: CaddyError) -> bool:
        known[0] = "from_the_future" in error.detail
        return known[0]

    async with strangers_caddy(tmp_path, {}) as stranger:
        reconciler = Reconciler(stranger.admin, make, refused=refused)
        await reconciler.apply(RouteTable())
        assert reconciler.changes == 1
        assert await stranger.admin.get(SERVER_PATH) == make(RouteTable())


@pytest.mark.real_time
async def test_it_waits_for_a_caddy_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    [port] = free_ports(1)
    reconciler = Reconciler(
        CaddyAdmin(f"unix/{path}"), lambda table: server(table, port, "static_response")
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconciler.run)
        reconciler.want(RouteTable([route("one", TcpUpstream(1))]))
        await anyio.sleep(0.1)
        admin = {"listen": f"unix/{path}", "origins": ["localhost"], "config": {"persist": False}}
        async with strangers_caddy(tmp_path, {"admin": admin}, CaddyAdmin(f"unix/{path}")):
            await reconciler.settled()
            assert reconciler.changes == 1
            tasks.cancel_scope.cancel()
