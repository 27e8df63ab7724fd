"""The program's terminal: its descriptor, its size, what is typed, what comes out.

Both ends are made close-on-exec and stay so: no other child of ours ever holds a session's master,
which would keep its terminal from hanging up.

The descriptor is read until it is empty or `SHARE` bytes have come, and then the event loop has its
turn: several floods share it evenly, and none holds it for longer than a copy takes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Final

import anyio

from colony.terminals.hub import Hub
from colony.terminals.sizes import Size

SHARE: Final = 64 * 1024
"""Bytes that are read before others have their turn."""

UNSEEN: Final = 0.002
"""Seconds of rest between two full shares of a flood that nobody sees: 30 MB/s are enough for it,
and what others type is answered at once."""

_CHUNK: Final = 16 * 1024
_REPAINT: Final = 0.03
"""Seconds between two sizes, for a program to see both."""


class Pty:
    """A terminal from `open` to `close`. `path` is the program's end."""

    def __init__(self, size: Size) -> None:
        self.master, self._slave = os.openpty()
        try:
            self.path = os.ttyname(self._slave)
            os.set_blocking(self.master, False)
            self.resize(size)
        except BaseException:
            self.close()
            raise
        self._typing = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Pty {self.path}>"

    def started(self) -> None:
        """The program has its end: ours of it is closed."""
        slave, self._slave = self._slave, -1
        if slave >= 0:
            os.close(slave)

    def resize(self, size: Size) -> None:
        """Gives it a size; the program is told by SIGWINCH if it is another one."""
        if self.master >= 0:
            packed = struct.pack("HHHH", size.rows, size.columns, 0, 0)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, packed)

    async def repaint(self, hub: Hub) -> None:
        """Makes a full-screen program paint all of its screen: by another size, and this again."""
        await repaint(self.resize, hub)

    async def write(self, data: bytes) -> None:
        """Types. What two viewers type is never mixed. Does nothing once the program has gone.

        Cancelled, it has typed a part.
        """
        async with self._typing:
            while data and self.master >= 0:
                try:
                    data = data[os.write(self.master, data) :]
                except BlockingIOError:
                    await _ready(anyio.wait_writable, self.master)
                except OSError as error:
                    if error.errno not in (errno.EIO, errno.EBADF):
                        raise
                    return

    async def read_into(self, hub: Hub) -> None:
        """Hands the hub what the program writes, until nobody has the program's end open."""
        while self.master >= 0:
            await hub.room()
            before = hub.ring.end
            if not self._read_share(hub):
                return
            if hub.ring.end - before >= SHARE and not hub.followed:
                await anyio.sleep(UNSEEN)
            await _ready(anyio.wait_readable, self.master)

    def _read_share(self, hub: Hub) -> bool:
        """Reads what is there; whether there may be more later."""
        pieces: list[bytes] = []
        count, open_ = 0, True
        while count < SHARE:
            try:
                piece = os.read(self.master, _CHUNK)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EBADF):
                    raise
                piece = b""
            if not piece:
                open_ = False
                break
            pieces.append(piece)
            count += len(piece)
        if pieces:
            hub.feed(b"".join(pieces))
        return open_

    def close(self) -> None:
        """Hangs up. Closing twice is no error."""
        self.started()
        master, self.master = self.master, -1
        if master >= 0:
            anyio.notify_closing(master)
            os.close(master)


async def repaint(resize: Callable[[Size], None], hub: Hub) -> None:
    """By `resize`, makes a full-screen program paint all of its screen."""
    rows, columns = hub.size
    resize(Size(rows - 1 if rows > 1 else rows + 1, columns))
    try:
        await anyio.sleep(_REPAINT)
    finally:
        resize(hub.size)


async def _ready(wait: Callable[..., object], fd: int) -> None:
    """A descriptor may be watched once in a loop; a closed one is ready."""
    if fd >= 0:
        try:
            await wait(fd)  # type: ignore[misc]
        except anyio.ClosedResourceError:
            return
