"""The user namespace that a process without rights enters, once, before its first thread.

    the host's user namespace   │ this process's own: `uid uid 1`, all rights over what is in it
    ────────────────────────────┼───────────────────────────────────────────────────────────────
    the host's network          │ every thread but one: listens on the host, dials out
    (no way back from the hub)  │ the network thread, in the hub; the colonies around it

Law: once, for the whole process, and never undone: a process cannot leave a user namespace, so what
this module knows is a fact about the process, and its only state.

In there the process has every capability, but over what was made in there alone: it may make
networks and mounts and nothing of the host's is within its reach that was not before. A program
that it starts has none of them: they go with `exec`, for its user is not the namespace's root.

The hub stands for the host's network: the network thread is at home there, and so the pool's claim,
the table of rules, forwarding and the colonies' veth pairs are made there by the same code that
makes them on the host when Colony is root. The network thread cannot return to the host's network,
which belongs to the parent; whoever needs to be there uses another thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from netns import linux, messages
from netns.netlink import Netlink

_LOOPBACK_INDEX: Final = 1


class _State:
    """What this process has done: `entered`, and the hub's descriptor once there is one."""

    entered = False
    hub: int | None = None


def entered() -> bool:
    """Whether this process stands in a user namespace of its own."""
    return _State.entered


def threads() -> int:
    """How many threads this process has: more than one may not enter."""
    return len(os.listdir("/proc/self/task"))


def enter() -> None:
    """Enters, with a mount namespace of its own. Raises `OSError`, and then the process may be
    nobody already and of no use: it is tried in a child first (`rootless.enter`)."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS, "making a user namespace")
    # The kernel's price for a map of groups: a group that takes rights away cannot be left.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    linux.set_propagation("/", linux.MS_SLAVE | linux.MS_REC)
    _State.entered = True


def hub() -> int:
    """The hub's descriptor, this process's for as long as it lives."""
    assert _State.hub is not None, "no network thread has started yet"
    return _State.hub


def enter_hub() -> None:
    """Moves the calling thread into the hub, for good; the first call makes it.

    It lives as long as the process, whatever becomes of the threads in it.
    """
    if _State.hub is not None:
        linux.setns(_State.hub, linux.CLONE_NEWNET, "entering the hub")
        return
    linux.unshare(linux.CLONE_NEWNET, "making the hub")
    with Netlink() as netlink:
        netlink.send(messages.set_up(_LOOPBACK_INDEX, "lo"))
    _State.hub = os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
