"""Processes started inside a namespace, and watched by descriptor.

Law: a process has an owner from the moment it exists, and its number is not given back to the
kernel before the owner is done with it. `wait` looks at the exit status without reaping; `aclose`
reaps. Until then the number, and so the process group's, cannot become a stranger's, and
`signal_group` is safe after the leader's death too, when it matters most: a dead shell's children.

Theory of operation. The network thread enters the namespace, changes its own working directory,
and calls `posix_spawn`; the child inherits both. No wrapper program, no code between fork and exec.
The child gets its three standard descriptors and those it is given, an empty signal mask, every
signal's default action (a program started by `nohup` or by a shell's `&` would ignore some), and a
process group or session of its own.

On the host there is no namespace to enter, and mostly no need of that thread (`launching`): the way
there and back would take as long as the start.

Rejected: `subprocess.Popen`. It resets three signals only, and its object wants to reap.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict, Unpack

import anyio
import anyio.lowlevel
import msgspec

from netns import launching, limits, linux, names
from netns.errors import SpawnError
from netns.thread import Located, NetworkThread, Place, place_of

_FIRST_FREE: Final = 3  # the descriptors after stdin, stdout and stderr
# Asked once: each time it would make a name of every signal anew.
_CATCHABLE: Final = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_OPEN, _CLOSE, _DUP2 = os.POSIX_SPAWN_OPEN, os.POSIX_SPAWN_CLOSE, os.POSIX_SPAWN_DUP2


Standard = launching.Standard
"""The same, where None may be the terminal as well."""


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: with a code, or by a signal; both None if somebody else reaped it."""

    code: int | None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        return "ended unseen" if self.code is None else f"exit code {self.code}"

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def shell(self) -> int:
        """The number that a shell gives for it: the code, or 128 and the signal; 1 if unseen."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.code is None else self.code


@functools.cache
def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Order(msgspec.Struct, frozen=True):
    """What to start, checked and complete."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    place: Place | None
    standard: Standard
    passed: tuple[int, ...]
    session: bool
    terminal: str | None
    capabilities: int = 0

    def __repr__(self) -> str:
        return f"<Order {' '.join(self.argv)}>"  # never the environment: it may hold secrets


class Process:
    """A started process. Its owner calls `aclose`, or uses it in an `async with`.

    pid
        Its number, which is its process group's too.
    pidfd
        A descriptor that is readable once it has ended.
    """

    __slots__ = ("_status", "argv", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, argv: tuple[str, ...]) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.argv = argv
        self._status: ExitStatus | None = None

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.argv[0]} {self._status or 'running'}>"

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def poll(self) -> ExitStatus | None:
        """The exit status, None while it runs."""
        if self._status is None:
            self._status = self._look()
        return self._status

    async def wait(self) -> ExitStatus:
        """Waits for its end. Any number of tasks may; cancelling changes nothing."""
        while (status := self.poll()) is None:
            # A descriptor may be watched once in a loop, so each waiter has its own.
            mine = os.dup(self.pidfd)
            try:
                await anyio.wait_readable(mine)
            finally:
                os.close(mine)
        return status

    def signal(self, number: int) -> bool:
        """Sends a signal to this process alone; whether it was there to get it.

        Does nothing after `aclose`.
        """
        if self.pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def signal_group(self, number: int) -> bool:
        """Sends a signal to its process group, which outlives it; whether anybody got it.

        Does nothing after `aclose`, when the number may be another's.
        """
        if self.pidfd < 0:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def aclose(self) -> None:
        """Reaps it. If it still runs, its group is killed first. Cancelling does not interrupt
        this; closing twice is no error."""
        if self.pidfd < 0:
            return
        if self.poll() is None:
            with anyio.CancelScope(shield=True):
                self.signal_group(signal.SIGKILL)
                await self.wait()
        self._reap()

    def kill_and_reap(self) -> None:
        """`aclose` for those who have no event loop: kills the group, and blocks until the process
        is gone (milliseconds)."""
        if self.pidfd >= 0:
            self.signal_group(signal.SIGKILL)
            self._reap()

    def _look(self) -> ExitStatus | None:
        if self.pidfd < 0:
            return ExitStatus(None)
        return _wait_status(self.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)

    def _reap(self) -> None:
        pidfd, self.pidfd = self.pidfd, -1
        status = _wait_status(pidfd, os.WEXITED)
        self._status = self._status or status
        os.close(pidfd)


