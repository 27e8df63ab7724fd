"""Ports on which a test, or what it starts, is to listen later.

Law: a port that is given here is given to nobody else while this process of tests lives, and the
kernel gives it to nobody at all. "Bind port 0, close, use the number" holds neither: the kernel may
give that number to whoever binds next, to another worker's test or to a connection that goes out.
So these are below the ranges that the kernel and Colony choose from, and each process claims a
block of them: by a name among the abstract unix sockets, which belong to one network namespace, as
ports do, and end with their process, however it dies. Within its block it goes round, so that a
port that was in use is not given again soon.

    first, second = free_ports(2)
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from typing import Final

FIRST: Final = 12_000
"""Above what Colony takes by default, and what programs like to have."""

BLOCK: Final = 200
BLOCKS: Final = 40
"""So the last port is 19,999. From 20,000 on Colony takes some at random (`proxy.companion`), in
any test with a Caddy that has one beside it, and from 32,768 on the kernel does."""

_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine without IPv6 says."""


def free_port() -> int:
    """A port that nobody has, on 127.0.0.1 and ::1, for TCP and UDP."""
    for _ in range(BLOCK):
        port = next(_OURS)
        if _is_free(port):
            return port
    raise AssertionError(f"none of this process's {BLOCK} ports is free, {port} and its neighbours")


def free_ports(count: int) -> list[int]:
    """As many, all different."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    with ExitStack() as stack:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                try:
                    stack.enter_context(socket.socket(family, kind)).bind((address, port))
                except OSError as error:
                    if error.errno not in _NO_SUCH_ADDRESS:
                        return False
    return True


def _claim() -> tuple[socket.socket, Iterator[int]]:
    """A block that is ours as long as the socket is open; its ports, round and round."""
    begin = os.getpid() % BLOCKS
    for number in range(BLOCKS):
        block = (begin + number) % BLOCKS
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0colony-tests/ports/{block}")
        except OSError:
            claim.close()
            continue
        first = FIRST + block * BLOCK
        return claim, cycle(range(first, first + BLOCK))
    raise AssertionError(f"{BLOCKS} processes of tests have all the ports there are for tests")


# Here and now: a test that counts its open files is not to find one more.
_CLAIM, _OURS = _claim()
