"""Who began a connection: known, also of a process that was refused and has ended since.

    callers = Callers()
    callers.open()                      # from now on the kernel notes who connects
    log.watch(callers.senders)          # and who sends what the packet log tells of
    ...
    callers.who(attempt)                # Caller(pid=4711, command="curl")
    log.watch(None)
    callers.close()

Law: the process is noted while it connects or sends, not looked for afterwards. A socket that is
gone says of nobody whose it was; and a packet does not say which socket it came from.

    event                             what it gives
    ────────────────────────────────  ───────────────────────────────────────────────────────────
    a TCP socket begins to connect    process, addresses, the other's port; not its own port yet
    it has connected, or has failed   its own port
    a process ends                    its name, of one that cannot be looked at any more

With the own port a packet's connection is known for sure. Before there is an answer the one that
fits by the rest is it, if there is one alone: else all of them are still there to be asked, and
whoever asks finds out by the socket.

UDP begins nothing that the kernel would tell of. But the packet log tells of a packet while its
sender is still in `sendto()`, nearly always: so of UDP it is whoever was on the processor then
(`packet_log`). A packet that had to wait is told of while anybody is; so who asks has to see that a
process which is still there is in the right network.

It costs a TCP connection two microseconds, and nothing one to 127.0.0.1; UDP nothing, but a signal
anywhere on the machine a third of one. A route, which each UDP socket asks for in its own name,
would tell as much (`fib_table_lookup`), but costs each packet that is passed on a tenth.
"""

from __future__ import annotations

import threading
from collections import deque
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

import msgspec

from netns.packet_log import Attempt, is_numbered_as_the_kernel_does, told
from netns.perf import Layout, Point, Record, Recorder, why_not

T = TypeVar("T")

REMEMBERED: Final = 1000
"""Connections, and as many processes that have ended."""

SENDERS: Final = 1 << 16
"""Bytes of their ring: more than there are for packets in the log's socket."""

_SYN_SENT: Final = 2
_LOOPBACK: Final = int.from_bytes(bytes((127, 0, 0, 1)), "little")
_BEGINS_OR_SETTLES: Final = f"protocol == 6 && (newstate == {_SYN_SENT} || oldstate == {_SYN_SENT})"
_POINTS: Final = (
    Point(
        "sock/inet_sock_set_state",
        # An address is an array, which not every kernel compares.
        (f"{_BEGINS_OR_SETTLES} && saddr != {_LOOPBACK}", _BEGINS_OR_SETTLES),
    ),
    Point("sched/sched_process_exit"),
)
_STATE, _EXIT = range(2)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_NOBODY: Final = 1 << 31  # and above: of another world of processes


class Caller(msgspec.Struct, frozen=True):
    """The process that began a connection. `command` is its name if it has ended since, else "":
    then it can be looked at, unless it ends at that moment. Asked again it has a name."""

    pid: int
    command: str = ""


class Began(msgspec.Struct):
    """A connection that was begun. The addresses are IPv6's, mapped; `source_port` is 0 as long as
    it is not known."""

    pid: int
    time: int
    source: bytes
    destination: bytes
    port: int
    source_port: int


class Memory:
    """What was noted, as far back as `REMEMBERED`. Pure."""

    def __init__(self) -> None:
        self._begun: deque[Began] = deque(maxlen=REMEMBERED)
        self._by_socket: dict[int, Began] = {}
        self._ended: dict[int, tuple[int, str]] = {}

    def __repr__(self) -> str:
        return f"<Memory of {len(self._begun)} connections, {len(self._ended)} ended>"

    def begins(self, socket: int, began: Began) -> None:
        """A socket, known by its place in the kernel, begins to connect."""
        self._begun.append(began)
        _put(self._by_socket, socket, began)

    def settles(self, socket: int, source_port: int) -> None:
        """It has connected or failed."""
        began = self._by_socket.pop(socket, None)
        if began is not None:
            began.source_port = source_port

    def ends(self, pid: int, time: int, command: str) -> None:
        """A process ends."""
        _put(self._ended, pid, (time, command))

    def who(self, attempt: Attempt) -> Began | None:
        """Whose connection it is; None if that is not known, or not for sure."""
        wanted = (_mapped(attempt.source), _mapped(attempt.destination), attempt.port)
        unsettled = []
        for began in reversed(self._begun):
            if (began.source, began.destination, began.port) == wanted:
                if began.source_port == attempt.source_port:
                    return began
                if not began.source_port:
                    unsettled.append(began)
        return unsettled[0] if len({began.pid for began in unsettled}) == 1 else None

    def command_of(self, began: Began) -> str:
        """The name of the process that began it, if that has ended since; else ""."""
        return self.name_of(began.pid, began.time)

    def name_of(self, pid: int, since: int) -> str:
        """The name of a process that was there at that time, if it has ended since; else ""."""
        time, command = self._ended.get(pid, (0, ""))
        return command if time >= since else ""  # else it was the number's last owner


