"""The world: what happens to the real tree on played processes, to the millisecond."""

from __future__ import annotations

from typing import Any

import pytest

from colony.config import Config, parse
from colony.lab.faults import (
    After,
    At,
    Behaviour,
    Crash,
    Daemonise,
    Every,
    Exit,
    Exponential,
    Fault,
    Fixed,
    Flapping,
    Hang,
    IgnoreStop,
    Lived,
    NeverReady,
    Poisson,
    PortStolen,
    Scenario,
    SlowStart,
    Unstartable,
    What,
)
from colony.lab.summary import summarise
from colony.lab.trace import Ending, Trace
from colony.lab.world import Simulation, simulate

WEB = """
[services.web]
command = "web"
port = 3000
backoff = { min = "1s", max = "4s" }
"""

PAIR = """
[services.db]
command = "db"
port = 5432
[services.web]
command = "web"
port = 3000
after = ["db"]
"""


def made(text: str, **supervision: Any) -> Config:
    """A configuration, with one row for each rule of its supervision."""
    rules = "".join(f"{name} = {value!r}\n" for name, value in supervision.items())
    return parse(f"[supervision]\n{rules}{text}", "/lab/colony.toml", workspace="/lab")


def at(seconds: float, what: What, *services: str, lasting: float | None = None) -> Fault:
    return Fault(services or ("web",), At(seconds), what, lasting=lasting)


def played(config: Config, *faults: Fault, horizon: float = 60.0, **rest: Any) -> Trace:
    """The trace of a scenario, which must be the same on both backends."""
    scenario = Scenario(faults=faults, horizon=horizon, **rest)
    trace = simulate(config, scenario)
    assert simulate(config, scenario, backend="trio") == trace
    return trace


def lines(trace: Trace, service: str = "web") -> list[tuple[float, str]]:
    """When what happened to a service, by the microsecond."""
    return [(round(entry.at, 6), entry.kind) for entry in trace.of(service)]


# -- lives -----------------------------------------------------------------------------------------


def test_a_service_starts_is_ready_crashes_and_comes_back() -> None:
    trace = played(made(WEB), at(5, Crash()))
    assert lines(trace) == [
        (0.005, "started"),
        (0.055, "ready"),
        (5.0, "fault"),
        (5.0, "crashed"),
        (5.0, "restarting"),
        (5.005, "started"),
        (5.055, "ready"),
    ]
    assert trace.ending == Ending("horizon", 60.0)


def test_a_dependent_waits_until_what_it_needs_is_ready() -> None:
    trace = played(made(PAIR), behaviours={"db": Behaviour(ready=Fixed(30.0))})
    assert lines(trace) == [(0.005, "waiting"), (30.01, "started"), (30.06, "ready")]


def test_its_second_restart_waits_for_the_backoff() -> None:
    trace = played(made(WEB), at(5, Crash()), at(6, Crash()), horizon=20.0)
    backoff = next(entry for entry in trace.entries if entry.kind == "backoff")
    assert backoff.due is not None
    assert 7.0 <= backoff.due <= 7.1
    started = trace.of("web")[-2]
    assert (started.kind, started.life) == ("started", 3)
    assert started.at == pytest.approx(backoff.due + 0.005)


def test_the_end_of_a_lifetime_is_its_own() -> None:
    behaviour = Behaviour(lifetime=Fixed(10.0), ends=(Exit(3),))
    trace = played(made(WEB), behaviours={"web": behaviour}, horizon=15.0)
    crashed = trace.of("web")[2]
    assert (crashed.at, crashed.kind, crashed.code) == (10.005, "crashed", 3)


def test_lives_that_were_are_lived_again_before_all_others() -> None:
    lives = (Lived(lasts=2.0, end=Crash(11), ready=1.0), Lived(lasts=3.0, end=Exit(0)))
    trace = played(made(WEB), behaviours={"web": Behaviour(lives=lives)}, horizon=30.0)
    assert lines(trace)[:4] == [
        (0.005, "started"),
        (1.005, "ready"),
        (2.005, "crashed"),
        (2.005, "restarting"),
    ]
    assert trace.of("web")[2].detail == "killed by SIGSEGV"
    assert trace.of("web")[-1].life == 3


