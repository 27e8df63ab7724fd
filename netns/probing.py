"""Whether somebody is reached from inside a namespace."""

from __future__ import annotations

import errno
import os
import socket

import anyio

from netns.thread import Located, NetworkThread, Place


async def try_tcp(
    thread: NetworkThread, where: Place | Located, address: str, port: int, seconds: float
) -> OSError | None:
    """Connects from inside and hangs up; what went wrong, None if nothing did.

    A `ConnectionRefusedError` is an answer, too: of the host's rules, where they deny it
    (`ruleset`), else of the other end. `TimeoutError` after `seconds`.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with await thread.socket(where, family) as made:
        number = made.connect_ex((address, port))
        if number == errno.EINPROGRESS:
            with anyio.move_on_after(seconds):
                await anyio.wait_writable(made)
                number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0:
            return None
        if number == errno.EINPROGRESS:
            return TimeoutError(f"no answer in {seconds:g} s")
        return OSError(number, os.strerror(number))
