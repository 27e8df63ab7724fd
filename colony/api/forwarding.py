"""A port of a colony on the host's loopback, for as long as somebody wants it.

Each connection is a socket made inside the colony's network (or to the host's own, where colonies
have none), so that a server that listens on 127.0.0.1 alone is reached; bytes go both ways until
either side is done.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.streams.stapled import MultiListener

from colony.api import types as t
from colony.api.problems import conflict
from colony.running import RunningColony

_CONNECTIONS: Final = 1000
LOCAL: Final = SocketAttribute.local_address


async def forward(
    colony: RunningColony, wanted: t.Forward, standing: Callable[[t.Forwarding], None]
) -> None:
    """Forwards until cancelled, or until the colony has ended. Calls `standing` once it stands."""
    if colony.ended:
        raise conflict(f"colony {colony.name} is {colony.state}", "start it first")
    listener = await _listen(wanted.host_port)
    async with _closing(listener), anyio.create_task_group() as tasks:
        addresses = sorted({str(each.extra(LOCAL)[0]) for each in listener.listeners})
        port = int(listener.extra(LOCAL)[1])
        standing(t.Forwarding(colony.name, wanted.port, port, tuple(addresses)))
        limiter = anyio.Semaphore(_CONNECTIONS)

        async def serve(client: SocketStream) -> None:
            async with limiter, client:
                await _splice(client, colony, wanted.port)

        tasks.start_soon(listener.serve, serve)
        await colony.stopped()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _closing(listener: MultiListener[SocketStream]) -> AsyncIterator[None]:
    """Closes it at the end, shielded: cancelled, anyio would close the first address alone."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


async def _listen(port: int) -> MultiListener[SocketStream]:
    try:
        listeners = list(await _bound("127.0.0.1", port))
    except OSError as error:
        words = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
        raise conflict(f"port {port} of the host {words}", "choose another port") from None
    try:
        with suppress(OSError):  # no IPv6 on this machine, or the port is taken there
            listeners += await _bound("::1", int(listeners[0].extra(LOCAL)[1]))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await MultiListener(listeners).aclose()
        raise
    return MultiListener(listeners)


async def _bound(host: str, port: int) -> Sequence[SocketListener]:
    made = await anyio.create_tcp_listener(local_host=host, local_port=port)
    return cast("Sequence[SocketListener]", made.listeners)


async def _splice(client: SocketStream, colony: RunningColony, port: int) -> None:
    """Copies both ways. A peer that closes its half closes that half of the other."""
    try:
        server = await colony.connect(port)
    except OSError:
        return
    async with server, anyio.create_task_group() as tasks:
        tasks.start_soon(_pump, client, server)
        tasks.start_soon(_pump, server, client)


async def _pump(source: SocketStream, sink: SocketStream) -> None:
    try:
        async for piece in source:
            await sink.send(piece)
        await sink.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await sink.aclose()