def test_one_that_completes_and_is_not_to_be_restarted_stays_down() -> None:
    once = made(WEB.replace("port = 3000", 'restart = "transient"'))
    trace = played(once, at(5, Exit(0)))
    assert lines(trace)[-1] == (5.0, "exited")


# -- faults ----------------------------------------------------------------------------------------

CHECKED = WEB + 'health = { http = "/", interval = "10s", timeout = "5s", failures = 2 }\n'


def test_one_that_hangs_is_found_out_when_the_real_check_would_find_it() -> None:
    trace = played(made(CHECKED), at(12, Hang()))
    # Ready at 0.055, so a check is made at 10.055, one at 20.055, which takes its whole timeout.
    assert lines(trace)[2:8] == [
        (12.0, "hung"),
        (12.0, "fault"),
        (25.055, "unhealthy"),
        (40.055, "unhealthy"),
        (40.065, "crashed"),
        (40.065, "restarting"),
    ]


def test_one_that_answers_again_in_time_has_failed_no_check() -> None:
    trace = played(made(CHECKED), at(12, Hang(), lasting=10.0))
    assert lines(trace)[2:] == [(12.0, "hung"), (12.0, "fault"), (22.0, "answering")]


def test_a_check_that_succeeds_starts_the_count_anew() -> None:
    hangs = (at(12, Hang(), lasting=14.0), at(45, Hang(), lasting=14.0))
    trace = played(made(CHECKED), *hangs)
    found = [(round(e.at, 3), e.count) for e in trace.of("web") if e.kind == "unhealthy"]
    assert found == [(25.055, 1), (50.055, 1)]


def test_no_check_by_tcp_finds_one_that_hangs() -> None:
    trace = played(made(WEB + "health = { tcp = true }\n"), at(12, Hang()), horizon=36000.0)
    assert lines(trace)[2:] == [(12.0, "hung"), (12.0, "fault")]


def test_its_users_miss_one_that_hangs_before_its_supervisor_does() -> None:
    def found(trace: Trace) -> tuple[float, float, int]:
        web = summarise(trace).services["web"]
        return round(web.unnoticed, 3), round(web.downtime, 3), web.outages

    # Ended at 40.065, and ready again 55 ms later.
    assert found(played(made(CHECKED), at(12, Hang()))) == (28.065, 28.12, 1)
    assert found(played(made(CHECKED), at(12, Hang(), lasting=10.0))) == (10.0, 10.0, 1)
    assert found(played(made(WEB), at(12, Hang()), horizon=112.0)) == (100.0, 100.0, 1)


def test_one_that_hangs_from_its_start_is_missed_from_when_it_is_taken_for_ready() -> None:
    web = summarise(played(made(WEB + "ready = { none = true }\n"), at(0, Hang(), lasting=9.0)))
    found = web.services["web"]
    assert (found.first_ready, found.unnoticed, found.outages) == (0.005, 8.995, 1)


def test_silence_is_found_out_by_notify() -> None:
    text = WEB + 'ready = { notify = true }\nhealth = { notify = true, interval = "10s" }\n'
    trace = played(made(text), at(12, Hang()))
    checks = [(round(e.at, 3), e.detail) for e in trace.of("web") if e.kind == "unhealthy"]
    assert checks == [
        (30.055, "no sign of life for 18.1 s"),
        (40.055, "no sign of life for 28.1 s"),
        (50.055, "no sign of life for 38.1 s"),
    ]


def test_one_that_is_never_ready_is_ended_at_its_deadline_again_and_again() -> None:
    text = WEB + 'ready = { deadline = "10s" }\n'
    trace = played(made(text), at(0, NeverReady()), horizon=21.0)
    assert lines(trace)[1:5] == [
        (0.005, "started"),
        (10.015, "crashed"),
        (10.015, "restarting"),
        (10.02, "started"),
    ]


def test_a_slow_start_takes_longer_for_as_long_as_it_is_in_force() -> None:
    slow = at(2, SlowStart(20.0), lasting=30.0)
    trace = played(made(WEB), slow, at(5, Crash()), at(40, Crash()))
    assert [when for when, kind in lines(trace) if kind == "ready"] == [0.055, 25.055, 40.055]


def test_one_that_ignores_the_signal_takes_the_kill() -> None:
    pair = made(PAIR, strategy="one_for_all")
    trace = played(pair, at(1, IgnoreStop()), at(5, Crash(), "db"))
    stopped = next(entry for entry in trace.of("web") if entry.kind == "stopped")
    assert (stopped.at, stopped.killed, stopped.by) == (10.0, True, "db")


