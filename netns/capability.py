"""Whether namespaces can be made here, found out by making one.

Law: nothing is inferred that can be tried. Capabilities, seccomp filters, missing kernel modules
and read-only /proc all end in the same place: the attempt. It is made on a thread of its own that
ends at once, and the kernel takes the namespace with it.
"""

from __future__ import annotations

import os
import threading
from typing import Final

import msgspec

from netns import linux, messages, names, nft, userns
from netns.errors import NetlinkError
from netns.hostwide import PIN_DIRECTORY
from netns.netlink import Netlink, index_of

_SETTING: Final = "/proc/sys/net/ipv4/ip_forward"  # containers often have it read-only
_PATIENCE: Final = 10.0  # seconds; the attempt takes milliseconds
_AS_ROOT: Final = "run Colony as root (sudo colony …), or go on with --network host"
_ASK_THE_HOST: Final = "start the machine or container with that right, or use --network host"


class Capability(msgspec.Struct, frozen=True):
    """What this process can do with the network here.

    namespaces
        Whether a colony can have a network of its own.
    reason, remedy
        If not: why, and what to do about it; each without a full stop. Else "".
    redirect
        Whether the packet filter's library is there: it leads packets for a colony to servers
        that listen on 127.0.0.1 only, and lets colonies out (nat).
    ipv6
        Whether this kernel has IPv6.
    """

    namespaces: bool
    reason: str = ""
    remedy: str = ""
    redirect: bool = False
    ipv6: bool = False

    def __str__(self) -> str:
        """One line."""
        if not self.namespaces:
            return f"no network namespaces: {self.reason}; {self.remedy}"
        lacks = [] if self.redirect else [nft.MISSING]
        lacks += [] if self.ipv6 else ["this kernel has no IPv6"]
        return "network namespaces" + (f", but {'; '.join(lacks)}" if lacks else "")


def probe() -> Capability:
    """Tries to make a namespace with a veth pair. Blocks some 5 ms; leaves nothing."""
    outcome: list[tuple[str, str]] = []
    work = threading.Thread(target=lambda: outcome.append(attempt()), name="network probe")
    work.start()
    work.join(_PATIENCE)
    reason, remedy = outcome[0] if outcome else ("the kernel does not answer", _ASK_THE_HOST)
    return Capability(
        namespaces=not reason,
        reason=reason,
        remedy=remedy,
        redirect=nft.available(),
        ipv6=os.path.exists("/proc/sys/net/ipv6"),
    )


def attempt() -> tuple[str, str]:
    """(reason, remedy) of what is not possible; the thread that runs this is of no further use."""
    missing = missing_rights()
    if missing:
        return missing
    for what, function in (
        ("make a network namespace", _try_network),
        ("make a veth pair", _try_veth),
        (f"change the network's settings in {_SETTING}", _try_settings),
        ("make a mount namespace", _try_mounts),
        *([] if userns.entered() else [(f"write to {PIN_DIRECTORY}", _try_pins)]),
    ):
        try:
            function()
        except OSError as error:
            return f"this process cannot {what}: {error.strerror}", _ASK_THE_HOST
        except NetlinkError as error:
            return f"this kernel cannot {what}: {os.strerror(error.errno)}", _ASK_THE_HOST
    return "", ""


def missing_rights() -> tuple[str, str] | None:
    """(reason, remedy) if this process lacks what it takes to change the machine's networks."""
    effective = linux.effective_capabilities()
    wanted = (("CAP_SYS_ADMIN", linux.CAP_SYS_ADMIN), ("CAP_NET_ADMIN", linux.CAP_NET_ADMIN))
    lacking = [name for name, bit in wanted if not effective >> bit & 1]
    if not lacking:
        return None
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    reason = f"{who} lacks {' and '.join(lacking)} here"
    return reason, _AS_ROOT if os.geteuid() else _ASK_THE_HOST


def _try_network() -> None:
    linux.unshare(linux.CLONE_FS | linux.CLONE_NEWNET, "making a network namespace")


def _try_veth() -> None:
    own = os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as netlink:
            netlink.send(messages.create_veth("probe", 0, 1500, own))
            index_of(names.INNER_INTERFACE)
    finally:
        os.close(own)


def _try_settings() -> None:
    with open(_SETTING, "r+") as file:  # in a namespace of our own by now, and to the same value
        file.write(file.read().strip())


def _try_mounts() -> None:
    linux.unshare(linux.CLONE_NEWNS, "making a mount namespace")
    linux.set_propagation("/", linux.MS_SLAVE | linux.MS_REC)


def _try_pins() -> None:
    """There, or where it will be made. The last instance that ends takes it away, perhaps as we
    look: of one that is going, ext4 says that it may not be written to."""
    try:
        directory = os.open(PIN_DIRECTORY, os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        _try_file_in(os.path.dirname(PIN_DIRECTORY))
        return
    try:
        _try_file_in(f"/proc/self/fd/{directory}")
    except OSError:
        if os.fstat(directory).st_nlink:
            raise
        _try_file_in(os.path.dirname(PIN_DIRECTORY))
    finally:
        os.close(directory)


def _try_file_in(directory: str) -> None:
    os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
