"""A pytest plugin with one fixture, `simulated`: a colony under test, in virtual time.

    async def test_the_shop_survives_its_database(simulated: Simulated) -> None:
        async with simulated("colony.toml") as sim:
            sim.crash("db")
            await sim.advance("5m")
            assert sim.state("web") == "ready"

A path is relative to the folder of the test's own file. Every such test runs twice, on asyncio and
on trio, where time jumps over what is idle; `@pytest.mark.backends("asyncio")` says on which only.
Tests without the fixture are left alone, whatever runs them.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from colony.testing.simulated import Simulated

KERNEL: Final = "actors.pytest_plugin"
"""The plugin that runs async tests; where it is in use it runs these as well."""


@pytest.fixture
def simulated(request: pytest.FixtureRequest) -> Simulated:
    """As `colony.testing.simulated`, with paths beside the test's file."""
    # Here, since pytest loads the plugin for everybody who has Colony installed.
    from colony.testing.simulated import config_of, simulated

    def beside(source: Any, **options: Any) -> Any:
        return simulated(config_of(source, request.path.parent), **options)

    return beside


def _is_ours(config: pytest.Config, function: object, fixtures: Any) -> bool:
    return (
        "simulated" in fixtures
        and inspect.iscoroutinefunction(function)
        and not config.pluginmanager.has_plugin(KERNEL)
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(KERNEL):
        config.addinivalue_line("markers", "backends(*names): run this simulation on these only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _is_ours(metafunc.config, metafunc.function, metafunc.fixturenames):
        marker = metafunc.definition.get_closest_marker("backends")
        metafunc.fixturenames.append("_backend")
        metafunc.parametrize("_backend", marker.args if marker else ("asyncio", "trio"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not _is_ours(pyfuncitem.config, pyfuncitem.obj, pyfuncitem.fixturenames):
        return None
    from actors.testing import run

    callspec: Any = getattr(pyfuncitem, "callspec", None)
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    run(partial(pyfuncitem.obj, **given), backend=callspec.params["_backend"])
    return True