def _put(notes: dict[int, T], key: int, value: T) -> None:
    notes.pop(key, None)
    notes[key] = value
    if len(notes) > REMEMBERED:
        del notes[next(iter(notes))]


class Callers:
    """Has the kernel note who connects, from `open` to `close`. Its methods block; from any thread.

    Needs the rights of the machine's root: without, `open` fails, and nobody is known.

    senders
        For `PacketLog.watch`, which is to be told of None before `close`; None when closed, and
        where there is a reason against UDP.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None
        self.senders: Recorder | None = None
        self._memory = Memory()

    def __repr__(self) -> str:
        return f"<Callers {self._recorder or 'closed'} {self._memory}>"

    @property
    def is_open(self) -> bool:
        return self._recorder is not None

    def open(self) -> None:
        """Blocks for some milliseconds. Raises `OSError` where it may not or the kernel cannot."""
        with self._lock:
            if self._recorder is None:
                recorder = Recorder.open(_POINTS)
                try:
                    if is_numbered_as_the_kernel_does():
                        self.senders = Recorder.open((told(),), SENDERS)
                except BaseException:
                    recorder.close()
                    raise
                self._recorder = recorder

    def close(self) -> None:
        """Closing twice is no error."""
        with self._lock:
            recorders = self._recorder, self.senders
            self._recorder = self.senders = None
            for recorder in recorders:
                if recorder is not None:
                    recorder.close()

    def who(self, attempt: Attempt) -> Caller | None:
        """Who began it; None if nobody knows for sure. Blocks for a millisecond at most."""
        with self._lock:
            self._look()
            if attempt.protocol == "udp":
                pid = attempt.sender
                return Caller(pid, self._memory.name_of(pid, attempt.time)) if pid else None
            began = self._memory.who(attempt)
            if began is None:
                return None
            return Caller(began.pid, self._memory.command_of(began))

    def _look(self) -> None:
        if self._recorder is not None:
            for record in self._recorder.read():
                _note(self._memory, record, self._recorder.layouts[record.point])


def reason_against() -> str:
    """Why this process may not know who connects, in words; "" if it may. Blocks for a
    millisecond."""
    return why_not((*_POINTS, told()))


def reason_against_udp() -> str:
    """The same of who sends by UDP."""
    if is_numbered_as_the_kernel_does():
        return reason_against()
    return reason_against() or "in a container with process numbers of its own"


def _note(memory: Memory, record: Record, layout: Layout) -> None:
    raw, number = record.raw, layout.number
    if not 0 < record.pid < _NOBODY:
        return
    if record.point == _EXIT:
        if record.pid == record.tid:
            name = layout.data(raw, "comm").partition(b"\0")[0].decode(errors="replace")
            memory.ends(record.pid, record.time, name)
        return
    socket, own_port = number(raw, "skaddr"), number(raw, "sport")
    if number(raw, "newstate") != _SYN_SENT:
        memory.settles(socket, own_port)
        return
    source, destination = layout.data(raw, "saddr_v6"), layout.data(raw, "daddr_v6")
    began = Began(record.pid, record.time, source, destination, number(raw, "dport"), own_port)
    memory.begins(socket, began)


def _mapped(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed if address.version == 6 else _MAPPED + address.packed
