"""What was provided for a colony that then cannot start is taken back, whichever step fails: file
system, namespace, routes and database are as before, and the next start works."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from actors import Actor
from colony.events import ProvisionStep
from colony.host import ColonyFailed
from colony.places import ColonyRoutes
from colony.provision import Journal
from colony.services.port_actor import PortActor
from netns import namespace
from netns.actors import NamespaceOwner
from netns.namespace import STEPS
from tests.colony.provision.support import picture
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, eventually, page, root_only
from tests.end_to_end.hosted import add, fetch, hosted
from tests.end_to_end.test_failed_starts import Unlucky, spoil_start, traces_of

pytestmark = [root_only, pytest.mark.real_time]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """With uv, if we have it, a virtual environment takes a tenth of the time."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)


def colony_of(shop: Shop, **environment: Any) -> Colony:
    wants: dict[str, Any] = {"python_version": PYTHON, **environment}
    return shop.colony({"web": page("hello")}, **{"colony.environment": wants})


def as_before(shop: Shop, colony: Colony, before: dict[str, Any]) -> bool:
    """Whether the colony's folder and what outlasts it are what they were."""
    home = shop.folder / "home"
    now = picture(colony.file.parent, home)
    made = {str(home / "databases"), str(home / "workspaces")}
    return {path: what for path, what in now.items() if path not in made} == before


def states(shop: Shop) -> list[str]:
    return [run.state for run in Journal(shop.folder / "home").runs()]


@pytest.mark.parametrize("kind", [NamespaceOwner, ColonyRoutes, PortActor])
async def test_each_actor_of_a_colony(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: type[Actor]
) -> None:
    colony = colony_of(shop)
    async with hosted(shop, EMBEDDED) as host:
        before = picture(colony.file.parent, shop.folder / "home")
        with monkeypatch.context() as patched:
            spoil_start(patched, kind)
            with pytest.raises(ColonyFailed, match="no luck"):
                await add(shop, host, colony)
        assert as_before(shop, colony, before)
        assert traces_of(shop) == []
        assert states(shop) == ["undone"]
        await add(shop, host, colony)
        await fetch(host, colony, "hello")
        assert states(shop) == ["undone", "done"]
        assert (colony.file.parent / ".venv").is_dir()


@pytest.mark.backends("asyncio")
@pytest.mark.parametrize("broken", [STEPS[0].name, STEPS[-1].name])
async def test_each_step_of_making_a_network(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def spoil(step: namespace.Step) -> namespace.Step:
        def do(build: namespace.Build) -> None:
            step.do(build)
            raise Unlucky("no luck")

        return namespace.Step(step.name, do, step.undo) if step.name == broken else step

    colony = colony_of(shop)
    async with hosted(shop, EMBEDDED) as host:
        before = picture(colony.file.parent, shop.folder / "home")
        monkeypatch.setattr(namespace, "STEPS", tuple(map(spoil, STEPS)))
        with pytest.raises(ColonyFailed, match="no luck"):
            await add(shop, host, colony)
        assert as_before(shop, colony, before)
        assert traces_of(shop) == []


async def test_one_that_is_stopped_while_it_is_provided(shop: Shop) -> None:
    colony = colony_of(shop, setup="sleep 60")
    async with hosted(shop, EMBEDDED) as host, anyio.create_task_group() as tasks:
        before = picture(colony.file.parent, shop.folder / "home")
        reached, refused = anyio.Event(), anyio.Event()

        def note(event: object) -> None:
            if isinstance(event, ProvisionStep) and event.step == "setup":
                reached.set()

        async def start() -> None:
            with pytest.raises(ColonyFailed) as caught:
                await add(shop, host, colony)
            assert str(caught.value) == f"colony {colony.name} was stopped before it had started"
            refused.set()

        host.system.events.listen(note)
        tasks.start_soon(start)
        await reached.wait()
        assert host.colonies[colony.name].state == "starting"
        await host.colonies[colony.name].stop()
        await refused.wait()
        assert as_before(shop, colony, before)
        assert colony.name not in host.colonies


@pytest.mark.parametrize("joins", [False, True], ids=["run", "up"])
def test_what_is_kept_is_there_for_the_next_start(shop: Shop, joins: bool) -> None:
    """The steps that were done are skipped then."""
    colony = colony_of(shop, setup="test -e fixed")
    options = ["--keep", *EMBEDDED]
    if joins:
        first = shop.run(shop.colony({"web": page("first")}), options=EMBEDDED)
        first.ready()
        options = ["--keep"]
    failed = shop.run(colony, options=options)
    failed.expect("✗ setup")
    assert failed.wait() == 7
    assert "exit code 1; what was made is kept" in failed.transcript()
    assert (colony.file.parent / ".venv").is_dir()
    (colony.file.parent / "fixed").touch()
    again = shop.run(colony, options=options)
    again.ready()
    assert not [line for line in again.own_lines() if "✓ venv" in line]
    assert again.stop() == 130


def test_a_killed_run_is_taken_back_by_the_next(shop: Shop) -> None:
    colony = colony_of(shop, setup="touch here; sleep 60")
    folder: Path = colony.file.parent
    before = picture(folder)
    killed = shop.run(colony, options=EMBEDDED)
    killed.expect("· setup")
    eventually((folder / "here").exists)
    killed.popen.kill()
    killed.wait()
    (folder / "here").unlink()
    other = shop.colony({"web": page("other")})
    run = shop.run(other, options=EMBEDDED)
    run.ready()
    run.expect(rf"the provisioning of {colony.name} had been cut off; it was taken back")
    assert picture(folder) == before
    assert states(shop) == ["undone"]
    assert run.stop() == 130
