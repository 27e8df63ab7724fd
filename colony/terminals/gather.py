"""A terminal's output, read without the interpreter's lock.

The kernel hands a terminal's output over in pieces of 4 KiB at most. With `os.read` a thread gives
the interpreter's lock up and takes it again for each: 16 times for a share of 64 KiB. Each time it
may be put off by the very programs that flood, while it has the lock or while the event loop waits
for it to take it; so the loop is held for milliseconds in which it did nothing. The C library's
`fread` asks the kernel again and again until it has what it was asked for or there is nothing now,
all in one call and without the lock: a share costs the lock once. So:

    little                  is read by `piece`, that is `os.read`
    `MUCH` without a pause  is a flood, and read by `share`, that is `fread`

    source = Source(master, room_for_a_share())
    data = source.piece(SHARE)      # b"" at the end, None if there is nothing now
    source.close()
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import time
from typing import Final

SHARE: Final = 64 * 1024
"""Bytes that are read before others have their turn."""

MUCH: Final = 8 * 1024
PAUSE: Final = 0.02
"""So many bytes, with no pause of so many seconds in them, are a flood."""

LONGEST: Final = 0.003
_QUIET_MS: Final = 1
"""Seconds that a share is gathered at most; milliseconds without a byte that end it sooner."""

_PIECE: Final = 16 * 1024
_UNBUFFERED: Final = 2
_NOTHING_NOW: Final = frozenset({errno.EAGAIN, errno.EINTR})

_slow: Final = ctypes.CDLL(None, use_errno=True)
_quick: Final = ctypes.PyDLL(None, use_errno=True)  # which keeps the lock: what takes no time
_fread = _slow.fread
_fread.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
_fread.restype = ctypes.c_size_t
_fdopen = _quick.fdopen
_fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)
_fdopen.restype = ctypes.c_void_p
_setvbuf = _quick.setvbuf
_setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
_clearerr = _quick.clearerr
_clearerr.argtypes = (ctypes.c_void_p,)
_clearerr.restype = None
_fclose = _slow.fclose
_fclose.argtypes = (ctypes.c_void_p,)


Space = ctypes.Array[ctypes.c_char]


def room_for_a_share() -> Space:
    """Memory for what is gathered at once: enough for all that one thread gathers."""
    return ctypes.create_string_buffer(SHARE)


class Source:
    """A descriptor that does not block, to be read by one thread at a time. It is taken over:
    `close` closes it. Raises `OSError` if there is no memory for it; the descriptor is the caller's
    then.

    space
        Memory for a share, in which nobody else gathers meanwhile.
    floods
        Whether it writes `MUCH` without a `PAUSE`.
    """

    def __init__(self, fd: int, space: Space) -> None:
        self.fd = fd
        self._space = space
        self.floods = False
        self._last, self._much = 0.0, 0
        self._stream = _fdopen(fd, b"rb")
        if not self._stream:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        _setvbuf(self._stream, None, _UNBUFFERED, 0)  # what is read is read to where it belongs

    def __repr__(self) -> str:
        return f"<Source {self.fd if self._stream else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether it is not closed yet."""
        return bool(self._stream)

    def close(self) -> None:
        """Closes the descriptor. Closing twice is no error."""
        stream, self._stream = self._stream, None
        if stream:
            _fclose(stream)

    def piece(self, most: int) -> bytes | None:
        """What is there, so many bytes at most; b"" at the end, and None if there is nothing now.

        After an end more may come: a terminal's is when nobody has the program's side open.
        """
        try:
            data = os.read(self.fd, min(most, _PIECE))
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        return self._noted(data)

    def share(self, most: int) -> bytes | None:
        """The same, with what comes until there is a pause; `SHARE` bytes at most."""
        count, until, most = 0, time.monotonic() + LONGEST, min(most, SHARE)
        while True:
            more, over = self._fill(count, most - count)
            count += more
            waits = count < most and not over
            if not waits or time.monotonic() > until or not self._poll.poll(_QUIET_MS):
                break
        if not count and not over:
            return None
        return self._noted(ctypes.string_at(self._space, count))

    def _noted(self, data: bytes) -> bytes:
        now = time.monotonic()
        pause = now - self._last >= PAUSE or not data
        self._last, self._much = now, len(data) + (0 if pause else self._much)
        self.floods = self._much >= MUCH
        return data

    def _fill(self, count: int, wanted: int) -> tuple[int, bool]:
        """Reads more behind so many bytes; how many, and whether that was the end."""
        ctypes.set_errno(0)
        more = int(_fread(ctypes.byref(self._space, count), 1, wanted, self._stream))
        if more == wanted:
            return more, False
        _clearerr(self._stream)
        number = ctypes.get_errno()
        if number not in (0, errno.EIO, *_NOTHING_NOW):
            raise OSError(number, os.strerror(number))
        return more, number not in _NOTHING_NOW
