"""The program's terminal: its descriptor, its size, what is typed, what comes out.

Both ends are made close-on-exec and stay so: no other child of ours ever holds a session's master,
which would keep its terminal from hanging up.

What comes out is read by threads (`watch`): only to ask a master whether there is something takes
as long as the kernel's worker takes to come. It is handed over in shares; the loop has one turn for
each, and none holds it for longer than a copy takes. A flood that nobody follows rests for `UNSEEN`
after each.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import struct
import termios
from collections.abc import Callable
from typing import Final

import anyio

from colony.terminals.hub import Hub
from colony.terminals.sizes import Size
from colony.terminals.watch import watched

UNSEEN: Final = 0.012
"""Seconds of rest between two shares of a flood that nobody follows, times the number of floods:
5 MB/s are enough for all of them, and what others type is answered at once."""

DRAIN: Final = 0.5
"""Seconds without a word after the program's end, for which those are listened to who still have
its end open. What viewers take longer for does not count."""

LAST: Final = 1 << 20
"""Bytes that are still read then. What the program wrote last is by far less."""

_IUTF8: Final = 0o40000
"""Linux's; termios has its name from Python 3.13 on."""

_REPAINT: Final = 0.03
"""Seconds between two sizes, for a program to see both."""

_ANSWER: Final = 0.05
"""Seconds that a program has to paint, until what was typed meanwhile is its."""

_LOOK: Final = 0.002


class Pty:
    """A terminal until `aclose`, in an event loop. `path` is the program's end.

    ends
        Both ends, from `opened`, if that was called in a thread; it may wait. They are taken over.
    """

    def __init__(self, size: Size, ends: tuple[int, int] | None = None) -> None:
        self.master, self._slave = opened() if ends is None else ends
        try:
            self.path = os.ttyname(self._slave)
            os.set_blocking(self.master, False)
            self.resize(size)
            self._watched = watched(self.master)
        except BaseException:
            self.started()
            os.close(self.master)
            raise
        self._typing = anyio.Lock()
        self._over = False
        self._waiting = anyio.CancelScope()

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
        await repaint(self.resize, hub, self._typing)

    async def write(self, data: bytes) -> None:
        """Types. What two viewers type is never mixed. Does nothing once the program has gone.

        Cancelled, it has typed a part.
        """
        async with self._typing:
            while data and self.master >= 0:
                try:
                    data = data[os.write(self.master, data) :]
                except BlockingIOError:
                    await self._watched.writable()
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    return

    async def read_into(self, hub: Hub) -> None:
        """Hands the hub what the program writes, until it has `ended` and nobody has its end open,
        or says anything for `DRAIN` seconds; or this is closed."""
        left = LAST
        await hub.room()
        while left > 0 and (data := await self._next()):
            left -= len(data) if self._over else 0
            await hub.take_in(data)
            await hub.room()
            if (floods := self._watched.floods) and not hub.followed:
                await anyio.sleep(UNSEEN * floods)

    async def _next(self) -> bytes:
        deadline = anyio.current_time() + DRAIN if self._over else math.inf
        with anyio.CancelScope(deadline=deadline) as self._waiting:
            return await self._watched.take()
        return self._watched.rest()

    def ended(self) -> None:
        """The program has ended: once nobody has its end open, there is nothing more to come."""
        self._over = True
        self._waiting.deadline = anyio.current_time() + DRAIN
        self._watched.last()

    async def aclose(self) -> None:
        """Hangs up. Closing twice is no error.

        Cancelling does not hurry it.
        """
        self.started()
        if self.master >= 0:
            self.master = -1
            await self._watched.aclose()


def opened() -> tuple[int, int]:
    """Both ends of a new terminal, the master first. Erasing takes a character, not a byte of it:
    everybody's terminal and every session's LANG are UTF-8.

    Blocks: the kernel has one lock for opening a terminal and for closing one, and who closes one
    that floods waits for its worker.
    """
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    settings[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    return master, slave


def closed(ends: tuple[int, int]) -> None:
    """Undoes `opened`."""
    for fd in ends:
        os.close(fd)


async def repaint(resize: Callable[[Size], None], hub: Hub, typing: anyio.Lock) -> None:
    """By `resize`, makes a full-screen program paint all of its screen.

    What is typed meanwhile waits, by the lock that is held while somebody types: a program that
    leaves its reading by a jump when it is told of a size, as less does, loses the key that it has
    just read. Whoever types into a program that takes nothing is not waited for.
    """
    held = False
    with anyio.move_on_after(_REPAINT):
        await typing.acquire()
        held = True
    try:
        rows, columns = hub.size
        resize(Size(rows - 1 if rows > 1 else rows + 1, columns))
        try:
            await anyio.sleep(_REPAINT)
        finally:
            resize(hub.size)
        painted = hub.ring.end
        with anyio.move_on_after(_ANSWER):
            while hub.ring.end == painted:  # noqa: ASYNC110 - a moment, at a time of no flood
                await anyio.sleep(_LOOK)
    finally:
        if held:
            typing.release()
