"""The pins: files in /run/netns that keep a namespace alive and show it to `ip netns`.

Law: a pin says whose it is, at every moment of its life, without a list elsewhere:

    1. a nameless file with the instance's id as its text is given the name (exclusively: the
       name is the lock between instances);
    2. the namespace, whose `lo` already bears the alias colony:{instance}:{colony}, is mounted
       over it.

Between 1 and 2 the text tells the owner, after 2 the alias does. One file serves all pins of an
instance (see `Label`): to make one takes some file systems longer than all else that a pin takes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

import msgspec

from netns import linux, names
from netns.errors import NameTaken
from netns.hostwide import PIN_DIRECTORY
from netns.netlink import Netlink
from netns.thread import NetworkThread, Place

_LOOPBACK_INDEX: Final = 1


class Pin(msgspec.Struct, frozen=True):
    """A pin named colony-*.

    instance
        Whose it is; None if it is not Colony's.
    inode
        The namespace's inode, None if no namespace is mounted on it.
    """

    colony: str
    instance: str | None
    inode: int | None


def path_of(colony: str, directory: str = PIN_DIRECTORY) -> str:
    return os.path.join(directory, names.namespace_name(colony))


class Label:
    """The file whose text says whose a pin is; its maker's to close.

    It is given one name after the other. Once the last of them is gone the kernel gives it no new
    one, and another file takes its place.
    """

    __slots__ = ("_directory", "_file", "_instance")

    def __init__(self, instance: str, directory: str = PIN_DIRECTORY) -> None:
        self._instance = instance
        self._directory = directory
        self._file: int | None = None

    def __repr__(self) -> str:
        return f"<Label {self._instance} {'unused' if self._file is None else 'in use'}>"

    def reserve(self, colony: str) -> None:
        """Takes the name. Raises `FileExistsError` if it is taken."""
        if self._file is not None:
            try:
                self._link(self._file, colony)
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EMLINK):
                    raise
                self.close()
        made = self._make()
        try:
            self._link(made, colony)
        except BaseException:
            os.close(made)
            raise
        self._file = made

    def close_unused(self) -> None:
        """Closes it if no pin has it."""
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self.close()

    def close(self) -> None:
        """Closing twice is no error; the pins keep their text."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _make(self) -> int:
        made = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o444)
        os.write(made, self._instance.encode())
        return made

    def _link(self, file: int, colony: str) -> None:
        opened = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # A directory descriptor makes Python call linkat, which alone follows /proc's link.
            path = path_of(colony, self._directory)
            os.link(f"/proc/self/fd/{file}", path, src_dir_fd=opened)
        finally:
            os.close(opened)


def mount(colony: str, net: int, directory: str = PIN_DIRECTORY) -> None:
    """Mounts the namespace behind the descriptor over the reserved name."""
    linux.bind_mount(f"/proc/thread-self/fd/{net}", path_of(colony, directory))


def remove(colony: str, directory: str = PIN_DIRECTORY) -> None:
    """Unmounts and removes the pin, mounted or not, there or not."""
    path = path_of(colony, directory)
    with contextlib.suppress(OSError):
        linux.unmount(path, detach=True)
    Path(path).unlink(missing_ok=True)


def forget_copies(directory: str = PIN_DIRECTORY) -> None:
    """Unmounts all that is mounted at the pins' directory and below it, in the caller's own mount
    namespace.

    The topmost takes its pins with it. But a directory that was bound onto itself under a shared
    mount (every systemd host's /) is its parent's peer, so that each pin is there a second time,
    out of sight beneath, until the one above is gone.
    """
    with contextlib.suppress(OSError):
        linux.unmount(directory, detach=True)
    while found := _mounted(directory):
        for path in found:
            with contextlib.suppress(OSError):
                linux.unmount(path, detach=True)
        if _mounted(directory) == found:
            return  # locked by a mount namespace of somebody with more rights


def are_doubled(directory: str = PIN_DIRECTORY) -> bool:
    """Whether the pins' directory, in the caller's mount namespace, is a peer of the mount that it
    is on, so that what is mounted in one appears in the other."""
    groups: dict[bytes, set[bytes]] = {}
    doubled = False
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            number, parent, _, _, point, _, *rest = line.split(b" ")
            groups[number] = set(rest[: rest.index(b"-")])
            if point == os.fsencode(directory):
                doubled = bool(groups[number] & groups.get(parent, set()))
    return doubled


def _mounted(directory: str) -> list[str]:
    """The mount points at and below a directory, the shortest first."""
    with open("/proc/thread-self/mountinfo", "rb") as file:
        points = [line.split(b" ", 5)[4] for line in file]
    at, below = os.fsencode(directory), os.fsencode(directory + "/")
    return sorted(os.fsdecode(p) for p in points if p == at or p.startswith(below))


def read(thread: NetworkThread, colony: str, directory: str = PIN_DIRECTORY) -> Pin | None:
    """What the colony's pin is, None if there is none. On the network thread."""
    try:
        fd = os.open(path_of(colony, directory), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_dev != os.stat(linux.NET_NAMESPACE).st_dev:
            return Pin(colony, _instance(os.read(fd, 64).decode(errors="replace")), None)
        with thread.inside(Place(fd)), Netlink() as netlink:
            tag = names.parse_alias(netlink.link(_LOOPBACK_INDEX).alias)
        owner = tag[0] if tag and tag[1] == colony else None
        return Pin(colony, owner, status.st_ino)
    finally:
        os.close(fd)


def listed(thread: NetworkThread, directory: str = PIN_DIRECTORY) -> list[Pin]:
    """Every pin whose name is of our form. On the network thread."""
    try:
        entries = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    colonies = [colony for entry in entries if (colony := names.colony_of(entry))]
    return [pin for colony in colonies if (pin := read(thread, colony, directory))]


def name_taken(
    thread: NetworkThread, colony: str, instance: str, directory: str = PIN_DIRECTORY
) -> NameTaken:
    """The error for a name that could not be reserved, saying who has it."""
    pin = read(thread, colony, directory)
    owner = pin.instance if pin else None
    name = names.namespace_name(colony)
    if owner == instance:
        text = f"this instance ({instance}) has a namespace {name} already"
    elif owner:
        return taken_by(colony, owner)
    else:
        text = (
            f"the namespace {name} exists and is not Colony's; remove it (ip netns delete {name}) "
            "or give the colony another name"
        )
    return NameTaken(text, owner)


def taken_by(colony: str, owner: str) -> NameTaken:
    """The error for a name that another instance has."""
    text = (
        f"the namespace {names.namespace_name(colony)} belongs to another instance of Colony, "
        f"{owner}; stop that colony or give this one another name"
    )
    return NameTaken(text, owner)


def _instance(text: str) -> str | None:
    return text if names.INSTANCE_ID.fullmatch(text) else None
