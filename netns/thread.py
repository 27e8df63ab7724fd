"""The network thread: the one thread that moves between namespaces.

Law: between two jobs the thread stands at home. A job that needs to be elsewhere goes there inside
`with thread.inside(place)`, and nothing else in the program ever calls `setns` or `unshare`.

Theory of operation. `setns` and `unshare` move a single thread, so every namespace operation runs
on this one, job after job, while the event loop awaits. More threads would gain nothing: the
kernel's rtnl lock admits one at a time, and two to eight threads were measured no faster and their
latency up to eight times as long.

At its start the thread
  · blocks all signals, so that Python's are handled by the main thread's system calls;
  · takes a file-system context of its own (`CLONE_FS`), without which the kernel refuses to move
    it into another mount namespace, and which makes its working directory private;
  · keeps descriptors of its home namespaces, to return by.

Processes are spawned from it too, for two reasons: a child inherits the namespaces of the thread
that makes it, and a child's parent-death signal comes when its *thread* dies, so a pool's passing
thread must never be a parent.

A socket made inside a namespace stays there, whoever uses it: 5 µs for a way in that reaches
0.0.0.0, 127.0.0.1 and ::1 alike, which no packet rule does.

Rootless (`userns`) its home is the hub, out of which it cannot go. What has to be done on the
host's own network, such as to start a process there, a second thread does, which has never left
(`on_host`); otherwise that is this thread itself.
"""

from __future__ import annotations

import errno
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Generic, Protocol, TypeVar, TypeVarTuple

import anyio
import msgspec

from actors import backend
from netns import linux, userns
from netns.errors import NetnsError, ThreadClosed

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

IPAddress = IPv4Address | IPv6Address
Socket = socket.socket

LOOPBACK: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class Place(msgspec.Struct, frozen=True):
    """Where a job runs: descriptors of a network and, if any, a mount namespace.

    They belong to whoever opened them. A job that comes when they were closed meanwhile must not
    enter whatever has got their number since: hence `inode`, the network's, 0 if it is not known.
    """

    net: int
    mnt: int | None = None
    inode: int = 0


class Located(Protocol):
    """Anything that has a place of its own, such as a `Namespace`."""

    @property
    def place(self) -> Place: ...


def place_of(where: Place | Located) -> Place:
    return where if isinstance(where, Place) else where.place


