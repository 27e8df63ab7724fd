"""An instance in the test's own event loop, on real parts, for what only its insides allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from actors import Event, events
from colony import config
from colony.host import Host, Options, RunningColony
from colony.modes import Wishes
from tests.end_to_end import colonies
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Colony, Response, Shop

T = TypeVar("T")


def options(shop: Shop, door: Sequence[str], *, ports: tuple[int, ...] | None = None) -> Options:
    """Options in the test's own folders; `door` as `both_doors` gives it."""
    embedded = tuple(door) == EMBEDDED
    wishes = Wishes(
        proxy="embedded" if embedded else "caddy", dns="embedded" if embedded else "dnsmasq"
    )
    return Options(wishes=wishes, runtime=shop.runtime, home=shop.folder / "home", http_ports=ports)


@asynccontextmanager
async def entered(shop: Shop, chosen: Options) -> AsyncIterator[Host]:
    """An instance that is not started yet."""
    async with Host(chosen) as host:
        shop.instances.add(host.parts.instance.id)
        yield host


@asynccontextmanager
async def hosted(
    shop: Shop, door: Sequence[str], *, ports: tuple[int, ...] | None = None
) -> AsyncIterator[Host]:
    """A started instance. One whose front door is to die has a port of its own: port 80 may be
    another test's by the time that it comes back."""
    async with entered(shop, options(shop, door, ports=ports)) as host:
        await host.start()
        yield host


async def add(shop: Shop, host: Host, colony: Colony) -> RunningColony:
    """Starts a colony in it, whose processes bear the test's mark."""
    return await host.add(config.load(colony.file), shop.environment())


async def fetch(host: Host, colony: Colony, text: str) -> Response:
    """The first good answer of a colony's service through the front door."""
    name = colonies.host(colony)
    return await anyio.to_thread.run_sync(colonies.answers, host.http_port, name, text)


async def until(look: Callable[[], T]) -> T:
    """What `look` returns as soon as it is true of something."""
    with anyio.fail_after(PATIENCE):
        while not (found := look()):  # noqa: ASYNC110 — what it looks at is often outside
            await anyio.sleep(colonies.PAUSE)
        return found


async def kill(host: Host, owner: str) -> None:
    """Kills an actor and waits until its next life has begun."""
    ref = host.system.whereis(owner)
    assert ref is not None
    lives: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, events.Started):
            lives.append(event.actor)

    leave = host.system.events.listen(note)
    host.system.kill(ref)
    await until(lambda: ref.path in lives)
    leave()
