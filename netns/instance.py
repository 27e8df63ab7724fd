"""Instances: who lives on this machine, and whose things may be removed.

Law: an instance lives exactly as long as it holds the lock on its file. The kernel lets go of a
lock when its holder dies, however it dies, so a lock that can be taken means a dead instance, and
no process id is ever compared.

    {runtime}/instances/registry        locked for a moment by whoever claims, lists or reaps
    {runtime}/instances/{id}/lock       locked by the instance for its lifetime
    {runtime}/instances/{id}/own/       what no colony may see: sockets that lead into the instance
    {runtime}/instances/{id}/colonies/  the files of its colonies, rootless or before kernel 5.2
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from pathlib import Path
from typing import Final

from netns import hostwide, linux, locks, names, userns

RUNTIMES: Final = ("/run/colony", "/run/user/*/colony")
"""Where instances' runtime directories usually are."""

_REGISTRY: Final = "registry"
_OWN: Final = "own"
_COLONIES: Final = "colonies"
_ATTEMPTS: Final = 100
_OWN_SOCKET: Final = re.compile(rf" (/.*/instances/[0-9a-f]{{6}}/{_OWN})/")


class Instance:
    """A claimed identity, from `claim` to `release`. Its `repr` and files name its id.

    id
        Six hex digits.
    directory
        The instance's own, removed by `release`.
    """

    __slots__ = ("_fd", "directory", "id")

    def __init__(self, id: str, directory: Path, fd: int) -> None:
        self.id = id
        self.directory = directory
        self._fd: int | None = fd

    def __repr__(self) -> str:
        return f"<Instance {self.id} {'claimed' if self._fd is not None else 'released'}>"

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @classmethod
    def claim(cls, runtime: str | os.PathLike[str]) -> Instance:
        """A new identity below the runtime directory, which is made if it is missing (mode 0700).

        Raises `OSError` if that cannot be written.
        """
        instances = _instances(runtime)
        with locks.locked(instances / _REGISTRY):
            for _ in range(_ATTEMPTS):
                directory = instances / (id := names.new_instance())
                if not directory.exists():
                    return cls._make(id, directory)
        raise FileExistsError(f"no free instance id in {instances}")

    @classmethod
    def _make(cls, id: str, directory: Path) -> Instance:
        directory.mkdir(mode=0o700)
        (directory / _OWN).mkdir(mode=0o700)
        fd = locks.hold(directory / "lock")
        assert fd is not None, "a file that was just made is locked"
        return cls(id, directory, fd)

    @property
    def number(self) -> int:
        """The id as a number: the metric of the instance's routes."""
        return names.instance_number(self.id)

    @property
    def own(self) -> Path:
        """A directory for the instance's own sockets, which no colony sees."""
        return self.directory / _OWN

    @property
    def pins(self) -> str:
        """The directory of its colonies' pins: the machine's, or rootless one of its own."""
        return _pins_below(self.directory)

    @property
    def record(self) -> Path:
        """The record of the settings that it has changed: the machine's, or rootless its own."""
        return _record_below(self.directory)

    @property
    def lock(self) -> str:
        """The path of the lock file, for others to ask whether this instance lives."""
        return str(self.directory / "lock")

    def files_of(self, colony: str) -> Path:
        """The directory of a colony's files; not made by asking."""
        return self.directory / _COLONIES / names.check_colony(colony)

    def other_with(self, colony: str) -> str | None:
        """The id of another living instance in this runtime directory that has a colony of this
        name; None if none has."""
        for other in self.directory.parent.iterdir():
            mine = other == self.directory
            if not mine and (other / _COLONIES / colony).is_dir() and locks.is_held(other / "lock"):
                return other.name
        return None

    def release(self) -> None:
        """Gives the identity up and removes its directory. Releasing twice is no error."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            _remove(self.directory)
        finally:
            os.close(fd)


class DeadInstance:
    """An instance that nobody is any more, held by whoever reaps it so that only one does. Its
    directory may have gone (`lost`)."""

    __slots__ = ("_fd", "directory", "id")

    def __init__(self, id: str, directory: Path, fd: int) -> None:
        self.id = id
        self.directory = directory
        self._fd: int | None = fd

    def __repr__(self) -> str:
        return f"<DeadInstance {self.id}>"

    @property
    def pins(self) -> str:
        """As for an `Instance`; what this process may see of them."""
        return _pins_below(self.directory)

    @property
    def record(self) -> Path:
        return _record_below(self.directory)

    def bury(self, *, remove: bool) -> None:
        """Lets go of it: with `remove` its directory goes too, else it can be found again."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            if remove and self.directory.exists():
                _remove(self.directory)
        finally:
            os.close(fd)


