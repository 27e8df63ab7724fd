"""Who listens on a port, in words for an error, and who is left of a service. Reads /proc; blocks.

The tables of listening sockets belong to a network: on the network thread, inside a namespace,
`/proc/thread-self/net` is that namespace's; elsewhere it is the host's.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from netns import Namespace, NetworkThread, sweep
from netns.errors import NetlinkError
from netns.listeners import Listeners
from netns.names import COLONY_VARIABLE, INSTANCE_VARIABLE
from netns.sweep import Belongs

SERVICE_VARIABLE: Final = "COLONY_SERVICE"

_LISTEN: Final = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)
_LONGEST: Final = 60


UNSEEN: Final = "a process that cannot be looked at"
"""Another user's; rootless, any that is not of a colony; or one that is just ending."""

_EXITING: Final = 0x4  # PF_EXITING (include/linux/sched.h)


GONE: Final = "?"
"""The command of one that ended just now."""


class Holder(msgspec.Struct, frozen=True):
    """A process that listens on a port. `colony` and `service` are "" unless it is one of ours."""

    pid: int
    command: str
    colony: str = ""
    service: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return UNSEEN
        ours = f", service {self.service} of colony {self.colony}" if self.service else ""
        return f"pid {self.pid} `{self.command}`{ours}"


class Search:
    """Looks for listeners where a service runs: in its colony's namespace, or on the host."""

    def __init__(self, thread: NetworkThread, place: Namespace | None) -> None:
        self.thread = thread
        self.place = place

    def __repr__(self) -> str:
        return f"<Search in {self.place or 'the host'}>"

    async def holder(self, port: int) -> Holder | None:
        """Who listens on the port; None if it is free."""
        if self.place is None:
            # Asked right here, in microseconds: every thread but the network thread is on the host.
            return None if is_free(port) else await self.thread.on_host.run(holder_of, port)
        if not await self._is_heard(self.place, port):
            return None
        return await self.thread.run(self._holder_inside, self.place, port)

    async def _is_heard(self, place: Namespace, port: int) -> bool:
        """Whether anybody listens inside. Asked first, of sock_diag: to read /proc/net/tcp, which
        alone leads to the process, takes the kernel ten milliseconds, as it goes through the
        connections of the whole machine."""
        listeners = await Listeners.open(self.thread, place)
        try:
            return any(each.port == port for each in listeners.look(udp=False))
        except NetlinkError:  # this kernel cannot say
            return True
        finally:
            listeners.close()

    def _holder_inside(self, place: Namespace, port: int) -> Holder | None:
        with self.thread.inside(place):
            inodes = set(_listening_inodes(port))
        return holder_among(inodes, sweep.processes_in(place.inode)) if inodes else None


def holder_of(port: int) -> Holder | None:
    """Who listens on a TCP port of the host; None if the port is free.

    A listener that we may not look at has no pid.
    """
    if is_free(port):
        return None
    return holder_among(set(_listening_inodes(port)), list(_pids()))


def holder_among(inodes: set[str], pids: list[int]) -> Holder:
    """Which of the processes has one of these sockets; the oldest of them, which is the parent of
    those that have inherited it. One that is ending, whose environment has gone, does not count."""
    for pid in sorted(pids):
        if any(inode in inodes for inode in _socket_inodes(pid)) and not _is_ending(pid):
            return holder_at(pid)
    return Holder(0, "")


def holder_at(pid: int, command: str = "") -> Holder:
    """The process with this number; `command` is what is known of one that has ended."""
    if command:
        return Holder(pid, command)
    env = _environment(pid)
    colony, service = env.get(COLONY_VARIABLE, ""), env.get(SERVICE_VARIABLE, "")
    return Holder(pid, _command(pid), colony, service)


def strays_of(instance: str, colony: str, service: str, place: Namespace | None) -> Belongs:
    """The rule for processes that a service has started, whoever their parent is now."""
    wanted = {f"{SERVICE_VARIABLE}={service}".encode()}
    if place is None:
        wanted |= {
            f"{COLONY_VARIABLE}={colony}".encode(),
            f"{INSTANCE_VARIABLE}={instance}".encode(),
        }

    def started(pid: int) -> bool:
        return wanted <= set(sweep.environment_of(pid))

    if place is None:
        return started
    # First, as it is the cheaper question; and no colony has another's namespace.
    inside = sweep.in_namespace(place.inode)
    return lambda pid: inside(pid) and started(pid)


def unmarked_in(place: Namespace) -> Belongs:
    """The rule for processes of a colony that have no mark of whose they are.

    Servers that show what they do in their command line (nginx, redis, postgres) write that over
    their environment; others begin with an empty one.
    """
    inside = sweep.in_namespace(place.inode)
    marks = tuple(f"{v}=".encode() for v in (SERVICE_VARIABLE, COLONY_VARIABLE, INSTANCE_VARIABLE))

    def unmarked(pid: int) -> bool:
        return inside(pid) and not any(
            entry.startswith(marks) for entry in sweep.environment_of(pid)
        )

    return unmarked


def family_of(pid: int, place: Namespace) -> Belongs:
    """The rule for a server without a mark and all that it has started: its session, if it has one
    of its own, else its group. Raises `ProcessLookupError`."""
    inside = sweep.in_namespace(place.inode)
    own = os.getsid(pid) != os.getsid(0)
    kin = os.getsid if own else os.getpgid
    wanted = kin(pid)

    def related(other: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return kin(other) == wanted and inside(other)
        return False

    return related


def is_free(port: int) -> bool:
    """Whether a server could bind the port on every address, as most do. Does not block.

    A socket for both families shows it at once; that it cannot be bound may have other reasons.
    """
    if _binds(socket.AF_INET6, "::", port, only6=0):
        return True
    four, six = (_binds(*where, port) for where in _EVERYWHERE)
    return four is not False and six is not False


_EVERYWHERE: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))


def _binds(family: int, address: str, port: int, only6: int = 1) -> bool | None:
    """Whether a port can be bound; None without sockets of this family."""
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            text = Path("/proc/thread-self/net", table).read_text("ascii")
            for line in text.splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _pids() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            yield int(entry)


def _socket_inodes(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]


def _is_ending(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return bool(int(status.rpartition(")")[2].split()[6]) & _EXITING)
    except (OSError, ValueError, IndexError):  # it has ended
        return True


def _environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
        return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    return {}


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words == [b""]:  # on its way out: it has its name alone
            words = [Path(f"/proc/{pid}/comm").read_bytes()]
        text = " ".join(b" ".join(words).decode("utf-8", "replace").split())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return GONE