def test_one_that_flaps_ends_soon_after_each_start() -> None:
    trace = played(made(WEB), at(5, Flapping(up=2.0, code=4), lasting=3.0))
    ends = [(when, kind) for when, kind in lines(trace) if kind == "crashed"]
    assert ends == [(5.0, "crashed"), (7.005, "crashed")]


def test_a_port_that_is_somebody_elses_leaves_the_service_failed() -> None:
    trace = played(made(WEB), at(5, PortStolen()), at(10, Crash()))
    failed = trace.of("web")[-1]
    assert (failed.at, failed.kind) == (10.0, "failed")
    assert failed.detail.startswith("port 3000 is taken by pid ")


def test_a_server_that_was_left_behind_is_the_service_until_it_ends() -> None:
    trace = played(made(WEB), at(5, Daemonise()), at(10, Crash()))
    assert lines(trace)[2:7] == [
        (5.0, "fault"),
        (5.0, "detached"),
        (10.0, "fault"),
        (10.0, "crashed"),
        (10.0, "restarting"),
    ]


def test_one_whose_program_is_gone_fails_to_start_until_it_is_back() -> None:
    text = WEB.replace('"web"', '["/opt/web"]')
    faults = (at(5, Unstartable(), lasting=3.5), at(6, Crash()))
    trace = played(made(text), *faults)
    assert [(int(when), kind) for when, kind in lines(trace)][3:] == [
        (6, "fault"),
        (6, "crashed"),
        (6, "restarting"),
        (6, "failed"),
        (6, "backoff"),
        (7, "failed"),
        (7, "backoff"),
        (9, "started"),
        (9, "ready"),
    ]
    [failed, _] = [entry for entry in trace.entries if entry.kind == "failed"]
    assert failed.detail == "cannot start '/opt/web': /opt/web does not exist"
    # A shell is there, and finds out.
    by_shell = played(made(WEB), *faults)
    ends = [(int(e.at), e.detail) for e in by_shell.of("web") if e.kind == "crashed"]
    assert ends == [(6, "killed by SIGKILL"), (6, "exit code 127"), (7, "exit code 127")]


def test_a_fault_of_one_that_does_not_run_is_missed() -> None:
    trace = played(made(PAIR), at(0.02, Crash()))
    assert lines(trace)[1] == (0.02, "missed")


def test_a_fault_follows_an_event_as_often_as_it_may() -> None:
    follows = Fault(("web",), After("crashed", "db", delay=1.0), Exit(1), times=2)
    crashes = Fault(("db",), Every(20.0), Crash())
    trace = played(made(PAIR, intensity=9), crashes, follows, horizon=90.0)
    assert [when for when, kind in lines(trace) if kind == "fault"] == [21.0, 41.0]


def test_faults_at_random_are_the_seeds_choice() -> None:
    def times(seed: int) -> list[float]:
        fault = Fault(("web",), Poisson(60.0), Crash())
        trace = played(made(WEB, intensity=1000), fault, horizon=600.0, seed=seed)
        return [when for when, kind in lines(trace) if kind == "fault"]

    assert times(1) == times(1)
    assert times(1) != times(2)


def test_several_fall_at_one_instant() -> None:
    trace = played(made(PAIR, intensity=9), at(5, Crash(), "db", "web"))
    crashed = [(entry.at, entry.service) for entry in trace.entries if entry.kind == "crashed"]
    assert crashed == [(5.0, "db"), (5.0, "web")]


# -- the end ---------------------------------------------------------------------------------------


def test_too_many_restarts_end_the_colony() -> None:
    often = Fault(("web",), Every(1.0), Exit(1))
    trace = played(made(WEB, intensity=1, period=60), often)
    assert trace.ending.kind == "gave_up"
    assert (trace.ending.service, trace.ending.at) == ("web", 2.0)
    assert trace.horizon == 60.0


def test_the_service_with_which_the_colony_ends() -> None:
    text = PAIR + '[services.job]\ncommand = "job"\nrestart = "temporary"\nexit_colony = true\n'
    trace = played(made(text), at(5, Exit(0), "job"))
    assert (trace.ending.kind, trace.ending.service) == ("shut_down", "job")
    assert [(e.kind, e.by) for e in trace.of("db")][-1] == ("stopped", "job")


