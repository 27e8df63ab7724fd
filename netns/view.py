"""A colony's view of the file system: the host's, but for its own /etc/hosts and resolv.conf, and
without the sockets that lead into this instance or another one.

Law: a view is copied from a mould, which is the host's view without the pins: a view that had
copies of all pins would keep every other colony's namespace alive.

The kernel copies a mount namespace mount by mount, and each colony's pin is one: with 500 colonies
that copy and the removal of the pins from it took 1.3 ms. The mould is copied from the host once,
and again when somebody has mounted or unmounted something there (the kernel tells), or after
`RENEWED` seconds for what happened in the very moment of a pin of ours. It is a slave of the
host's mounts, as the views are: where those are shared, what the user mounts later is seen inside.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from netns import linux, pins
from netns.thread import Located, NetworkThread

FILES: Final = ("hosts", "resolv.conf")
"""Of /etc, that are a colony's own."""

RENEWED: Final = 10.0

_MOUNTS: Final = "/proc/thread-self/mountinfo"


class Views:
    """Makes views; its maker's to close. On the network thread.

    directory
        Of the pins.
    hidden
        A directory in whose place each view has that of the colony's files.
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
        "_others",
        "_stale",
        "_watched",
        "hidden",
    )

    def __init__(
        self,
        directory: str,
        hidden: Path,
        others: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._directory = directory
        self.hidden = hidden
        self._others = others
        self._covered: frozenset[str] = frozenset()
        self._known: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._mould: int | None = None
        self._watched: int | None = None
        self._changes = select.poll()
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

    def make(self, thread: NetworkThread, files: Path) -> int:
        """A mount namespace whose /etc has these files; its descriptor, the caller's to close."""
        self._look()
        if self._mould is None or self._stale:
            self._renew(thread)
        assert self._mould is not None
        try:
            linux.setns(self._mould, linux.CLONE_NEWNS, "entering the mould of the views")
            linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
            if self._doubled:
                pins.forget_copies(self._directory)
            for name in FILES:
                # Often a symlink into /run; a mount over the link itself is not possible.
                target = os.path.realpath(f"/etc/{name}")
                if os.path.exists(target):
                    linux.bind_mount(str(files / name), target)
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
            self.close()

    def close(self) -> None:
        """Closing twice is no error; the next view makes another mould."""
        for fd in (self._mould, self._watched):
            if fd is not None:
                os.close(fd)
        self._mould = self._watched = None
        self._stale = True

    def _renew(self, thread: NetworkThread) -> None:
        self.close()
        self._watched = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._watched, select.POLLPRI)
        try:
            linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
            # Slave, not private: what the user mounts or unmounts later shall be seen inside.
            linux.set_propagation("/", linux.MS_SLAVE | linux.MS_REC)
            # Made by `ip netns` under a shared parent, the pins' directory is that one's peer:
            # whatever is pinned later is mounted beneath it in here, too.
            self._doubled = pins.are_doubled(self._directory)
            pins.forget_copies(self._directory)
            self._covered = self._others()
            _cover(self._covered)
            self._mould = os.open(linux.MOUNT_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            thread.go_home(mounts=True)
        self._stale = False
        self._born = time.monotonic()

    def _look(self) -> None:
        if self._changed() or time.monotonic() > self._born + RENEWED:
            self._stale = True

    def _changed(self) -> bool:
        """Whether the host's mounts have changed since this was asked last."""
        return self._watched is not None and bool(self._changes.poll(0))


def _cover(directories: Iterable[str]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # gone meanwhile
            linux.cover(directory)
