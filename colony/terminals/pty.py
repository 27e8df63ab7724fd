"""The program's terminal: its descriptor, its size, what is typed, what comes out.

Both ends are made close-on-exec and stay so: no other child of ours ever holds a session's master,
which would keep its terminal from hanging up.

The kernel hands a terminal's output over in pieces of 4 KiB at most, made by a worker of its own.
To read a piece, or only to ask whether there is one (`epoll_ctl` asks, too), waits for that worker
if it has been called and has not come yet, whatever the descriptor says of not blocking. On a busy
machine those are milliseconds for which the event loop stands still. So:

    little                  is read in the event loop, at once
    `MUCH` without a pause  a thread gathers it in shares, until for a moment there is nothing and
                            the worker has nothing to do; where nobody follows, it rests for
                            `UNSEEN` after each

Then the loop has one turn for each share, and none holds it for longer than a copy takes. There is
one such thread at a time: several floods take turns, the one that has waited longest first. More of
them would take the processors from the loop, which is the one that hands on what they read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import threading
import time
from collections.abc import Callable
from typing import Final

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from colony.terminals.gather import Gatherer
from colony.terminals.hub import Hub
from colony.terminals.sizes import Size

UNSEEN: Final = 0.008
"""Seconds of rest between two shares of a flood that nobody follows: 8 MB/s are enough for it, and
what others type is answered at once."""

AHEAD: Final = -10
"""How much nicer others are to a thread while it gathers."""

MUCH: Final = 8 * 1024
PAUSE: Final = 0.02
"""So many bytes, with no pause of so many seconds in them, are a flood."""

_CHUNK: Final = 16 * 1024
_IUTF8: Final = 0o40000
"""Linux's; termios has its name from Python 3.13 on."""

_REPAINT: Final = 0.03
"""Seconds between two sizes, for a program to see both."""

_ANSWER: Final = 0.05
"""Seconds that a program has to paint, until what was typed meanwhile is its."""

_LOOK: Final = 0.002

_places: Final[RunVar[anyio.CapacityLimiter]] = RunVar("colony.terminals.gatherers")
"""An event loop's one place for a thread that gathers."""


class Pty:
    """A terminal from `open` to `close`. `path` is the program's end."""

    def __init__(self, size: Size) -> None:
        self.master, self._slave = opened()
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
                    await _ready(anyio.wait_writable, self.master)
                except OSError as error:
                    if error.errno not in (errno.EIO, errno.EBADF):
                        raise
                    return

    async def read_into(self, hub: Hub) -> None:
        """Hands the hub what the program writes, until nobody has the program's end open."""
        last, much = 0.0, 0
        while self.master >= 0:
            await hub.room()
            await _ready(anyio.wait_readable, self.master)
            if (data := self._read()) == b"":
                return
            await hub.take_in(data or b"")
            now = time.monotonic()
            last, much = now, len(data or b"") + (much if now - last < PAUSE else 0)
            if much >= MUCH:
                if not await self._follow_flood(hub):
                    return
                much = 0

    async def _follow_flood(self, hub: Hub) -> bool:
        """Reads until there is nothing for a moment; whether there may be more later."""
        if self.master < 0:
            return False
        with Gatherer(self.master) as gatherer:
            while True:
                await hub.room()
                data, over = await to_thread.run_sync(ahead, gatherer.gather, limiter=_place())
                await hub.take_in(data)
                if over or not data or self.master < 0:
                    return not over
                if not hub.followed:
                    await anyio.sleep(UNSEEN)

    def _read(self) -> bytes | None:
        """A piece; None if there is none now, b"" at the end."""
        try:
            return os.read(self.master, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF):
                raise
            return b""

    def close(self) -> None:
        """Hangs up. Closing twice is no error."""
        self.started()
        master, self.master = self.master, -1
        if master >= 0:
            anyio.notify_closing(master)
            os.close(master)


def opened() -> tuple[int, int]:
    """Both ends of a new terminal, the master first. Erasing takes a character, not a byte of it:
    everybody's terminal and every session's LANG are UTF-8."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    settings[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    return master, slave


def ahead(gather: Callable[[], tuple[bytes, bool]]) -> tuple[bytes, bool]:
    """The same before all that floods, where the kernel lets us. Otherwise this thread is put off
    by them when it has read and is to have the interpreter, and with it the loop."""
    me, usual = threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, me, usual + AHEAD)
    except PermissionError:
        return gather()
    try:
        return gather()
    finally:  # whatever else this thread does or starts, it does as usual
        os.setpriority(os.PRIO_PROCESS, me, usual)


def _place() -> anyio.CapacityLimiter:
    try:
        return _places.get()
    except LookupError:
        _places.set(made := anyio.CapacityLimiter(1))
        return made


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


async def _ready(wait: Callable[..., object], fd: int) -> None:
    """A descriptor may be watched once in a loop; a closed one is ready."""
    if fd >= 0:
        try:
            await wait(fd)  # type: ignore[misc]
        except anyio.ClosedResourceError:
            return