def test_an_end_at_the_horizon_is_no_part_of_the_trace() -> None:
    assert lines(played(made(WEB), horizon=10.0)) == [(0.005, "started"), (0.055, "ready")]


# -- by hand ---------------------------------------------------------------------------------------


async def test_faults_by_hand_and_states_in_between() -> None:
    async with Simulation(made(WEB)) as lab:
        await lab.advance("1s")
        assert lab.state("web") == "ready"
        lab.exit("web", 1)
        await lab.settle()
        assert lab.state("web") == "backoff"
        await lab.advance(0.02)
        assert lab.state("web") == "starting"
        lab.hang("web")
        await lab.advance("1h")
        assert (lab.state("web"), lab.status("web").restarts) == ("starting", 1)
        assert lab.now == pytest.approx(3601.025)
        assert lab.trace.horizon == lab.now


async def test_what_an_operator_does() -> None:
    async with Simulation(made(PAIR)) as lab:
        await lab.advance(1)
        assert (await lab.stop_service("db")).state == "stopped"
        assert (await lab.start_service("db")).state == "starting"
        assert (await lab.restart_service("web")).state in ("starting", "waiting")
        await lab.advance(1)
        assert (lab.state("db"), lab.state("web")) == ("ready", "ready")
        assert lab.status("web").restarts == 0


async def test_the_end_of_a_colony_by_hand() -> None:
    async with Simulation(made(WEB, intensity=0)) as lab:
        await lab.advance(1)
        lab.crash("web")
        await lab.advance(1)
        assert lab.ended
        assert lab.trace.ending.kind == "gave_up"


async def test_a_port_that_is_taken_from_the_start_is_refused_on_the_hosts_own_network() -> None:
    host = made('[network]\nmode = "host"\n' + WEB)
    async with Simulation(host, Scenario(faults=(at(0, PortStolen()),))) as lab:
        assert lab.ended
        assert lab.trace.ending.kind == "start_failed"


async def test_an_operator_cannot_start_what_cannot_start() -> None:
    async with Simulation(made(WEB)) as lab:
        await lab.advance(1)
        lab.strike(("web",), PortStolen())
        await lab.stop_service("web")
        status = await lab.start_service("web")
        assert (status.state, status.detail[:14]) == ("failed", "port 3000 is t")


@pytest.mark.real_time
async def test_the_machines_clock_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a simulation needs a virtual clock"):
        async with Simulation(made(WEB)):
            pass


def test_a_service_that_is_not_there_is_refused_with_those_that_are() -> None:
    wrong = "the colony has no service 'wbe'; it has web"
    with pytest.raises(ValueError, match=wrong):
        Simulation(made(WEB), Scenario(faults=(at(5, Crash(), "wbe"),)))
    with pytest.raises(ValueError, match=wrong):
        Simulation(made(WEB), Scenario(behaviours={"wbe": Behaviour()}))
    with pytest.raises(ValueError, match=wrong):
        Simulation(made(WEB), Scenario(faults=(Fault(("web",), After("ready", "wbe"), Crash()),)))


async def test_a_service_or_a_duration_that_is_none_is_refused_by_hand() -> None:
    async with Simulation(made(WEB)) as lab:
        with pytest.raises(KeyError, match="no service 'wbe'; it has web"):
            lab.crash("wbe")
        with pytest.raises(KeyError, match="no service 'wbe'; it has web"):
            lab.state("wbe")
        with pytest.raises(
            ValueError, match=r'a duration must be a number .* got the string "soon"'
        ):
            await lab.advance("soon")


async def test_hours_in_which_nothing_happens_cost_nothing() -> None:
    async with Simulation(made(CHECKED)) as lab:
        await lab.advance(1)
        before = lab.agenda.done
        await lab.advance(100_000 * 3600.0)
        assert lab.agenda.done == before


def test_all_chance_is_the_same_on_both_backends() -> None:
    behaviours = {
        "db": Behaviour(ready=Exponential(5.0), lifetime=Exponential(300.0)),
        "web": Behaviour(lifetime=Exponential(120.0), ends=(Exit(0), Exit(1), Crash())),
    }
    for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
        config = made(PAIR, strategy=strategy, intensity=30)
        trace = played(config, behaviours=behaviours, horizon=36000.0, seed=4)
        assert len(trace.entries) > 500
