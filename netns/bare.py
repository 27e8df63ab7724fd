"""A network namespace that is nobody's yet: what all colonies' have in common.

Law: it has no name, no link and no address, only its maker's descriptors. Whatever ends that
process ends it, `kill -9` included, and nobody has to find it afterwards.

To make one is a third of the kernel's work for a colony's network, and nothing of it depends on
whose it will be, nor on how many there are. So an instance has one ready (`Host.prepare`), made
when nobody waits for it.
"""

from __future__ import annotations

import os
from typing import Final

from netns import linux, messages, ruleset, userns
from netns.errors import PacketFilterError
from netns.netlink import Netlink
from netns.nfnetlink import Packets
from netns.settings import Settings
from netns.thread import NetworkThread

LOOPBACK_INDEX: Final = 1

_EVERY_GROUP: Final = "0 2147483647"

# (setting, value, whether the kernel may lack it)
_SETTINGS: Final = (
    ("ipv4/ip_unprivileged_port_start", "0", True),
    ("ipv4/ping_group_range", "{groups}", True),
    ("ipv6/conf/default/accept_ra", "0", True),
)


class Bare:
    """A namespace's descriptor and the sockets that configure it; the caller's to close.

    redirect
        Whether it has its packet rules already; see `redirect_home`.
    """

    __slots__ = ("inner", "net", "packets", "redirect")

    def __init__(self, net: int) -> None:
        self.net = net
        self.inner: Netlink | None = None
        self.packets: Packets | None = None
        self.redirect = False

    def __repr__(self) -> str:
        return f"<Bare fd={self.net}>"

    def close(self) -> None:
        """Once."""
        for made in (self.inner, self.packets):
            if made is not None:
                made.close()
        os.close(self.net)


def make_bare(thread: NetworkThread, settings: Settings) -> Bare:
    """Makes one, its loopback up. On the network thread. Raises `OSError` and `NetnsError`; then
    nothing is left."""
    made: Bare | None = None
    try:
        try:
            linux.unshare(linux.CLONE_NEWNET, "making a network namespace")
            made = Bare(os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
            made.inner, made.packets = Netlink(), Packets()
            # Who may ping: everybody, which in a user namespace is the one group that it has.
            group = os.getegid()
            groups = f"{group} {group}" if userns.entered() else _EVERY_GROUP
            for setting, value, optional in _SETTINGS:
                settings.write(setting, value.format(groups=groups), optional=optional)
        finally:
            thread.go_home(mounts=False)
        made.inner.send(messages.set_up(LOOPBACK_INDEX, "lo"))
    except BaseException:
        if made is not None:
            made.close()
        raise
    return made


def redirect_home(packets: Packets, *, required: bool) -> bool:
    """Gives the namespace of `packets` the rules that lead what arrives to 127.0.0.1; whether it
    has them. Raises `PacketFilterError`, or not if a kernel without a packet filter is no error."""
    try:
        packets.apply("making the redirect to 127.0.0.1", *ruleset.inner_table())
    except PacketFilterError:
        if required:
            raise
        return False
    return True
