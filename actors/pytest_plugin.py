"""A pytest plugin: every `async def` test runs on asyncio and on trio, in virtual time.

    @pytest.mark.real_time              # the machine's clock: for processes, sockets, threads
    @pytest.mark.backends("asyncio")    # on some backends only

Enable it with `pytest_plugins = ["actors.pytest_plugin"]` in the top `conftest.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from actors.testing import BACKENDS, BackendName, run


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: run this async test with the machine's clock")
    config.addinivalue_line("markers", "backends(*names): run this async test on these only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not inspect.iscoroutinefunction(metafunc.function):
        return
    if metafunc.definition.get_closest_marker("trio"):
        return
    marker = metafunc.definition.get_closest_marker("backends")
    names = marker.args if marker is not None else BACKENDS
    metafunc.fixturenames.append("_backend")
    metafunc.parametrize("_backend", names)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    callspec = getattr(pyfuncitem, "callspec", None)
    if callspec is None or "_backend" not in callspec.params:
        return None
    backend: BackendName = callspec.params["_backend"]
    names = inspect.signature(pyfuncitem.obj).parameters
    given: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def test() -> None:
        await pyfuncitem.obj(**given)

    virtual = pyfuncitem.get_closest_marker("real_time") is None
    run(test, backend=backend, virtual=virtual)
    return True
