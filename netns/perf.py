"""What the kernel notes of its own events (tracepoints), in memory that it shares with us.

    with Recorder.open((Point("sched/sched_process_exit"),)) as recorder:
        ...
        for record in recorder.read():      # since the last time, the oldest first
            record.pid, recorder.layouts[record.point].number(record.raw, "pid")

Law: looking back, not listening. The kernel writes into a ring per processor, over what is oldest;
nobody is woken by it and nothing has to keep pace, and whoever wants to know reads what is new.

All of it hangs on descriptors, so that nothing stays behind a process, however it dies. An instance
of tracefs, the other way to the same events, is a directory that does, and goes on to record.

A ring is written downwards (`write_backward`), the newest record first in it, and read while the
kernel may write: what it can have gone over meanwhile is thrown away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import platform
import re
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import msgspec

from netns import linux

RING: Final = 1 << 17
"""Bytes of each processor's ring, a power of two and at least a page: some 1200 records."""

_EVENTS: Final = "events"
_TRACEFS: Final = "/sys/kernel/tracing"
_PROCESSORS: Final = "/sys/devices/system/cpu/online"
_NUMBERS: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241}  # perf_event_open's

_ENABLE: Final = 0x2400
_SET_OUTPUT: Final = 0x2405
_SET_FILTER: Final = 0x40082406

# struct perf_event_attr up to its fifth version, 112 bytes.
_ATTRIBUTES: Final = struct.Struct("=IIQQQQQIIQQQQIiQI4x")
_TRACEPOINT: Final = 2
_TID_TIME_RAW: Final = 1 << 1 | 1 << 2 | 1 << 10
_DISABLED_CLOCK_BACKWARD: Final = 1 << 0 | 1 << 25 | 1 << 27
_MONOTONIC: Final = 1

_HEAD: Final = 1024  # of struct perf_event_mmap_page: data_head
_WORD: Final = struct.Struct("=Q")
_WRAP: Final = 1 << 64
_BEING_WRITTEN: Final = 1 << 11  # more than the records that the kernel can be writing just now
_RECORD: Final = struct.Struct("=IHHIIQI")  # type, misc, size; pid, tid, time, size of what follows
_SAMPLE: Final = 9
_KIND: Final = struct.Struct("=H")
_AT_ONCE: Final = 200  # descriptors in a message: the kernel's limit is 253
_FIELD: Final = re.compile(r"\s(\w+)(?:\[\d+\])?;\s+offset:(\d+);\s+size:(\d+);")


class Point(msgspec.Struct, frozen=True):
    """A tracepoint. Of the filters the first that this kernel understands is used; none: all."""

    name: str
    filters: tuple[str, ...] = ()


class Layout(msgspec.Struct, frozen=True):
    """Where the fields are in what a tracepoint tells: name → (offset, size)."""

    id: int
    fields: dict[str, tuple[int, int]]

    @classmethod
    def parse(cls, id: int, text: str) -> Layout:
        """From the kernel's own description, a tracepoint's file `format`. Pure."""
        found = _FIELD.findall(text)
        return cls(id, {name: (int(offset), int(size)) for name, offset, size in found})

    def data(self, raw: bytes, field: str) -> bytes:
        offset, size = self.fields[field]
        return raw[offset : offset + size]

    def number(self, raw: bytes, field: str) -> int:
        """Of a field that is a number without a sign, or a pointer."""
        return int.from_bytes(self.data(raw, field), _ENDIAN)


_ENDIAN: Final = "little"  # of all the machines in `_NUMBERS`


class Record(msgspec.Struct, frozen=True, order=True):
    """An event. `time` is the monotonic clock's, in nanoseconds; `point` counts those that were
    opened; `pid` and `tid` are who was on the processor, as this process's numbers."""

    time: int
    point: int
    pid: int
    tid: int
    raw: bytes


class _Ring:
    """One processor's."""

    __slots__ = ("_memory", "_read", "_size")

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._size = len(memory) - mmap.PAGESIZE
        self._read = 0  # the head as it was when it was last read

    def close(self) -> None:
        self._memory.close()

    def new(self) -> bytes:
        """What was written since the last time, the newest first; the oldest may be cut off."""
        head = self._head()
        wanted = min((self._read - head) % _WRAP, self._size)
        self._read = head
        start = mmap.PAGESIZE + head % self._size
        data = self._memory[start : start + wanted]
        data += self._memory[mmap.PAGESIZE : mmap.PAGESIZE + wanted - len(data)]
        gone_over = (head - self._head()) % _WRAP + _BEING_WRITTEN
        return data[: max(self._size - gone_over, 0)]

    def _head(self) -> int:
        found: int = _WORD.unpack_from(self._memory, _HEAD)[0]
        return found


