"""A colony's view of the file system: the host's, but for its own /etc/hosts and resolv.conf, and
without the sockets that lead into this instance or another one.

Law: a view is copied from a mould, which is the host's view without the pins: a view that had
copies of all pins would keep every other colony's namespace alive.

The kernel copies a mount namespace mount by mount, and each colony's pin is one: with 500 colonies
that copy and the removal of the pins from it took 1.3 ms. The mould is copied from the host once,
and again when somebody has mounted or unmounted something there that is no pin (the kernel tells),
or after `RENEWED` seconds for what happened in the very moment of a pin of ours. It is a slave of
the host's mounts, as the views are: where those are shared, what the user mounts later is seen
inside.

The files are on a shelf: a tmpfs of our own, mounted nowhere but in the mould and the views, in the
place of the directory that they shall not see. So a colony has no file on a disk, whose file system
may take a millisecond for five of them (ext4 passes by every inode that somebody has deleted within
the last minutes, and a host's /run need not be a tmpfs); and whatever becomes of us, none is left.
Where the kernel gives no shelf (before 5.2) they are in the instance's directory; rootless too, for
by them a user's other instances see which names are taken (`Instance.other_with`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from netns import linux, pins, userns
from netns.thread import Located, NetworkThread

FILES: Final = ("hosts", "resolv.conf")
"""Of /etc, that are a colony's own."""

RENEWED: Final = 10.0

_MOUNTS: Final = "/proc/thread-self/mountinfo"
_SHELF: Final = "64m"  # at most; a colony's two files and their directory take 8 KiB


