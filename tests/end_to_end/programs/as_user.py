"""Becomes a plain user and then another program; run as root.

    as_user.py UID [forbidden] [tun|no-tun] -- COMMAND…

In a mount namespace of its own in which that user can reach the interpreter and the packages, even
where they are root's own (below /root, mode 700): what is closed is covered, and what is needed
shown again beneath. Nothing of it is seen outside.

    forbidden    in a user namespace that allows no further ones, as a machine may
    tun          with a /dev/net/tun that everybody may open, as udev makes it
    no-tun       with one that root alone may open
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from netns import linux

GROUND = "/mnt"


def needed() -> set[Path]:
    """The directories that the interpreter, the packages and the tests are in."""
    found = {sys.base_prefix, sys.prefix, str(Path(__file__).resolve().parents[3]), *sys.path}
    return {Path(each).resolve() for each in found if os.path.isdir(each)}


def closed_above(path: Path) -> Path | None:
    """The topmost directory on the way to it that others may not pass."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def open_ways() -> None:
    """Covers what is closed, and shows what is needed beneath again."""
    wanted: dict[Path, list[tuple[Path, int]]] = {}
    for path in sorted(needed()):
        top = closed_above(path)
        if top is not None:
            wanted.setdefault(top, []).append((path, os.open(path, os.O_PATH)))
    for top, below in wanted.items():
        cover(str(top))
        for path, fd in below:
            path.mkdir(parents=True, exist_ok=True)
            linux.bind_mount(f"/proc/self/fd/{fd}", str(path))
            os.close(fd)


def cover(path: str) -> None:
    """An empty directory over another one, for this process and its children."""
    mount = linux._libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, b"mode=755")
    assert mount == 0, f"covering {path}"


def forbid(uid: int) -> None:
    """A user namespace with root and that user, in which no other can be made."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # the maps are the parent's to write: it has the right in its own namespace
        os.read(read, 1)
        for kind in ("uid", "gid"):
            Path(f"/proc/{os.getppid()}/{kind}_map").write_text(f"0 0 1\n{uid} {uid} 1\n")
        os._exit(0)
    linux.unshare(linux.CLONE_NEWUSER, "making a user namespace")
    os.write(write, b".")
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    os.close(write)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def make_tun(mode: int) -> None:
    """A /dev/net/tun of this mode, without a change of the machine's."""
    cover(GROUND)
    os.umask(0)
    os.mknod(f"{GROUND}/tun", stat.S_IFCHR | mode, os.makedev(10, 200))
    os.umask(0o022)
    linux.bind_mount(f"{GROUND}/tun", "/dev/net/tun")


def main() -> None:
    own, command = sys.argv[1:], []
    if "--" in own:
        command = own[own.index("--") + 1 :]
        own = own[: own.index("--")]
    uid = int(own[0])
    linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
    linux.set_propagation("/", linux.MS_PRIVATE | linux.MS_REC)
    open_ways()
    for word, mode in (("tun", 0o666), ("no-tun", 0o600)):
        if word in own:
            make_tun(mode)
    if "forbidden" in own:
        forbid(uid)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
