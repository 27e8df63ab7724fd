"""A pytest plugin: every `async def` test runs on asyncio and on trio, in virtual time.

    @pytest.mark.real_time              # the machine's clock: for processes, sockets, threads
    @pytest.mark.backends("asyncio")    # on some backends only

    async def test_it(start_supervised: StartSupervised) -> None:
        ref = await start_supervised(Counter.spec())

`start_supervised` and `system` are fixtures of async tests: a system that lives as long as the
test, and a supervisor in it that starts actors, restarts them without limit, and stops them at the
end of the test, the newest first.

Enable it with `pytest_plugins = ["actors.pytest_plugin"]` in the top `conftest.py`.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, Protocol, TypeVar

import pytest

from actors.actor import Actor
from actors.ref import Ref
from actors.spec import ChildSpec
from actors.supervisor import StartChild, Supervisor
from actors.system import System
from actors.testing import BACKENDS, BackendName, run

A = TypeVar("A", bound=Actor)

_IN_THE_LOOP: Final = object()
_UNLIMITED: Final = 1_000_000


class StartSupervised(Protocol):
    """The type of the fixture `start_supervised`. Raises `ChildRefused` if the start fails."""

    async def __call__(self, spec: ChildSpec[A], /) -> Ref[A]: ...


@pytest.fixture
def system() -> Any:
    """A `System` for the length of an async test."""
    return _IN_THE_LOOP


@pytest.fixture
def start_supervised() -> Any:
    """Starts an actor that ends with the async test; see `StartSupervised`."""
    return _IN_THE_LOOP


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
        ours = [name for name, value in given.items() if value is _IN_THE_LOOP]
        if not ours:
            await pyfuncitem.obj(**given)
            return
        async with System() as system:
            top = await system.start(Supervisor.spec(intensity=_UNLIMITED).options(id="test"))
            made = {"system": system, "start_supervised": _starter(top)}
            given.update({name: made[name] for name in ours})
            await pyfuncitem.obj(**given)

    virtual = pyfuncitem.get_closest_marker("real_time") is None
    run(test, backend=backend, virtual=virtual)
    return True


def _starter(top: Ref[Supervisor]) -> StartSupervised:
    async def start(spec: ChildSpec[A], /) -> Ref[A]:
        ref = await top.call(StartChild(spec))
        if ref is None:
            raise AssertionError(f"the start of {spec.id!r} said IGNORE")
        return ref

    return start
