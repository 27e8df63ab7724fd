"""Connected sockets that an asyncio loop serves inside its own wait, without a callback between.

    WireLoop (asyncio)            Wires (its selector)                 the kernel
      run what is ready
      select(timeout) ──────────► wait ◄──────────────────────────── one epoll: every Wire,
                                  a Wire: read, hear, write, at once     and asyncio's own
                                  … until the loop has work, too
      run what is ready ◄──────── asyncio's own descriptors

Law: what a wire does, it does within `select`, where it may write, watch and give up wires, and may
use the loop as anybody does: `call_soon` and `call_at` end the wait, so nothing scheduled there is
ever late. A wire's `connection_lost` is always a callback of the loop's, never a call from within
one of its own methods.

Why not asyncio's transports, whose face a `Wire` has: of 26 µs that a request took them through the
front door, the kernel's two reads and two writes were 12. Each read asked for 256 KiB, which malloc
maps and unmaps; each event made a key, a handle and a call in a context.

**Waiting awake.** A processor that went to sleep takes long to wake (in a virtual machine some
20 µs, more than a request needs), so who expects something within that time had better look again
than sleep. Whether to expect it is guessed from how it went before (`Alertness`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Final, Protocol, TypeAlias, TypeVarTuple

Ts = TypeVarTuple("Ts")
Serve: TypeAlias = Callable[[int], None]
"""What is called with the events of a descriptor."""

AWAKE: Final = 60e-6
"""How long in seconds a wait may look again and again before it goes to sleep."""

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

_NOT_READ: Final = ~READ  # an error or the end of both directions is for whoever looks
_NOT_WRITE: Final = ~WRITE

_AT_ONCE: Final = 128
_CHUNK: Final = 64 * 1024  # from twice that on, malloc maps and unmaps each piece
_HIGH, _LOW = 64 * 1024, 16 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_FEWEST, _MOST = 4, 128


class Alertness:
    """Whether a wait should begin awake. Pure.

    As long as waiting awake is answered, yes. Once it was in vain, the next 4 waits go to sleep at
    once; in vain again, the next 8, and so on up to 128. So an idle loop sleeps, and so does one
    whose services take a millisecond: one wait in 129 costs it `AWAKE`. Never on one processor,
    where nothing can happen while we look.
    """

    __slots__ = ("_asleep", "_many", "_next")

    def __init__(self, processors: int) -> None:
        self._many = processors > 1
        self._asleep = 0
        self._next = _FEWEST

    def __repr__(self) -> str:
        return f"<Alertness {'awake' if self.wanted else f'asleep for {self._asleep}'}>"

    @property
    def wanted(self) -> bool:
        return self._many and not self._asleep

    def slept(self) -> None:
        """A wait was spent asleep."""
        if self._asleep:
            self._asleep -= 1

    def answered(self) -> None:
        """A wait was spent awake, and something came."""
        self._next = _FEWEST

    def in_vain(self) -> None:
        """A wait was spent awake, and nothing came."""
        self._asleep = self._next
        self._next = min(2 * self._next, _MOST)


class Wires(selectors.BaseSelector):
    """A selector for asyncio that serves the descriptors of `watch` by itself."""

    def __init__(self) -> None:
        self._others = selectors.EpollSelector()
        self._epoll = select.epoll()
        self._epoll.register(self._others.fileno(), READ)
        self._serve: dict[int, Serve] = {}
        self._left = False
        self._alert = Alertness(len(os.sched_getaffinity(0)))

    def __repr__(self) -> str:
        return f"<Wires {len(self._serve)} {self._alert!r}>"

    def watch(self, fd: int, before: int, events: int, serve: Serve) -> None:
        """Has `serve` called with each of these events of a descriptor; `before` is what was
        watched so far, and 0 nothing.
        """
        if not events:
            self._serve.pop(fd, None)
            self._epoll.unregister(fd)
        elif before:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._serve[fd] = serve

    def leave(self) -> None:
        """The loop has something to do: `select` returns."""
        self._left = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._left = False
        serve, others = self._serve, False
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            for fd, events in self._wait(until):
                found = serve.get(fd)
                if found is not None:
                    found(events)
                elif fd == self._others.fileno():
                    others = True
            if others:
                return self._others.select(0)
            if self._left or (until is not None and time.monotonic() >= until):
                return []

    def _wait(self, until: float | None) -> list[tuple[int, int]]:
        poll = self._epoll.poll
        began = now = time.monotonic()
        if until is not None and until <= began:
            return poll(0, _AT_ONCE)
        if self._alert.wanted:
            while now - began < AWAKE:
                found = poll(0, _AT_ONCE)
                if found:
                    self._alert.answered()
                    return found
                now = time.monotonic()
            self._alert.in_vain()
        else:
            self._alert.slept()
        return poll(None if until is None else max(0.0, until - now), _AT_ONCE)

    # asyncio's own

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._others.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._others.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._others.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._others.get_map()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._others.get_key(fileobj)

    def close(self) -> None:
        self._epoll.close()
        self._others.close()


class WireLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that has `wires`."""

    def __init__(self) -> None:
        self.wires = Wires()
        super().__init__(self.wires)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.wires.leave()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.wires.leave()
        return super().call_at(when, callback, *args, context=context)


