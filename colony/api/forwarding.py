"""A port of a colony on the host's loopback, for as long as somebody wants it.

Each connection is a socket made inside the colony's network (or to the host's own, where colonies
have none), so that a server that listens on 127.0.0.1 alone is reached; bytes go both ways until
either side is done.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream

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
    async with (
        _listening(wanted.host_port) as (port, listeners),
        anyio.create_task_group() as tasks,
    ):
        addresses = tuple(str(each.extra(LOCAL)[0]) for each in listeners)
        standing(t.Forwarding(colony.name, wanted.port, port, addresses))
        limiter = anyio.Semaphore(_CONNECTIONS)

        async def serve(client: SocketStream) -> None:
            async with limiter, client:
                await _splice(client, colony, wanted.port)

        for listener in listeners:
            tasks.start_soon(listener.serve, serve)
        await colony.stopped()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _listening(port: int) -> AsyncIterator[tuple[int, list[SocketListener]]]:
    """Listens on both loopbacks at one port, for as long as the block. Raises `ApiError` (409).

    The sockets are closed here: what anyio closes, it closes by awaiting, and so, when cancelled,
    the first one alone.
    """
    with ExitStack() as stack:
        try:
            first = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError as error:
            words = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
            raise conflict(f"port {port} of the host {words}", "choose another port") from None
        sockets, bound = [first], int(first.getsockname()[1])
        with suppress(OSError):  # no IPv6 on this machine, or the port is taken there
            family = socket.AF_INET6
            second = socket.create_server(("::1", bound), family=family)
            sockets.append(stack.enter_context(second))
        yield bound, [await SocketListener.from_socket(each) for each in sockets]


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