def _wait_status(pidfd: int, options: int) -> ExitStatus | None:
    try:
        seen: Any = os.waitid(os.P_PIDFD, pidfd, options)
    except ChildProcessError:
        return ExitStatus(None)
    if seen is None:
        return None
    if seen.si_code == os.CLD_EXITED:
        return ExitStatus(seen.si_status)
    return ExitStatus(None, seen.si_status)


class Options(TypedDict, total=False):
    """How a program is started. What is left out is as if it were None, empty or false.

    namespace
        Where it runs, with that network and those files; None: on the host.
    cwd
        Its working directory; default: the caller's.
    env
        Its whole environment; default: the caller's. COLONY_INSTANCE is added to it.
    instance
        The value of COLONY_INSTANCE, by which leftovers are found; default: the namespace's.
    stdin, stdout, stderr
        Descriptors, which stay the caller's to close; None: /dev/null.
    pass_fds
        Descriptors that the child has under the same numbers. No others are inherited.
    session
        A new session (and so a new process group); default: a new process group only.
    controlling_tty
        With `session`: the path of a terminal (/dev/pts/…) that becomes the controlling one and
        all of stdin, stdout and stderr that are None.
    capabilities
        Those of this process's own that the program keeps, a bit each, where it would lose them by
        not being root. Default: none.
    """

    namespace: Place | Located | None
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    instance: str | None
    stdin: int | None
    stdout: int | None
    stderr: int | None
    pass_fds: Iterable[int]
    session: bool
    controlling_tty: str | None
    capabilities: int


async def spawn(thread: NetworkThread, argv: Sequence[str], **options: Unpack[Options]) -> Process:
    """Starts a program and returns it running. It is the caller's to `aclose`.

    argv
        The program and its arguments. A name without "/" is looked for in `env`'s PATH; one with
        is relative to `cwd`.
    options
        See `Options`.

    Raises `SpawnError`, in words, when the program or the directory is missing or not allowed.
    Cancelled, it has started nothing, or has killed it.
    """
    order = _order(argv, options)
    starter = thread.on_host if order.place is None else thread
    if order.place is None and starter.open and _is_plain(order) and not order.capabilities:
        await anyio.lowlevel.checkpoint_if_cancelled()
        return _watched(_start(_find(order), order), order)
    return await starter.run(_spawn, starter, order, undo=Process.kill_and_reap)


def _order(argv: Sequence[str], options: Options) -> Order:
    namespace, env = options.get("namespace"), options.get("env")
    terminal, session = options.get("controlling_tty"), options.get("session", False)
    if not argv or not argv[0]:
        raise SpawnError(f"a program to start is a non-empty list of words, got: {list(argv)!r}")
    if terminal is not None and not session:
        raise SpawnError(f"a controlling terminal ({terminal}) needs session=True")
    environment = dict(os.environ if env is None else env)
    instance = options.get("instance")
    if instance is None:
        instance = getattr(namespace, "instance", None)
    if instance is not None:
        environment[names.INSTANCE_VARIABLE] = instance
    return Order(
        argv=tuple(argv),
        env=environment,
        cwd=os.path.abspath(options.get("cwd") or os.getcwd()),
        place=None if namespace is None else place_of(namespace),
        standard=(options.get("stdin"), options.get("stdout"), options.get("stderr")),
        passed=tuple(options.get("pass_fds", ())),
        session=session,
        terminal=terminal,
        capabilities=options.get("capabilities", 0),
    )


def _spawn(thread: NetworkThread, order: Order) -> Process:
    """On the network thread."""
    where = thread.inside(order.place) if order.place else contextlib.nullcontext()
    with where:
        _change_directory(order)
        try:
            program = _find(order)
            with _inheriting(order.capabilities):
                pid = _start(program, order)
        finally:
            os.chdir("/")
    return _watched(pid, order)


def _watched(pid: int, order: Order) -> Process:
    """What was just started, held."""
    limits.give_back(pid)  # at once: it has hardly begun to load its libraries
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise SpawnError(f"cannot watch {order.argv[0]!r}: {error.strerror}") from error
    return Process(pid, pidfd, order.argv)


@contextlib.contextmanager
def _inheriting(capabilities: int) -> Iterator[None]:
    """What is started within keeps these; nothing else that this thread starts does."""
    if not capabilities:
        yield
        return
    linux.set_inherited(capabilities)
    try:
        yield
    finally:
        linux.set_inherited(0)


def _change_directory(order: Order) -> None:
    """On the network thread, which has a directory of its own."""
    _try_directory(order, os.chdir)