class Ear(Protocol):
    """Who hears what comes over a wire: the methods of `asyncio.Protocol`, with its rules."""

    def data_received(self, data: bytes, /) -> None: ...

    def eof_received(self) -> bool: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Wire:
    """A connected, non-blocking stream socket, which it owns. The methods are those of
    `asyncio.Transport`, with its rules.
    """

    __slots__ = (
        "_closing",
        "_deaf",
        "_ear",
        "_ended",
        "_full",
        "_loop",
        "_lost",
        "_paused",
        "_recv",
        "_send",
        "_sock",
        "_unsent",
        "_watched",
    )

    def __init__(self, loop: WireLoop, sock: socket.socket, ear: Ear) -> None:
        self._loop = loop
        self._sock = sock
        self._ear = ear
        self._recv = sock.recv
        self._send = sock.send
        self._unsent = bytearray()
        self._watched = 0
        self._closing = False  # nothing is read any more
        self._lost = False  # nothing is written either
        self._paused = False
        self._deaf = False  # the other side has ended
        self._ended = False  # by us, or about to be
        self._full = False
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def __repr__(self) -> str:
        return f"<Wire {self._sock.fileno()} unsent={len(self._unsent)}>"

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes) -> None:
        if self._lost:
            return
        if self._unsent:
            self._keep(data)
            return
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        if sent < len(data):
            self._keep(data[sent:])

    def write_eof(self) -> None:
        """What was written still goes out, and then its end. Raises `OSError`."""
        if self._closing or self._ended:
            return
        self._ended = True
        if not self._unsent:
            self._sock.shutdown(socket.SHUT_WR)

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._watch()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._watch()

    def close(self) -> None:
        """Reads no more; what was written still goes out."""
        if self._closing:
            return
        self._closing = True
        if self._unsent:
            self._watch()
        else:
            self._lose(None)

    def abort(self) -> None:
        """Closes at once."""
        self._lose(None)

    def reset(self) -> None:
        """Breaks off, so that the other side sees that it was."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._lose(None)

    # what the kernel says

    def _serve(self, events: int) -> None:
        try:
            if events & _NOT_WRITE and self._watched & READ:
                self._read()
            if events & _NOT_READ and self._unsent:
                self._flush()
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "a front door's connection failed", "exception": error}
            )
            self._lose(error)

    def _read(self) -> None:
        try:
            data = self._recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._ear.data_received(data)
            return
        self._deaf = True
        if self._ear.eof_received():
            self._watch()
        else:
            self.close()

    def _flush(self) -> None:
        try:
            sent = self._send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        del self._unsent[:sent]
        if self._full and len(self._unsent) <= _LOW:
            self._full = False
            self._ear.resume_writing()
        if self._unsent:
            return
        self._watch()
        if self._closing:
            self._lose(None)
        elif self._ended:
            with contextlib.suppress(OSError):  # it has gone: its reader will say so
                self._sock.shutdown(socket.SHUT_WR)

    def _keep(self, data: bytes) -> None:
        self._unsent += data
        self._watch()
        if not self._full and len(self._unsent) > _HIGH:
            self._full = True
            self._ear.pause_writing()

    def _watch(self) -> None:
        wanted = 0 if self._paused or self._deaf or self._closing else READ
        if self._unsent:
            wanted |= WRITE
        if wanted != self._watched:
            self._loop.wires.watch(self._sock.fileno(), self._watched, wanted, self._serve)
            self._watched = wanted

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._unsent.clear()
        self._watch()
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        try:
            self._ear.connection_lost(error)
        finally:
            self._sock.close()
            del self._ear, self._recv, self._send
