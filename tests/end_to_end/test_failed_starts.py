"""A start that fails, at whichever step, says which and leaves nothing; the next one works."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import Actor
from colony.guardian import Guardian
from colony.host import ColonyFailed, HostFailed
from colony.journal import Journal
from colony.places import ColonyRoutes
from colony.services.port_actor import PortActor
from netns import namespace
from netns.actors import AddressBook, NamespaceOwner, NetworkOwner
from netns.namespace import STEPS
from netns.network import Network
from proxy import Dnsmasq, DnsResponder
from proxy.actors import DnsOwner, DoorOwner, Routes
from tests.end_to_end.colonies import (
    EMBEDDED,
    Shop,
    alive,
    both_doors,
    page,
    program,
    root_only,
)
from tests.end_to_end.hosted import add, entered, fetch, hosted, options
from tests.ports import free_port

pytestmark = [root_only, pytest.mark.real_time]


class Unlucky(Exception):
    """What a step raises that the test has broken."""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens, TCP and UDP."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = server.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))
            yield port


def traces_of(shop: Shop) -> list[str]:
    """What a failed colony left while its instance lives on: by name, not by instance."""
    return [left for left in shop.leftovers() if any(name in left for name in shop.names)]


@pytest.mark.parametrize("broken", [step.name for step in STEPS])
async def test_each_step_of_making_a_network(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The step does its work and then fails: so it is undone, too."""

    def spoil(step: namespace.Step) -> namespace.Step:
        def do(build: namespace.Build) -> None:
            step.do(build)
            raise Unlucky("no luck")

        return namespace.Step(step.name, do, step.undo) if step.name == broken else step

    colony = shop.colony({"web": page("hello")})
    async with hosted(shop, EMBEDDED) as host:
        with monkeypatch.context() as patched:
            patched.setattr(namespace, "STEPS", tuple(map(spoil, STEPS)))
            with pytest.raises(ColonyFailed) as failure:
                await add(shop, host, colony)
        assert broken in str(failure.value)
        assert "no luck" in str(failure.value)
        assert traces_of(shop) == []
        await add(shop, host, colony)
        await fetch(host, colony, "hello")


def spoil_start(patch: pytest.MonkeyPatch, kind: type[Actor]) -> None:
    """Makes the kind's start fail at its very end, when all has been made."""
    whole: Any = kind.start

    async def start(self: Any) -> object:
        await whole(self)
        raise Unlucky("no luck")

    def start_at_once(self: Any) -> object:
        whole(self)
        raise Unlucky("no luck")

    # An actor whose handlers are all plain functions runs without a task, and so must its start.
    start_as_it_is = start if inspect.iscoroutinefunction(whole) else start_at_once
    patch.setattr(kind, "start", start_as_it_is)


@pytest.mark.parametrize("kind", [NamespaceOwner, ColonyRoutes, PortActor])
async def test_each_actor_of_a_colony(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: type[Actor]
) -> None:
    colony, other = shop.colony({"web": page("hello")}), shop.colony({"web": page("other")})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, other)
        neighbour = await fetch(host, other, "other")
        with monkeypatch.context() as patched:
            spoil_start(patched, kind)
            with pytest.raises(ColonyFailed, match="no luck"):
                await add(shop, host, colony)
        assert [left for left in shop.leftovers() if colony.name in left] == []
        await add(shop, host, colony)
        await fetch(host, colony, "hello")
        assert await fetch(host, other, "other") == neighbour


@both_doors
@pytest.mark.parametrize(
    "kind", [Journal, AddressBook, NetworkOwner, Guardian, Routes, DoorOwner, DnsOwner]
)
async def test_each_owner_at_the_top(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, door: tuple[str, ...], kind: type[Actor]
) -> None:
    with monkeypatch.context() as patched:
        spoil_start(patched, kind)
        async with entered(shop, options(shop, door)) as host:
            with pytest.raises(HostFailed, match="no luck"):
                await host.start()
    assert shop.leftovers() == []


@pytest.mark.parametrize("kind", [DoorOwner, DnsOwner])
@both_doors
async def test_a_part_that_fails_once_it_is_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, door: tuple[str, ...], kind: type[Actor]
) -> None:
    """What `started` opens is closed again when it fails at its very end."""
    whole: Any = kind.started

    async def started(self: Any) -> None:
        await whole(self)
        raise Unlucky("no luck")

    with monkeypatch.context() as patched:
        patched.setattr(kind, "started", started)
        async with entered(shop, options(shop, door)) as host:
            with pytest.raises(HostFailed, match="no luck"):
                await host.start()
    assert shop.leftovers() == []


@both_doors
async def test_no_port_for_the_front_door(shop: Shop, door: tuple[str, ...], taken: int) -> None:
    async with entered(shop, options(shop, door, ports=(taken,))) as host:
        with pytest.raises(HostFailed, match=rf"no port for the front door: tried {taken}"):
            await host.start()


@pytest.mark.parametrize("kind", [Dnsmasq, DnsResponder])
async def test_no_port_for_the_name_server(
    shop: Shop, kind: type[Dnsmasq] | type[DnsResponder], taken: int
) -> None:
    async with entered(shop, options(shop, EMBEDDED)) as host:
        host.parts = msgspec.structs.replace(host.parts, dns=kind(ports=[taken]))
        with pytest.raises(HostFailed, match=rf"no port for DNS: tried {taken}"):
            await host.start()


async def test_no_network(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> Network:
        raise Unlucky("no network today")

    monkeypatch.setattr(Network, "open", refuse)
    async with entered(shop, options(shop, EMBEDDED)) as host:
        with pytest.raises(HostFailed, match="no network today"):
            await host.start()


async def test_a_service_that_cannot_be_executed_takes_its_siblings_along(shop: Shop) -> None:
    """Those before it ran already; the colony is gone as a whole, and the instance lives."""
    go = shop.folder / "pid"
    note = f"echo $$ > {go}; exec sleep 600"
    colony = shop.colony({"first": {"command": note}, "second": {"command": ["/nowhere/program"]}})
    async with hosted(shop, EMBEDDED) as host:
        with pytest.raises(ColonyFailed, match=r"second of colony .* cannot start: .*nowhere"):
            await add(shop, host, colony)
        assert not (go.exists() and go.read_text() and alive(int(go.read_text())))
        assert traces_of(shop) == []
        fine = shop.colony({"web": {"command": program("page", 4001, "fine"), "port": 4001}})
        await add(shop, host, fine)
        await fetch(host, fine, "fine")


async def test_a_runtime_directory_that_cannot_be_made(shop: Shop) -> None:
    shop.runtime = Path("/proc/no-such-place")
    with pytest.raises(HostFailed) as caught:
        async with entered(shop, options(shop, EMBEDDED)):
            pass
    words = "the runtime directory /proc/no-such-place cannot be used: No such file or directory"
    assert str(caught.value) == words


async def test_a_runtime_directory_that_is_a_file(shop: Shop) -> None:
    shop.runtime = shop.folder / "file"
    shop.runtime.touch()
    with pytest.raises(HostFailed) as caught:
        async with entered(shop, options(shop, EMBEDDED)):
            pass
    words = f"the runtime directory {shop.runtime} cannot be used: it is a file; "
    assert str(caught.value) == words + "remove it, or set COLONY_RUNTIME_DIR to another path"
