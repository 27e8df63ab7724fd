"""A port of a colony on the host's loopback, for as long as somebody wants it.

Each connection is a socket made inside the colony's network (or to the host's own, where colonies
have none), so that a server that listens on 127.0.0.1 alone is reached; bytes go both ways until
either side is done.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import anyio

from colony.api import types as t
from colony.api.problems import conflict
from colony.network import splice
from colony.running import RunningColony


async def forward(
    colony: RunningColony, wanted: t.Forward, standing: Callable[[t.Forwarding], None]
) -> None:
    """Forwards until cancelled, or until the colony has ended. Calls `standing` once it stands."""
    if colony.ended:
        raise conflict(f"colony {colony.name} is {colony.state}", "start it first")
    with _listening(wanted.host_port) as (port, sockets):
        addresses = tuple(str(each.getsockname()[0]) for each in sockets)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(splice.serve, sockets, partial(colony.dial, wanted.port))
            standing(t.Forwarding(colony.name, wanted.port, port, addresses))
            await colony.stopped()
            tasks.cancel_scope.cancel()


@contextmanager
def _listening(port: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Listens on both loopbacks at one port, for as long as the block. Raises `ApiError` (409)."""
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
        for each in sockets:
            each.setblocking(False)
        yield bound, sockets