class Recorder:
    """Tracepoints as they happen on all processors, from `open` to `close`, or for the length of a
    `with`. From one thread at a time.

    layouts
        Of the points, in their order.
    """

    __slots__ = ("_descriptors", "_kinds", "_rings", "layouts")

    def __init__(self, points: tuple[Point, ...]) -> None:
        """Not open yet: `open` is the way."""
        self.layouts = _layouts(points)
        self._kinds = {layout.id: number for number, layout in enumerate(self.layouts)}
        self._descriptors: list[int] = []
        self._rings: list[_Ring] = []

    def __repr__(self) -> str:
        return f"<Recorder of {len(self.layouts)} events on {len(self._rings)} processors>"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self.close()

    @classmethod
    def open(cls, points: tuple[Point, ...], size: int = RING) -> Recorder:
        """Blocks for some milliseconds. Raises `OSError` where the kernel has not got the points,
        or this process has no right to them. A processor that is put in later is not noted."""
        made = cls(points)
        try:
            for processor in _processors():
                made._add(points, processor, size)
            for descriptor in made._descriptors:
                fcntl.ioctl(descriptor, _ENABLE, 0)
        except BaseException:
            made.close()
            raise
        return made

    def _add(self, points: tuple[Point, ...], processor: int, size: int) -> None:
        first = None
        for point, layout in zip(points, self.layouts, strict=True):
            try:
                descriptor = _open(layout.id, processor)
            except OSError as error:
                if error.errno == errno.ENODEV:  # it went to sleep since they were listed
                    return
                raise
            self._descriptors.append(descriptor)
            _set_filter(descriptor, point.filters)
            if first is None:
                first = descriptor
                length = mmap.PAGESIZE + max(size, mmap.PAGESIZE)
                memory = mmap.mmap(descriptor, length, prot=mmap.PROT_READ)
                self._rings.append(_Ring(memory))
            else:
                fcntl.ioctl(descriptor, _SET_OUTPUT, first)

    def read(self) -> list[Record]:
        """What is new, the oldest first; none when it is closed."""
        return sorted(each for ring in self._rings for each in records(ring.new(), self._kinds))

    def close(self) -> None:
        """Closing twice is no error."""
        rings, self._rings = self._rings, []
        descriptors, self._descriptors = self._descriptors, []
        for ring in rings:
            ring.close()
        if descriptors:
            _throw_away(descriptors)


def records(data: bytes, kinds: dict[int, int]) -> Iterator[Record]:
    """The events in a ring's text, whose last may be cut off. Pure.

    kinds
        The points' numbers by their id.
    """
    offset = 0
    while offset + _RECORD.size <= len(data):
        kind, _, size, pid, tid, time, length = _RECORD.unpack_from(data, offset)
        start, offset = offset + _RECORD.size, offset + max(size, 8)
        if kind != _SAMPLE or offset > len(data):
            continue
        raw = data[start : start + length]
        point = kinds.get(_KIND.unpack_from(raw)[0])
        if point is not None:
            yield Record(time, point, pid, tid, raw)


def why_not(points: tuple[Point, ...]) -> str:
    """Why this process may not have these noted, in words; "" if it may."""
    try:
        for layout in _layouts(points):
            _throw_away([_open(layout.id, _processors()[0])])
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ""


def _layouts(points: tuple[Point, ...]) -> tuple[Layout, ...]:
    """Read in a tracefs of our own, which is mounted nowhere, where there is none to see."""
    own = None if os.path.isdir(f"{_TRACEFS}/{_EVENTS}") else linux.own_tracefs()
    try:
        return tuple(_layout(point, own) for point in points)
    finally:
        if own is not None:
            os.close(own)


def _layout(point: Point, own: int | None) -> Layout:
    folder = f"{_EVENTS}/{point.name}"
    if own is None:
        folder = f"{_TRACEFS}/{folder}"

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, dir_fd=own)

    def text(name: str) -> str:
        with open(f"{folder}/{name}", encoding="ascii", opener=opener) as file:
            return file.read()

    return Layout.parse(int(text("id")), text("format"))


def _processors() -> list[int]:
    with open(_PROCESSORS) as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [number for each in ranges for number in range(int(each[0]), int(each[-1]) + 1)]


def _open(id: int, processor: int) -> int:
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attributes = _ATTRIBUTES.pack(
        *(_TRACEPOINT, _ATTRIBUTES.size, id, 1, _TID_TIME_RAW, 0, _DISABLED_CLOCK_BACKWARD, 0),
        *(0, 0, 0, 0, 0, 0, _MONOTONIC, 0, 0),
    )
    return linux.perf_event_open(_NUMBERS[machine], attributes, processor)


def _set_filter(descriptor: int, filters: tuple[str, ...]) -> None:
    for number, text in enumerate(filters):
        try:
            fcntl.ioctl(descriptor, _SET_FILTER, text.encode() + b"\0")
            return
        except OSError as error:
            if error.errno != errno.EINVAL or number + 1 == len(filters):
                raise


def _throw_away(descriptors: list[int]) -> None:
    """Closes them, without waiting for it.

    Who closes the last descriptor of a tracepoint waits some 40 ms, until no processor can be in
    it any more; and so does who exits with it. So they are left in the queue of a socket that only
    this queue itself refers to: the kernel finds that garbage and closes it in a thread of its own
    (since 6.8; before, right here).
    """
    with contextlib.ExitStack() as queue:
        with contextlib.suppress(OSError):  # too many, of whatever it is: then right here
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            queue.callback(ours.close)
            queue.callback(theirs.close)
            for some in range(0, len(descriptors), _AT_ONCE):
                sent = [*descriptors[some : some + _AT_ONCE], theirs.fileno()]
                socket.send_fds(ours, [b"\0"], sent, socket.MSG_DONTWAIT)
        for descriptor in descriptors:  # before the sockets, so that the queue has the last
            os.close(descriptor)
