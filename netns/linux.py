"""System calls that Python 3.11 does not wrap, one thin function each.

Law: nothing here decides anything. A function makes one call and raises `OSError` with what it was
doing, for "Operation not permitted" alone tells nobody what to do next.

`unshare` and `setns` act on the *calling thread*: only `netns.thread` may use them, on its own.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

CLONE_FS: Final = 0x00000200
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 0x1
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

NET_NAMESPACE: Final = "/proc/thread-self/ns/net"
MOUNT_NAMESPACE: Final = "/proc/thread-self/ns/mnt"

CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_SYS_PTRACE: Final = 19
CAP_SYS_ADMIN: Final = 21

# The same numbers on every machine of 64 bits.
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_SET_STRING: Final = 1
_CREATE: Final = 6
_CLOEXEC: Final = 1
_HERE: Final = -100  # AT_FDCWD
_CLONE: Final = 1
_OF_DESCRIPTOR: Final = 4
_PERF_CLOEXEC: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION: Final = 0x20080522  # linux/capability.h: two words of 32 bits each

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _check(result: int, doing: str, path: str | None = None) -> None:
    if result == 0:
        return
    number = ctypes.get_errno()
    raise OSError(number, f"{doing}: {os.strerror(number)}", path)


def unshare(flags: int, doing: str) -> None:
    """Gives the calling thread its own copy of what `flags` name."""
    _check(_libc.unshare(flags), doing)


def setns(fd: int, kind: int, doing: str) -> None:
    """Moves the calling thread into the namespace behind `fd`, which must be of this kind."""
    _check(_libc.setns(fd, kind), doing)


def bind_mount(source: str, target: str) -> None:
    """Makes `source` visible at `target`, which must exist and be of the same sort."""
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), b"none", MS_BIND, None),
        f"bind-mounting {source}",
        target,
    )


def cover(target: str) -> None:
    """Puts an empty directory that nobody can write over the one at `target`."""
    options = ctypes.c_char_p(b"mode=000,size=4k,nr_inodes=1")
    _check(
        _libc.mount(b"none", os.fsencode(target), b"tmpfs", MS_RDONLY, options),
        "covering a directory",
        target,
    )


def set_propagation(target: str, flags: int) -> None:
    """Changes how mounts below `target` spread: `MS_SHARED`, `MS_SLAVE` or `MS_PRIVATE`, with
    `MS_REC` or not."""
    _check(
        _libc.mount(b"none", os.fsencode(target), b"none", flags, None),
        "setting the mount propagation",
        target,
    )


def unmount(target: str, *, detach: bool = False) -> None:
    """Unmounts `target`, never through a symlink. `detach` takes what is below with it, at once."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    _check(_libc.umount2(os.fsencode(target), flags), "unmounting", target)


def own_procfs() -> int:
    """A procfs that is mounted nowhere, as a descriptor for `dir_fd`; the caller's to close."""
    return _mounted_nowhere("proc", {})


def own_tmpfs(size: str) -> int:
    """The same of an empty tmpfs, as large as `size` ("64m"); gone with its last reference."""
    return _mounted_nowhere("tmpfs", {"mode": "0755", "size": size})


def own_tracefs() -> int:
    """The same of the kernel's tracing."""
    return _mounted_nowhere("tracefs", {})


def _mounted_nowhere(kind: str, options: dict[str, str]) -> int:
    context = _libc.syscall(_FSOPEN, kind.encode(), _CLOEXEC)
    _check(min(context, 0), f"opening a {kind}")
    try:
        for key, value in options.items():
            given = _libc.syscall(_FSCONFIG, context, _SET_STRING, key.encode(), value.encode(), 0)
            _check(given, f"giving a {kind} its {key}")
        _check(_libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0), f"making a {kind}")
        mounted: int = _libc.syscall(_FSMOUNT, context, _CLOEXEC, 0)
        _check(min(mounted, 0), f"mounting a {kind}")
        return mounted
    finally:
        os.close(context)


def attach(mount: int, target: str) -> None:
    """Mounts what is mounted nowhere, given by its descriptor."""
    moved = _libc.syscall(_MOVE_MOUNT, mount, b"", _HERE, os.fsencode(target), _OF_DESCRIPTOR)
    _check(moved, "attaching a mount", target)


def copy_of_mount(path: str) -> int:
    """A copy of the mount at `path`, mounted nowhere; the caller's to close."""
    copy: int = _libc.syscall(_OPEN_TREE, _HERE, os.fsencode(path), _CLONE | os.O_CLOEXEC)
    _check(min(copy, 0), "copying a mount", path)
    return copy


def perf_event_open(number: int, attributes: bytes, processor: int) -> int:
    """A descriptor of an event on one processor, whoever is on it; the caller's to close.

    number, attributes
        The call's, which differs between machines, and its `struct perf_event_attr`.
    """
    opened: int = _libc.syscall(number, attributes, -1, processor, -1, _PERF_CLOEXEC)
    _check(min(opened, 0), "having an event noted")
    return opened


def effective_capabilities() -> int:
    """The calling thread's effective capabilities, a bit each."""
    with open("/proc/thread-self/status") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def set_inherited(capabilities: int) -> None:
    """What a program that the calling thread starts from now on keeps of the thread's capabilities,
    a bit each; 0 for nothing. They must be among its own, and below 32."""
    header, data = _Header(_CAPABILITY_VERSION, 0), (_Data * 2)()
    doing = "choosing what programs inherit"
    _check(_libc.capget(ctypes.byref(header), data), doing)
    data[0].inheritable = capabilities
    data[1].inheritable = 0
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), doing)
    _check(_libc.capset(ctypes.byref(header), data), doing)
    for bit in range(32):
        if capabilities >> bit & 1:
            _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, bit, 0, 0), doing)
