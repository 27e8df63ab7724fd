"""Whether this machine's own resolver knows Colony's names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Final

import anyio

from actors import backend

PATIENCE: Final = 0.25
"""Seconds to wait for an answer. A resolver without the set-up may ask the whole network."""

PROBE: Final = "colony-resolves-here"


async def resolves(suffix: str) -> bool:
    """Whether a name under `suffix` leads to this machine's loopback, as any program here sees it.

    False when there is no answer within `PATIENCE`. The look-up is made on a thread that nobody
    waits for at exit, since nothing can cut it short.
    """

    def submit(job: Callable[[], None]) -> None:
        threading.Thread(target=job, name="resolver probe", daemon=True).start()

    with anyio.move_on_after(PATIENCE):
        return await backend.in_thread(submit, _look_up, f"{PROBE}.{suffix}")
    return False


def _look_up(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(address[4][0] in ("127.0.0.1", "::1") for address in found)