def _leads_to(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


class _Job(Generic[T]):
    """A function on its way to the thread and back, and what to do if nobody takes the result."""

    __slots__ = ("_function", "_result", "_undo", "abandoned", "finished")

    def __init__(self, function: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self._function = function
        self._undo = undo
        self._result: T | None = None
        self.abandoned = False
        self.finished = False

    def run(self) -> T:
        if self.abandoned:
            raise ThreadClosed("the job was cancelled before it began")
        self._result = self._function()
        self.finished = True
        return self._result

    def take_back(self) -> None:
        if self.finished and self._undo is not None:
            self._undo(self._result)  # type: ignore[arg-type]


class NetworkThread:
    """The network thread, from `start` to `close`, or for the length of an `async with`.

    Works on asyncio and trio, and for several event loops one after the other. `close` lets the
    jobs before it end. A job must not wait for anything but the kernel: all others wait behind it.
    """

    __slots__ = ("_callers", "_companion", "_home", "_jobs", "_lost", "_open", "_stays", "_thread")

    def __init__(self, *, stays: bool = False) -> None:
        """`stays`: whether it stays on the host's network where the others live in a hub."""
        self._stays = stays
        self._companion: NetworkThread | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._home = Place(-1)
        self._open = False
        self._callers = 0  # of `run`, that have not returned
        self._lost: str | None = None

    def __repr__(self) -> str:
        state = self._lost or ("open" if self._open else "closed")
        return f"<NetworkThread {state} {self._jobs.qsize()} waiting>"

    async def __aenter__(self) -> NetworkThread:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts the thread. Raises `NetnsError` if it runs already."""
        if self._thread is not None:
            raise NetnsError("the network thread runs already")
        # daemon: an owner that died without closing must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()
        self._open = True
        try:
            await self.run(self._settle)
            if userns.entered() and not self._stays:
                self._companion = NetworkThread(stays=True)
                await self._companion.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the thread after the jobs before this, and the undoing of those that were cancelled.
        Closing twice is no error.

        Cancelling does not hurry it.
        """
        if not self._open or self._thread is None:
            return
        self._open = False
        with anyio.CancelScope(shield=True):
            companion, self._companion = self._companion, None
            if companion is not None:
                await companion.close()
            try:
                # A cancelled caller may still have something to undo here.
                while self._callers:
                    await backend.in_thread(self._jobs.put, _pass)
                await backend.in_thread(self._jobs.put, self._leave)
            finally:
                self._jobs.put(None)
                self._thread.join()  # it has nothing left to do: microseconds
                self._thread = None

    @property
    def open(self) -> bool:
        """Whether it takes jobs."""
        return self._open

    @property
    def on_host(self) -> NetworkThread:
        """The thread that stands on the host's own network: this one, but for rootless."""
        return self._companion or self

    @property
    def home(self) -> Place:
        """Where it stands between two jobs: on the host's network, or rootless in the hub."""
        return self._home

    async def run(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Runs `function(*args)` on the thread and returns its result, or raises its error.

        undo
            Called on the thread with the result if the caller was cancelled and so will never
            have it: what closes the socket, ends the process. With it, a cancelled `run` returns
            only when the job and its undoing are over; without, at once.

        A job cancelled before its turn never begins. Raises `ThreadClosed` outside start and close.
        """
        if not self._open:
            raise ThreadClosed("the network thread is not running")
        job = _Job(lambda: self._checked(function, *args), undo)
        failed = False

        def attempt() -> T:
            nonlocal failed
            try:
                return job.run()
            except BaseException:
                failed = True
                raise

        self._callers += 1
        try:
            return await backend.in_thread(self._jobs.put, attempt)
        except BaseException:
            job.abandoned = True
            if not failed and undo is not None:
                with anyio.CancelScope(shield=True):
                    await backend.in_thread(self._jobs.put, job.take_back)
            raise
        finally:
            self._callers -= 1

    @contextmanager
    def inside(self, where: Place | Located) -> Iterator[None]:
        """Stands elsewhere for the length of a `with`. Only within a job; not nested."""
        place = place_of(where)
        if threading.current_thread() is not self._thread:
            raise NetnsError("only a job on the network thread may enter a namespace")
        if place.inode and not _leads_to(place.net, place.inode):
            raise OSError(errno.ESTALE, "the network namespace has gone meanwhile")
        mounts = place.mnt is not None
        if place.mnt is not None:
            linux.setns(place.mnt, linux.CLONE_NEWNS, "entering the mount namespace")
        # Refused entry, it has not left: to go home then takes the same right, and failing at that
        # would count as being lost.
        try:
            linux.setns(place.net, linux.CLONE_NEWNET, "entering the network namespace")
        except OSError:
            if mounts:
                self.go_home(mounts=True)
            raise
        try:
            yield
        finally:
            self.go_home(mounts=mounts)

    def go_home(self, *, mounts: bool) -> None:
        """Returns to the home network namespace and, with `mounts`, to the home mount namespace.

        For jobs that left by `unshare`. If the kernel refuses, the thread is unfit for any
        further job and says so to each.
        """
        try:
            linux.setns(self._home.net, linux.CLONE_NEWNET, "returning to the host's network")
            if mounts and self._home.mnt is not None:
                linux.setns(self._home.mnt, linux.CLONE_NEWNS, "returning to the host's mounts")
        except OSError as error:
            self._lost = f"the network thread is lost in another namespace: {error.strerror}"
            raise NetnsError(self._lost) from error

    async def socket(
        self, where: Place | Located, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM
    ) -> Socket:
        """A non-blocking socket made inside, the caller's to close. It may connect or listen."""
        place = place_of(where)
        return await self.run(self._socket, place, family, kind, undo=Socket.close)

    async def connect(self, where: Place | Located, port: int, *others: IPAddress) -> Socket:
        """A TCP connection to a port inside: a connected non-blocking socket, the caller's.

        Tried in turn: 127.0.0.1, ::1, then `others` (such as the colony's own address, for a
        server bound to that alone). Raises `ConnectionRefusedError` when none answers, other
        `OSError`s as the kernel gives them. No timeout of its own.
        """
        place = place_of(where)
        left: Sequence[IPAddress] = (*LOOPBACK, *others)
        refusal: OSError | None = None
        while left:
            attempt = await self.run(self._attempt, place, port, left, undo=_Attempt.close)
            left = left[attempt.tried :]
            refusal = attempt.error or refusal
            if attempt.socket is not None:
                error = await _finish(attempt.socket, attempt.pending)
                if error is None:
                    return attempt.socket
                refusal = error
        names = ", ".join(str(address) for address in (*LOOPBACK, *others))
        if refusal is None or refusal.errno == errno.ECONNREFUSED:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"nothing listens on port {port} inside (tried {names})"
            )
        raise refusal

    def _checked(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._lost:
            raise NetnsError(self._lost)
        return function(*args)

    def _socket(self, place: Place, family: int, kind: int) -> Socket:
        with self.inside(Place(place.net, inode=place.inode)):
            made = Socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        return made

    def _attempt(self, place: Place, port: int, addresses: Sequence[IPAddress]) -> _Attempt:
        """Goes through the addresses until one does not refuse at once."""
        error: OSError | None = None
        for tried, address in enumerate(addresses, 1):
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            try:
                made = self._socket(place, family, socket.SOCK_STREAM)
            except OSError as refused:  # no IPv6 in this kernel
                error = refused
                continue
            number = made.connect_ex((str(address), port))
            if number in (0, errno.EINPROGRESS):
                return _Attempt(tried, made, pending=number != 0)
            made.close()
            error = OSError(number, f"connecting to {address} port {port}: {os.strerror(number)}")
        return _Attempt(len(addresses), None, error=error)

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (job := self._jobs.get()) is not None:
            job()

    def _settle(self) -> None:
        linux.unshare(linux.CLONE_FS, "taking a file-system context of its own")
        if userns.entered() and not self._stays:
            userns.enter_hub()
        net = os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        mnt = os.open(linux.MOUNT_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        self._home = Place(net, mnt)

    def _leave(self) -> None:
        home, self._home = self._home, Place(-1)
        for fd in (home.net, home.mnt):
            if fd is not None and fd >= 0:
                os.close(fd)


def _pass() -> None:
    """A job that only has its turn."""


class _Attempt(msgspec.Struct):
    """How far a connection came in one go on the thread."""

    tried: int
    socket: Socket | None = None
    pending: bool = False
    error: OSError | None = None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


async def _finish(made: Socket, pending: bool) -> OSError | None:
    """Waits until a begun connection stands; closes the socket and returns why if it never does."""
    try:
        if pending:
            await anyio.wait_writable(made)
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        made.close()
        raise
    if number == 0:
        return None
    made.close()
    return OSError(number, f"connecting: {os.strerror(number)}")
