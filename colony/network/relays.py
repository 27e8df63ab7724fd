"""Ways in for a front door that dials by itself, where it cannot reach the colonies' addresses.

    Caddy ─▶ unix socket of ours ─▶ a socket made inside ─▶ the service

Rootless the veth pairs end in the hub, of which the host's network knows nothing; so a route of
Caddy's leads to a file, and whoever connects there is spliced to the port, as by a forward.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

from actors import Context
from colony.network import splice

_DIRECTORY: Final = "ways"
_MODE: Final = 0o600
_numbers: Final = itertools.count(1)


class Relays:
    """A colony's relays: tasks of the actor whose context this has, and gone with it.

    directory
        The instance's: the sockets are in a directory of their own below.
    dial_to
        Gives the way to a port of the colony.
    """

    def __init__(
        self, ctx: Context[Any], directory: Path, dial_to: Callable[[int], splice.Dial]
    ) -> None:
        self._ctx = ctx
        self._directory = directory / _DIRECTORY
        self._dial_to = dial_to
        self._paths: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<Relays {self._paths}>"

    async def to(self, port: int) -> str:
        """The path of the socket that leads to a port, for as long as the actor lives."""
        path = self._paths.get(port)
        if path is None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            # By numbers, for a socket's path is short by law: 107 bytes.
            path = str(self._directory / str(next(_numbers)))
            listener = await anyio.create_unix_listener(path, mode=_MODE)
            self._ctx.run(self._serve, listener, Path(path), self._dial_to(port), name=path)
            self._paths[port] = path
        return path

    async def _serve(self, listener: Any, path: Path, dial: splice.Dial) -> None:
        try:
            await splice.serve_listener(listener, dial)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 — a runtime directory is in memory
