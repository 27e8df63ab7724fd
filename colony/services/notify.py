"""What a service says of itself, by the protocol of sd_notify(3).

The service is given the path of a datagram socket in `NOTIFY_SOCKET` and sends lines of KEY=VALUE.
Understood are

    READY=1                 it is ready
    STATUS=…                what it does, in words: shown by `colony ps`
    WATCHDOG=1              a sign of life, expected within $WATCHDOG_USEC
    WATCHDOG=trigger        it is not well
    EXTEND_TIMEOUT_USEC=…   it needs so much longer, from now on, to be ready

and what else there may be is left alone. A socket with a path is reached from every network
namespace; an abstract one, which systemd uses too, belongs to one of them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from typing import Final

import anyio

from netns.closing import Closing

LONGEST_PATH: Final = 107
"""Bytes of a unix socket's path (sockaddr_un, less its NUL)."""

_LARGEST: Final = 8192


class NotifySocket:
    """The socket, made in a directory of ours, removed by `close`. Raises `OSError`."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, f"notify-{secrets.token_hex(4)}")
        if len(os.fsencode(self.path)) > LONGEST_PATH:
            raise OSError(
                f"ready = notify needs a shorter runtime directory: the path of its socket, "
                f"{self.path}, has more than {LONGEST_PATH} bytes; set COLONY_RUNTIME_DIR"
            )
        flags = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_UNIX, flags)
        self._closing = Closing(self._socket.close)
        try:
            self._socket.bind(self.path)
            # The service may run as another user; the directory above lets nobody else in.
            os.chmod(self.path, 0o666)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<NotifySocket {self.path}>"

    async def receive(self) -> dict[str, str]:
        """The next message. Raises `anyio.ClosedResourceError` when it was closed, or is
        meanwhile."""
        with self._closing.waiting():
            while True:
                await anyio.wait_readable(self._socket)
                with contextlib.suppress(BlockingIOError):
                    return parse(self._socket.recv(_LARGEST))

    def close(self) -> None:
        """Closes and removes it. Closing twice is no error."""
        self._closing.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def parse(data: bytes) -> dict[str, str]:
    """A message's assignments; lines that are none are left out."""
    lines = data.decode("utf-8", "replace").split("\n")  # and nothing else is a line's end there
    return dict(line.split("=", 1) for line in lines if "=" in line)
