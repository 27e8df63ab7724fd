"""`simulated`: what a colony's own tests are written with."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from colony.config import ConfigError, parse
from colony.testing import (
    Behaviour,
    Crash,
    Every,
    Exit,
    Fault,
    Fixed,
    Hang,
    Simulated,
    config_of,
    simulated,
)

HERE = Path(__file__).parent

SMALL = """
[services.web]
command = "web"
"""


async def test_a_file_beside_the_test(simulated: Simulated) -> None:
    async with simulated("colony.toml") as sim:
        sim.crash("db")
        await sim.advance("5m")
        assert sim.state("web") == "ready"
        assert (sim.status("db").restarts, sim.status("web").restarts) == (1, 0)


async def test_a_text() -> None:
    async with simulated(SMALL) as sim:
        assert sim.state("web") == "ready"


async def test_a_configuration() -> None:
    async with simulated(parse(SMALL)) as sim:
        assert sim.state("web") == "ready"


async def test_faults_and_behaviours_of_its_own() -> None:
    often = Fault(("web",), Every(10.0), Exit(1), times=2)
    slow = {"web": Behaviour(spawn=Fixed(2.0))}
    async with simulated(SMALL, faults=[often], behaviours=slow) as sim:
        assert sim.now == 2.0
        await sim.advance("30s")
        assert sim.state("web") == "ready"
        assert [entry.at for entry in sim.trace.of("web") if entry.kind == "fault"] == [10.0, 20.0]


async def test_anything_that_a_fault_can_be() -> None:
    async with simulated(HERE / "colony.toml") as sim:
        sim.strike(("web", "db"), Hang(), lasting="10s")
        await sim.advance("20s")
        assert sim.state("web") == "ready"
        sim.strike(("web",), Crash(15))
        await sim.settle()
        assert sim.status("web").last_exit == "killed by SIGTERM"


async def test_the_same_seed_gives_the_same_trace(simulated: Simulated) -> None:
    async def delays(seed: int) -> list[float | None]:
        async with simulated("colony.toml", seed=seed) as sim:
            for _ in range(3):
                sim.crash("db")
                await sim.advance("10s")
            return [entry.due for entry in sim.trace.entries if entry.kind == "backoff"]

    assert await delays(1) == await delays(1)
    assert await delays(1) != await delays(2)


def test_mistakes_in_the_file_are_told_at_once() -> None:
    with pytest.raises(ConfigError):
        config_of("[services.web]\ncomand = 'web'\n")
    with pytest.raises(ConfigError):
        config_of("missing.toml", HERE)


# -- in plain functions ----------------------------------------------------------------------------


def test_step_by_step(simulated: Simulated) -> None:
    with simulated("colony.toml") as sim:
        sim.crash("db")
        assert sim.state("db") == "backoff"
        sim.advance("5m")
        assert sim.state("web") == "ready"
        assert sim.now == 300.005
        sim.exit("web", 1)
        sim.advance(1)
        sim.strike(["web", "db"], Hang(), lasting="10s")
        sim.hang("db")
        assert sim.stop_service("db").state == "stopped"
        assert sim.start_service("db").state == "starting"
        sim.advance("10s")
        assert sim.restart_service("web").state == "waiting"
        assert not sim.ended
        assert sim.trace.ending.kind == "horizon"
    assert sim.status("db").restarts == 1


def test_what_goes_wrong_in_a_step_is_told_there_and_the_next_one_works() -> None:
    with simulated(SMALL) as sim:
        with pytest.raises(KeyError, match="no service 'wbe'"):
            sim.crash("wbe")
        with pytest.raises(ValueError, match="a duration must be"):
            sim.advance("soon")
        assert sim.state("web") == "ready"


def test_a_colony_that_ends_by_itself() -> None:
    with simulated(SMALL + "[supervision]\nintensity = 0\n") as sim:
        sim.crash("web")
        assert sim.ended
        sim.advance("1h")
        assert sim.trace.ending.kind == "gave_up"


def test_a_step_after_the_end_is_refused() -> None:
    with simulated(SMALL) as sim:
        pass
    with pytest.raises(RuntimeError, match="the simulation is over"):
        sim.crash("web")


async def test_step_by_step_beside_an_event_loop_that_runs() -> None:
    with simulated(SMALL) as sim:
        sim.advance("1h")
        assert sim.state("web") == "ready"


# -- the plugin, in a project of somebody else's ---------------------------------------------------

THEIRS = """
    import anyio
    import pytest

    async def test_it(simulated):
        async with simulated("colony.toml") as sim:
            sim.crash("db")
            await sim.advance("5m")
            assert sim.state("web") == "ready"

    @pytest.mark.backends("trio")
    async def test_on_one_backend(simulated):
        import sniffio
        assert sniffio.current_async_library() == "trio"

    def test_plain(simulated):
        assert simulated("colony.toml").config.name == "shop"

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.mark.anyio
    async def test_of_somebody_elses_plugin():
        await anyio.sleep(0)

    async def test_that_fails(simulated):
        async with simulated("colony.toml") as sim:
            assert sim.state("web") == "failed"
"""


def test_the_plugin_runs_its_tests_and_leaves_all_others_alone(tmp_path: Path) -> None:
    (tmp_path / "colony.toml").write_text((HERE / "colony.toml").read_text())
    (tmp_path / "test_shop.py").write_text(textwrap.dedent(THEIRS))
    options = ("-q", "-p", "colony.pytest_plugin", "--strict-markers", "-W", "error")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parents[2])},
    )
    failed = sorted(re.findall(r"^FAILED \S+::(\S+)", run.stdout, re.MULTILINE))
    assert failed == ["test_that_fails[asyncio]", "test_that_fails[trio]"], run.stdout
    assert "2 failed, 5 passed" in run.stdout


def test_the_plugin_costs_those_nothing_who_do_not_use_it() -> None:
    code = "import sys, pytest, colony.pytest_plugin; print('anyio' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
