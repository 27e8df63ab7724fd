"""A flood's output, read without the interpreter's lock.

The kernel hands a terminal's output over in pieces of 4 KiB at most. With `os.read` a thread gives
the interpreter's lock up and takes it again for each: 16 times for a share of 64 KiB. Each time it
may be put off by the very programs that flood, while it has the lock or while the event loop waits
for it to take it; so the loop is held for milliseconds in which it did nothing. The C library's
`fread` asks the kernel again and again until it has what it was asked for or there is nothing now,
all in one call and without the lock: a share costs the lock once.

    with Gatherer(master) as gatherer:
        data, over = gatherer.gather()      # on a thread
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

LONGEST: Final = 0.003
_QUIET_MS: Final = 1
"""Seconds that a share is gathered at most; milliseconds without a byte that end it sooner."""

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


class Gatherer:
    """Reads a descriptor that does not block, by one of its own for the same file, for as long as
    the block. `gather` is for one thread at a time, and none when the block is left."""

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)
        self._stream = _fdopen(self._fd, b"rb")
        if not self._stream:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number))
        _setvbuf(self._stream, None, _UNBUFFERED, 0)  # what is read is read to where it belongs
        self._share = ctypes.create_string_buffer(SHARE)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __repr__(self) -> str:
        return f"<Gatherer {'of ' + str(self._fd) if self._stream else 'closed'}>"

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, *_: object) -> None:
        stream, self._stream = self._stream, None
        if stream:
            _fclose(stream)

    def gather(self) -> tuple[bytes, bool]:
        """A share, or what comes until there is a pause; and whether that was the end."""
        count, until = 0, time.monotonic() + LONGEST
        while True:
            more, over = self._fill(count)
            count += more
            waits = count < SHARE and not over
            if not waits or time.monotonic() > until or not self._poll.poll(_QUIET_MS):
                return ctypes.string_at(self._share, count), over

    def _fill(self, count: int) -> tuple[int, bool]:
        """Reads more behind so many bytes; how many, and whether that was the end."""
        wanted = SHARE - count
        ctypes.set_errno(0)
        more = int(_fread(ctypes.byref(self._share, count), 1, wanted, self._stream))
        if more == wanted:
            return more, False
        _clearerr(self._stream)
        number = ctypes.get_errno()
        if number not in (0, errno.EIO, *_NOTHING_NOW):
            raise OSError(number, os.strerror(number))
        return more, number not in _NOTHING_NOW