def _try_directory(order: Order, attempt: Callable[[str], object]) -> None:
    try:
        attempt(order.cwd)
    except OSError as error:
        reason = {
            errno.ENOENT: "does not exist",
            errno.ENOTDIR: "is not a directory",
            errno.EACCES: "may not be entered by this user",
        }.get(error.errno or 0, error.strerror)
        raise SpawnError(
            f"cannot start {order.argv[0]!r}: its working directory {order.cwd} {reason}"
        ) from None


def _find(order: Order) -> str:
    name = order.argv[0]
    if "/" in name:
        return name
    path = order.env.get("PATH", os.defpath)
    places = (os.path.join(order.cwd, place) for place in path.split(os.pathsep))
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise SpawnError(
            f"cannot start {name!r}: no such program in PATH ({path or 'empty'}); "
            "install it, or give its path"
        )
    return found


def _is_plain(order: Order) -> bool:
    """Whether `launching` can start it."""
    return order.terminal is None and not order.passed and launching.able()


def _start(program: str, order: Order) -> int:
    borrowed: list[int] = []
    try:
        standard = _out_of_the_way(order.standard, borrowed)
        if _is_plain(order):
            terms = launching.Terms(order.argv, order.env, order.cwd, standard, order.session)
            return launching.start(program, terms)
        return os.posix_spawn(
            program,
            order.argv,
            order.env,
            file_actions=_file_actions(order, standard),
            setsigmask=(),
            setsigdef=_CATCHABLE,
            **({"setsid": True} if order.session else {"setpgroup": 0}),
        )
    except OSError as error:
        _try_directory(order, _enter)
        why = _reason(program, order, error)
        raise SpawnError(f"cannot start {order.argv[0]!r}: {why}") from None
    except ValueError as error:
        raise SpawnError(f"cannot start {order.argv[0]!r}: {error}") from None
    finally:
        for fd in borrowed:
            os.close(fd)


def _out_of_the_way(standard: Standard, borrowed: list[int]) -> Standard:
    """The same files at descriptors that no other of them is to become."""
    found = list(standard)
    for target, source in enumerate(standard):
        if source is not None and source < _FIRST_FREE:
            found[target] = other = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
            borrowed.append(other)
    return found[0], found[1], found[2]


def _file_actions(order: Order, standard: Standard) -> list[tuple[Any, ...]]:
    """What the child does with descriptors before it becomes the program."""
    actions: list[tuple[Any, ...]] = []
    for target, source in enumerate(standard):
        if source is not None:
            actions.append((_DUP2, source, target))
        elif order.terminal is not None:
            # A session leader's first terminal opened this way becomes its controlling one.
            actions.append((_OPEN, target, order.terminal, os.O_RDWR, 0))
        else:
            mode = os.O_RDONLY if target == 0 else os.O_WRONLY
            actions.append((_OPEN, target, os.devnull, mode, 0))
    actions += [(_CLOSE, fd) for fd in _open_files() if fd not in order.passed]
    actions += [(_DUP2, fd, fd) for fd in order.passed]
    return actions


def _open_files() -> list[int]:
    """This process's descriptors but for the first three.

    A program would inherit few of them: those that this process was given, or that some library
    opened. To ask which takes longer than to close all; closing one that has gone is no error.
    """
    return [fd for entry in os.listdir("/proc/thread-self/fd") if (fd := int(entry)) >= _FIRST_FREE]


def _enter(directory: str) -> None:
    """Whether it could be entered, without doing so. Raises `OSError`."""
    os.close(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    if not os.access(directory, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)


def _reason(program: str, order: Order, error: OSError) -> str:
    if error.errno == errno.ENOENT and os.path.exists(os.path.join(order.cwd, program)):
        return f"the interpreter named in the first line of {program} does not exist"
    if error.errno == errno.EACCES and os.path.isdir(os.path.join(order.cwd, program)):
        return f"{program} is a folder; name a program in it"
    return {
        errno.ENOENT: f"{program} does not exist",
        errno.EACCES: f"{program} is not executable by this user; try chmod +x {program}",
        errno.ENOEXEC: f"{program} is not a program: it has no '#!' line and is no binary",
        errno.E2BIG: "its arguments and environment are too long for this kernel",
        errno.EAGAIN: "this user has too many processes",
        errno.EBADF: "a descriptor that it was to be given is closed",
    }.get(error.errno or 0, os.strerror(error.errno or 0))