def dead_instances(runtime: str | os.PathLike[str]) -> list[DeadInstance]:
    """Every instance below the runtime directory whose lock nobody holds; now the caller's, who
    reaps (`reap.reap`) or buries each."""
    instances = _instances(runtime)
    if not instances.is_dir():
        return []
    with locks.locked(instances / _REGISTRY):
        found = [_if_dead(directory) for directory in sorted(instances.iterdir())]
        _remove_if_empty(instances)
    return [dead for dead in found if dead]


def is_living(runtime: str | os.PathLike[str], id: str) -> bool:
    """Whether the instance lives, as far as this runtime directory knows."""
    return locks.is_held(_instances(runtime) / names.check_instance(id) / "lock")


def hidden_of_others(own: Path) -> frozenset[str]:
    """What other instances let no colony see, as far as they can be known of: those beside the one
    that `own` belongs to, those in the usual runtime directories, all that hold something of the
    machine's, and all whose sockets the kernel knows on the host's network, which a rootless one
    in a directory of its own is met by alone. A look is all that it takes."""
    beside = own.parent.parent
    found = {str(path) for path in beside.glob(f"*/{_OWN}")}
    for runtime in RUNTIMES:
        found |= set(glob.glob(f"{runtime}/instances/*/{_OWN}"))
    found |= {f"{os.path.dirname(lock)}/{_OWN}" for lock in hostwide.holders()}
    found |= _with_sockets()
    return frozenset(path for path in found if path != str(own) and os.path.isdir(path))


def _with_sockets() -> set[str]:
    """The directories of instances' own sockets that are bound on the host's network: the one that
    this process's first thread is in, rootless as well."""
    with contextlib.suppress(OSError), open("/proc/self/net/unix", errors="replace") as file:
        return {match[1] for line in file if (match := _OWN_SOCKET.search(line))}
    return set()


def _pins_below(directory: Path) -> str:
    return str(directory / "netns") if userns.entered() else hostwide.PIN_DIRECTORY


def _record_below(directory: Path) -> Path:
    return directory / "host.json" if userns.entered() else hostwide.RECORD


def _instances(runtime: str | os.PathLike[str]) -> Path:
    return Path(runtime).absolute() / "instances"


def _if_dead(directory: Path) -> DeadInstance | None:
    if not names.INSTANCE_ID.fullmatch(directory.name) or not directory.is_dir():
        return None
    fd = locks.hold(directory / "lock")
    return None if fd is None else DeadInstance(directory.name, directory, fd)


def _remove(directory: Path) -> None:
    if userns.entered():
        # Mounted still, if the network's owner had more than one life.
        with contextlib.suppress(OSError):
            linux.unmount(_pins_below(directory), detach=True)
    with locks.locked(directory.parent / _REGISTRY):
        shutil.rmtree(directory, ignore_errors=True)
        _remove_if_empty(directory.parent)


def _remove_if_empty(instances: Path) -> None:
    """Removes the registry with its last instance. The caller holds its lock."""
    if [entry.name for entry in instances.iterdir()] == [_REGISTRY]:
        (instances / _REGISTRY).unlink()
        with contextlib.suppress(OSError):
            instances.rmdir()