class Views:
    """Makes views; its maker's to close. On the network thread.

    directory
        Of the pins.
    hidden
        A directory in whose place each view has that of the colony's files.
    on_disk
        Gives the directory of a colony's files if there is no shelf.
    others
        Gives further directories in whose place a view has an empty one: those of other instances.
        They come and go, so that a view lacks what is newer than its mould until `cover_new`.
    """

    __slots__ = (
        "_born",
        "_changes",
        "_covered",
        "_directory",
        "_doubled",
        "_known",
        "_mould",
        "_on_disk",
        "_others",
        "_seen",
        "_shelf",
        "_stale",
        "_tried",
        "_watched",
        "hidden",
    )

    def __init__(
        self,
        directory: str,
        hidden: Path,
        on_disk: Callable[[str], Path],
        others: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._directory = directory
        self.hidden = hidden
        self._on_disk = on_disk
        self._others = others
        self._covered: frozenset[str] = frozenset()
        self._known: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._shelf: int | None = None
        self._tried = userns.entered()
        self._mould: int | None = None
        self._watched: int | None = None
        self._changes = select.poll()
        self._seen = b""
        self._stale = True
        self._doubled = False
        self._born = 0.0

    def __repr__(self) -> str:
        return f"<Views {'without' if self._mould is None else 'with'} a mould>"

    @contextlib.contextmanager
    def own_change(self) -> Iterator[None]:
        """For the mounts that we make and take away ourselves: pins."""
        self._look()
        yield
        self._changed()

    def files_of(self, thread: NetworkThread, colony: str) -> Path:
        """The directory of a colony's files, as any process on the host may call it while these
        views are open; not made by asking."""
        if not self._tried:
            self._tried = True
            with contextlib.suppress(OSError):
                self._make_shelf(thread)
        if self._shelf is None:
            return self._on_disk(colony)
        return Path(f"/proc/{os.getpid()}/fd/{self._shelf}/{colony}")

    def remove_files(self, colony: str) -> None:
        """Removes a colony's files, there or not; those on the shelf of views that are closed go
        with the colony's own."""
        if self._shelf is None:
            shutil.rmtree(self._on_disk(colony), ignore_errors=True)
        else:
            shutil.rmtree(colony, ignore_errors=True, dir_fd=self._shelf)

    def make(self, thread: NetworkThread, colony: str) -> int:
        """A mount namespace whose /etc has the colony's files; its descriptor, the caller's to
        close."""
        self._look()
        if self._mould is None or self._stale:
            self._renew(thread)
        assert self._mould is not None
        files = self._on_disk(colony) if self._shelf is None else self.hidden / colony
        try:
            linux.setns(self._mould, linux.CLONE_NEWNS, "entering the mould of the views")
            linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
            if self._doubled:
                pins.forget_copies(self._directory)
            for name in FILES:
                target = _target_of(f"/etc/{name}")
                if os.path.exists(target):
                    linux.bind_mount(f"{files}/{name}", target)
            linux.bind_mount(str(files), str(self.hidden))
            return os.open(linux.MOUNT_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            thread.go_home(mounts=True)

    @property
    def covered(self) -> frozenset[str]:
        """What a view that is made now does not see of other instances."""
        return self._covered

    def cover_new(
        self, thread: NetworkThread, where: Located, covered: frozenset[str]
    ) -> frozenset[str]:
        """Covers in a view what has come since; all that is covered then. Looked for no more often
        than moulds are renewed."""
        at, known = self._known
        if time.monotonic() > at + RENEWED:
            known = self._others()
            self._known = (time.monotonic(), known)
        if known <= covered:
            return covered
        with thread.inside(where):
            _cover(known - covered)
        return covered | known

    def drop_if_stale(self) -> None:
        """Lets go of a mould that no longer is like the host: it would keep what was unmounted."""
        self._look()
        if self._stale:
            self._drop_mould()

    def close(self) -> None:
        """Closing twice is no error. Views that were made live on, with their files."""
        self._drop_mould()
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            os.close(shelf)

    def _make_shelf(self, thread: NetworkThread) -> None:
        self._shelf = linux.own_tmpfs(_SHELF)
        try:
            self._renew(thread)
        except OSError:
            shelf, self._shelf = self._shelf, None
            os.close(shelf)
            raise

    def _attach_shelf(self) -> None:
        """In a new mould. A mount cannot be copied from outside its namespace, so the next mould's
        is taken from this one at once, under the descriptor that there is."""
        if self._shelf is None:
            return
        linux.attach(self._shelf, str(self.hidden))
        copy = linux.copy_of_mount(str(self.hidden))
        os.dup2(copy, self._shelf, inheritable=False)
        os.close(copy)

    def _drop_mould(self) -> None:
        for fd in (self._mould, self._watched):
            if fd is not None:
                os.close(fd)
        self._mould = self._watched = None
        self._stale = True

    def _renew(self, thread: NetworkThread) -> None:
        self._drop_mould()
        self._watched = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._watched, select.POLLPRI)
        self._seen = self._mounts()
        try:
            linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
            # Slave, not private: what the user mounts or unmounts later shall be seen inside.
            linux.set_propagation("/", linux.MS_SLAVE | linux.MS_REC)
            # Made by `ip netns` under a shared parent, the pins' directory is that one's peer:
            # whatever is pinned later is mounted beneath it in here, too.
            self._doubled = pins.are_doubled(self._directory)
            pins.forget_copies(self._directory)
            self._attach_shelf()
            self._covered = self._others()
            _cover(self._covered)
            self._mould = os.open(linux.MOUNT_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            thread.go_home(mounts=True)
        self._stale = False
        self._born = time.monotonic()

    def _look(self) -> None:
        if time.monotonic() > self._born + RENEWED or (
            # To read the mounts takes a sixth of making a mould from them.
            self._changed() and self._mounts() != self._seen
        ):
            self._stale = True

    def _changed(self) -> bool:
        """Whether the host's mounts have changed since this was asked last."""
        return self._watched is not None and bool(self._changes.poll(0))

    def _mounts(self) -> bytes:
        with open(_MOUNTS, "rb") as file:
            return without_pins(file, self._directory)


def without_pins(mounts: Iterable[bytes], directory: str) -> bytes:
    """The lines of a mountinfo but for what is mounted below a directory."""
    below = os.fsencode(directory + "/")
    return b"".join(line for line in mounts if not line.split(b" ", 5)[4].startswith(below))


def _target_of(path: str) -> str:
    """Where to mount what shall be at `path`: often that is a symlink into /run, and a mount over
    the link itself is not possible."""
    try:
        found = os.lstat(path)
    except OSError:
        return path
    return _target_as_of(path, (found.st_dev, found.st_ino, found.st_ctime_ns))


@functools.lru_cache(maxsize=8)
def _target_as_of(path: str, _stamp: tuple[int, int, int]) -> str:
    return os.path.realpath(path)


def _cover(directories: Iterable[str]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # gone meanwhile
            linux.cover(directory)
